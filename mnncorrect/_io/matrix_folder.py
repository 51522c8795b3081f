"""Folders with a Matrix Market file and the names of its genes and cells.

Cell Ranger, STARsolo, kallisto with bustools, alevin-fry, Parse Biosciences and others write them.
They differ in the names of the files, in whether rows are genes or cells, and in headers.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd

from mnncorrect._adata.lookup import listed
from mnncorrect._io import h5ad
from mnncorrect._io.folder_files import refuse_irregular
from mnncorrect._io.foreign import python_command
from mnncorrect._io.matrix_market import checked_header, read_checked
from mnncorrect._io.name_tables import headless, read_name_table
from mnncorrect._io.pieces import Piece, write_pieces
from mnncorrect._log import logger
from mnncorrect.core.matrix.value_kinds import EXACT_IN_FLOAT32

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect._io.scratch import Scratch

# Columns of a table with a header that hold the symbols of genes.
SYMBOL_HEADERS = ("gene_name", "gene_names", "gene_symbol", "symbol", "gene_short_name", "name")


@dataclass(frozen=True)
class Family:
    """How a program names what belongs to a matrix."""

    kind: str  # What the folder is called in messages.
    # How the name of the matrix ends, without ``.mtx``; what stands before it is ``{p}`` in the
    # other names, and the whole of it is ``{m}``.
    ends: tuple[str, ...]
    # The names that the tables may have.
    genes: tuple[str, ...]
    cells: tuple[str, ...]
    by_cell: bool = False  # Whether the rows of the matrix are cells.


FAMILIES = (
    Family("10x folder", ("matrix",), ("{p}features.tsv", "{p}genes.tsv"), ("{p}barcodes.tsv",)),
    Family("alevin folder", ("quants_mat",), ("{m}_cols.txt",), ("{m}_rows.txt",), by_cell=True),
    Family(
        "Parse folder",
        ("DGE", "count_matrix"),
        ("{p}all_genes.csv", "{p}genes.csv"),
        ("{p}cell_metadata.csv",),
        by_cell=True,
    ),
    Family("kallisto folder", ("",), ("{m}.genes.txt",), ("{m}.barcodes.txt",), by_cell=True),
    # The same names for several matrices: cells_x_genes.mature.mtx beside cells_x_genes.genes.txt.
    Family(
        "kallisto folder",
        tuple(
            f".{what}" for what in ("mature", "nascent", "ambiguous", "cell", "nucleus", "total")
        ),
        ("{p}.genes.txt",),
        ("{p}.barcodes.txt",),
        by_cell=True,
    ),
)
# Names that any matrix may have beside it, where it is the only one or is named itself.
PLAIN_FAMILY = Family(
    "matrix folder",
    ("",),
    ("features.tsv", "genes.tsv", "features.txt", "genes.txt", "features.csv", "genes.csv"),
    ("barcodes.tsv", "barcodes.txt", "barcodes.csv", "cells.tsv", "cells.txt", "cells.csv"),
)


@dataclass(frozen=True)
class Layout:
    """A matrix and its tables."""

    # The files.
    matrix: Path
    genes: Path
    cells: Path
    kind: str  # As in :class:`Family`.
    by_cell: bool  # As in :class:`Family`.


def matrices_of(folder: Path) -> list[Path]:
    """Return the matrices of a folder; one that is there packed and not packed is one."""
    found = {
        stem_of(entry): entry
        for entry in sorted(folder.iterdir(), reverse=True)
        if is_matrix(entry) and not entry.is_dir()
    }
    return [found[stem] for stem in sorted(found)]


def is_matrix(path: Path) -> bool:
    """Return whether a name is that of a Matrix Market file."""
    return path.name.removesuffix(".gz").endswith(".mtx")


def stem_of(path: Path) -> str:
    """Return the name of a matrix without what says how it is written."""
    return path.name.removesuffix(".gz").removesuffix(".mtx")


def layout_of(path: Path) -> Layout:
    """Find the one matrix with its tables in a folder, or those beside a matrix."""
    if not path.is_dir():
        return _named(path, [*FAMILIES, PLAIN_FAMILY]) or _lacking(path)
    matrices = matrices_of(path)
    found = [layout for matrix in matrices if (layout := _named(matrix, FAMILIES)) is not None]
    if not found and len(matrices) == 1:
        return _named(matrices[0], [PLAIN_FAMILY]) or _lacking(matrices[0])
    if len(found) == 1:
        others = [entry.name for entry in matrices if entry != found[0].matrix]
        if others:
            logger.info("%s: %s is read, not %s", path, found[0].matrix.name, listed(others, 5))
        return found[0]
    raise ValueError(
        f"{path} holds several matrices: {listed(file.name for file in matrices)}; give one of "
        f"them, such as {matrices[0]}"
    )


def _named(matrix: Path, families: Sequence[Family]) -> Layout | None:
    """Find the tables of a matrix as the first family names them that has them."""
    stem = stem_of(matrix)
    for family in families:
        for end in family.ends:
            if not stem.lower().endswith(end.lower()):
                continue
            parts = {"p": stem[: len(stem) - len(end)], "m": stem}
            genes, cells = (
                _first(matrix.parent, [name.format(**parts) for name in names])
                for names in (family.genes, family.cells)
            )
            if genes is not None and cells is not None:
                return Layout(matrix, genes, cells, family.kind, family.by_cell)
    return None


def _first(folder: Path, names: Sequence[str]) -> Path | None:
    """Find the first of some names, packed or not; capitals count where both are there."""
    wanted = [each for name in names for each in (name, f"{name}.gz")]
    for path in (folder / name for name in wanted):
        if path.exists() or path.is_symlink():
            return path
    there = {entry.name.lower(): entry for entry in sorted(folder.iterdir(), reverse=True)}
    return next((there[name.lower()] for name in wanted if name.lower() in there), None)


def _lacking(matrix: Path) -> Layout:
    """Say which tables a matrix lacks, by the names that fit it best."""
    stem, folder = stem_of(matrix), matrix.parent
    fit = [family for family in FAMILIES[:3] if stem.endswith(family.ends)]
    family = (fit or [FAMILIES[0]])[0]
    end = next((end for end in family.ends if stem.endswith(end)), stem)
    parts = {"p": stem.removesuffix(end), "m": stem}
    missing = [
        " or ".join(wanted)
        for names in (family.genes, family.cells)
        if _first(folder, wanted := [name.format(**parts) for name in names]) is None
    ]
    beside = sorted(entry.name for entry in folder.iterdir() if entry.name != matrix.name)
    raise FileNotFoundError(
        f"{folder} has {matrix.name}, but no {' and no '.join(missing)} with its names; it holds "
        f"{listed(beside, 8) or 'nothing else'}"
    )


@contextlib.contextmanager
def opened_folder(path: Path, scratch: Scratch) -> Iterator[AnnData]:
    """Read a matrix and its tables; the matrix then stays in the scratch file."""
    layout = layout_of(path)
    for file in (layout.matrix, layout.genes, layout.cells):
        refuse_irregular(file, layout.matrix.parent)
    with h5ad.reading(layout.matrix, "Matrix Market data"):
        header = checked_header(layout.matrix)
    genes, cells = read_name_table(layout.genes), read_name_table(layout.cells)
    _refuse_splicing(layout, genes[0])
    genes, cells, by_cell = _fitted(layout, header.shape, genes, cells)
    with h5ad.reading(layout.matrix, "Matrix Market data"):
        matrix = _by_cells(read_checked(layout.matrix, header), by_cell=by_cell)
    values = write_pieces([Piece(matrix, str(layout.matrix))], scratch)
    del matrix
    yield anndata.AnnData(values, obs=_obs_of(cells), var=_var_of(genes, layout))


def _by_cells(matrix: Any, *, by_cell: bool) -> Any:
    """Return a matrix as CSR of cells x genes, in the smallest float type that is exact."""
    import scipy.sparse as sp

    rows: Any = sp.csr_matrix(matrix if by_cell else matrix.T)
    whole = rows.dtype.kind in "iu"
    large = whole and rows.nnz and max(rows.data.max(), -int(rows.data.min())) > EXACT_IN_FLOAT32
    return rows.astype(np.float64 if large else np.float32)


def _fitted(
    layout: Layout, shape: tuple[int, int], genes: pd.DataFrame, cells: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, bool]:
    """Bring names and matrix together: drop headers, and tell which side the cells are on.

    Returns the names of genes and of cells, and whether the rows of the matrix are cells.
    """
    for by_cell in (layout.by_cell, not layout.by_cell):
        n_cells, n_genes = shape if by_cell else shape[::-1]
        for some, others in itertools.product(headless(genes), headless(cells)):
            if (len(some), len(others)) != (n_genes, n_cells):
                continue
            if by_cell != layout.by_cell:
                logger.info("%s: its rows are %s", layout.matrix, "cells" if by_cell else "genes")
            for table, before, file in ((some, genes, layout.genes), (others, cells, layout.cells)):
                if len(table) < len(before) and ".csv" not in file.name:
                    logger.info("%s: its first line is a header", file)
            return some, others, by_cell
    rows, columns = ("cells", "genes") if layout.by_cell else ("genes", "cells")
    raise ValueError(
        f"{layout.matrix} has {shape[0]} {rows} x {shape[1]} {columns}, but beside it are "
        f"the names of {len(genes)} genes ({layout.genes.name}) and {len(cells)} cells "
        f"({layout.cells.name}); put the tables beside it that were written with it"
    )


def _var_of(genes: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Make the table of genes, named by their symbols, with ``gene_ids``."""
    ids, *others = (genes[column] for column in genes)
    symbols = _symbols(layout, len(genes))
    if symbols is not None:
        others.insert(0, symbols)
    names = others.pop(0) if others and (others[0].name in {1, *SYMBOL_HEADERS}) else ids
    var = pd.DataFrame({"gene_ids": ids.to_numpy()})
    for column in others:
        is_type = column.name == 2 or "type" in str(column.name)
        if is_type or isinstance(column.name, str):
            var["feature_types" if is_type else column.name] = column.to_numpy()
    return var.set_axis(_index(names))


def _symbols(layout: Layout, n_genes: int) -> pd.Series[Any] | None:
    """Read the symbols that kallisto's counts have in a file of their own."""
    name = layout.genes.name.replace(".genes.txt", ".genes.names.txt")
    path = layout.genes.with_name(name)
    if name == layout.genes.name or not path.exists():
        return None
    refuse_irregular(path, layout.matrix.parent)
    symbols = read_name_table(path)[0]
    # A gene without a symbol has an empty line, which is not read.
    return symbols.rename("symbol") if len(symbols) == n_genes else None


def _obs_of(cells: pd.DataFrame) -> pd.DataFrame:
    """Make the table of cells; a header names what else is known of them."""
    names, *others = (cells[column] for column in cells)
    obs = pd.DataFrame(index=_index(names))
    for column in others:
        if isinstance(column.name, str):
            numbers = pd.to_numeric(column, errors="coerce")
            obs[column.name] = (column if numbers.isna().any() else numbers).to_numpy()
    return obs


def _index(names: pd.Series[Any]) -> pd.Index[Any]:
    return pd.Index(names.to_numpy(), dtype=object)


def _refuse_splicing(layout: Layout, genes: Any) -> None:
    """Refuse what has each gene three times: spliced, unspliced, ambiguous."""
    names = set(genes)
    if layout.kind == "alevin folder" and any(
        name.endswith("-U") and name.removesuffix("-U") in names for name in names
    ):
        folder = str(layout.matrix.parent)
        load = (
            f"import pyroe; pyroe.load_fry({folder!r}, output_format='scRNA')"
            ".write_h5ad('alevin.h5ad')"
        )
        raise ValueError(
            f"{layout.genes} names genes as spliced, unspliced (-U) and ambiguous (-A), which are "
            f"counted apart; add them up: {python_command(load)}"
        )
