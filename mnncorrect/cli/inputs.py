"""From the files on the command line to one object and the column that names its batches."""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from anndata import AnnData

    from mnncorrect._adata.stored import Scratch
    from mnncorrect._io.input_parts import Part
    from mnncorrect.cli.options.shared import Reading
    from mnncorrect.cli.prepare import Limits

logger = logging.getLogger("mnncorrect")

H5AD = "h5ad"
# Files that are open for each input, and for all else.
FILES_EACH, FILES_BESIDES = 4, 256
# What the name of an input loses when cells are named by it.
SUFFIXES = (".h5ad", ".h5", ".zarr")


@dataclass(frozen=True)
class Loaded:
    """What the inputs hold.

    Attributes
    ----------
    adata
        All cells asked for; its matrices are in a file.
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
def opened(paths: Sequence[Path], reading: Reading, limits: Limits) -> Iterator[Loaded]:
    """Open the inputs, put several together, and choose cells.

    The matrices of one h5ad file that is taken whole stay in it. Those of other inputs are written
    once to a scratch file, in blocks, and stay in that.
    """
    from mnncorrect._io import concat, input_parts, subsets

    key = batch_key(reading.batch_key)
    source = {"layer": reading.layer, "use_raw": reading.use_raw}
    store = input_parts.Store(limits.scratch, limits.block)
    subset = reading.subset or ()
    if len(paths) > 1:
        with parts(paths, limits.scratch) as several:
            adata = concat.concatenate(
                several,
                store,
                gene_key=reading.gene_key,
                strip_versions=reading.strip_versions,
                use_raw=reading.use_raw,
                subset=subset,
            )
        source["use_raw"] = False  # raw has become X
        if key is None:
            key = input_parts.FILE_KEY
            logger.info("each file is a batch: obs[%r]", key)
        yield Loaded(adata, key, source)
        return
    for option, given in (
        ("gene-key", reading.gene_key),
        ("strip-versions", reading.strip_versions),
    ):
        if given:
            logger.warning("--%s matches the genes of several files; one is given", option)
    with parts(paths, limits.scratch) as one:
        (part,) = one.values()
        if part.genes is not None:
            logger.info("%d features that are no genes left out", (~part.genes).sum())
        if subset or streams_anew(paths) or part.genes is not None:
            adata = subsets.chosen(part, store, subset=subset)
        else:
            adata = part.adata
        yield Loaded(adata, key, source)


@contextlib.contextmanager
def parts(
    paths: Sequence[Path],
    scratch: Scratch,
    about: Sequence[Mapping[str, Any]] | None = None,
    *,
    quiet: bool = False,
) -> Iterator[dict[str, Part]]:
    """Open inputs of any kind, by name.

    Parameters
    ----------
    paths
        The files and folders.
    scratch
        Gives the file for what cannot be read where it is.
    about
        What is said of the cells of each.
    quiet
        Whether their sizes are left out of the log.
    """
    from mnncorrect._io.formats import opened
    from mnncorrect._io.input_parts import Part

    names = named(paths)
    _allow_open(FILES_EACH * len(paths))
    with contextlib.ExitStack() as stack:
        made = {}
        for number, (name, path) in enumerate(names.items()):
            found = stack.enter_context(opened(path, scratch))
            adata, kind = found.adata, "" if found.kind == H5AD else f" ({found.kind})"
            if not quiet:
                logger.info("%s: %d cells x %d genes%s", path, adata.n_obs, adata.n_vars, kind)
            made[name] = Part(adata, found.genes, {} if about is None else about[number])
        yield made


def _allow_open(files: int) -> None:
    """Have the system let this process open so many files, as far as it may."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # Windows; no permission
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = FILES_BESIDES + files
        if soft < wanted:
            most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def streams_anew(paths: Sequence[Path]) -> bool:
    """Return whether what is in one of the inputs is no h5ad, whose parts can be copied."""
    from mnncorrect._io.formats import kind_of

    return any(kind_of(path) != H5AD for path in paths)


def batch_key(given: list[str] | None) -> str | list[str] | None:
    """Return the column that ``--batch-key`` names, or the columns if there are several."""
    if not given:
        return None
    return given[0] if len(given) == 1 else given


def need_batch_key(paths: Sequence[Path], reading: Reading) -> None:
    """Refuse, as wrong usage, one file without a column that names its batches."""
    if len(paths) == 1 and not reading.batch_key:
        msg = "one input file needs --batch-key, the column of obs that names the batch"
        raise typer.BadParameter(msg)


def named(paths: Sequence[Path]) -> dict[str, Path]:
    """Name each input: by its file, or where files have one name, by the folders that differ."""
    seen: dict[str, Path] = {}
    for path in paths:
        other = seen.setdefault(os.path.realpath(path), path)
        if other is not path:
            msg = f"the input file {path} is given twice; each file is a batch of its own"
            raise ValueError(msg)
    stems = [_without_suffix(path.name) for path in paths]
    if len(set(stems)) == len(stems):
        return dict(zip(stems, paths, strict=True))
    places = [path.absolute().parts for path in paths]
    while len({place[0] for place in places}) == 1 and min(map(len, places)) > 1:
        places = [place[1:] for place in places]
    while len({place[-1] for place in places}) == 1 and min(map(len, places)) > 1:
        places = [place[:-1] for place in places]
    names = ["/".join(place) for place in places]
    short = [_without_suffix(name) for name in names]
    return dict(zip(short if len(set(short)) == len(names) else names, paths, strict=True))


def _without_suffix(name: str) -> str:
    # A name of a file may be any bytes, and a name in a file is text.
    name = os.fsencode(name).decode("utf-8", "backslashreplace")
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return name
