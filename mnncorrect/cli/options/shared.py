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

UNITS = ("", "K", "M", "G", "T")
LEAST_MEMORY = 1 << 24


def key_name(name: str) -> str:
    """Refuse, as wrong usage, a name that h5ad cannot keep as it is."""
    if name == "" or "/" in name:
        msg = f"{name!r} is no name for a result: it must not be empty or contain '/'"
        raise BadParameter(msg)
    return name


Input = Annotated[Path, Argument(metavar="INPUT.h5ad", help="The h5ad file to read.")]
Inputs = Annotated[
    list[Path],
    Argument(
        metavar="INPUT.h5ad",
        help="The h5ad file to read, or what else concat reads. Several are put together: genes"
        " are intersected, and each file is a batch unless --batch-key names a column.",
    ),
]
Output = Annotated[
    Path,
    Option(
        "--output", "-o", metavar="OUT.h5ad", help="The file to write; it appears when complete."
    ),
]
SaveModel = Annotated[
    Path | None,
    Option(
        "--save-model",
        metavar="MODEL.mnn",
        help="Write a model of the correction to this file as well, by which project places new"
        " cells (fast, cluster, calibrated).",
    ),
]
Force = Annotated[
    bool,
    Option(
        "--force",
        help="Replace the output if it exists, and what others stored where results go.",
    ),
]
BatchKey = Annotated[
    list[str] | None,
    Option(
        "--batch-key",
        "-b",
        metavar="COLUMN",
        help="The column of obs that names the batch. May be repeated, from the outermost factor"
        " to the innermost: batches are the combinations, and those that differ in the innermost"
        " only are merged first (classic, fast, cluster).",
    ),
]
BatchFromBarcode = Annotated[
    bool,
    Option(
        "--batch-from-barcode",
        help="Tell the batch by what the name of a cell has beside its barcode, as -1 and -2 of"
        " cellranger aggr, or a sample's name; it is written to obs, as mnn_library.",
    ),
]
Json = Annotated[bool, Option("--json", help="Print JSON instead of a table.")]
Layer = Annotated[
    str | None,
    Option("--layer", metavar="NAME", help="Read values from this layer instead of X."),
]
UseRaw = Annotated[bool, Option("--use-raw", help="Read values from raw instead of X.")]
GeneKey = Annotated[
    str | None,
    Option(
        "--gene-key",
        metavar="COLUMN",
        help="The column of var by which the genes of several files are matched; of one file, the"
        " column that names the genes of its model (--save-model). Default: var_names, also in"
        " files without the column.",
    ),
]
StripVersions = Annotated[
    bool,
    Option(
        "--strip-versions",
        help="Match genes without the versions of Ensembl ids: ENSG00000141510.18 is"
        " ENSG00000141510.",
    ),
]
Subset = Annotated[
    list[str] | None,
    Option(
        "--subset",
        metavar="COLUMN=VALUE",
        help="Keep only these cells; COLUMN!=VALUE leaves cells out. May be repeated: values of one"
        " column are alternatives, conditions on several must all hold.",
    ),
]
MemoryLimit = Annotated[
    str,
    Option(
        "--memory-limit",
        metavar="SIZE",
        help="How much memory the values of the input may take, such as 500M or 2G: they are read"
        " in blocks to fit. Results do not depend on it.",
    ),
]
KeyAdded = Annotated[
    str,
    Option(
        "--key-added",
        metavar="NAME",
        callback=key_name,
        help="What the names of all results begin with.",
    ),
]
Engine = Annotated[
    Literal["auto", "exact", "partition", "pynndescent"],
    Option("--neighbors", help="How neighbours are found; auto picks by size."),
]
Recall = Annotated[
    float,
    Option(
        "--recall",
        help="The share of the true neighbours (0 to 1) that --neighbors partition finds.",
    ),
]
NComps = Annotated[
    int, Option("--n-comps", min=1, help="How many principal components to compute.")
]
NDims = Annotated[
    str,
    Option(
        "--n-dims",
        metavar="NUMBER",
        help="Number of leading dimensions that clusters are sought in; auto: those before the"
        " elbow of their variances.",
    ),
]
NComponents = Annotated[
    str,
    Option(
        "--n-components",
        metavar="NUMBERS",
        help="Number of clusters; or a range 1-15 or a list 1-10,15,20 of numbers of components:"
        " the criterion takes one, and components that overlap are merged.",
    ),
]


@dataclass(frozen=True)
class Reporting:
    """What a command says, and where."""

    verbose: Annotated[bool, Option("--verbose", "-v", help="Say more.")] = False
    quiet: Annotated[bool, Option("--quiet", "-q", help="Say nothing but warnings and errors.")] = (
        False
    )
    log_file: Annotated[
        Path | None, Option("--log-file", help="Write the log to this file as well.")
    ] = None
    debug: Annotated[bool, Option("--debug", help="Show the traceback of an error.")] = False


@dataclass(frozen=True)
class Computing:
    """What numbers depend on, or only the time they take."""

    random_state: Annotated[
        int,
        Option(
            "--random-state",
            "--seed",
            min=0,
            max=2**32 - 1,
            help="The seed of what draws at random.",
        ),
    ] = 0
    n_jobs: Annotated[
        int | None,
        Option("--n-jobs", "--threads", help="How many threads; all CPUs it may use if unset."),
    ] = None


@dataclass(frozen=True)
class Resources:
    """What may be used, and whether anything is done at all."""

    memory_limit: MemoryLimit = "2G"
    dry_run: Annotated[
        bool,
        Option("--dry-run", help="Print what would be done and what it would take, and stop."),
    ] = False
    as_json: Annotated[
        bool, Option("--json", help="With --dry-run: print it as JSON, for programs.")
    ] = False


@dataclass(frozen=True)
class Reading:
    """Which cells, genes and values are taken from the input."""

    batch_key: BatchKey = None
    layer: Layer = None
    use_raw: UseRaw = False
    gene_key: GeneKey = None
    subset: Subset = None
    strip_versions: StripVersions = False
    batch_from_barcode: BatchFromBarcode = False


def size_in_bytes(option: str, text: str) -> int:
    """Read ``500M`` or ``2G``, as an option of this name.

    Raises
    ------
    typer.BadParameter
        It cannot be read, or is less than 16 MB.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", text.strip(), re.IGNORECASE)
    size = 0 if found is None else int(float(found[1]) * 1024 ** UNITS.index(found[2].upper()))
    if size < LEAST_MEMORY:
        msg = f"{option} {text!r} is no size of 16M or more; write a number and K, M, G or T: 2G"
        raise BadParameter(msg)
    return size


def number_or_auto(option: str, text: str) -> int | Literal["auto"]:
    """Read ``15`` or ``auto``, as an option of this name.

    Raises
    ------
    typer.BadParameter
        It is neither, or the number is below 1.
    """
    if text.strip() == "auto":
        return "auto"
    if re.fullmatch(r"\d{1,9}", text.strip(), re.ASCII) is None or int(text) < 1:
        msg = f"{option} {text!r} cannot be read; write a number from 1 up, or auto"
        raise BadParameter(msg)
    return int(text)


def whole_numbers(option: str, text: str) -> list[int]:
    """Read ``8``, ``1-15``, ``5,10,15`` or ``1-10,15``, as an option of this name.

    Raises
    ------
    typer.BadParameter
        It is none of these, or a number is below 1.
    """
    numbers: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", part.strip(), re.ASCII)
        if found is None:
            numbers = []
            break
        numbers += range(int(found[1]), int(found[2] or found[1]) + 1)
    if not numbers or min(numbers) < 1:
        msg = f"{option} {text!r} cannot be read; write a number, a range 1-15 or a list 1-10,15"
        raise BadParameter(msg)
    return numbers
