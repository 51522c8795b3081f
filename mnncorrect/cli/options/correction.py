"""The options of a correction, of what comes before it and of what it writes besides."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, make_dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Option

from mnncorrect._prepare.methods import DEFAULT, NOT_PARAMETERS, all_methods, method_names
from mnncorrect._prepare.parameter_texts import parameter_text
from mnncorrect.cli.options.shared import Engine, KeyAdded, Recall

if TYPE_CHECKING:
    MethodName = str
else:
    MethodName = Literal[tuple(method_names())]


@dataclass(frozen=True)
class CorrectionOptions:
    """How the correction is done; what a method does not know is refused for it."""

    method: Annotated[
        MethodName,
        Option(
            help="Correction method. calibrated, fast and cluster correct components; classic"
            " corrects expression. calibrated moves cells only where the batch effect is"
            " distinguishable from noise; cluster needs --clusters."
        ),
    ] = DEFAULT
    use_rep: Annotated[
        str | None,
        Option(
            metavar="NAME",
            help="Embedding in obsm to correct instead of expression, such as X_pca.",
        ),
    ] = None
    clusters: Annotated[
        str | None,
        Option(
            metavar="COLUMN", help="Column of obs with the cluster of each cell within its batch."
        ),
    ] = None
    mask_var: Annotated[
        str | None,
        Option(
            metavar="COLUMN",
            help="Boolean column of var with the genes used for distances, or 'none' for all"
            " genes. Default: highly_variable, if it exists.",
        ),
    ] = None
    correct_all: Annotated[
        bool, Option("--correct-all", help="Also correct the genes outside the mask.")
    ] = False
    regress_out: Annotated[
        list[str] | None,
        Option(
            metavar="COLUMN",
            help="Column of obs whose effect is taken out of each gene first, as found within"
            " batches: text is a factor, numbers are a quantity, such as the share of mitochondrial"
            " counts. May be repeated; effects add up.",
        ),
    ] = None
    n_neighbors: Annotated[
        int,
        Option(
            max=2**31 - 1,
            help="Number of nearest neighbors in each direction. Larger gives more pairs, and less"
            " specific ones.",
        ),
    ] = 20
    prop_neighbors: Annotated[
        float | None,
        Option(
            help="Number of neighbors as a share of the batch (0 to 1), if larger than"
            " --n-neighbors."
        ),
    ] = None
    sigma: Annotated[
        float,
        Option(
            help="Bandwidth of the smoothing kernel; divides the squared distance. Larger is"
            " smoother."
        ),
    ] = 0.1
    cosine_norm_in: Annotated[
        bool, Option(help="Scale each cell to unit length for distances.")
    ] = True
    cosine_norm_out: Annotated[
        bool, Option(help="Scale each cell to unit length in the corrected values.")
    ] = True
    n_svd: Annotated[
        int,
        Option(
            help="Number of dimensions of the biological subspace that are removed from the"
            " correction vectors."
        ),
    ] = 0
    adjust_variance: Annotated[
        bool, Option(help="Scale corrections so that the target keeps its spread along them.")
    ] = True
    cosine_norm: Annotated[bool, Option(help="Scale each cell to unit length.")] = True
    n_comps: Annotated[
        str | None,
        Option(
            metavar="NUMBER",
            help="Number of principal components. auto: 20 to 50, as many as stand out from noise."
            " Default: auto (calibrated), 50 (fast, classic).",
        ),
    ] = None
    batch_weights: Annotated[
        str | None,
        Option(
            metavar="WEIGHTS",
            help="Weights of the batches in the components: A=2,B=1, a tree ((A,B),C) that divides"
            " them, or cells. Default: equal weights.",
        ),
    ] = None
    ndist: Annotated[
        float,
        Option(
            help="Bandwidth of the smoothing, as a multiple of the median distance to the nearest"
            " paired cells. Larger is smoother."
        ),
    ] = 3.0
    min_batch_size: Annotated[
        float, Option(help="Skip merges with a smaller relative batch effect (0 to 1).")
    ] = 0.0
    merge_order: Annotated[
        str | None,
        Option(
            metavar="ORDER",
            help="Order of merges: A,B,C or a tree ((A,B),(C,D)), or balanced: similar batches"
            " first, in rounds. Default: order of the batches (classic, fast, cluster); the most"
            " similar batch next (calibrated).",
        ),
    ] = None
    reference: Annotated[
        str | None, Option(metavar="BATCH", help="Batch that does not move. Default: none.")
    ] = None
    auto_merge: Annotated[
        bool, Option("--auto-merge", help="Merge next the batch that has the most pairs.")
    ] = False
    restrict: Annotated[
        str | None,
        Option(metavar="COLUMN", help="Boolean column of obs with the cells that may form pairs."),
    ] = None
    label_key: Annotated[
        str | None,
        Option(
            metavar="COLUMN",
            help="Column of obs with known labels, such as cell types; some may be missing. run"
            " shows them in the report and keeps them in the model for project. correct, and run"
            " with --guide, reject pairs of cells whose labels differ.",
        ),
    ] = None
    keep: Annotated[
        list[str] | None,
        Option(
            metavar="COLUMN",
            help="Column of obs that must not be removed, such as a condition: only cells with the"
            " same value form pairs. May be repeated.",
        ),
    ] = None
    smoothing: Annotated[
        Literal["local", "global"],
        Option(help="local: one correction for each cell; global: one mean vector for each batch."),
    ] = "local"
    neighbors: Engine = "auto"
    recall: Recall = 0.995
    sketch: Annotated[
        str,
        Option(
            metavar="CELLS",
            help="Number of cells of each side of a merge that are searched for pairs, all, or"
            " auto: 2000 to 10000 with more than 10 batches or --merge-order balanced; 50000 of"
            " more than 100000; otherwise all.",
        ),
    ] = "auto"
    key_added: KeyAdded = "mnn"
    adjusted_basis: Annotated[
        str | None,
        Option(
            metavar="NAME",
            help="Key in obsm of the corrected embedding. Default: X_ and --key-added.",
        ),
    ] = None


def with_own_parameters(options: type[Any]) -> type[Any]:
    """Give a group an option for each parameter of a method that none of its options is for.

    The help of such an option is the text of the parameter in the docstring of the method.
    """
    known = {field.name for field in fields(options)} | {"adata", "key", *NOT_PARAMETERS}
    own = []
    for method in all_methods():
        for name, parameter in method.parameters.items():
            if name in known:
                continue
            known.add(name)
            default = parameter.default
            kind = str | None if default in (None, parameter.empty) else type(default)
            option = f"--{name.replace('_', '-')}"
            names = f"{option}/--no-{option[2:]}" if kind is bool else option
            text = parameter_text(method.function, name)
            own.append((name, Annotated[kind, Option(names, help=text)], field(default=default)))
    return make_dataclass(options.__name__, own, bases=(options,), frozen=True) if own else options


if not TYPE_CHECKING:
    CorrectionOptions = with_own_parameters(CorrectionOptions)


@dataclass(frozen=True)
class ExpressionOptions:
    """Corrected expression from corrected components."""

    write_expression: Annotated[
        bool,
        Option(
            "--write-expression",
            help="Also write corrected expression to layers; the file grows by cells x genes. It"
            " is computed from corrected components (fast, cluster) or by the same weights"
            " (calibrated).",
        ),
    ] = False
    expression_scale: Annotated[
        Literal["centered", "cosine", "log"],
        Option(
            help="Scale of the corrected expression. centered: each gene has mean zero; cosine: the"
            " mean is added back; log: also multiplied by the length of each cell (fast,"
            " cluster)."
        ),
    ] = "centered"
    expression_mask_var: Annotated[
        str | None,
        Option(
            metavar="COLUMN",
            help="Boolean column of var with the genes of the corrected expression. Default: all"
            " genes with loadings.",
        ),
    ] = None
    expression_clip: Annotated[
        bool,
        Option(
            "--expression-clip",
            help="Set negative values of the corrected expression to 0, for tools that refuse them:"
            ' layers["mnn_clipped"]. They are not counts. With --expression-scale log or cosine'
            " (fast, cluster). classic keeps its layer too.",
        ),
    ] = False
    expression_counts: Annotated[
        bool,
        Option(
            "--expression-counts",
            help="Scale corrected log values back to counts that are not negative, nor whole"
            ' numbers: layers["mnn_counts"]. With --expression-scale log (fast, cluster) or'
            " --no-cosine-norm-out (classic).",
        ),
    ] = False


@dataclass(frozen=True)
class Preparing:
    """What is done to the values before they are corrected."""

    counts: Annotated[
        bool | None, Option(help="Treat the values as counts, or not. Default: detected.")
    ] = None
    normalize: Annotated[bool, Option(help="Scale counts to the median total.")] = True
    log1p: Annotated[bool, Option(help="Take the logarithm of counts plus one.")] = True
    keep_normalized: Annotated[
        bool | None,
        Option(
            help="Keep normalized values as a layer of the output. Default: run keeps them,"
            " correct does not."
        ),
    ] = None
    hvg: Annotated[
        bool | None,
        Option(
            help="Choose highly variable genes. Default: yes, unless var has highly_variable or"
            " --mask-var is given; correct chooses them for counts only."
        ),
    ] = None
    n_top_genes: Annotated[
        int, Option(min=1, help="Number of highly variable genes. Implies --hvg.")
    ] = 2000
