"""The options that commands share, in groups.

Each is named as the parameter of the API that it becomes, and has that parameter's default; a test
holds the two together.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, BadParameter, Option

from mnncorrect._prepare.parameter_texts import texts_in


def key_name(name: str) -> str:
    """Refuse, as wrong usage, a name that h5ad cannot keep as it is."""
    if name == "" or "/" in name:
        raise BadParameter(f"{name!r} cannot be a key: it must not be empty or contain '/'")
    return name


def number_or_auto(text: str) -> int | Literal["auto"]:
    """Read ``15`` or ``auto``."""
    if text.strip() == "auto":
        return "auto"
    if re.fullmatch(r"\d{1,9}", text.strip(), re.ASCII) is None or int(text) < 1:
        raise BadParameter(f"{text!r} cannot be read; write a number from 1 up, or auto")
    return int(text)


def whole_numbers(text: str) -> list[int]:
    """Read ``8``, ``1-15``, ``5,10,15`` or ``1-10,15``."""
    numbers: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", part.strip(), re.ASCII)
        if found is None:
            numbers = []
            break
        numbers += range(int(found[1]), int(found[2] or found[1]) + 1)
    if not numbers or min(numbers) < 1:
        raise BadParameter(
            f"{text!r} cannot be read; write a number, a range 1-15 or a list 1-10,15"
        )
    return numbers


# The metavar and the help of options that several commands have, unless a docstring says otherwise.
OPTION_TEXTS = texts_in("""
Parameters
----------
input : INPUT.h5ad
    h5ad file or zarr folder to read.
inputs : INPUT.h5ad
    h5ad file to read, or another format that concat reads. Several files are joined on their shared
    genes; each file is a batch unless --batch-key names a column.
sheet : SAMPLES.tsv
    Table of the inputs (.tsv or .csv). Column path: input, relative to the table; column batch:
    name of its batch. Other columns are covariates and become columns of obs.
output : OUT.h5ad
    Output file, or a zarr folder if its name ends in .zarr. It appears only when it is complete.
save_model : MODEL.mnn
    Also write a model of the correction to this file. `mnncorrect project` places new cells with it
    (fast, cluster, calibrated).
force
    Replace an existing output file, and existing values under the keys of the results.
batch_key : COLUMN
    Column of obs that names the batch. Repeat it for nested factors, outermost first: each
    combination of values is a batch. Batches within an outer factor are merged first (classic,
    fast, cluster).
batch_from_barcode
    Take the batch from the suffix or prefix of the barcodes, such as -1 and -2 of cellranger aggr,
    or a sample name. Written to obs["mnn_library"].
as_json
    Print JSON instead of a table.
layer : NAME
    Layer to read values from instead of X.
use_raw
    Read values from raw instead of X.
gene_key : COLUMN
    Column of var with the gene names that are matched between files, and that a model of one file
    has. Default: var_names.
strip_versions
    Ignore versions of Ensembl ids: ENSG00000141510.18 matches ENSG00000141510.
subset : COLUMN=VALUE
    Keep only these cells; COLUMN!=VALUE excludes cells. May be repeated: values of one column are
    alternatives; conditions on different columns must all hold.
memory_limit : SIZE
    Memory for the values of the input, such as 500M or 2G. They are read in blocks of this size.
    Results do not depend on it.
key_added : NAME
    Prefix of all result keys.
neighbors
    Search for neighbors: exact, or approximate by partition or pynndescent. cuvs searches on an
    NVIDIA graphics card, where cuVS and CuPy are installed. auto chooses by the number of cells.
recall
    Share of the true neighbors (0 to 1) that --neighbors partition finds. Larger is slower.
n_dims : NUMBER
    Number of leading dimensions used for clustering. auto: dimensions before the elbow of the
    variances, or more if these show clusters better.
n_components : NUMBERS
    Number of clusters, such as 8, or numbers of components to try: a range (1-15) or a list
    (1-10,15,20). The criterion chooses one; overlapping components are merged.
""")
Input = Annotated[Path, Argument()]
Inputs = Annotated[list[Path] | None, Argument()]
Output = Annotated[Path, Option("--output", "-o")]
Force = Annotated[bool, Option("--force")]
BatchKey = Annotated[list[str] | None, Option("--batch-key", "-b")]
BatchFromBarcode = Annotated[bool, Option("--batch-from-barcode")]
Json = Annotated[bool, Option("--json")]
UseRaw = Annotated[bool, Option("--use-raw")]
StripVersions = Annotated[bool, Option("--strip-versions")]
KeyAdded = Annotated[str, Option(callback=key_name)]
NumberOrAuto = Annotated[str, Option(parser=number_or_auto)]
Numbers = Annotated[str, Option(parser=whole_numbers)]
Engine = Literal["auto", "exact", "partition", "pynndescent", "cuvs"]


@dataclass(frozen=True)
class Reporting:
    """What a command says, and where.

    Parameters
    ----------
    verbose
        Show more of the log.
    quiet
        Show only warnings and errors.
    log_file
        Also write the log to this file.
    debug
        Show the traceback of an error.
    """

    verbose: Annotated[bool, Option("--verbose", "-v")] = False
    quiet: Annotated[bool, Option("--quiet", "-q")] = False
    log_file: Path | None = None
    debug: Annotated[bool, Option("--debug")] = False


@dataclass(frozen=True)
class ComputingOptions:
    """What numbers depend on, or only the time they take.

    Parameters
    ----------
    random_state
        Random seed.
    n_jobs
        Number of threads. Default: all available CPUs.
    """

    random_state: Annotated[int, Option("--random-state", "--seed", min=0, max=2**32 - 1)] = 0
    n_jobs: Annotated[int | None, Option("--n-jobs", "--threads")] = None


@dataclass(frozen=True)
class UsedResources:
    """What may be used: memory, and other processes.

    Parameters
    ----------
    workers : NUMBER
        Number of Dask workers (processes) to start on this machine for the passes over the values.
        The threads are divided among them, and --memory-limit is that of each (1G at least). The
        output is zarr: OUT.zarr.
    scheduler : ADDRESS
        Address of a Dask scheduler to use instead, such as tcp://host:8786. Its workers read and
        write the same files under the same paths.
    """

    memory_limit: str = "2G"
    workers: Annotated[int | None, Option(min=1)] = None
    scheduler: str | None = None


@dataclass(frozen=True)
class Resources(UsedResources):
    """What may be used, and whether anything is done at all.

    Parameters
    ----------
    dry_run
        Print the steps with an estimate of memory and time, and stop.
    as_json
        With --dry-run: print JSON instead of a table.
    """

    dry_run: Annotated[bool, Option("--dry-run")] = False
    as_json: Annotated[bool, Option("--json")] = False


@dataclass(frozen=True)
class CorrectedFiles:
    """What a correction reads and writes."""

    output: Output
    inputs: Inputs = None
    sheet: Path | None = None
    force: Force = False
    save_model: Path | None = None


@dataclass(frozen=True)
class PlannedFiles:
    """What a correction that is only planned would read and write; the inputs besides.

    Parameters
    ----------
    output : OUT.h5ad
        Output file of the next command.
    """

    sheet: Path | None = None
    output: Annotated[Path | None, Option("--output", "-o")] = None
    force: Force = False
    save_model: Path | None = None


@dataclass(frozen=True)
class Reading:
    """Which cells, genes and values are taken from the input.

    Parameters
    ----------
    min_counts : NUMBER
        Remove cells with fewer counts. Default: keep all.
    min_genes : NUMBER
        Remove cells with fewer genes above zero. Default: keep all.
    max_mito : PERCENT
        Remove cells with a larger percentage of counts (0 to 100) in mitochondrial genes, MT- or
        mt- by var_names or --gene-key. Default: keep all.
    """

    batch_key: BatchKey = None
    layer: str | None = None
    use_raw: UseRaw = False
    gene_key: str | None = None
    subset: list[str] | None = None
    strip_versions: StripVersions = False
    batch_from_barcode: BatchFromBarcode = False
    min_counts: float | None = None
    min_genes: int | None = None
    max_mito: float | None = None
