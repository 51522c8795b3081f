"""Folders with a matrix and its names, as programs other than Cell Ranger write them."""

from __future__ import annotations

import gzip
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp

from mnncorrect._io.formats import opened_input
from mnncorrect._io.scratch import scratch_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import anndata

GENES, CELLS = 7, 5
X = np.random.default_rng(0).poisson(1.5, (CELLS, GENES))
NAMES = [f"Gene{n}" for n in range(GENES)]
IDS = [f"ENSG{n:011d}" for n in range(GENES)]
BARCODES = [f"AAAC{n}-1" for n in range(CELLS)]
THREE = [f"{one}\t{two}\tGene Expression" for one, two in zip(IDS, NAMES, strict=True)]
TWO = [f"{one}\t{two}" for one, two in zip(IDS, NAMES, strict=True)]
QUOTED = [f'"{one}"\t"{two}"' for one, two in zip(IDS, NAMES, strict=True)]


def folder(
    path: Path,
    tables: dict[str, list[str]],
    *,
    matrix: str = "matrix.mtx",
    by_cell: bool = False,
    end: str = "\n",
    packed: bool = False,
) -> Path:
    """Write a matrix and tables of names."""
    path.mkdir(parents=True, exist_ok=True)
    scipy.io.mmwrite(path / matrix, sp.coo_matrix(X if by_cell else X.T))
    for name, lines in tables.items():
        (path / name).write_text(end.join([*lines, ""]), newline="")
    if packed:
        for name in (matrix, *tables):
            (path / f"{name}.gz").write_bytes(gzip.compress((path / name).read_bytes()))
            (path / name).unlink()
    return path


def read(path: Path) -> anndata.AnnData:
    with scratch_file() as file, opened_input(path, lambda: file) as found:
        found.adata.X = found.adata.X.to_memory().toarray()
        return found.adata


ALEVIN = {"quants_mat_cols.txt": IDS, "quants_mat_rows.txt": BARCODES}
KALLISTO = {"cells_x_genes.genes.txt": IDS, "cells_x_genes.barcodes.txt": BARCODES}
SYMBOLS = {"cells_x_genes.genes.names.txt": NAMES}
PARSE = {
    "all_genes.csv": [
        "gene_id,gene_name,genome",
        *(f"{one},{two},hg38" for one, two in zip(IDS, NAMES, strict=True)),
    ],
    "cell_metadata.csv": [
        "bc_wells,sample,tscp_count",
        *(f"{cell},s{n % 2},{n}.5" for n, cell in enumerate(BARCODES)),
    ],
}
HEADED = {
    "features.tsv": ["gene_id\tgene_name\ttype", *THREE],
    "barcodes.tsv": ["barcode", *BARCODES],
}
PLAIN = {"features.tsv": THREE, "barcodes.tsv": BARCODES}


def _dialects() -> dict[str, tuple[dict[str, Any], bool]]:
    """Return how each is written, and whether its genes have symbols."""
    return {
        "three columns": ({"tables": PLAIN}, True),
        "packed": ({"tables": PLAIN, "packed": True}, True),
        "two columns": ({"tables": {"genes.tsv": TWO, "barcodes.tsv": BARCODES}}, True),
        "one column": ({"tables": {"genes.tsv": NAMES, "barcodes.tsv": BARCODES}}, True),
        "quoted": ({"tables": {"features.tsv": QUOTED, "barcodes.tsv": BARCODES}}, True),
        "Windows": ({"tables": PLAIN, "end": "\r\n"}, True),
        "a byte order mark": (
            {"tables": PLAIN | {"barcodes.tsv": ["\ufeffAAAC0-1", *BARCODES[1:]]}},
            True,
        ),
        "a header": ({"tables": HEADED}, True),
        "a header of barcodes only": ({"tables": PLAIN | {"barcodes.tsv": ["x", *BARCODES]}}, True),
        "transposed": ({"tables": PLAIN, "by_cell": True}, True),
        "transposed with a header": ({"tables": HEADED, "by_cell": True}, True),
        "alevin": ({"tables": ALEVIN, "matrix": "quants_mat.mtx", "by_cell": True}, False),
        "kallisto": ({"tables": KALLISTO, "matrix": "cells_x_genes.mtx", "by_cell": True}, False),
        "kallisto with symbols": (
            {"tables": KALLISTO | SYMBOLS, "matrix": "cells_x_genes.mtx", "by_cell": True},
            True,
        ),
        "Parse": ({"tables": PARSE, "matrix": "DGE.mtx", "by_cell": True}, True),
        "older Parse": ({"tables": PARSE, "matrix": "count_matrix.mtx", "by_cell": True}, True),
        "Single Cell Portal": ({"tables": PLAIN, "matrix": "gene_sorted-matrix.mtx"}, True),
        "a prefix": (
            {
                "tables": {f"GSM1_{name}": lines for name, lines in PLAIN.items()},
                "matrix": "GSM1_matrix.mtx",
            },
            True,
        ),
        "capitals": (
            {
                "tables": {"Features.tsv": THREE, "Barcodes.TSV": BARCODES},
                "matrix": "Matrix.mtx",
                "packed": True,
            },
            True,
        ),
        "text files": ({"tables": {"genes.txt": NAMES, "barcodes.txt": BARCODES}}, True),
    }


@pytest.mark.parametrize("name", _dialects())
def test_a_dialect_is_read(name: str, tmp_path: Path) -> None:
    how, symbols = _dialects()[name]
    found = read(folder(tmp_path / "in", **how))
    np.testing.assert_array_equal(found.X, X)
    assert list(found.obs_names) == BARCODES
    assert list(found.var_names) == (NAMES if symbols else IDS)
    assert list(found.var["gene_ids"]) in (IDS, NAMES)


def test_what_a_table_of_cells_says_is_kept(tmp_path: Path) -> None:
    found = read(folder(tmp_path / "in", PARSE, matrix="DGE.mtx", by_cell=True))
    assert list(found.obs["sample"]) == [f"s{n % 2}" for n in range(CELLS)]
    assert list(found.obs["tscp_count"]) == [n + 0.5 for n in range(CELLS)]
    assert list(found.var["genome"]) == ["hg38"] * GENES


def test_a_matrix_among_several_is_read_where_it_is_named(tmp_path: Path) -> None:
    for sample in ("GSM1_", "GSM2_"):
        tables = {f"{sample}{name}": lines for name, lines in PLAIN.items()}
        folder(tmp_path / "in", tables, matrix=f"{sample}matrix.mtx", packed=True)
    with pytest.raises(ValueError, match=r"several matrices.*give one of them, such as .*GSM1_"):
        read(tmp_path / "in")
    np.testing.assert_array_equal(read(tmp_path / "in/GSM2_matrix.mtx.gz").X, X)


def test_a_matrix_of_starsolo_is_read_beside_others_of_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder(tmp_path / "in", PLAIN)
    scipy.io.mmwrite(tmp_path / "in/UniqueAndMult-EM.mtx", sp.coo_matrix(X.T * 0.5))
    with caplog.at_level("INFO", logger="mnncorrect"):
        np.testing.assert_array_equal(read(tmp_path / "in").X, X)
    assert "not 'UniqueAndMult-EM.mtx'" in caplog.text
    np.testing.assert_array_equal(read(tmp_path / "in/UniqueAndMult-EM.mtx").X, X * 0.5)


def test_large_counts_are_kept_exactly(tmp_path: Path) -> None:
    folder(tmp_path / "in", PLAIN)
    large = X.T.copy()
    large[0, 0] = 2**24 + 1
    scipy.io.mmwrite(tmp_path / "in/matrix.mtx", sp.coo_matrix(large))
    assert read(tmp_path / "in").X[0, 0] == 2**24 + 1


def _splicing(path: Path) -> Path:
    genes = [*IDS[:3], *(f"{name}-U" for name in IDS[:2]), *(f"{name}-A" for name in IDS[:2])]
    tables = ALEVIN | {"quants_mat_cols.txt": genes}
    return folder(path / "in", tables, matrix="quants_mat.mtx", by_cell=True)


def _outs(path: Path) -> Path:
    folder(path / "in/outs/filtered_feature_bc_matrix", PLAIN)
    folder(path / "in/outs/raw_feature_bc_matrix", PLAIN)
    return path / "in"


def _solo(path: Path) -> Path:
    folder(path / "in/Gene/filtered", PLAIN)
    folder(path / "in/Gene/raw", PLAIN)
    return path / "in"


def _velocyto(path: Path) -> Path:
    folder(path / "in", PLAIN, matrix="spliced.mtx")
    folder(path / "in", PLAIN, matrix="unspliced.mtx")
    return path / "in"


def _packed_alevin(path: Path) -> Path:
    (path / "in").mkdir()
    (path / "in/quants_mat.gz").write_bytes(b"")
    return path / "in"


def _other_names(path: Path) -> Path:
    return folder(path / "in", PLAIN | {"barcodes.tsv": BARCODES[:3]})


def _no_header(path: Path) -> Path:
    return folder(path / "in", PLAIN | {"barcodes.tsv": ["AAAG9-1", *BARCODES]})


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "spliced and unspliced genes": (_splicing, "unspliced .*pyroe.load_fry"),
    "a folder of outputs": (_outs, "such as .*outs/filtered_feature_bc_matrix"),
    "a folder of STARsolo": (_solo, "such as .*Gene/filtered"),
    "several without names of their own": (_velocyto, "spliced.mtx.*give one of them"),
    "alevin's own format": (_packed_alevin, "--dumpMtx"),
    "names of others": (_other_names, "7 genes x 5 cells, but .* 7 genes .* 3 cells"),
    "a line too many that is no header": (_no_header, "7 genes .* 6 cells"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    make, says = REFUSED[name]
    with pytest.raises((OSError, ValueError), match=says):
        read(make(tmp_path))


@pytest.mark.parametrize("name", ["matrix.mtx", "features.tsv", "barcodes.tsv"])
@pytest.mark.parametrize("what", ["a link", "a pipe", "a device", "a link to nothing"])
def test_what_is_no_file_of_the_folder_is_refused(name: str, what: str, tmp_path: Path) -> None:
    path = folder(tmp_path / "in", PLAIN) / name
    path.rename(tmp_path / "elsewhere")
    if what == "a pipe":
        os.mkfifo(path)
    elif what == "a device":
        path.symlink_to("/dev/zero")
    else:
        path.symlink_to(tmp_path / ("elsewhere" if what == "a link" else "nothing"))
    with pytest.raises((OSError, ValueError), match=rf"{name} is (a link|a folder, a pipe)"):
        read(tmp_path / "in")


def test_links_within_a_folder_and_to_it_are_followed(tmp_path: Path) -> None:
    path = folder(tmp_path / "in", PLAIN)
    (path / "features.tsv").rename(path / "my_genes.tsv")
    (path / "features.tsv").symlink_to("my_genes.tsv")
    (tmp_path / "link").symlink_to(path)
    np.testing.assert_array_equal(read(tmp_path / "link").X, X)
