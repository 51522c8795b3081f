"""Inputs put together without their values, for those that only look: ``check`` and a dry run."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from mnncorrect._io.input_parts import Part
    from mnncorrect._io.pieces import Piece
    from mnncorrect.cli.options.shared import Reading


@dataclass(frozen=True)
class Opened:
    """The inputs put together, without their values.

    Attributes
    ----------
    tables
        Cells and genes.
    pieces
        The values, of all genes over which totals of cells are taken.
    where
        Where these are.
    parts
        The inputs.
    taken
        Which columns of the pieces are the genes of `tables`; ``None``: all.
    layers
        The layers that all inputs have.
    features
        Names of the columns of the pieces.
    """

    tables: AnnData
    pieces: list[Piece]
    where: str
    parts: Mapping[str, Part]
    features: pd.Index[Any]
    taken: NDArray[np.bool_] | None = None
    layers: tuple[str, ...] = ()


def together(several: Mapping[str, Part], reading: Reading, *, joined: bool) -> Opened:
    """Put the tables of inputs together, and find their values.

    Parameters
    ----------
    several
        The inputs by name.
    reading
        Which cells, genes and values are taken.
    joined
        Whether the inputs are joined as ``concat`` does; a single one is taken as it is otherwise.
    """
    import anndata

    from mnncorrect import _adata
    from mnncorrect._adata.barcodes import add_libraries
    from mnncorrect._adata.features import genes_among
    from mnncorrect._adata.matrix import take_values
    from mnncorrect._adata.slots import elements_of
    from mnncorrect._adata.unread import share_unread
    from mnncorrect._io import concat, subsets
    from mnncorrect._io.pieces import Piece

    subset = reading.subset or ()
    where = _adata.describe_source(reading.layer, use_raw=reading.use_raw)
    rows: Mapping[str, Any]
    columns: Mapping[str, Any]
    taken = features = None
    if joined:
        plan = concat.planned(
            several,
            gene_key=reading.gene_key,
            strip_versions=reading.strip_versions,
            use_raw=reading.use_raw,
            needs_x=reading.layer is None,
            subset=subset,
            from_barcode=reading.batch_from_barcode,
        )
        obs, var, rows, columns = plan.obs, plan.var, plan.rows, plan.columns
        layers = tuple(plan.layers)
    else:
        ((name, part),) = several.items()
        keep = subsets.meeting(part.adata.obs, subset) if subset else None
        obs = part.adata.obs if keep is None else part.adata.obs[keep]
        genes = part.genes
        var = part.adata.var if genes is None else part.adata.var[genes]
        if reading.batch_from_barcode:
            obs = obs.copy()
            add_libraries(obs)
        rows, columns = {name: keep}, {name: None if genes is None else np.flatnonzero(genes)}
        layers = tuple(elements_of(part.adata, "layers"))
    pieces = []
    for name, part in several.items():
        if joined and reading.use_raw:
            values, at = part.adata.raw.X, columns[name]
        else:
            values, at = take_values(part.adata, layer=reading.layer, use_raw=reading.use_raw)
            if at is None:
                at = columns[name]
            else:
                # Totals are taken over all genes of raw.
                counted = genes_among(part.adata.raw.var)
                every = np.arange(values.shape[1])
                every = every if counted is None else every[counted]
                wanted = at if columns[name] is None else at[columns[name]]
                taken, at = np.isin(every, wanted), every
                features = part.adata.raw.var_names[every]
        place = f"{where} of {name}" if len(several) > 1 else where
        pieces.append(Piece(values, place, rows[name], at))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*names are not unique")
        tables = anndata.AnnData(obs=obs, var=var)
    if not joined:
        share_unread(part.adata, tables)
    features = tables.var_names if features is None else features
    return Opened(tables, pieces, where, several, features, taken, layers)
