"""What a bug report says of the machine and of what is installed; no paths, no names of users."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import mnncorrect

# What bounds the threads of libraries, as far as it is set.
VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS",
    "NUMBA_DISABLE_JIT", "NUMBA_THREADING_LAYER",
)  # fmt: skip


def environment_facts() -> dict[str, Any]:
    """Return versions, platform, threads and BLAS, as JSON has them."""
    from mnncorrect.core.runtime.threads import resolve_n_jobs

    return {
        "mnncorrect": mnncorrect.__version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": {"of_the_machine": os.cpu_count(), "usable": resolve_n_jobs(None)},
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "blas": _libraries(),
        "packages": _packages(),
    }


def lines(found: Mapping[str, Any]) -> list[str]:
    """Return the same for people, a line each."""
    cpus = found["cpus"]
    rows = [(name, found[name]) for name in ("mnncorrect", "python", "platform", "machine")]
    rows.append(("cpus", f"{cpus['usable']} usable of {cpus['of_the_machine']}"))
    rows += list(found["variables"].items())
    for library in found["blas"]:
        rows.append(("blas", ", ".join(f"{name} {value}" for name, value in library.items())))
    rows += list(found["packages"].items())
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {value}" for name, value in rows]


def _packages() -> dict[str, str]:
    """Return the versions of what the package needs, as its metadata name it."""
    try:
        wanted = metadata.requires("mnncorrect") or []
    except metadata.PackageNotFoundError:  # run from its source
        return {}
    names = [re.split(r"[^A-Za-z0-9._-]", line)[0] for line in wanted if "extra ==" not in line]
    versions = {}
    for name in sorted(names):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def _libraries() -> list[dict[str, Any]]:
    """Return what numpy and scipy compute with, and on how many threads; not where it is."""
    import scipy.linalg  # noqa: F401 (numpy and scipy each load their own)
    import threadpoolctl

    told = ("internal_api", "version", "num_threads", "threading_layer", "architecture")
    found = [
        {name: library[name] for name in told if library.get(name) is not None}
        for library in threadpoolctl.threadpool_info()
        if library["user_api"] in {"blas", "openmp"}  # scipy's reader of matrices is one as well
    ]
    return [library for number, library in enumerate(found) if library not in found[:number]]
