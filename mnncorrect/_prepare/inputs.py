"""From inputs to one object: they are opened and joined here, and nowhere else.

Inputs are joined in two steps. :func:`join` joins the tables of cells and genes, and finds
the values of all inputs, without reading them: that is enough to decide what will be done.
:meth:`JoinedInputs.make` then writes the values, where that is needed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from mnncorrect._adata.features import FeaturesWarning, genes_among
from mnncorrect._adata.libraries import LIBRARY_KEY, add_libraries
from mnncorrect._adata.lookup import require
from mnncorrect._adata.matrix import take_values
from mnncorrect._adata.objects import doubled_names
from mnncorrect._adata.slots import elements_of
from mnncorrect._adata.stored import n_stored
from mnncorrect._adata.unread import share_unread
from mnncorrect._io import concat, subsets
from mnncorrect._io.input_parts import FILE_KEY, H5AD, H5MU, Part, Selection, WritesPieces
from mnncorrect._io.pieces import Piece
from mnncorrect._log import logger, without
from mnncorrect._wording import UsageError

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from mnncorrect._io.concat import Union
    from mnncorrect._io.scratch import Scratch
    from mnncorrect._prepare.removed_cells import Removed

# Files that are open for each input, and for all else.
FILES_EACH, FILES_BESIDES = 4, 256
# What an object in memory is called among inputs.
OBJECT = "adata"
# The column of a table of inputs that names their batches.
SHEET_KEY = "batch"


@dataclass(frozen=True)
class JoinedInputs:
    """The inputs joined, without their values."""

    tables: AnnData  # Cells and genes.
    pieces: list[Piece]  # The values, of all genes over which totals of cells are taken.
    parts: Mapping[str, Part]  # The inputs.
    # The column of obs that names the batch, or several; ``None``: nothing says so.
    key: str | list[str] | None
    # Where the values of the object that `make` gives are read: ``layer`` and ``use_raw``.
    source: dict[str, Any]
    features: pd.Index[Any]  # Names of the columns of the pieces.
    layers: tuple[str, ...]  # The layers that all inputs have.
    selection: Selection  # What is taken.
    union: Union | None = None  # How several inputs are joined; ``None``: there is one.
    # Which columns of the pieces are the genes of `tables`; ``None``: all.
    taken: NDArray[np.bool_] | None = None
    removed: Removed | None = None  # The cells that filters removed; ``None``: there are none.
    # Kinds of inputs whose elements the output can copy.
    copied: tuple[str, ...] = (H5AD, H5MU)

    @property
    def where(self) -> str:
        """The place that values are read from, for messages."""
        return self.selection.where

    @property
    def anew(self) -> bool:
        """Whether `make` writes the values anew, rather than leaving them where they are."""
        if self.union is not None or self.selection.subset:
            return True
        return any(
            part.kind not in self.copied or part.genes is not None or part.cells is not None
            for part in self.parts.values()
        )

    @property
    def n_stored(self) -> list[int]:
        """How many numbers each input stores where values are read; of some cells, all count."""
        return [n_stored(piece.value) for piece in self.pieces]

    @property
    def like(self) -> AnnData:
        """An object with every name that the one of `make` will have; its values mean nothing."""
        if self.union is None:
            (part,) = self.parts.values()
            return part.adata
        made = self.tables.copy()
        for layer in self.layers:
            made.layers[layer] = sp.csr_matrix(made.shape)
        return made

    def make(self, store: WritesPieces) -> AnnData:
        """Give one object with all values; its matrices may stay in a file.

        The matrices of one h5ad file that is taken whole stay in it. Others are written once to
        the store, in blocks.
        """
        if self.union is not None:
            if self.key == FILE_KEY:
                logger.info("each file is a batch: obs[%r]", FILE_KEY)
            return self.union.make(self.parts, store)
        (part,) = self.parts.values()
        if part.genes is not None:
            logger.info("left out %d features that are not genes", (~part.genes).sum())
        if self.anew:
            made = subsets.chosen(part, store, subset=self.selection.subset)
        else:
            made = part.adata
        if self.selection.batch_from_barcode:
            add_libraries(made.obs)
        return made


@contextlib.contextmanager
def opened_inputs(
    data: AnnData | Sequence[Path],
    scratch: Scratch,
    about: Sequence[Mapping[str, Any]] | None = None,
    *,
    quiet: bool = False,
) -> Iterator[dict[str, Part]]:
    """Open inputs of any kind, by name; log their sizes unless ``quiet``."""
    from mnncorrect._io import formats
    from mnncorrect._io.input_names import named

    if not isinstance(data, Sequence):
        opened = {OBJECT: Part(data, genes_among(data.var))}
        with without(FeaturesWarning):  # which those who open inputs give
            yield opened
        return
    names = named(data)
    _allow_open(FILES_EACH * len(names))
    with contextlib.ExitStack() as stack:
        made = {}
        for number, (name, path) in enumerate(names.items()):
            found = stack.enter_context(formats.opened_input(path, scratch))
            adata, kind = found.adata, "" if found.kind == H5AD else f" ({found.kind})"
            if not quiet:
                logger.info("%s: %d cells x %d genes%s", path, adata.n_obs, adata.n_vars, kind)
            made[name] = found if about is None else replace(found, about=about[number])
        stack.enter_context(without(FeaturesWarning))
        yield made


def join(
    parts: Mapping[str, Part], selection: Selection, *, as_concat: bool = False, values: bool = True
) -> JoinedInputs:
    """Join the tables of inputs, and find their values.

    ``selection``: which cells, genes and values are taken. ``as_concat``: whether one input is
    treated as several are. ``values``: whether values are needed; if not, there need not be any.
    """
    key = LIBRARY_KEY if selection.batch_from_barcode else selection.key
    if as_concat or len(parts) > 1:
        about = any(part.about for part in parts.values())
        key = key or (SHEET_KEY if about else FILE_KEY)
        return _join_several(parts, selection, key, values=values)
    return _join_one(parts, selection, key, values=values)


def refuse_idle_names(selection: Selection, *, model: bool | None = None) -> None:
    """Refuse, of one input, what names genes where no names are compared or looked for.

    ``model``: whether a model is saved, whose genes ``gene_key`` then names; ``None``: no model
    can be.
    """
    if selection.gene_key is not None and not model and selection.max_mito is None:
        saved = "" if model is None else ", or names those of a model (`save_model`)"
        raise UsageError(
            f"`gene_key` matches the genes of several inputs{saved}; one is given: leave it out"
        )
    if selection.strip_versions:
        raise UsageError(
            "`strip_versions` matches the genes of several inputs; one is given: leave it out"
        )


def _join_several(
    parts: Mapping[str, Part], selection: Selection, key: str | list[str], *, values: bool
) -> JoinedInputs:
    union = concat.planned(parts, selection)
    if selection.layer is not None:
        require(selection.layer, union.layers, "what layers all files have")
    pieces = []
    for name, part in parts.items() if values else ():
        if selection.use_raw:
            held: Any = part.adata.raw.X
        else:
            held, _ = take_values(part.adata, layer=selection.layer)
        place = f"{selection.where} of {name}" if len(parts) > 1 else selection.where
        pieces.append(Piece(held, place, union.rows[name], union.columns[name]))
    tables = _tables(union.obs, union.var)
    return JoinedInputs(
        tables,
        pieces,
        parts,
        key,
        {"layer": selection.layer, "use_raw": False},  # raw becomes X
        tables.var_names,
        tuple(union.layers),
        selection,
        union=union,
    )


def _join_one(
    parts: Mapping[str, Part], selection: Selection, key: str | list[str] | None, *, values: bool
) -> JoinedInputs:
    (part,) = parts.values()
    keep = subsets.cells_taken(part, selection.subset)
    obs = part.adata.obs if keep is None else subsets.cut_table(part.adata.obs, keep)
    var = part.adata.var if part.genes is None else part.adata.var[part.genes]
    if selection.batch_from_barcode:
        obs = obs.copy()
        add_libraries(obs)
    tables = _tables(obs, var)
    share_unread(part.adata, tables)
    pieces = []
    taken, features = None, tables.var_names
    if values:
        held, at = take_values(part.adata, layer=selection.layer, use_raw=selection.use_raw)
        columns = None if part.genes is None else np.flatnonzero(part.genes)
        if at is None:
            at = columns
        else:
            # Totals are taken over all genes of raw.
            counted = genes_among(part.adata.raw.var)
            every = np.arange(held.shape[1])
            every = every if counted is None else every[counted]
            taken = np.isin(every, at if columns is None else at[columns])
            at, features = every, part.adata.raw.var_names[every]
        pieces = [Piece(held, selection.where, keep, at)]
    return JoinedInputs(
        tables,
        pieces,
        parts,
        key,
        {"layer": selection.layer, "use_raw": selection.use_raw},
        features,
        tuple(elements_of(part.adata, "layers")),
        selection,
        taken=taken,
    )


def _tables(obs: pd.DataFrame, var: pd.DataFrame) -> AnnData:
    with doubled_names():
        return anndata.AnnData(obs=obs, var=var)


def _allow_open(files: int) -> None:
    """Have the system let this process open so many files, as far as it may."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # Windows; no permission
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = FILES_BESIDES + files
        if soft < wanted:
            most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
