"""Caches of compiled loops: shared by runs side by side, and done without where they fail."""

from __future__ import annotations

import atexit
import secrets
import tempfile
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import wraps
from typing import Any

NUMBER = "{number:d}"

# Options of compiled loops. Python calls most of them: they release the interpreter lock, and short
# ones keep it. Parts are called by other loops only: they are stored with these, and Python has no
# entry to them. C has an entry to none. To compile an entry takes as long as a short loop. Parts
# that occur once are compiled inside their loop only (inline), where this does not change sums.
LOOP: dict[str, Any] = {"nogil": True, "cache": True, "no_cfunc_wrapper": True}
SHORT: dict[str, Any] = {"cache": True, "no_cfunc_wrapper": True}
PART: dict[str, Any] = {"nogil": True, "no_cfunc_wrapper": True, "no_cpython_wrapper": True}


def find_place(compiler: Callable[..., Any], config: Any) -> None:
    """Give compiled loops a folder for this process where numba finds none that it may write to.

    That is so where the package is installed read-only and its user has no home, as in many
    containers; numba would fail.
    """
    try:
        compiler(cache=True)(find_place)  # looks for the folder; nothing is compiled
    except RuntimeError:
        folder = tempfile.TemporaryDirectory(prefix="mnncorrect-")
        atexit.register(folder.cleanup)
        config.CACHE_DIR = folder.name
        warnings.warn(
            "no folder for compiled code can be written to, so each run compiles again; set"
            " NUMBA_CACHE_DIR to a folder",
            stacklevel=2,
        )


def own_files(functions: Iterable[Any]) -> None:
    """Let this process name the files of compiled code that it writes as no other does.

    numba counts them, from an index that it reads before it writes it anew. Two processes that
    compile one loop for different types at the same time take the same number: the index then says
    of one's code that it is the other's, and every later run reads wrong numbers or fails. With
    names of their own the worst is that one of them is compiled again. This stays, though it
    changes what is private to numba: tasks of a workflow that start together share a cache, numba
    has no setting for that, and without a cache each would compile for a minute. Where numba calls
    these things otherwise, nothing is changed. A cache that cannot be used, as on a full disk, is
    done without; a damaged one is begun anew. ``functions`` that are no compiled loops with a cache
    are left as they are.
    """
    token = secrets.token_hex(4)
    for function in functions:
        cache: Any = getattr(function, "_cache", None)
        file: Any = getattr(cache, "_cache_file", None)
        pattern = getattr(file, "_data_name_pattern", None)
        if not isinstance(pattern, str):
            continue
        file._data_name_pattern = pattern.replace(NUMBER, f"{NUMBER}-{token}")
        for name in ("load_overload", "save_overload"):
            setattr(cache, name, _tolerant(getattr(cache, name), cache))


def _tolerant(use: Callable[..., Any], cache: Any) -> Callable[..., Any]:
    """Return a use of a cache that gives nothing where it fails."""

    @wraps(use)
    def used(*args: Any, **more: Any) -> Any:
        try:
            return use(*args, **more)
        except OSError as error:
            warnings.warn(
                f"compiled code cannot be kept in {cache.cache_path} ({error.strerror}), so each"
                " run compiles it again; make room there, or set NUMBA_CACHE_DIR to another"
                " folder",
                stacklevel=2,
            )
        # What is damaged can make its reader fail in any way; it is begun anew.
        except Exception:  # noqa: BLE001
            with suppress(OSError):
                cache.flush()
        return None

    return used
