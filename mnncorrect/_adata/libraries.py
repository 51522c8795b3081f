"""The library of a cell, told by what stands before or after the barcode in its name.

``cellranger aggr`` writes ``AAACCTGAGAAACCAT-1`` and ``-2``, Seurat ``sample1_AAACCTGAGAAACCAT-1``,
velocyto ``sample1:AAACCTGAGAAACCATx``, ArchR ``sample1#AAACCTGAGAAACCAT-1``, scanpy's concatenation
``AAACCTGAGAAACCAT-1-0``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mnncorrect._adata.lookup import listed, told_sizes
from mnncorrect._log import logger

# The column of obs that the libraries are put in.
LIBRARY_KEY = "mnn_library"
# Bases, at least so many; made barcodes may have a number behind them, those of velocyto an x.
BARCODE = re.compile(r"(?<![A-Za-z0-9])[ACGTN]{4,}[0-9]*x?(?![A-Za-z0-9])")
BARCODE_SEPARATORS = "-_:#.|/ "
# A library has so many cells at least, on average.
LEAST_LIBRARY_CELLS = 2
# The library of cells whose names have nothing beside the barcode, where others have.
UNMARKED = "unmarked"


def libraries(names: Iterable[Any]) -> NDArray[np.object_]:
    """Detect the library of each cell by its name, or refuse names that do not tell.

    What is the same in all names is left out: ``-1`` at the end of each tells nothing.
    """
    names = [str(name) for name in names]
    found = _libraries_found(names)
    if len(set(found)) < 2:
        raise ValueError(
            f"the cell names contain only one library: {listed(names, 2)}; name a column of obs by "
            "`key`"
        )
    return found


def _libraries_found(names: Sequence[str]) -> NDArray[np.object_]:
    """As :func:`libraries`, which may be one."""
    parts = [_around(name) for name in names]
    without = [name for name, part in zip(names, parts, strict=True) if part is None]
    if without:
        raise ValueError(
            f"{len(without)} of {len(names)} cell names have no barcode with a library: "
            f"{listed(without, 3)}; name a column of obs by `key`"
        )
    sides = [part for part in parts if part is not None]
    before, after = [part[0] for part in sides], _varying([part[1] for part in sides])
    if len(set(before)) < 2:
        before = [""] * len(sides)
    both = ["-".join(filter(None, pair)) for pair in zip(before, after, strict=True)]
    n_found = len(set(both))
    if n_found > 1 and n_found * LEAST_LIBRARY_CELLS > len(both):
        raise ValueError(
            f"the cell names contain {n_found} libraries of {len(both)} cells: {listed(names, 3)};"
            " name a column of obs by `key`"
        )
    # One side is enough if it tells as many apart as both do.
    whole = [side for side in (before, after) if len(set(side)) == n_found]
    return np.array([text or UNMARKED for text in (whole[0] if whole else both)], dtype=object)


def add_libraries(
    obs: pd.DataFrame,
    inputs: Mapping[str, Iterable[Any]] | None = None,
    *,
    key_added: str = LIBRARY_KEY,
) -> None:
    """Put the library of each cell into a column of the table of cells.

    ``inputs``: the names of the cells of each input, where there are several. Their libraries are
    named by the input as well; an input whose names tell of one library is one.
    """
    if inputs is None:
        found = libraries(obs.index)
    else:
        found = np.concatenate([_libraries_of_input(name, cells) for name, cells in inputs.items()])
    obs[key_added] = pd.Categorical(found, categories=sorted(set(found), key=numbers_first))
    sizes = obs[key_added].value_counts(sort=False)
    logger.info(
        "cell names contain %d libraries, in obs[%r]: %s",
        len(sizes),
        key_added,
        told_sizes({str(name): int(n) for name, n in sizes.items()}),
    )


def _libraries_of_input(name: str, cells: Iterable[Any]) -> NDArray[np.object_]:
    found = _libraries_found([str(cell) for cell in cells])
    if len(set(found)) < 2:
        return np.full(len(found), name, dtype=object)
    return np.array([f"{name}-{library}" for library in found], dtype=object)


def numbers_first(name: str) -> tuple[bool, int, str]:
    """Sort numbers by size, and before text."""
    return (False, int(name), "") if name.isdecimal() else (True, 0, name)


def told_libraries(names: Iterable[Any]) -> dict[str, int]:
    """Count the cells of each library; nothing if names do not tell any."""
    try:
        found, sizes = np.unique(libraries(names), return_counts=True)
    except ValueError:
        return {}
    counted = dict(zip(found.tolist(), sizes.tolist(), strict=True))
    return {name: counted[name] for name in sorted(counted, key=numbers_first)}


def _around(name: str) -> tuple[str, str] | None:
    """Return what stands before and after the barcode in a name; ``None``: there is none."""
    found = max(BARCODE.finditer(name), key=lambda match: len(match[0]), default=None)
    if found is None:
        return None
    return name[: found.start()].strip(BARCODE_SEPARATORS), name[found.end() :].strip(
        BARCODE_SEPARATORS
    )


def _varying(texts: list[str]) -> list[str]:
    """Leave out the words that are the same in all texts, where all have as many."""
    split = {text: re.split(r"[-_.:]", text) for text in set(texts)}
    if len({len(words) for words in split.values()}) > 1:
        return texts
    kept = [at for at, words in enumerate(zip(*split.values(), strict=True)) if len(set(words)) > 1]
    short = {text: "-".join(words[at] for at in kept) for text, words in split.items()}
    return [short[text] for text in texts]
