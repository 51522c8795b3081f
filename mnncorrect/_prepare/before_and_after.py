"""What a correction is judged by: the embedding before and after it, and groups of cells."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect._adata import Keys, describe_source, take_embedding, take_expression_rows
from mnncorrect._adata.labels import labels_of
from mnncorrect._adata.lookup import listed, require, what_there_is
from mnncorrect._adata.record import entry_of, fields_of
from mnncorrect._io.scratch import scratch_when_needed
from mnncorrect._log import logger
from mnncorrect._prepare.method_registry import recorded_method

if TYPE_CHECKING:
    import contextlib

    from anndata import AnnData

# The column of clusters that takes the place of labels where none are given, as `gmm` makes it.
LABEL_CLUSTERS = "gmm"


@dataclass(frozen=True)
class Compared:
    """What is scored."""

    after: NDArray[Any]  # The embedding.
    before: NDArray[Any] | None  # The same cells uncorrected; ``None``: not known.
    # What the correction started from, where it is one of this package and that is still there.
    start: NDArray[Any] | None
    # What they are called: names in ``obsm``, or what was done to make the embedding.
    after_name: str
    before_name: str | None
    # Whether their dimensions mean the same, and whether lengths do.
    same_axes: bool
    same_scale: bool
    # Parameters of the correction, where it is one of this package; otherwise ``None``.
    params: Mapping[str, Any] | None


@dataclass(frozen=True)
class LabelGroups:
    """Labels or clusters of cells; ``codes`` are below 0 where they are not known."""

    codes: NDArray[np.int64]
    names: list[str]
    column: str
    no_labels: list[str]  # Values of the column that say that a cell has no label.


@dataclass(frozen=True)
class CorrectionValues:
    """Where the values of a correction are, and how they are worked on."""

    adata: AnnData
    keys: Keys
    stack: contextlib.ExitStack
    random_state: int
    n_jobs: int

    def params(self) -> Mapping[str, Any] | None:
        """Return the parameters of the correction, if there is one."""
        record = entry_of(self.adata.uns, self.keys.uns, "correction", "projection")
        params = None if record is None else record["params"]
        return params if params is not None and "method" in params else None

    def seed(self) -> int:
        """Return the seed of the correction."""
        made = fields_of(self.adata.uns, self.keys.uns).get("provenance", {})
        return int(made.get("random_state", 0))

    def expression(self, params: Mapping[str, Any]) -> Any:
        """Return the rows of what a correction of expression started from; ``None``: it is gone."""
        layer, use_raw = params.get("layer"), bool(params.get("use_raw", False))
        done = fields_of(self.adata.uns, self.keys.uns).get("prepared", {})
        normalized = done.get("counts") and (done.get("normalize") or done.get("log1p"))
        if normalized and layer != self.keys.normalized:
            return None  # what was made of the counts has not been kept
        if use_raw:
            there = self.adata.raw is not None
        else:
            there = self.adata.X is not None if layer is None else layer in self.adata.layers
        if not there:
            return None
        return take_expression_rows(
            self.adata,
            layer=layer,
            use_raw=use_raw,
            scratch=self.stack.enter_context(scratch_when_needed()),
        )

    def genes(self, column: str) -> NDArray[np.bool_] | None:
        """Return the genes that a column of var marks; ``None``: all."""
        if column not in self.adata.var:
            return None
        mask = self.adata.var[column].to_numpy(dtype=bool)
        return None if mask.all() else mask


def corrects_expression(params: Mapping[str, Any]) -> bool:
    """Tell by its parameters whether a correction left expression and no embedding."""
    method = recorded_method(params)
    return method is not None and not method.embeds


def take_label_groups(adata: AnnData, label_key: str | None) -> LabelGroups | None:
    column = LABEL_CLUSTERS if label_key is None else label_key
    clusters = entry_of(adata.uns, LABEL_CLUSTERS, "clusters")
    if label_key is None and (LABEL_CLUSTERS not in adata.obs or clusters is None):
        return None
    require(column, adata.obs.columns, "obs")
    labels = labels_of(adata.obs[column])
    codes, names, no_labels = labels.codes, labels.names, labels.no_labels
    known = codes >= 0
    few = len(names) > max(1, known.sum() // 2)
    also = f" (also those called {listed(no_labels)})" if no_labels else ""
    if label_key is None and (few or not known.any()):
        return None
    if not known.any():
        raise ValueError(f"obs[{column!r}] has no label for any cell{also}; name another column")
    if few:
        raise ValueError(
            f"obs[{column!r}] has {len(names)} values for {known.sum()} cells, so hardly two cells "
            "have the same; name a column of labels, such as cell types"
        )
    if not known.all():
        logger.info(
            "%d of %d cells have no label in obs[%r]%s: scores by label and a model leave them out",
            len(known) - known.sum(), len(known), column, also,
        )  # fmt: skip
    return LabelGroups(codes, names, column, no_labels)


def take_compared(
    adata: AnnData, use_rep: str | None, before: str | None, values: CorrectionValues
) -> Compared:
    """Find the embeddings before and after."""
    params = values.params()
    made = None if params is None else _result(params, values.keys)
    if use_rep is None:
        use_rep = made or values.keys.embedding
        if use_rep not in adata.obsm:
            remedy = (
                "make it with pp.pca (mnncorrect pca)"
                if params is not None and corrects_expression(params)
                else "correct first, or name another embedding with `use_rep`"
            )
            raise KeyError(f"obsm has no {use_rep!r}; {what_there_is(adata.obsm)}; {remedy}")
    after = take_embedding(adata, use_rep)
    ours = params if use_rep == made else None
    start, name = (
        (None, None) if ours is None else _starting_embedding(ours, after.shape[1], values)
    )
    same_axes, same_scale = ours is None or not corrects_expression(ours), True
    uncorrected = start
    if before is not None and before != name:
        name, uncorrected = before, take_embedding(adata, before)
        # Of a correction of this package, it is other components than those that were corrected.
        same_axes = same_scale = ours is None
    if uncorrected is None:
        warnings.warn(
            f"there is no uncorrected embedding to compare obsm[{use_rep!r}] with, so it is scored "
            "alone; name one by before",
            stacklevel=3,
        )
    elif uncorrected.dtype != after.dtype:
        uncorrected, after = uncorrected.astype(np.float64), after.astype(np.float64)
    return Compared(after, uncorrected, start, use_rep, name, same_axes, same_scale, ours)


def _starting_embedding(
    params: Mapping[str, Any], n_comps: int, values: CorrectionValues
) -> tuple[NDArray[Any] | None, str | None]:
    """Find the embedding that a correction started from, and its name; ``None``: it is gone."""
    if corrects_expression(params):
        return _source_components(params, n_comps, values)
    name = str(params.get("use_rep", values.keys.uncorrected))
    if name not in values.adata.obsm:
        return None, None
    return take_embedding(values.adata, name), name


def _result(params: Mapping[str, Any], keys: Keys) -> str:
    """Name the embedding that a correction is judged by."""
    if corrects_expression(params):
        return f"{keys.embedding}_pca"
    return str(params.get("adjusted_basis", keys.embedding))


def _source_components(
    params: Mapping[str, Any], n_comps: int, values: CorrectionValues
) -> tuple[NDArray[Any] | None, str | None]:
    """Find the principal components of what was corrected, scaled and cut as the result is."""
    # These bring numba, and all of `tl` and `report` import this file.
    from mnncorrect.core.matrix.pca import multibatch_pca
    from mnncorrect.core.matrix.rows import MIN_NORM, row_norms

    rows = values.expression(params)
    if rows is None:
        return None, None
    genes = values.genes(values.keys.corrected)
    scale = None
    if params.get("cosine_norm_out", True):
        scale = np.maximum(row_norms(rows, values.genes(values.keys.genes)), MIN_NORM)
    found = multibatch_pca(
        rows,
        np.zeros(values.adata.n_obs, np.int64),
        n_comps,
        mask=genes,
        scale=scale,
        random_state=values.random_state,
        n_jobs=values.n_jobs,
    )
    where = describe_source(params.get("layer"), use_raw=bool(params.get("use_raw", False)))
    n_genes = rows.shape[1] if genes is None else int(genes.sum())
    return found.scores, f"{found.scores.shape[1]} principal components of {where}, {n_genes} genes"
