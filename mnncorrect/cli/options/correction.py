"""The options of a correction, of what comes before it and of what it writes besides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Option

from mnncorrect._prepare.methods import DEFAULT, method_names
from mnncorrect.cli.options.shared import Engine, KeyAdded, NComps, Recall

ALL_GENES = "none"
if TYPE_CHECKING:
    MethodName = str
else:
    MethodName = Literal[tuple(method_names())]


@dataclass(frozen=True)
class Correction:
    """How the correction is done; what a method does not know is refused for it."""

    method: Annotated[
        MethodName,
        Option(
            "--method",
            help="The correction method: calibrated moves cells as far as effects are told apart"
            " from noise, and says how sure it is; fast, and cluster by given clusters, give"
            " corrected principal components as well; classic gives corrected expression.",
        ),
    ] = DEFAULT
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
        int,
        Option(
            "--n-neighbors",
            max=2**31 - 1,
            help="How many neighbours are looked at in each direction.",
        ),
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
    neighbors: Engine = "auto"
    recall: Recall = 0.995
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
        int,
        Option(
            "--n-top-genes",
            min=1,
            help="How many highly variable genes to choose; given, they are chosen as by --hvg.",
        ),
    ] = 2000
