"""Make data/example.h5ad: ``python data/make_example.py`` (the same as ``mnncorrect example``)."""

from __future__ import annotations

from pathlib import Path

from mnncorrect._io.atomic import whole_file
from mnncorrect._io.example import make_example
from mnncorrect._io.h5ad import write

if __name__ == "__main__":
    target = Path(__file__).parent / "example.h5ad"
    with whole_file(target, force=True) as temporary:
        write(make_example(), temporary)
    print(f"{target}: {target.stat().st_size} bytes")
