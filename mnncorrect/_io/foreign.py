"""Files of other programs: what they are, and the command that makes an h5ad file of them."""

from __future__ import annotations

import gzip
import re
import shlex
import zipfile
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

# What means nothing to a shell between double quotes.
SHELL_PLAIN = re.compile(r"[\w\s./,:;()='*+%@-]*")
# How files begin, and what they are.
GZIP = b"\x1f\x8b"
HDF5 = b"\x89HDF\r\n\x1a\n"
ZIP = b"PK\x03\x04"
SIGNATURES = {
    HDF5: "HDF5",
    ZIP: "a zip archive",
    b"%%MatrixMarket": "a Matrix Market file",
    b"RDX": "an R workspace",
    b"RDA": "an R workspace",
    b"X\n\0\0\0": "an R object (.rds)",
    b"A\n": "an R object (.rds)",
    b"B\n": "an R object (.rds)",
    b"BZh": "packed by bzip2",
    b"\xfd7zXZ\0": "packed by xz",
    b"\x28\xb5\x2f\xfd": "packed by zstd",
    b"PAR1": "a Parquet file",
    b"ARROW1": "a Feather file",
    b"\x93NUMPY": "a NumPy array",
    b"\x80\x04\x95": "a Python object, whose reading may run code",
    b"\x80\x05\x95": "a Python object, whose reading may run code",
    b"\xd0\xcf\x11\xe0": "an Excel file",
    b"\x0b\x0e\x0a\x0c": "a file of qs",
    b"BAM\1": "a BAM file",
    b"<": "a page of HTML or XML",
    b"{": "JSON",
}
UNPACK = {"packed by bzip2": "bunzip2 -k", "packed by xz": "unxz -k", "packed by zstd": "unzstd"}
# What the name of a file loses when an h5ad file is made of it.
FOREIGN_ENDINGS = re.compile(
    r"(\.(gz|zip|zarr|h5mu|rds|rdata|rda|csv|tsv|txt|tab|loom|h5seurat|h5))+$", re.IGNORECASE
)
TAR_AT, TAR = 257, b"ustar"
START = 1 << 12
# Where HDF5 may begin.
USER_BLOCKS = (0, *(512 << n for n in range(8)))


def begins(path: Path, signature: bytes) -> bool:
    """Return whether a file begins with some bytes; one that cannot be read does not."""
    with suppress(OSError), path.open("rb") as file:
        return file.read(len(signature)) == signature
    return False


def is_zarr_archive(path: Path) -> bool:
    """Return whether a zip file holds zarr data, or cannot be looked into."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith((".zgroup", "zarr.json")) for name in archive.namelist())
    except zipfile.BadZipFile:
        return True


def has_hdf5(path: Path) -> bool:
    """Return whether a file is HDF5, which may begin after a block of the user, as of MuData."""
    with path.open("rb") as file:
        for at in USER_BLOCKS:
            file.seek(at)
            if file.read(len(HDF5)) == HDF5:
                return True
    return False


def python_command(code: str) -> str:
    """Return the command that runs a line of Python, quoted for a shell."""
    return f"python -c {_quoted(code)}"


def concat_command(path: Path | str) -> str:
    """Return the command that makes an h5ad file of an input of any kind that is read."""
    made = _made(Path(str(path).partition("::")[0]))
    return f"mnncorrect concat {shlex.quote(str(path))} -o {shlex.quote(made)}"


def r_command(code: str) -> str:
    """Return the command that runs a line of R, quoted for a shell."""
    return f"Rscript -e {_quoted(code)}"


def _quoted(code: str) -> str:
    return f'"{code}"' if SHELL_PLAIN.fullmatch(code) else shlex.quote(code)


def what_it_is(path: Path) -> str:
    """Say what a file that is no HDF5 is by its first bytes, and how to make an h5ad file of it."""
    with path.open("rb") as file:
        start = file.read(START)
    if start == b"":
        return f"{path} is empty (0 bytes); copy or make it again"
    name = shlex.quote(str(path))
    if start.startswith(GZIP):
        inside = _unpacked(path)
        kind = _kind(inside)
        if kind == "HDF5":
            return f"{path} is HDF5 packed by gzip; unpack it first: gunzip -k {name}"
        if kind == "a tar archive":
            return f"{path} is {kind} packed by gzip; unpack it first: tar -xzf {name}"
        if kind is None and not _is_table(path, inside):
            return f"{path} is packed by gzip; unpack it first: gunzip -k {name}"
        return f"{path} is packed by gzip; {_advice(kind, path, inside)}"
    return f"{path} is not an h5ad file; {_advice(_kind(start), path, start)}"


def _unpacked(path: Path) -> bytes:
    with suppress(OSError, EOFError, ValueError), gzip.open(path) as file:
        return file.read(START)
    return b""


def _kind(start: bytes) -> str | None:
    if start[TAR_AT : TAR_AT + len(TAR)] == TAR:
        return "a tar archive"
    return next((kind for begin, kind in SIGNATURES.items() if start.startswith(begin)), None)


def _is_table(path: Path, start: bytes) -> bool:
    """Return whether a file is a table of text, by its name and how it begins."""
    if not path.name.removesuffix(".gz").endswith((".csv", ".tsv", ".txt", ".tab")):
        return False
    with suppress(UnicodeDecodeError):
        # The last character may be cut.
        text = start[:-4].decode() if len(start) == START else start.decode()
        return "\0" not in text and text.strip() != ""
    return False


def _advice(kind: str | None, path: Path, start: bytes) -> str:
    """Say what a file is, and what to do with it."""
    name, made = shlex.quote(str(path)), _made(path)
    if kind in {"an R object (.rds)", "an R workspace"}:
        read = f"readRDS('{path}')" if "rds" in str(kind) else f"get(load('{path}'))"
        code = (
            f"zellkonverter::writeH5AD(Seurat::as.SingleCellExperiment({read}), '{made}', "
            "X_name = 'counts')"
        )
        return f"it is {kind}; write it as h5ad in R: {r_command(code)}"
    if kind == "a tar archive":
        return f"it is {kind}; unpack it first: tar -xf {name}"
    if kind == "a zip archive":
        if is_zarr_archive(path):
            return f"it is zarr data; make an h5ad file of it: {concat_command(path)}"
        return f"it is {kind} without zarr data; unpack it first: unzip {name}"
    if kind in UNPACK:
        return f"it is {kind}; unpack it first: {UNPACK[kind]} {name}"
    if kind is None and _is_table(path, start):
        lines = start.decode("utf-8", "replace").splitlines()
        how = "" if lines[0].count(",") >= lines[0].count("\t") else ", delimiter=chr(9)"
        code = f"import scanpy as sc; sc.read_csv('{path}'{how}).write_h5ad('{made}')"
        turned = code.replace(").write", ").T.write")
        return (
            "it is text; if it is a table of cells x genes, make an h5ad file of it: "
            f"{python_command(code)}; if it is genes x cells: {python_command(turned)}"
        )
    told = "" if kind is None else f"it is {kind}; "
    return f"{told}read it with scanpy and write it with .write_h5ad()"


def _made(path: Path) -> str:
    """Name the h5ad file that is made of a file."""
    return f"{FOREIGN_ENDINGS.sub('', path.name) or path.name}.h5ad"


def what_hdf5_is(path: Path, held: Collection[str]) -> str:
    """Say what an HDF5 file is that is neither h5ad nor 10x, by the names in its root."""
    names, made = set(held), _made(path)
    if {"matrix", "row_attrs", "col_attrs"} <= names:
        code = f"import anndata; anndata.io.read_loom('{path}').write_h5ad('{made}')"
        return (
            f"{path} is a loom file, which loompy reads; pip install loompy, or make an h5ad file "
            f"where it is installed: {python_command(code)}"
        )
    if {"cell.names", "assays"} <= names:
        code = f"SeuratDisk::Convert('{path}', dest = 'h5ad')"
        return f"{path} is an h5Seurat file; make an h5ad file of it in R: {r_command(code)}"
    if {"barcode_idx", "count"} <= names:
        return (
            f"{path} is Cell Ranger's molecule_info.h5, which holds no matrix; give "
            "filtered_feature_bc_matrix.h5 from the same folder"
        )
    inside = ", ".join(sorted(names)[:8]) or "nothing"
    told = f"{path} is HDF5, but not an h5ad file: it holds {inside}, not obs and var"
    if "matrix" in names:
        told += f"; if it is a 10x file: {concat_command(path)}"
    return told
