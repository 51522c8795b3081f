"""Corrected expression beside corrected components: into a file by blocks, or into an object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect._adata import Draft, note_expression, put_expression
from mnncorrect._adata.record import fields_of
from mnncorrect._io import h5ad, layer_writer, result_file
from mnncorrect._log import logger
from mnncorrect.core.runtime.threads import row_blocks
from mnncorrect.pp._expression import clipped, take_low_rank, wanted_genes

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect._io.scratch import Scratch
    from mnncorrect._io.zarr_scratch import ZarrScratch
    from mnncorrect._run.request import Request

# How expression is packed while it is made by columns.
EXPRESSION_CHUNK = (4096, 64)


def allocator(
    request: Request, scratch: Scratch | None
) -> Callable[[tuple[int, int], Any], Any] | None:
    """Return what makes room for corrected expression: in a file, or in memory; or nothing."""
    if request.expression is None:
        return None
    if scratch is None:
        return np.empty

    def allocate(shape: tuple[int, int], dtype: Any) -> Any:
        packed = tuple(min(most, size) for most, size in zip(EXPRESSION_CHUNK, shape, strict=True))
        return scratch().create_dataset("expression", shape, dtype, chunks=packed)

    return allocate


def write_result(
    adata: AnnData,
    request: Request,
    path: Path | None,
    made: Any = None,
    shared: ZarrScratch | None = None,
    depth: NDArray[Any] | None = None,
) -> None:
    """Write an object to a file, if there is one, with corrected expression if it is wanted.

    The layer is made, if it is not ``made`` already, and written in blocks of cells, and never
    held whole but where the object stays in memory. ``shared``: the scratch folder of an output
    that is zarr. ``depth``: what the counts of each cell are multiplied by where they are wanted.
    """
    keys, wanted, n_jobs = request.keys, request.expression, request.n_jobs
    if wanted is None:
        if path is not None:
            result_file.write(adata, path, shared)
        return
    how: dict[str, Any] | None = None
    if made is not None:
        has = adata.var[keys.corrected].to_numpy(bool)
        params = fields_of(adata.uns, keys.uns)["params"]
        genes = wanted_genes(adata, keys, params, wanted.mask_var)
        dtype, blocks = made.dtype, _among(made, has, genes)
    elif not request.embeds:
        corrected = adata.layers[keys.layer]
        genes, how = adata.var[keys.corrected].to_numpy(bool), {"scale": wanted.scale}
        dtype, blocks = corrected.dtype, _among(corrected, np.ones_like(genes), genes)
    else:
        lazy = take_low_rank(
            adata, key_added=keys.key_added, scale=wanted.scale, mask_var=wanted.mask_var
        )
        genes, dtype, how = lazy.genes, lazy.dtype, {"scale": lazy.scale}
        blocks = lazy.blocks(n_jobs=n_jobs)
    layer = wanted.layer(keys)
    if wanted.clip or wanted.counts:
        how = how or dict(fields_of(adata.uns, keys.uns).get("expression", {}))
        how = {**how, "counts" if wanted.counts else "clipped": True}
        blocks = _without_negatives(blocks, depth, counts=wanted.counts)
    draft = Draft(adata, keys.uns)
    if path is None:
        values = np.empty((adata.n_obs, int(genes.sum())), dtype)
        for rows, some in blocks:
            values[rows] = some[:, genes]
        put_expression(draft, values, key_added=keys.key_added, genes=genes, how=how, layer=layer)
        draft.commit()
    else:
        note_expression(draft, key_added=keys.key_added, genes=genes, how=how)
        draft.claim("layers", layer)
        draft.commit()
        if layer in adata.layers:
            del adata.layers[layer]
        if shared is None:
            h5ad.write(adata, path)
            layer_writer.add_layer(path, layer, adata.shape, dtype, blocks)
        else:
            made_layer = layer_writer.in_zarr(shared, layer, adata.shape, dtype, blocks)
            result_file.write(adata, path, shared, made_layer)
    logger.info(
        "corrected expression (%s%s) of %d of %d genes, into layers[%r]",
        fields_of(adata.uns, keys.uns)["expression"]["scale"],
        f", {wanted.described}" if wanted.described else "",
        genes.sum(), adata.n_vars, layer,
    )  # fmt: skip


def _among(
    made: Any, has: NDArray[np.bool_], genes: NDArray[np.bool_]
) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield rows of all genes, of which ``made`` has some and some are wanted; others are zero."""
    columns = genes[has]
    for rows in row_blocks(made.shape[0], EXPRESSION_CHUNK[0]):
        values = np.zeros((rows.stop - rows.start, len(genes)), made.dtype)
        some: Any = made[rows][:, columns]
        values[:, genes] = some if isinstance(some, np.ndarray) else some.toarray()
        yield rows, values


def _without_negatives(
    blocks: Iterable[tuple[slice, NDArray[Any]]], depth: NDArray[Any] | None, *, counts: bool
) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Set negative values to 0, and undo the logarithm and the scaling where counts are wanted."""
    for rows, some in blocks:
        values = clipped(some)
        if counts:
            values = np.expm1(values)
            if depth is not None:
                values = (values * depth[rows, None]).astype(some.dtype)
        yield rows, values
