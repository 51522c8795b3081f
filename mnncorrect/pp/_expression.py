"""Corrected expression from corrected components, on AnnData."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from mnncorrect._adata import Draft, Keys, put_expression, take_embedding, take_gene_mask
from mnncorrect._adata.loadings import take_loadings
from mnncorrect._adata.lookup import listed, require
from mnncorrect._adata.record import entry_of
from mnncorrect._log import logger, warn_caller
from mnncorrect._prepare.parameter_texts import shared_parameters

if TYPE_CHECKING:
    from anndata import AnnData

SCALES = ("centered", "cosine", "log")
OLD_SCALES = {"centred": "centered"}


@dataclass(frozen=True)
class LowRank:
    """Corrected expression that has not been made yet."""

    scores: NDArray[Any]  # Corrected components of the cells.
    rotation: NDArray[np.float64]  # Loadings of the genes that are wanted.
    genes: NDArray[np.bool_]  # Which of all genes these are; the others are zero.
    # What is added to each gene, and what each cell is multiplied by then; ``None``: nothing.
    center: NDArray[np.float64] | None
    norms: NDArray[np.float64] | None
    scale: str  # What that makes of the values.

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and all genes."""
        return len(self.scores), len(self.genes)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Float type of the values."""
        return self.scores.dtype

    def blocks(self, *, n_jobs: int | None = None) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Yield the values of some cells, of all genes, and of the next, to the last."""
        from mnncorrect.core.methods.low_rank import low_rank_blocks

        for rows, some in low_rank_blocks(
            self.scores, self.rotation, self.center, self.norms, n_jobs=n_jobs
        ):
            values = some
            if not self.genes.all():
                values = np.zeros((len(some), len(self.genes)), some.dtype)
                values[:, self.genes] = some
            yield rows, values


@shared_parameters
def mnn_expression(
    adata: AnnData,
    *,
    key_added: str = "mnn",
    scale: Literal["centered", "cosine", "log"] = "centered",
    mask_var: str | Sequence[bool] | NDArray[np.bool_] | None = None,
    clip: bool = False,
    n_jobs: int | None = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Compute corrected expression from corrected components.

    Values are a low-rank approximation: smoother than expression, and useful to look at genes in
    the corrected data. Do **not** use them for differential expression, because the correction
    makes genes and cells dependent.

    The new layer is dense, cells x genes. On the command line, ``--write-expression`` writes it to
    the file in blocks, without loading it into memory.

    Parameters
    ----------
    adata
        Corrected by :func:`mnn_fast` from genes, or by :func:`mnn_cluster`.
    key_added
        Prefix of the keys of the correction.
    scale
        ``"centered"``: each gene has mean zero over batches, on the scale of the corrected cells.
        ``"cosine"``: the mean is added back; values are on the scale of cells of unit length.
        ``"log"``: each cell is also multiplied by its length; values are on the scale of the input.
    mask_var
        Genes of the result: a boolean column of ``var``, or a mask. ``None``: all genes with
        loadings, which are the genes used for distances, or all genes with ``correct_all``.
    clip
        Whether negative values become 0, for tools that refuse them. The layer is
        ``mnn_clipped`` then. Needs scale ``"cosine"`` or ``"log"``. Values are not counts.

    Returns
    -------
    ``None``, or the copy, with these fields:

    ``layers["mnn"]``, or ``layers["mnn_clipped"]``
        Corrected expression, in the float type of the components. Other genes are zero.
    ``var["mnn_corrected"]``
        Genes of the layer.
    ``uns["mnn"]``
        Adds ``expression`` with the ``scale`` and whether it is ``clipped``, and
        ``not_for_differential_expression``.

    Raises
    ------
    KeyError
        If the correction or the column does not exist, or a part of the correction was removed.
    TypeError
        If the mask is not boolean.
    ValueError
        If the correction did not use components of genes; if ``scale`` needs cells of unit length
        and the correction did not scale them; if genes of the mask have no loadings; if
        :func:`multibatch_pca` replaced the loadings of the correction.

    Notes
    -----
    With corrected components :math:`y_c`, loadings :math:`U`, center :math:`\mu` and lengths
    :math:`l_c`, values are :math:`U y_c`, then :math:`U y_c + \mu`, then
    :math:`l_c (U y_c + \mu)`. The first are batchelor's ``reconstructed``.

    Examples
    --------
    >>> import anndata
    >>> import numpy as np
    >>> from mnncorrect.pp import mnn_fast
    >>> adata = anndata.AnnData(np.random.default_rng(0).gamma(2.0, size=(40, 6)))
    >>> adata.obs["batch"] = ["first", "second"] * 20
    >>> mnn_fast(adata, "batch", n_neighbors=5, n_comps=3)
    >>> mnn_expression(adata, scale="log")
    >>> adata.layers["mnn"].shape
    (40, 6)
    """
    refuse_clipped_centered(scale, clip=clip)
    lazy = take_low_rank(adata, key_added=key_added, scale=scale, mask_var=mask_var)
    layer = Keys(key_added).clipped if clip else Keys(key_added).layer
    values = np.empty((len(lazy.scores), int(lazy.genes.sum())), lazy.dtype)
    for rows, some in lazy.blocks(n_jobs=n_jobs):
        values[rows] = clipped(some[:, lazy.genes]) if clip else some[:, lazy.genes]
    logger.info(
        "corrected expression (%s) of %d of %d genes, into layers[%r]",
        lazy.scale, lazy.genes.sum(), adata.n_vars, layer,
    )  # fmt: skip
    draft = Draft(adata, Keys(key_added).uns)
    how = {"scale": lazy.scale} | ({"clipped": True} if clip else {})
    put_expression(draft, values, key_added=key_added, genes=lazy.genes, how=how, layer=layer)
    return draft.commit(copy=copy)


def refuse_clipped_centered(scale: str, *, clip: bool) -> None:
    """Refuse to clip values whose zero is the mean of a gene."""
    if clip and current_scale(scale) == "centered":
        raise ValueError(
            "values of scale 'centered' have mean zero, and half of them would be clipped; choose "
            "scale='log' or scale='cosine'"
        )


def clipped(values: NDArray[Any]) -> NDArray[Any]:
    """Return values of which those below zero are zero."""
    return np.maximum(values, values.dtype.type(0))


def current_scale(scale: str) -> str:
    """Return the current spelling of a scale, and warn of an older one."""
    if scale in OLD_SCALES:
        message = (
            f"scale={scale!r} is an older spelling and will be removed in the next release; "
            f"use {OLD_SCALES[scale]!r}"
        )
        warn_caller(message, FutureWarning)
    return OLD_SCALES.get(scale, scale)


def take_low_rank(
    adata: AnnData, *, key_added: str = "mnn", scale: str = "centered", mask_var: Any = None
) -> LowRank:
    """Collect the factors of corrected expression; parameters as in :func:`mnn_expression`."""
    keys = Keys(key_added)
    scale = current_scale(scale)
    if scale not in SCALES:
        raise ValueError(f"scale is {scale!r}; choose one of {', '.join(SCALES)}")
    require(keys.uns, adata.uns, "uns")
    record = entry_of(adata.uns, keys.uns, "correction")
    if record is None or "components" not in record:
        raise ValueError(
            f"uns[{keys.uns!r}] holds no correction of components of genes, which expression is "
            "computed from; correct with mnn_fast without use_rep, or with mnn_cluster"
        )
    params = record["params"]
    scores = take_embedding(adata, params["adjusted_basis"])
    rotation, means = take_loadings(adata, keys)
    if rotation.shape[1] != scores.shape[1]:
        raise ValueError(
            f"varm[{keys.loadings!r}] has {rotation.shape[1]} components and "
            f"obsm[{params['adjusted_basis']!r}] has {scores.shape[1]}: one of them has been "
            "replaced since the correction; correct again"
        )
    genes = wanted_genes(adata, keys, params, mask_var)
    norms = None
    if scale == "cosine" and not params["cosine_norm"]:
        raise ValueError(
            "scale='cosine' needs a correction with cosine_norm=True; choose scale='log'"
        )
    if scale == "log" and params["cosine_norm"]:
        require(keys.norm, adata.obs.columns, "obs")
        norms = adata.obs[keys.norm].to_numpy(np.float64)
    center = None if scale == "centered" else means[genes]
    return LowRank(scores, rotation[genes], genes, center, norms, scale)


def wanted_genes(
    adata: AnnData, keys: Keys, params: Mapping[str, Any], mask_var: Any
) -> NDArray[np.bool_]:
    """Return the genes of corrected expression: those of a mask, or all with loadings."""
    require(keys.genes, adata.var.columns, "var")
    loaded: NDArray[np.bool_] = adata.var[keys.genes].to_numpy(bool)
    if params["correct_all"]:
        loaded = np.ones_like(loaded)
    wanted = take_gene_mask(adata, mask_var).mask
    if wanted is None:
        return loaded
    without = adata.var_names[wanted & ~loaded]
    if len(without):
        raise ValueError(
            f"{len(without)} genes of mask_var have no loadings: {listed(without, 5)}; correct "
            f"with correct_all=True, or choose among those of var[{keys.genes!r}]"
        )
    return wanted
