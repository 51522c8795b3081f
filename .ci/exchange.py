"""Files between environments: written here, read there, and results that are to be the same.

exchange.py write FOLDER       write objects with all kinds of columns, and results of commands
exchange.py read FOLDER        read what `write` left in another environment, and work on it
exchange.py same ONE OTHER     compare two results of README's first command, to 1e-6
exchange.py bounds             hold .ci/lowest.txt against the bounds of pyproject.toml
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOLERANCE = 1e-6
CELLS, GENES = 120, 30


def make():
    """Make an object with every kind of column that files have."""
    import anndata
    import numpy as np
    import pandas as pd
    import scipy.sparse as sp

    rng = np.random.default_rng(0)
    cells = [f"cell{i}" for i in range(CELLS)]
    counts = rng.poisson(rng.gamma(2.0, size=GENES), (CELLS, GENES)).astype(np.float32)
    obs = pd.DataFrame(
        {
            "batch": ["one", "two", "three"] * (CELLS // 3),
            "ordered": pd.Categorical(
                ["low", "high"] * (CELLS // 2), ["low", "high"], ordered=True
            ),
            "text": [f"word{i}" for i in range(CELLS)],
            "maybe text": pd.array(["p", None, "q"] * (CELLS // 3), dtype="string"),
            "maybe number": pd.array([1, None, 3] * (CELLS // 3), dtype="Int64"),
            "maybe": pd.array([True, None, False] * (CELLS // 3), dtype="boolean"),
            "number": np.arange(CELLS) / 4,
            "truth": [True, False] * (CELLS // 2),
        },
        index=cells,
    )
    var = pd.DataFrame(
        {
            "id": [f"id{i}" for i in range(GENES)],
            "maybe text": pd.array(["g", None] * (GENES // 2), dtype="string"),
        },
        index=[f"gene{i}" for i in range(GENES)],
    )
    adata = anndata.AnnData(
        sp.csr_matrix(counts),
        obs=obs,
        var=var,
        layers={"counts": sp.csc_matrix(counts), "dense": counts},
        obsm={"X_pca": np.arange(CELLS * 4.0).reshape(CELLS, 4) % 7},
        uns={"note": "text", "words": np.array(["a", "b"], dtype=object)},
    )
    adata.raw = adata.copy()
    return adata


def command(*words: object) -> str:
    """Run a command of this environment."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mnncorrect", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"mnncorrect {' '.join(map(str, words))}\n{done.stdout}{done.stderr}")
    return done.stdout


def write(folder: Path) -> None:
    """Write an object, and what commands make of it."""
    import anndata

    folder.mkdir()
    adata = make()
    if hasattr(anndata.settings, "allow_write_nullable_strings"):
        anndata.settings.allow_write_nullable_strings = True
    adata.write_h5ad(folder / "in.h5ad")
    command("run", folder / "in.h5ad", "-b", "batch", "-o", folder / "run.h5ad", "--n-comps", 5)
    command(
        "correct", folder / "run.h5ad", "-b", "batch", "-o", folder / "correct.h5ad",
        "--use-rep", "X_pca", "--force", "--key-added", "again",
    )  # fmt: skip
    command(
        "correct", folder / "run.h5ad", "--layer", "mnn_log1p", "-b", "batch",
        "-o", folder / "fast.h5ad", "--method", "fast", "--n-comps", 5, "--force",
        "--save-model", folder / "model.mnn",
    )  # fmt: skip


def read(folder: Path) -> None:
    """Hold what another environment has written against what it is to be; work on it."""
    import anndata
    import numpy as np

    expected = make()
    for name in ("in", "run", "correct"):
        found = anndata.read_h5ad(folder / f"{name}.h5ad")
        layers = [str(layer) for layer in found.layers if layer is not None]
        if "None" in layers or not {"counts", "dense"} <= set(layers):
            sys.exit(f"{name}.h5ad has the layers {layers}")
        np.testing.assert_array_equal(found.X.toarray(), expected.X.toarray())
        np.testing.assert_array_equal(found.raw.X.toarray(), expected.raw.X.toarray())
        assert list(found.obs_names) == list(expected.obs_names)
        for table in ("obs", "var"):
            for column in getattr(expected, table):
                one, other = (getattr(a, table)[column] for a in (found, expected))
                assert list(one.index) == list(other.index), column
                there = other.notna().to_numpy()
                assert (one.notna().to_numpy() == there).all(), column
                assert one[there].astype(str).tolist() == other[there].astype(str).tolist(), column
        assert found.obs["ordered"].cat.ordered
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out.h5ad"
        command("check", folder / "in.h5ad", "-b", "batch")
        for name in ("run", "correct", "fast"):
            command("info", folder / f"{name}.h5ad")
        runs = [
            ("run", folder / "in.h5ad", "-b", "batch", "--n-comps", 5),
            ("run", folder / "in.h5ad", "-b", "batch", "--n-comps", 5, "--subset", "text!=word3"),
            ("run", folder / "run.h5ad", "-b", "batch", "--n-comps", 5),
            ("concat", folder / "in.h5ad", folder / "run.h5ad"),
            ("gmm", folder / "run.h5ad", "--n-components", 2),
            ("project", folder / "in.h5ad", "--model", folder / "model.mnn"),
        ]
        for words in runs:
            command(*words, "-o", out, "--force")
            anndata.read_h5ad(out)
        command("run", folder / "in.h5ad", "-b", "batch", "-o", out, "--n-comps", 5, "--force")
        same(folder / "run.h5ad", out)


def same(one: Path, other: Path) -> None:
    """Refuse two results that differ by more than rounding, or in what they hold."""
    import anndata
    import numpy as np

    a, b = (anndata.read_h5ad(path) for path in (one, other))
    for slot in ("layers", "obsm", "obsp", "varm", "uns"):
        names = [{key for key in getattr(x, slot) if key is not None} for x in (a, b)]
        assert names[0] == names[1], (slot, names)
        assert "None" not in names[0], slot
    assert list(a.obs) == list(b.obs)
    assert list(a.obs_names) == list(b.obs_names)
    assert list(a.var_names) == list(b.var_names)
    np.testing.assert_array_equal(a.X.toarray(), b.X.toarray())
    np.testing.assert_allclose(a.obsm["X_mnn"], b.obsm["X_mnn"], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(a.obs["mnn_confidence"], b.obs["mnn_confidence"], atol=TOLERANCE)
    assert a.obs["gmm"].astype(str).tolist() == b.obs["gmm"].astype(str).tolist()
    print(f"{other} is {one} to {TOLERANCE}")


def bounds() -> None:
    """Refuse a list of lowest versions that is not that of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = dict(re.split("[>,]=?", line)[:2] for line in project["dependencies"])
    lines = (ROOT / ".ci" / "lowest.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if line and line[0] != "#")
    for name in declared.keys() | pinned.keys():
        low, pin = declared.get(name), pinned.get(name)
        if low is None or pin is None or (pin != low and not pin.startswith(f"{low}.")):
            sys.exit(f"{name}: pyproject.toml allows from {low}, .ci/lowest.txt has {pin}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    task, *paths = sys.argv[1:]
    {"write": write, "read": read, "same": same, "bounds": bounds}[task](*map(Path, paths))
