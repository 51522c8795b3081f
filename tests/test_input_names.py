"""Inputs are named by what tells their samples apart; one that is given twice is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mnncorrect._io.input_names import named

NAMES = {
    "files": (["a.h5ad", "b.h5ad"], ["a", "b"]),
    "folders of Cell Ranger": (
        ["donor1/filtered_feature_bc_matrix", "donor2/outs/filtered_feature_bc_matrix"],
        ["donor1", "donor2"],
    ),
    "files of Cell Ranger": (
        ["d1/outs/filtered_feature_bc_matrix.h5", "d2/outs/raw_feature_bc_matrix.h5"],
        ["d1", "d2"],
    ),
    "samples of cellranger multi": (
        [
            f"run/outs/per_sample_outs/{name}/count/sample_filtered_feature_bc_matrix.h5"
            for name in ("s1", "s2")
        ],
        ["s1", "s2"],
    ),
    "prefixes": (
        ["s1_filtered_feature_bc_matrix.h5", "s2.sample_filtered_feature_bc_matrix.h5"],
        ["s1", "s2"],
    ),
    "prefixes of GEO": (
        ["GSM1_donor1_matrix.mtx.gz", "GSM2_donor2_filtered_feature_bc_matrix.h5"],
        ["GSM1_donor1", "GSM2_donor2"],
    ),
    "Cell Ranger 2": (
        ["p1/outs/filtered_gene_bc_matrices/GRCh38/", "p2/outs/filtered_gene_bc_matrices/GRCh38"],
        ["p1", "p2"],
    ),
    "STARsolo": (["x/Solo.out/Gene/filtered", "y/Solo.out/GeneFull/raw"], ["x", "y"]),
    "kallisto": (["k1/counts_unfiltered/cells_x_genes.mtx", "k2/counts_filtered"], ["k1", "k2"]),
    "alevin": (["f1/af_quant/alevin", "f2/af_quant/alevin/quants_mat.mtx"], ["f1", "f2"]),
    "Parse": (["all-sample/DGE_filtered", "s1/DGE_unfiltered"], ["TOP", "s1"]),
    "CellBender": (["c1_cellbender_filtered.h5", "c2_cellbender.h5"], ["c1", "c2"]),
    "one folder": (["donor9/outs/filtered_feature_bc_matrix"], ["donor9"]),
    "zarr": (["a.zarr", "b.zarr.zip"], ["a", "b"]),
    "MuData": (["a.h5mu::rna", "b.h5mu::rna"], ["a", "b"]),
    "two of one file": (["a.h5mu::rna", "a.h5mu::adt"], ["a.h5mu::rna", "a.h5mu::adt"]),
    "one name in two folders": (["x/cells.h5ad", "y/cells.h5ad"], ["x", "y"]),
    "one name deep down": (
        ["d1/filtered_feature_bc_matrix", "r2/d1/filtered_feature_bc_matrix"],
        None,
    ),
    "filtered beside raw": (
        ["d/filtered_feature_bc_matrix", "d/raw_feature_bc_matrix"],
        ["filtered_feature_bc_matrix", "raw_feature_bc_matrix"],
    ),
    "one name with two endings": (["a.h5ad", "a.h5"], ["a.h5ad", "a.h5"]),
    "three": (["x/s/c.h5ad", "y/s/c.h5ad", "y/t/c.h5ad"], ["x/s", "y/s", "y/t"]),
}


@pytest.mark.parametrize("kind", NAMES)
def test_an_input_is_named_by_its_sample(kind: str, tmp_path: Path) -> None:
    given, expected = NAMES[kind]
    top = tmp_path / "TOP"
    found = named([top / path for path in given])
    assert len(found) == len(given)
    if expected is not None:
        assert list(found) == expected


def test_a_relative_path_is_named_by_the_folder_it_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "donor5").mkdir()
    monkeypatch.chdir(tmp_path / "donor5")
    assert list(named([Path("filtered_feature_bc_matrix")])) == ["donor5"]
    assert list(named([Path("./a.h5ad"), Path("../donor6/b.h5ad")])) == ["a", "b"]


@pytest.mark.parametrize("again", ["in", "in/", "./in", "../top/in", "link", "hard.h5ad"])
def test_an_input_that_is_given_twice_is_refused(
    again: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = tmp_path / "top"
    (top / "in").mkdir(parents=True)
    monkeypatch.chdir(top)
    first = Path("in")
    (top / "link").symlink_to(first)
    if again == "hard.h5ad":
        first = Path("one.h5ad")
        first.write_bytes(b"x")
        os.link(first, again)
    with pytest.raises(ValueError, match="given twice"):
        named([first, Path(again)])
