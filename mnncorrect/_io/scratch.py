"""A file for values that memory should not hold."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnncorrect._adata.stored import is_stored_sparse, refuse_hollow
from mnncorrect._io.atomic import unwritten
from mnncorrect._io.by_rows import repacked, transposed
from mnncorrect._io.failures import ERRNO
from mnncorrect._io.hdf5 import hdf5_file
from mnncorrect.core.runtime.mapped import fill

if TYPE_CHECKING:
    import h5py
    from numpy.typing import NDArray

    from mnncorrect.core.runtime.mapped import MapFiles

SCRATCH_SUFFIX = ".mnncorrect-scratch"


@dataclass(frozen=True)
class Scratch:
    """Gives a scratch file, and writes matrices to it by rows."""

    file: Callable[[], h5py.File]  # Gives the file, which may be made when it is first needed.

    def __call__(self) -> h5py.File:
        """Give the file."""
        return self.file()

    def by_rows(self, value: Any, block_bytes: int) -> Any:
        """Write a matrix that is CSC, or dense in high chunks, so that it can be read by rows."""
        file = self()
        group = file.create_group(f"rows{len(file)}")
        return (transposed if is_stored_sparse(value) else repacked)(value, group, block_bytes)


def mapped_rows(value: Any, files: MapFiles) -> NDArray[Any]:
    """Copy an array of a file into a map of a temporary file, by rows."""
    refuse_hollow(value)
    high = (getattr(value, "chunks", None) or (1,))[0]
    made = files.make(value.shape, value.dtype)
    fill(made, value.__getitem__, multiple=high)
    return made


@contextlib.contextmanager
def scratch_when_needed(folder: Path | None = None) -> Iterator[Scratch]:
    """Give a scratch file that is made when it is first asked for, as :func:`scratch_file` does."""
    with contextlib.ExitStack() as stack:
        yield Scratch(functools.cache(lambda: stack.enter_context(scratch_file(folder))))


@contextlib.contextmanager
def scratch_file(folder: Path | None = None) -> Iterator[h5py.File]:
    """Give a file for values that memory should not hold; it is gone when the block ends.

    Its name is removed at once where the system allows it, so that a killed run leaves nothing.

    ``folder``: where it is made; the system's folder of temporary files if not given.
    """
    with tempfile.NamedTemporaryFile(dir=folder, suffix=SCRATCH_SUFFIX, delete=False) as made:
        path = Path(made.name)
    try:
        with hdf5_file(path) as file:
            with contextlib.suppress(OSError):
                path.unlink()
            yield file
    except (OSError, RuntimeError) as error:
        if ERRNO.search(str(error)) is None or "write" not in str(error):
            raise
        raise unwritten(path, error, "the scratch file") from error
    finally:
        path.unlink(missing_ok=True)
