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

ALL_GENES = "none"
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
Force = Annotated[bool, Option("--force", help="Replace the output if it exists.")]
BatchKey = Annotated[
    list[str] | None,
    Option(
        "--batch-key",
        "-b",
        metavar="COLUMN",
        help="The column of obs that names the batch. May be repeated, from the outermost factor"
        " to the innermost: batches are the combinations, and those that differ in the innermost"
        " only are merged first.",
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
        help="The column of var by which the genes of several files are matched; their var_names"
        " if unset.",
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
NComps = Annotated[
    int, Option("--n-comps", min=1, help="How many principal components to compute.")
]
NDims = Annotated[
    int, Option("--n-dims", min=1, help="How many leading dimensions clusters are looked for in.")
]
NComponents = Annotated[
    str,
    Option(
        "--n-components",
        metavar="NUMBERS",
        help="The number of clusters; of a range 1-15 or a list 5,10,15 the one with the lowest"
        " BIC.",
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
        int, Option("--random-state", "--seed", help="The seed of what draws at random.")
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


@dataclass(frozen=True)
class Correction:
    """How the correction is done; what a method does not know is refused for it."""

    method: Annotated[
        Literal["classic", "fast", "cluster", "calibrated"],
        Option(
            "--method",
            help="The correction method: calibrated moves cells as far as effects are told apart"
            " from noise, and says how sure it is; fast, and cluster by given clusters, give"
            " corrected principal components as well; classic gives corrected expression.",
        ),
    ] = "calibrated"
    use_rep: Annotated[
        str | None,
        Option(
            "--use-rep",
            metavar="NAME",
            help="Correct this embedding in obsm, such as X_pca, as it is (fast, calibrated).",
        ),
    ] = None
    clusters: Annotated[
        str | None,
        Option(
            "--clusters",
            metavar="COLUMN",
            help="The column of obs with the cluster of each cell in its batch (cluster).",
        ),
    ] = None
    mask_var: Annotated[
        str | None,
        Option(
            "--mask-var",
            metavar="COLUMN",
            help="The boolean column of var with the genes that distances are taken in, or"
            f" '{ALL_GENES}' for all genes; highly_variable where it exists if unset.",
        ),
    ] = None
    correct_all: Annotated[
        bool, Option("--correct-all", help="Correct the genes outside the mask too.")
    ] = False
    n_neighbors: Annotated[
        int, Option("--n-neighbors", help="How many neighbours are looked at in each direction.")
    ] = 20
    prop_neighbors: Annotated[
        float | None,
        Option(
            "--prop-neighbors",
            help="Neighbours as a share of the batch (0 to 1), if that is more than --n-neighbors.",
        ),
    ] = None
    sigma: Annotated[
        float,
        Option(
            "--sigma",
            help="Bandwidth of the smoothing kernel; divides the squared distance. Larger is"
            " smoother (classic).",
        ),
    ] = 0.1
    cosine_norm_in: Annotated[
        bool,
        Option(
            "--cosine-norm-in/--no-cosine-norm-in",
            help="Scale each cell to length one for distances (classic).",
        ),
    ] = True
    cosine_norm_out: Annotated[
        bool,
        Option(
            "--cosine-norm-out/--no-cosine-norm-out",
            help="Scale each cell to length one in the values that are corrected (classic).",
        ),
    ] = True
    n_svd: Annotated[
        int,
        Option(
            "--n-svd",
            help="Dimensions of the biological subspace to take out of the correction vectors"
            " (classic).",
        ),
    ] = 0
    adjust_variance: Annotated[
        bool,
        Option(
            "--adjust-variance/--no-adjust-variance",
            help="Lengthen corrections so that the target keeps its spread along them (classic).",
        ),
    ] = True
    cosine_norm: Annotated[
        bool,
        Option(
            "--cosine-norm/--no-cosine-norm",
            help="Scale each cell to length one (fast, cluster, calibrated).",
        ),
    ] = True
    n_comps: NComps = 50
    batch_weights: Annotated[
        str | None,
        Option(
            "--batch-weights",
            metavar="WEIGHTS",
            help="Weights of the batches in the components: A=2,B=1, or ((A,B),C) to share them"
            " out, or cells; all the same if unset (fast, calibrated).",
        ),
    ] = None
    ndist: Annotated[
        float,
        Option(
            "--ndist",
            help="Bandwidth of the smoothing, in distances to the middle one of a cell's nearest"
            " paired cells. Larger is smoother (fast).",
        ),
    ] = 3.0
    min_batch_size: Annotated[
        float,
        Option(
            "--min-batch-size",
            help="Leave merges whose relative batch size (0 to 1) is below this uncorrected"
            " (fast, cluster).",
        ),
    ] = 0.0
    merge_order: Annotated[
        str | None,
        Option(
            "--merge-order",
            metavar="ORDER",
            help="The order of merges, A,B,C or ((A,B),(C,D)), or balanced: similar ones first, in"
            " rounds, which is quicker for many. If unset, that of the batches (classic, fast,"
            " cluster), or the most similar next (calibrated).",
        ),
    ] = None
    reference: Annotated[
        str | None,
        Option(
            "--reference",
            metavar="BATCH",
            help="The batch that stays as it is; none does if unset (calibrated).",
        ),
    ] = None
    auto_merge: Annotated[
        bool, Option("--auto-merge", help="Merge next what has most pairs with what is merged.")
    ] = False
    restrict: Annotated[
        str | None,
        Option(
            "--restrict",
            metavar="COLUMN",
            help="The boolean column of obs with the cells that pairs may be taken from.",
        ),
    ] = None
    smoothing: Annotated[
        Literal["local", "global"],
        Option(
            "--smoothing", help="A correction per cell, or one mean vector per batch (classic)."
        ),
    ] = "local"
    neighbors: Annotated[
        Literal["auto", "exact", "partition", "pynndescent"],
        Option("--neighbors", help="How neighbours are found; auto picks by size."),
    ] = "auto"
    recall: Annotated[
        float,
        Option(
            "--recall",
            help="The share of the true neighbours (0 to 1) that --neighbors partition finds.",
        ),
    ] = 0.995
    sketch: Annotated[
        str,
        Option(
            "--sketch",
            metavar="CELLS",
            help="How many cells of each side of a merge pairs are sought among; all, or auto:"
            " 10000 with --merge-order balanced, otherwise all (fast).",
        ),
    ] = "auto"
    key_added: KeyAdded = "mnn"
    adjusted_basis: Annotated[
        str | None,
        Option(
            "--adjusted-basis",
            metavar="NAME",
            help="The name in obsm of what is corrected, if not X_ and --key-added"
            " (fast, cluster, calibrated).",
        ),
    ] = None


@dataclass(frozen=True)
class Expression:
    """Corrected expression from corrected components."""

    write_expression: Annotated[
        bool,
        Option(
            "--write-expression",
            help="Write corrected expression as well, into layers; the file grows by cells x"
            " genes. Made of the corrected components (fast, cluster), or corrected by the same"
            " weights (calibrated).",
        ),
    ] = False
    expression_scale: Annotated[
        Literal["centred", "cosine", "log"],
        Option(
            "--expression-scale",
            help="Its values: centred by gene; or with the mean added back (cosine); or besides"
            " times each cell's length, as the input is (log). By calibrated, always as the input"
            " is (fast, cluster).",
        ),
    ] = "centred"
    expression_mask_var: Annotated[
        str | None,
        Option(
            "--expression-mask-var",
            metavar="COLUMN",
            help="The boolean column of var with its genes; all that have loadings if unset.",
        ),
    ] = None


@dataclass(frozen=True)
class Preparing:
    """What is done to the values before they are corrected."""

    counts: Annotated[
        bool | None,
        Option(
            "--counts/--no-counts",
            help="Take the values for counts, or not; told by looking at them if unset.",
        ),
    ] = None
    normalise: Annotated[
        bool,
        Option("--normalise/--no-normalise", help="Scale counts to the median total of cells."),
    ] = True
    log1p: Annotated[
        bool, Option("--log1p/--no-log1p", help="Take the logarithm of counts plus one.")
    ] = True
    keep_normalised: Annotated[
        bool | None,
        Option(
            "--keep-normalised/--no-keep-normalised",
            help="Keep what was normalised as a layer of the output; run does if unset, correct"
            " does not.",
        ),
    ] = None
    hvg: Annotated[
        bool | None,
        Option(
            "--hvg/--no-hvg",
            help="Choose highly variable genes; done if unset (by correct, of counts only), unless"
            " var has highly_variable or --mask-var is given.",
        ),
    ] = None
    n_top_genes: Annotated[
        int, Option("--n-top-genes", min=1, help="How many highly variable genes to choose.")
    ] = 2000


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


def whole_numbers(option: str, text: str) -> list[int]:
    """Read ``8``, ``1-15`` or ``5,10,15``, as an option of this name.

    Raises
    ------
    typer.BadParameter
        It is none of these, or a number is below 1.
    """
    found = re.fullmatch(r"(\d+)-(\d+)", text.strip())
    try:
        if found is None:
            numbers = [int(part) for part in text.split(",")]
        else:
            numbers = list(range(int(found[1]), int(found[2]) + 1))
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        msg = f"{option} {text!r} cannot be read; write a number, a range 1-15 or a list 5,10,15"
        raise BadParameter(msg)
    return numbers
