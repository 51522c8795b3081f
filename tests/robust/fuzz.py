"""Files with bytes changed at random, given to the command line; run as a script for many of them.

    python tests/robust/fuzz.py h5ad --files 10000 --workers 2

Each file is made from its number alone. Workers are processes of their own, with their memory
limited, so that a crash below Python is seen as one, and costs that file only.
"""

from __future__ import annotations

import argparse
import collections
import gzip
import hashlib
import json
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unicodedata
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # where this is run as a script
from robust.strategies import STRATEGIES  # noqa: E402

# Address space of a worker: Python with its libraries takes about 1.5 GB of it.
MEMORY = 6 << 30
# No file of this size may take longer, in seconds; the first one has the imports to wait for.
SECONDS, FIRST_SECONDS = 120, 200
# What ends a worker that takes longer; a damaged heap ends it with another signal.
STUCK = signal.SIGUSR1
# After every so many files it is said what came of them so far.
SAY = 1000
# Every so many files are corrected too; all are looked at.
CORRECTED = 16
NUMBERS = (0, 1, -1, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1)


def mutated(content: bytes, number: int) -> bytes:
    """Change some bytes of a file: bits, bytes, whole numbers, pieces and lengths."""
    rng = np.random.default_rng(number)
    changed = bytearray(content)
    # Most of a small HDF5 file is unused space; a change there would say nothing.
    used = np.flatnonzero(np.frombuffer(content, np.uint8))
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.choice(used)) if rng.random() < 0.9 else int(rng.integers(len(content)))
        at = min(at, len(changed) - 1)
        way = rng.integers(9)
        if way <= 1:
            changed[at] ^= 1 << int(rng.integers(8))
        elif way <= 3:
            changed[at] = int(rng.integers(256))
        elif way == 4:
            n = int(rng.integers(1, 64))
            changed[at : at + n] = bytes(n) if rng.random() < 0.5 else rng.bytes(n)
        elif way <= 6:
            wide = int(rng.choice([2, 4, 8]))
            value = int(NUMBERS[int(rng.integers(len(NUMBERS)))]) % 256**wide
            start = at - at % wide
            changed[start : start + wide] = value.to_bytes(wide, "little")
        elif way == 7:
            n, other = int(rng.integers(1, 512)), int(rng.integers(len(changed)))
            changed[at : at + n] = changed[other : other + n]
        elif rng.random() < 0.3:
            del changed[at:]
            changed += b"\0"
        else:
            n = int(rng.integers(1, 16))
            changed[at:at] = rng.bytes(n)
    return bytes(changed)


# -- What is changed, and what is done with it -----------------------------------------------------


def seed_files(folder: Path) -> None:
    """Make one whole file of each format."""
    import anndata
    import h5py
    import pandas as pd
    import scipy.sparse as sp

    rng = np.random.default_rng(0)
    n, genes = 24, 8
    x = rng.poisson(2.0, size=(n, genes)) + 1
    x[n // 2 :, :3] *= 3
    obs = pd.DataFrame(
        {"batch": pd.Categorical(np.repeat(["a", "b"], n // 2)), "n": range(n)},
        index=[f"c{i}" for i in range(n)],
    )
    data = anndata.AnnData(sp.csr_matrix(x.astype(np.float32)), obs=obs)
    data.var_names = [f"g{i}" for i in range(genes)]
    data.uns["note"] = {"of": "nothing", "table": pd.DataFrame({"a": [1.0, 2.0]})}
    data.write_h5ad(folder / "sparse.h5ad")
    dense = data.copy()
    dense.X = data.X.toarray()
    dense.layers["packed"] = data.X.tocsc()
    dense.raw = data
    dense.write_h5ad(folder / "dense.h5ad", compression="gzip")
    for path in ("sparse.h5ad", "dense.h5ad"):
        words = ["correct", folder / path, "-b", "batch", "-o", folder / f"done-{path}"]
        words += ["--n-comps", 4, "--method", "fast", "--force", "--save-model"]
        words += [folder / "model.mnn"]
        code, says = _command(words)
        assert code == 0, says
    with h5py.File(folder / "ten.h5", "w") as file:
        matrix = file.create_group("matrix")
        for name, values in {
            "data": data.X.data.astype(np.int32),
            "indices": data.X.indices.astype(np.int64),
            "indptr": data.X.indptr.astype(np.int64),
            "shape": np.array([genes, n], np.int32),
            "barcodes": np.array(data.obs_names, "S"),
            "features/id": np.array(data.var_names, "S"),
            "features/name": np.array(data.var_names, "S"),
            "features/feature_type": np.full(genes, b"Gene Expression"),
            "features/genome": np.full(genes, b"GRCh38"),
        }.items():
            matrix.create_dataset(name, data=values)
    _seed_folders(folder, data)


def _seed_folders(folder: Path, data: Any) -> None:
    """Make folders of each format, and a sheet that names some inputs."""
    import warnings

    import anndata
    import scipy.io

    warnings.simplefilter("ignore")
    for version, name in {2: "two.zarr", 3: "three.zarr"}.items():
        anndata.settings.zarr_write_format = version
        data.write_zarr(folder / name)
    for name in ("ten", "packed"):
        (folder / name).mkdir()
        scipy.io.mmwrite(folder / name / "matrix.mtx", data.X.T.tocoo().astype(np.int32))
        genes = "".join(f"id{gene}\t{gene}\tGene Expression\n" for gene in data.var_names)
        (folder / name / "features.tsv").write_text(genes)
        (folder / name / "barcodes.tsv").write_text("\n".join(data.obs_names) + "\n")
    for path in sorted((folder / "packed").iterdir()):
        Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        path.unlink()
    rows = ["path\tbatch\tdonor", "sparse.h5ad\ta\td1", "ten.h5\tb\td2", "ten\tc\td3"]
    (folder / "sheet.tsv").write_text("\n".join(rows) + "\n")


SOURCES = {
    "h5ad": ["sparse.h5ad", "dense.h5ad", "done-sparse.h5ad", "done-dense.h5ad"],
    "10x": ["ten.h5"],
    "model": ["model.mnn"],
    "zarr": ["two.zarr", "three.zarr"],
    "folder": ["ten", "packed"],
    "sheet": ["sheet.tsv"],
}
KINDS = (*SOURCES, *STRATEGIES)


def cases(kind: str, folder: Path, number: int) -> tuple[Path, list[list[Any]]]:
    """Make the file of a number; return it and the commands that it is given to."""
    if kind == "all":
        kinds = sorted(KINDS)
        return cases(kinds[number % len(kinds)], folder, number // len(kinds))
    if kind in STRATEGIES:
        return STRATEGIES[kind](folder, number)
    source = folder / SOURCES[kind][number % len(SOURCES[kind])]
    path = folder / f"changed{source.suffix}"
    if source.is_dir():
        shutil.copytree(source, path)
        files = sorted(file for file in path.rglob("*") if file.is_file())
        chosen = files[number // 2 % len(files)]
        chosen.write_bytes(mutated(chosen.read_bytes(), number))
    else:
        path.write_bytes(mutated(source.read_bytes(), number))
    out = folder / "out.h5ad"
    if kind == "model":
        if number % 2:
            sign(path)
        return path, [
            ["project", folder / "sparse.h5ad", "--model", path, "-o", out],
        ]
    if kind == "sheet":
        return path, [["concat", "--sheet", path, "-o", out]]
    alone = kind in {"10x", "folder"}
    commands: list[list[Any]] = [["check", path] if alone else ["check", path, "-b", "batch"]]
    if source.name.startswith("done"):
        commands = [["info" if number & 4 else "pairs", path]]
    if alone and number % CORRECTED == 0:
        commands.append(["concat", path, folder / "ten.h5", "-o", out])
    if not alone and number % CORRECTED < 4:
        method = ["fast", "classic", "calibrated"][number // CORRECTED % 3]
        commands.append(["correct", path, "-b", "batch", "-o", out, "--method", method])
    return path, commands


def sign(path: Path) -> None:
    """Make the checksum of a model right again, so that more of it is read."""
    from mnncorrect._io.model_file import FILE_BLOCK

    rest = path.read_bytes()[FILE_BLOCK:]
    head = "mnncorrect model\nversion 1\nlength {}\nsha256 {}\n"
    told = head.format(len(rest), hashlib.sha256(rest).hexdigest()).encode()
    path.write_bytes(told.ljust(FILE_BLOCK, b"\0") + rest)


def _command(words: list[Any]) -> tuple[int, list[str]]:
    from typer import testing

    from mnncorrect.cli.app import app

    result = testing.CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return 99, [f"{type(result.exception).__name__}: {result.exception}"]
    return result.exit_code, [*result.stdout.split("\n"), *result.stderr.split("\n")]


def outcome(code: int, says: list[str], out: Path, twin: Path | None = None) -> str:
    """Name what a command has done with a file: what is in capitals must not be.

    ``says`` are the lines on both streams; the result must be that of ``twin``, if there is one.
    """
    steering = [line for line in says if any(not _is_plain(char) for char in line)]
    if steering:
        return f"STEERS A TERMINAL {steering[0][:100]!r}"
    if code == 0:
        if twin is not None and not _same(out, twin):
            return "NOT WHAT ITS TWIN GIVES"
        return _finite(out) if out.exists() else "taken"
    if twin is not None:
        return f"A TWIN REFUSED {says[-1][:300]}"
    if out.exists():
        return "AN OUTPUT IN SPITE OF A FAILURE"
    if code == 99:
        return f"TRACEBACK {says[0]}"
    errors = [line for line in says if line.startswith("error: ")]
    if code == 2 and any("Usage" in line for line in says):
        return "refused: usage"
    if code != 1 or len(errors) != 1:
        return f"EXIT CODE {code}, {len(errors)} LINES OF ERROR"
    if "this is a bug" in errors[0]:
        return f"CALLED A BUG {errors[0][:300]}"
    if "not enough memory" in errors[0]:
        return "refused: memory"
    return "refused"


def _is_plain(char: str) -> bool:
    return char.isprintable() or char in "\n\t" or unicodedata.category(char) == "Zs"


def _same(path: Path, twin: Path) -> bool:
    import h5py

    with h5py.File(path, "r") as one, h5py.File(twin, "r") as other:
        return bool(np.array_equal(one["obsm/X_mnn"][...], other["obsm/X_mnn"][...]))


def _finite(path: Path) -> str:
    import h5py
    from anndata.io import read_elem

    try:
        with h5py.File(path, "r") as file:
            for name in ("obsm/X_mnn", "layers/mnn"):
                if name in file and not np.isfinite(read_elem(file[name])).all():
                    return f"NOT FINITE {name}"
    finally:
        path.unlink()
    return "taken"


# -- Workers ---------------------------------------------------------------------------------------


def work(kind: str, folder: Path, first: int, step: int, last: int) -> None:
    """Try every so many numbered files, saying on stdout what is begun and what came of it."""
    import faulthandler
    import warnings

    from typer import testing

    from mnncorrect._io import probe

    warnings.simplefilter("ignore")
    # Commands are the same for all files; to make them takes as long as to refuse one.
    testing._get_command = cache(testing._get_command)
    probe.SECONDS = 1  # these files are small
    # Where a worker was when it ended.
    with (folder / "trace").open("w") as trace:
        faulthandler.enable(trace, all_threads=False)
        faulthandler.register(STUCK, trace, all_threads=False, chain=True)
        _try_all(kind, folder, range(first, last, step))


def _try_all(kind: str, folder: Path, numbers: range) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in numbers:
        path, commands = cases(kind, folder, number)
        for words in commands:
            print(json.dumps([number, words[0]]), flush=True)
            code, says = _command(words)
            twin = folder / path.name.replace("changed", "done") if _is_twin(path) else None
            found = outcome(code, says, folder / "out.h5ad", twin)
            print(json.dumps([number, words[0], found]), flush=True)
            for left in folder.glob("out.*"):
                left.unlink()
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _is_twin(path: Path) -> bool:
    return path.name.startswith("changed-")


def fuzz(kind: str, files: int, *, workers: int = 1, first: int = 0) -> dict[str, dict[str, Any]]:
    """Try files; return, by command and outcome, how many there were and the first numbers."""
    found: dict[str, dict[str, Any]] = collections.defaultdict(dict)
    last, said = first + files, first
    with tempfile.TemporaryDirectory() as top:
        whole = Path(top) / "whole"
        whole.mkdir()
        made = subprocess.run([sys.executable, __file__, "--seeds", whole], check=True)
        assert made.returncode == 0
        running = []
        for worker in range(workers):
            folder = Path(top) / str(worker)
            shutil.copytree(whole, folder)
            running.append((folder, worker, _start(kind, folder, first + worker, workers, last)))
        while running:
            folder, worker, process = running.pop(0)
            begun = None
            for told in _lines(process):
                if len(told) == 2:
                    begun = told
                    continue
                begun = None
                _count(found, told[1], told[2], told[0])
                if told[0] >= said + SAY:
                    said = told[0]
                    print(f"# {said}: {json.dumps(found)}", file=sys.stderr, flush=True)
            code = process.wait()
            process.stdout.close()
            if begun is not None:
                print(begun, file=sys.stderr)
                _count(found, begun[1], _end(code, folder / "trace"), begun[0])
                (folder / "out.h5ad").unlink(missing_ok=True)
                for left in folder.glob("changed*"):
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
                for left in folder.glob(".*-tmp"):
                    left.unlink()
                running.append(
                    (folder, worker, _start(kind, folder, begun[0] + workers, workers, last))
                )
            elif code:
                msg = f"a worker ended with {code}"
                raise RuntimeError(msg)
    return {command: dict(sorted(counts.items())) for command, counts in sorted(found.items())}


def _lines(process: Any) -> Iterator[list[Any]]:
    """Yield what a worker says; end it when it has said nothing for too long."""
    patience = FIRST_SECONDS
    while select.select([process.stdout], [], [], patience)[0]:
        line = process.stdout.readline()
        if not line:
            return
        patience = SECONDS if len(told := json.loads(line)) == 3 else max(patience, SECONDS)
        yield told
    # It has no handler for this but the one that writes down where it is.
    process.send_signal(STUCK)
    process.wait()


def _end(code: int, trace: Path) -> str:
    """Name what ended a worker, and where."""
    name = signal.Signals(-code).name if code < 0 else f"exit {code}"
    frames = re.findall(r'File "(.*)", line (\d+)', trace.read_text())
    return f"ENDED BY {'a loop' if name == STUCK.name else name} IN {frames[:1]}"


def _start(kind: str, folder: Path, *numbers: int) -> Any:
    words = [sys.executable, __file__, kind, "--work", folder, *numbers]
    return subprocess.Popen(
        [str(word) for word in words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )


def _count(found: dict[str, dict[str, Any]], command: str, what: str, number: int) -> None:
    counted = found[command].setdefault(re.sub(r"0x[0-9a-f]+|\d{4,}", "N", what), [0, []])
    counted[0] += 1
    if len(counted[1]) < 3:
        counted[1].append(number)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", nargs="?", choices=["all", *sorted(KINDS)])
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seeds", type=Path)
    parser.add_argument("--work", nargs=4)
    options = parser.parse_args()
    if options.seeds is not None:
        seed_files(options.seeds)
    elif options.work is not None:
        folder, *numbers = options.work
        work(options.kind, Path(folder), *map(int, numbers))
    else:
        begun = time.monotonic()
        table = fuzz(options.kind, options.files, workers=options.workers, first=options.first)
        for command, counts in table.items():
            for what, (count, numbers) in counts.items():
                print(f"{command}\t{what}\t{count}\t{numbers}")
        print(f"# {options.files} files, {time.monotonic() - begun:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
