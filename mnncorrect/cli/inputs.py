"""From the files on the command line to one object and the column that names its batches."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from anndata import AnnData

    from mnncorrect._io.input_parts import Part
    from mnncorrect._io.scratch import Scratch
    from mnncorrect.cli.options.shared import Reading
    from mnncorrect.cli.prepare import Limits

logger = logging.getLogger("mnncorrect")

H5AD = "h5ad"
# Files that are open for each input, and for all else.
FILES_EACH, FILES_BESIDES = 4, 256


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
def opened(
    paths: Sequence[Path],
    reading: Reading,
    limits: Limits,
    *,
    counts: bool | None = None,
    judging: bool = False,
) -> Iterator[Loaded]:
    """Open the inputs, put several together, and choose cells.

    The matrices of one h5ad file that is taken whole stay in it. Those of other inputs are written
    once to a scratch file, in blocks, and stay in that.

    ``judging``: whether several inputs of unlike values are refused, as ``first_look`` does,
    ``counts`` being what the user says of them.
    """
    from mnncorrect._adata.barcodes import add_libraries
    from mnncorrect._io import concat, input_parts, subsets
    from mnncorrect.cli.first_look import judge_inputs

    key = key_of(reading)
    source = {"layer": reading.layer, "use_raw": reading.use_raw}
    store = input_parts.Store(limits.scratch, limits.block)
    subset = reading.subset or ()
    if len(paths) > 1:
        with parts(paths, limits.scratch) as several:
            if judging:
                judge_inputs(
                    several, limits, layer=reading.layer, use_raw=reading.use_raw, counts=counts
                )
            adata = concat.concatenate(
                several,
                store,
                gene_key=reading.gene_key,
                strip_versions=reading.strip_versions,
                use_raw=reading.use_raw,
                needs_x=reading.layer is None,
                subset=subset,
                from_barcode=reading.batch_from_barcode,
            )
        source["use_raw"] = False  # raw has become X
        if key is None:
            key = input_parts.FILE_KEY
            logger.info("each file is a batch: obs[%r]", key)
        yield Loaded(adata, key, source)
        return
    with parts(paths, limits.scratch) as one:
        (part,) = one.values()
        if part.genes is not None:
            logger.info("%d features that are no genes left out", (~part.genes).sum())
        if subset or streams_anew(paths) or part.genes is not None:
            adata = subsets.chosen(part, store, subset=subset)
        else:
            adata = part.adata
        if reading.batch_from_barcode:
            add_libraries(adata.obs)
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
    from mnncorrect._io.input_names import named
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


def key_of(reading: Reading) -> str | list[str] | None:
    """Return the column that is to name batches, or the columns if there are several."""
    from mnncorrect._adata.barcodes import LIBRARY_KEY

    return LIBRARY_KEY if reading.batch_from_barcode else batch_key(reading.batch_key)


def batch_key(given: list[str] | None) -> str | list[str] | None:
    """Return the column that ``--batch-key`` names, or the columns if there are several."""
    if not given:
        return None
    return given[0] if len(given) == 1 else given


def need_batch_key(paths: Sequence[Path], reading: Reading) -> None:
    """Refuse, as wrong usage, one file of which nothing tells the batches, or two things do."""
    refuse_two_keys(reading)
    if len(paths) == 1 and not reading.batch_key and not reading.batch_from_barcode:
        msg = (
            "one input file needs --batch-key, the column of obs that names the batch, or"
            " --batch-from-barcode; mnncorrect check lists the columns that could be"
        )
        raise typer.BadParameter(msg)


def refuse_idle_names(
    paths: Sequence[Path], reading: Reading, *, model: bool | None = None
) -> None:
    """Refuse, as wrong usage, options that name genes where no names are compared.

    ``model``: whether a model is saved, whose genes ``--gene-key`` then names; ``None``: the
    command saves none.
    """
    if len(paths) > 1:
        return
    if reading.gene_key is not None and not model:
        saved = "" if model is None else ", or names those of a model (--save-model)"
        msg = f"--gene-key matches the genes of several inputs{saved}; one is given: leave it out"
        raise typer.BadParameter(msg)
    if reading.strip_versions:
        msg = "--strip-versions matches the genes of several inputs; one is given: leave it out"
        raise typer.BadParameter(msg)


def refuse_two_keys(reading: Reading) -> None:
    """Refuse, as wrong usage, to tell batches by a column and by names of cells."""
    if reading.batch_key and reading.batch_from_barcode:
        msg = "--batch-key and --batch-from-barcode both tell the batches: leave one out"
        raise typer.BadParameter(msg)
