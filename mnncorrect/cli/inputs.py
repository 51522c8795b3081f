"""From the files on the command line to one object and the column that names its batches."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from anndata import AnnData

    from mnncorrect.cli.options import Reading

logger = logging.getLogger("mnncorrect")


@dataclass(frozen=True)
class Loaded:
    """What the inputs hold.

    Attributes
    ----------
    adata
        All cells asked for.
    key
        The column of obs that names the batch, or several; ``None``: one file without
        ``--batch-key``, which `need_batch_key` refuses.
    source
        Where values are read: the parameters ``layer`` and ``use_raw``.
    """

    adata: AnnData
    key: str | list[str] | None
    source: dict[str, Any]

    @property
    def batch_key(self) -> str | list[str]:
        """The column of obs that names the batch, or several, where there must be one."""
        assert self.key is not None
        return self.key


@contextlib.contextmanager
def opened(paths: Sequence[Path], reading: Reading) -> Iterator[Loaded]:
    """As :func:`load`; but the matrices of one file, taken whole, stay in it."""
    from mnncorrect import _h5ad

    if len(paths) > 1 or reading.subset:
        yield load(paths, reading)
        return
    with _h5ad.opened(paths[0]) as adata:
        logger.info("%s: %d cells x %d genes", paths[0], adata.n_obs, adata.n_vars)
        _note_gene_key(reading)
        source = {"layer": reading.layer, "use_raw": reading.use_raw}
        yield Loaded(adata, _key(reading), source)


def _key(reading: Reading) -> str | list[str] | None:
    """Return the column that is named, or the columns if there are several."""
    if not reading.batch_key:
        return None
    return reading.batch_key[0] if len(reading.batch_key) == 1 else reading.batch_key


def _note_gene_key(reading: Reading) -> None:
    if reading.gene_key is not None:
        logger.warning("--gene-key matches the genes of several files; one is given")


def load(paths: Sequence[Path], reading: Reading) -> Loaded:
    """Read the inputs, put several together, and choose cells."""
    from mnncorrect import _concat, _h5ad

    names = _names(paths)
    datas: dict[str, AnnData] = {}
    for name, path in names.items():
        adata = _h5ad.read(path)
        logger.info("%s: %d cells x %d genes", path, adata.n_obs, adata.n_vars)
        datas[name] = adata
    key = _key(reading)
    source = {"layer": reading.layer, "use_raw": reading.use_raw}
    if len(datas) == 1:
        _note_gene_key(reading)
    else:
        adata = _concat.concatenate(datas, gene_key=reading.gene_key, use_raw=reading.use_raw)
        source["use_raw"] = False  # raw has become X
        if key is None:
            key = _concat.FILE_KEY
            logger.info("each file is a batch: obs[%r]", key)
    if reading.subset:
        adata = _concat.choose_cells(adata, reading.subset)
    return Loaded(adata, key, source)


def need_batch_key(paths: Sequence[Path], reading: Reading) -> None:
    """Refuse, as wrong usage, one file without a column that names its batches."""
    if len(paths) == 1 and not reading.batch_key:
        msg = "one input file needs --batch-key, the column of obs that names the batch"
        raise typer.BadParameter(msg)


def _names(paths: Sequence[Path]) -> dict[str, Path]:
    """Name each file: by its stem, or by its path where stems are the same."""
    seen: dict[Path, Path] = {}
    for path in paths:
        other = seen.setdefault(path.resolve(), path)
        if other is not path:
            msg = f"the input file {path} is given twice; each file is a batch of its own"
            raise ValueError(msg)
    stems = [path.stem for path in paths]
    if len(set(stems)) == len(stems):
        return dict(zip(stems, paths, strict=True))
    return {str(path.with_suffix("")): path for path in paths}
