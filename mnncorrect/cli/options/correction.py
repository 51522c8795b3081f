"""The options of a correction, of what comes before and after it, and what it writes besides."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Option

from mnncorrect._prepare.method_registry import DEFAULT, NOT_PARAMETERS, all_methods, method_names
from mnncorrect._prepare.parameter_texts import parameter_texts
from mnncorrect.cli.options.shared import (
    Engine,
    KeyAdded,
    NumberOrAuto,
    Numbers,
    Reading,
    number_or_auto,
)

if TYPE_CHECKING:
    MethodName = str
else:
    MethodName = Literal[tuple(method_names())]


@dataclass(frozen=True)
class CorrectionOptions:
    """How the correction is done; what a method does not know is refused for it.

    Parameters
    ----------
    method
        Correction method. calibrated, fast and cluster correct components; classic corrects
        expression. calibrated moves cells only where the batch effect is distinguishable from
        noise; cluster needs --clusters.
    use_rep : NAME
        Embedding in obsm to correct instead of expression, such as X_pca.
    clusters : COLUMN
        Column of obs with the cluster of each cell within its batch.
    mask_var : COLUMN
        Boolean column of var with the genes used for distances, or 'none' for all genes. Default:
        highly_variable, if it exists.
    correct_all
        Also correct the genes outside the mask.
    regress_out : COLUMN
        Column of obs whose effect is taken out of each gene first, as found within batches: text is
        a factor, numbers are a quantity, such as the share of mitochondrial counts. May be
        repeated; effects add up.
    n_neighbors
        Number of nearest neighbors in each direction. Larger gives more pairs, and less specific
        ones.
    prop_neighbors
        Number of neighbors as a share of the batch (0 to 1), if larger than --n-neighbors.
    sigma
        Bandwidth of the smoothing kernel; divides the squared distance. Larger is smoother.
    cosine_norm_in
        Scale each cell to unit length for distances.
    cosine_norm_out
        Scale each cell to unit length in the corrected values.
    n_svd
        Number of dimensions of the biological subspace that are removed from the correction
        vectors.
    adjust_variance
        Scale corrections so that the target keeps its spread along them.
    cosine_norm
        Scale each cell to unit length.
    n_comps : NUMBER
        Number of principal components, or auto (not for classic): 20 to 50, as many as stand out
        from noise. Default: auto (calibrated), 50 (fast, classic).
    batch_weights : WEIGHTS
        Weights of the batches in the components: A=2,B=1, a tree ((A,B),C) that divides them, or
        cells. Default: equal weights.
    ndist
        Bandwidth of the smoothing, as a multiple of the median distance to the nearest paired
        cells. Larger is smoother.
    min_batch_size
        Skip merges with a smaller relative batch effect (0 to 1).
    merge_order : ORDER
        Order of merges: A,B,C or a tree ((A,B),(C,D)), or balanced: similar batches first, in
        rounds. Default: order of the batches (classic, fast, cluster); the most similar batch next
        (calibrated).
    reference : BATCH
        Batch that does not move. Default: none.
    auto_merge
        Merge next the batch that has the most pairs.
    restrict : COLUMN
        Boolean column of obs with the cells that may form pairs.
    label_key : COLUMN
        Column of obs with known labels, such as cell types; some may be missing. run shows them in
        the report and keeps them in the model for project. correct, and run with --guide, reject
        pairs of cells whose labels differ.
    keep : COLUMN
        Column of obs that must not be removed, such as a condition: only cells with the same value
        form pairs. May be repeated.
    smoothing
        local: one correction for each cell; global: one mean vector for each batch.
    sketch : CELLS
        Number of cells of each side of a merge that are searched for pairs, all, or auto: 2000 to
        10000 with more than 10 batches or --merge-order balanced; 50000 of more than 100000;
        otherwise all.
    adjusted_basis : NAME
        Key in obsm of the corrected embedding. Default: X_ and --key-added.
    """

    method: MethodName = DEFAULT
    use_rep: str | None = None
    clusters: str | None = None
    mask_var: str | None = None
    correct_all: Annotated[bool, Option("--correct-all")] = False
    regress_out: list[str] | None = None
    n_neighbors: Annotated[int, Option(max=2**31 - 1)] = 20
    prop_neighbors: float | None = None
    sigma: float = 0.1
    cosine_norm_in: bool = True
    cosine_norm_out: bool = True
    n_svd: int = 0
    adjust_variance: bool = True
    cosine_norm: bool = True
    n_comps: Annotated[str | None, Option(parser=number_or_auto)] = None
    batch_weights: str | None = None
    ndist: float = 3.0
    min_batch_size: float = 0.0
    merge_order: str | None = None
    reference: str | None = None
    auto_merge: Annotated[bool, Option("--auto-merge")] = False
    restrict: str | None = None
    label_key: str | None = None
    keep: list[str] | None = None
    smoothing: Literal["local", "global"] = "local"
    neighbors: Engine = "auto"
    recall: float = 0.995
    sketch: str = "auto"
    key_added: KeyAdded = "mnn"
    adjusted_basis: str | None = None


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
            _, text = parameter_texts(method.function)[name]
            own.append((name, Annotated[kind, Option(names, help=text)], field(default=default)))
    return make_dataclass(options.__name__, own, bases=(options,), frozen=True) if own else options


if not TYPE_CHECKING:
    CorrectionOptions = with_own_parameters(CorrectionOptions)


@dataclass(frozen=True)
class ExpressionOptions:
    """Corrected expression from corrected components.

    Parameters
    ----------
    write_expression
        Also write corrected expression to layers; the file grows by cells x genes. It is computed
        from corrected components (fast, cluster) or by the same weights (calibrated).
    expression_scale
        Scale of the corrected expression. centered: each gene has mean zero; cosine: the mean is
        added back; log: also multiplied by the length of each cell (fast, cluster).
    expression_mask_var : COLUMN
        Boolean column of var with the genes of the corrected expression. Default: all genes with
        loadings.
    expression_clip
        Set negative values of the corrected expression to 0, for tools that refuse them:
        layers["mnn_clipped"]. They are not counts. With --expression-scale log or cosine (fast,
        cluster). classic keeps its layer too.
    expression_counts
        Scale corrected log values back to counts that are not negative, nor whole numbers:
        layers["mnn_counts"]. With --expression-scale log (fast, cluster) or --no-cosine-norm-out
        (classic).
    """

    write_expression: Annotated[bool, Option("--write-expression")] = False
    expression_scale: Literal["centered", "cosine", "log"] = "centered"
    expression_mask_var: str | None = None
    expression_clip: Annotated[bool, Option("--expression-clip")] = False
    expression_counts: Annotated[bool, Option("--expression-counts")] = False


@dataclass(frozen=True)
class Preparing:
    """What is done to the values before they are corrected.

    Parameters
    ----------
    counts
        Treat the values as counts, or not. Default: detected.
    normalize
        Scale counts to the median total.
    log1p
        Take the logarithm of counts plus one.
    keep_normalized
        Keep normalized values as a layer of the output. Default: run keeps them, correct does not.
    hvg
        Choose highly variable genes. Default: yes, unless var has highly_variable or --mask-var is
        given; correct chooses them for counts only.
    n_top_genes
        Number of highly variable genes. Implies --hvg.
    """

    counts: bool | None = None
    normalize: bool = True
    log1p: bool = True
    keep_normalized: bool | None = None
    hvg: bool | None = None
    n_top_genes: Annotated[int, Option(min=1)] = 2000


@dataclass(frozen=True)
class LaterSteps:
    """What is done after the correction, and how labels are used.

    Parameters
    ----------
    pca
        Compute principal components of corrected expression.
    gmm
        Cluster the cells by a Gaussian mixture.
    umap
        Compute a UMAP.
    leiden : RESOLUTION
        Also cluster the cells by Leiden, at this resolution, such as 1. Result: obs["mnn_leiden"].
        Larger gives more clusters. Needs the package igraph.
    report : REPORT.html
        Also write a report of the result.
    guide
        Have the labels of --label-key guide the correction: reject pairs of cells whose labels
        differ.
    """

    pca: bool = True
    gmm: bool = True
    umap: bool = False
    leiden: float | None = None
    report: Path | None = None
    guide: Annotated[bool, Option("--guide")] = False
    n_dims: NumberOrAuto = "auto"
    n_components: Numbers = "1-10,12,15,20,25,30"


@dataclass(frozen=True)
class CorrectOptions(ExpressionOptions, CorrectionOptions, Preparing, Reading):
    """What ``correct`` reads, how it prepares and corrects that, and the expression it writes."""


@dataclass(frozen=True)
class RunOptions(LaterSteps, CorrectOptions):
    """The options of ``correct``, and what ``run`` does afterwards."""
