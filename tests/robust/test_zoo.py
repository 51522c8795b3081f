"""Every kind of file that people have gives the result of its clean twin, or a named refusal."""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from anndata.io import read_elem
from robust import zoo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import anndata


# A few of them by one command are looked at each time; all of them by all commands where there is
# time.
QUICK = {
    "CSC float64", "dense float16", "csr with doubled indices", "CSR bool", "csc packed by lzf",
    "dense in chunks of a column", "something in every slot", "values in raw", "an empty category",
    "nullable text", "as anndata 0.6 wrote it", "a path with spaces and signs", "a pipe",
}  # fmt: skip
CASES = [
    pytest.param(
        name,
        command,
        method,
        marks=()
        if name in QUICK and (command, method) == ("correct", "calibrated")
        else pytest.mark.slow,
        id=f"{name}-{command}-{method}",
    )
    for name in zoo.KINDS
    for command in ("correct", "run")
    for method in ("calibrated", "classic")
]
assert set(zoo.KINDS) >= QUICK


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("name", "command", "method"), CASES)
def test_a_file_gives_what_its_clean_twin_gives_or_is_refused(
    name: str, command: str, method: str, cli: Callable[..., Any], tmp_path: Path
) -> None:
    made = zoo.KINDS[name](tmp_path)
    before = made.path.read_bytes() if os.path.isfile(made.path) else None  # noqa: PTH113
    out = tmp_path / "out.h5ad"
    words = [command, *made.words, "--method", method, "-o", out, "--force"]
    if command == "run":
        words += ["--no-gmm"]
    done = cli(*words, "--", made.path)
    assert done.out == ""
    if before is not None:
        assert made.path.read_bytes() == before
    if made.refused is not None:
        assert done.code == 1, done.err
        assert len(done.err) == 1, done.err
        assert done.err[0].startswith("error: ")
        assert "bug" not in done.err[0]
        assert re.search(made.refused, done.err[0]), done.err
        assert not out.exists()
        return
    assert done.code == 0, done.err
    found = values(out, method)
    more = [word for word in made.words if word == "--no-counts"]
    expected = twin_values(made.twin, command, method, tmp_path, cli, more)
    assert np.isfinite(found).all()
    if made.same_bits:
        np.testing.assert_array_equal(found, expected)
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)


def values(path: Path, method: str) -> Any:
    with h5py.File(path, "r") as file:
        return read_elem(file["obsm/X_mnn" if method == "calibrated" else "layers/mnn"])


TWINS: dict[tuple[str, ...], Any] = {}


def twin_values(
    twin: anndata.AnnData,
    command: str,
    method: str,
    folder: Path,
    cli: Callable[..., Any],
    more: list[str],
) -> Any:
    x = np.asarray(twin.X.toarray() if hasattr(twin.X, "toarray") else twin.X)
    key = (hashlib.sha256(x.tobytes()).hexdigest(), command, method)
    if key not in TWINS:
        twin.write_h5ad(folder / "twin.h5ad")
        words = [command, folder / "twin.h5ad", "-b", "batch", "--method", method, *more]
        words += ["--no-gmm"] if command == "run" else []
        done = cli(*words, "-o", folder / "twin-out.h5ad")
        assert done.code == 0, done.err
        TWINS[key] = values(folder / "twin-out.h5ad", method)
    return TWINS[key]
