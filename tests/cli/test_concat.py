"""Files of any kind become one file: each a batch, read and written in blocks."""

from __future__ import annotations

import gzip
import re
import shutil
import warnings
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import numpy as np
import pytest
import scipy.sparse as sp
from tenx import as_folder, as_old_tenx_file, as_tenx_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Cli = Callable[..., Any]
    Make = Callable[..., anndata.AnnData]


def as_zarr(adata: anndata.AnnData, path: Path) -> None:
    """Write zarr, where it is installed: anndata does not need it."""
    pytest.importorskip("zarr")
    adata.write_zarr(path)


WRITERS: dict[str, tuple[str, Callable[[anndata.AnnData, Path], None]]] = {
    "h5ad": ("b.h5ad", lambda adata, path: adata.write_h5ad(path)),
    "zarr": ("b.zarr", as_zarr),
    "10x h5": ("b.h5", as_tenx_file),
    "old 10x h5": ("b.h5", as_old_tenx_file),
    "10x folder": ("b", as_folder),
    "old 10x folder": ("b", lambda adata, path: as_folder(adata, path, old=True)),
    "prefixed 10x folder": ("b", lambda adata, path: as_folder(adata, path, prefix="GSM1_")),
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.filterwarnings("ignore:Writing zarr v2")
def test_inputs_of_any_kind_give_the_same(kind: str, cli: Cli, made: Make, tmp_path: Path) -> None:
    one, two = made(sizes={"a": 9}), made(sizes={"b": 7}, seed=1)
    one.write_h5ad(tmp_path / "a.h5ad")
    name, write = WRITERS[kind]
    write(two, tmp_path / name)
    inputs = [tmp_path / "a.h5ad", tmp_path / name]
    done = cli("concat", *inputs, "-o", tmp_path / "out.h5ad")
    assert done.code == 0, done.err
    assert done.out == ""
    assert "16 cells x 30 genes; /obs/mnn_file: a 9, b 7" in done.err
    found = anndata.read_h5ad(tmp_path / "out.h5ad")
    expected = anndata.concat({"a": one, "b": two}, index_unique="-")
    assert found.X.dtype == np.float32
    assert found.X.format == "csr"
    np.testing.assert_array_equal(found.X.toarray(), expected.X.toarray())
    assert list(found.obs_names) == list(expected.obs_names)
    assert list(found.var_names) == list(expected.var_names)
    assert not [
        entry for entry in tmp_path.iterdir() if entry not in {*inputs, tmp_path / "out.h5ad"}
    ]


def test_features_that_are_no_genes_are_left_out(cli: Cli, made: Make, tmp_path: Path) -> None:
    one, two = made(sizes={"a": 9}), made(sizes={"b": 7}, seed=1)
    kinds = ["Gene Expression"] * 25 + ["Antibody Capture"] * 5
    for adata, name in ((one, "a.h5"), (two, "b.h5")):
        as_tenx_file(adata, tmp_path / name, kinds=kinds)
    done = cli("concat", tmp_path / "a.h5", tmp_path / "b.h5", "-o", tmp_path / "out.h5ad")
    assert any(line.startswith("a: 5 features") for line in done.err)
    found = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert list(found.var_names) == list(one.var_names[:25])
    assert list(found.var["gene_ids"]) == [f"ID_{gene}" for gene in one.var_names[:25]]
    np.testing.assert_array_equal(found.X[9:].toarray(), two.X[:, :25].toarray())


def test_genes_are_matched_by_identifiers(cli: Cli, made: Make, tmp_path: Path) -> None:
    one, two = made(sizes={"a": 9}), made(sizes={"b": 7}, seed=1)
    as_tenx_file(one, tmp_path / "a.h5")
    as_folder(two[:, ::-1].copy(), tmp_path / "b")
    words = ["-o", tmp_path / "out.h5ad", "--gene-key", "gene_ids"]
    assert cli("concat", tmp_path / "a.h5", tmp_path / "b", *words).code == 0
    found = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert list(found.var_names) == [f"ID_{gene}" for gene in one.var_names]
    np.testing.assert_array_equal(found.X[9:].toarray(), two.X.toarray())


def test_versions_are_stripped_of_one_input_too(cli: Cli, made: Make, tmp_path: Path) -> None:
    one = made(sizes={"a": 9})
    one.var_names = [f"ENSG{i:011d}.{i}" for i in range(one.n_vars)]
    one.write_h5ad(tmp_path / "a.h5ad")
    done = cli("concat", tmp_path / "a.h5ad", "-o", tmp_path / "o.h5ad", "--strip-versions")
    assert done.code == 0, done.err
    found = anndata.read_h5ad(tmp_path / "o.h5ad")
    assert list(found.var_names) == [name.partition(".")[0] for name in one.var_names]


def test_a_sheet_names_batches_and_covariates(cli: Cli, made: Make, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for number, name in enumerate(("s1", "s2", "s3")):
        made(sizes={name: 5 + number}, seed=number).write_h5ad(tmp_path / "data" / f"{name}.h5ad")
    (tmp_path / "samples.tsv").write_text(
        "path\tbatch\tsex\tage\nscore/../data/s1.h5ad\t01\tf\t30\n"
        "data/s2.h5ad\t02\t\t41\n\ndata/s3.h5ad\t02\tm\t\n".replace("score/../", "")
    )
    done = cli("concat", "--sheet", tmp_path / "samples.tsv", "-o", tmp_path / "out.h5ad")
    assert done.code == 0, done.err
    assert "18 cells x 30 genes; /obs/batch: 01 5, 02 13" in done.err
    assert any("/obs/batch" in line and "'s1', 's2', 's3'" in line for line in done.err)
    obs = anndata.read_h5ad(tmp_path / "out.h5ad").obs
    assert list(obs["batch"]) == ["01"] * 5 + ["02"] * 13
    assert list(obs["mnn_file"].cat.categories) == ["s1", "s2", "s3"]
    assert list(obs["sex"].cat.categories) == ["f", "m"]
    assert obs["sex"].isna().sum() == 6
    np.testing.assert_array_equal(obs["age"], [30.0] * 5 + [41.0] * 6 + [np.nan] * 7)
    assert obs.index[0] == "cell0-s1"


BAD_SHEETS = {
    "no header": ("", "is empty"),
    "header only": ("path\tbatch\n", "names no inputs"),
    "no batch": ("path\tdonor\na.h5ad\t1\n", "no column 'batch'; it has: 'path', 'donor'"),
    "empty batch": ("path\tbatch\na.h5ad\t\n", "row '2': the column batch is empty"),
    "doubled column": ("path\tbatch\tbatch\na.h5ad\t1\t2\n", "of one name"),
    "short row": ("path\tbatch\tsex\na.h5ad\t1\n", "row 2: 2 values, but the header has 3"),
    "missing input": ("path\tbatch\nnone.h5ad\t1\n", "do not exist: '.*none.h5ad'"),
    "input twice": ("path\tbatch\na.h5ad\t1\na.h5ad\t2\n", "is given twice"),
}


@pytest.mark.parametrize("name", BAD_SHEETS)
def test_a_bad_sheet_is_one_line_and_no_file(
    name: str, cli: Cli, made: Make, tmp_path: Path
) -> None:
    text, says = BAD_SHEETS[name]
    made(sizes={"a": 5}).write_h5ad(tmp_path / "a.h5ad")
    (tmp_path / "s.tsv").write_text(text)
    refused(cli, ["--sheet", tmp_path / "s.tsv"], says, tmp_path)


def refused(cli: Cli, words: list[Any], says: str, folder: Path) -> None:
    """One line, exit code 1, and nothing left."""
    import re

    before = sorted(folder.iterdir())
    done = cli("concat", *words, "-o", folder / "out.h5ad")
    assert done.code == 1, done.err
    errors = [line for line in done.err if line.startswith("error: ")]
    assert errors == done.err[-1:]
    assert re.search(says, errors[0]), errors
    assert "bug" not in errors[0]
    assert sorted(folder.iterdir()) == before


def _folder_of_nothing(path: Path, adata: anndata.AnnData) -> Path:
    (path / "nothing").mkdir()
    return path / "nothing"


def _bare_matrix(path: Path, adata: anndata.AnnData) -> Path:
    as_folder(adata, path / "folder")
    for name in ("features.tsv.gz", "barcodes.tsv.gz"):
        (path / "folder" / name).unlink()
    return path / "folder" / "matrix.mtx.gz"


def _two_matrices(path: Path, adata: anndata.AnnData) -> Path:
    for prefix in ("GSM1_", "GSM2_"):
        as_folder(adata, path / "folder", prefix=prefix)
    return path / "folder"


def _no_barcodes(path: Path, adata: anndata.AnnData) -> Path:
    as_folder(adata, path / "folder")
    (path / "folder" / "barcodes.tsv.gz").unlink()
    return path / "folder"


def _other_barcodes(path: Path, adata: anndata.AnnData) -> Path:
    as_folder(adata, path / "folder")
    with gzip.open(path / "folder" / "barcodes.tsv.gz", "wt") as file:
        file.write("AAA\n")
    return path / "folder"


def _half_a_matrix(path: Path, adata: anndata.AnnData) -> Path:
    as_folder(adata, path / "folder", old=True)
    content = (path / "folder" / "matrix.mtx").read_text()
    (path / "folder" / "matrix.mtx").write_text(content[: len(content) // 2])
    return path / "folder"


def _with_header(old: str, new: str) -> Callable[[Path, anndata.AnnData], Path]:
    def spoil(path: Path, adata: anndata.AnnData) -> Path:
        as_folder(adata, path / "folder", old=True)
        matrix = path / "folder" / "matrix.mtx"
        matrix.write_text(re.sub(old, new, matrix.read_text(), count=1, flags=re.MULTILINE))
        return path / "folder"

    return spoil


def _no_array(path: Path, adata: anndata.AnnData) -> Path:
    as_tenx_file(adata, path / "b.h5")
    with h5py.File(path / "b.h5", "r+") as file:
        del file["matrix/data"]
        file["matrix/data"] = np.dtype("i4")
    return path / "b.h5"


def _one_number(path: Path, adata: anndata.AnnData) -> Path:
    as_tenx_file(adata, path / "b.h5")
    with h5py.File(path / "b.h5", "r+") as file:
        del file["matrix/indices"]
        file["matrix/indices"] = 3
    return path / "b.h5"


def _hollow_names(path: Path, adata: anndata.AnnData) -> Path:
    as_tenx_file(adata, path / "b.h5")
    with h5py.File(path / "b.h5", "r+") as file:
        del file["matrix/barcodes"]
        file.create_dataset("matrix/barcodes", (1 << 29,), "S1", chunks=(1 << 16,))
    return path / "b.h5"


def _hollow_zarr(path: Path, adata: anndata.AnnData) -> Path:
    zarr = pytest.importorskip("zarr")

    with warnings.catch_warnings(action="ignore"):
        adata.write_zarr(path / "b.zarr")
        zarr.open_group(path / "b.zarr/obs").create_array("more", shape=(1 << 29,), dtype="f4")
        shutil.rmtree(path / "b.zarr/obs/more/c", ignore_errors=True)
        zarr.consolidate_metadata(path / "b.zarr")
    return path / "b.zarr"


def _no_genes(path: Path, adata: anndata.AnnData) -> Path:
    as_tenx_file(adata, path / "b.h5", kinds=["Peaks"] * adata.n_vars)
    return path / "b.h5"


def _latin_names(path: Path, adata: anndata.AnnData) -> Path:
    as_tenx_file(adata, path / "b.h5")
    with h5py.File(path / "b.h5", "r+") as file:
        del file["matrix/features/name"]
        file["matrix/features/name"] = np.full(adata.n_vars, "µ".encode("latin-1"))
    return path / "b.h5"


def _no_features(path: Path, adata: anndata.AnnData) -> Path:
    as_tenx_file(adata, path / "b.h5")
    with h5py.File(path / "b.h5", "r+") as file:
        del file["matrix/features/name"]
    return path / "b.h5"


def _other_zarr(path: Path, adata: anndata.AnnData) -> Path:
    zarr = pytest.importorskip("zarr")

    zarr.open_group(path / "b.zarr", mode="w").create_group("images")
    return path / "b.zarr"


BAD_INPUTS = {
    "a folder of nothing": (
        _folder_of_nothing,
        "without a matrix .* and without zarr data; it holds nothing",
    ),
    "a bare matrix": (_bare_matrix, "no features.tsv or genes.tsv and no barcodes.tsv"),
    "two matrices": (
        _two_matrices,
        "several matrices: 'GSM1_matrix.mtx.gz', 'GSM2_.* such as .*GSM1_matrix.mtx.gz",
    ),
    "no barcodes": (_no_barcodes, "no barcodes.tsv"),
    "other barcodes": (_other_barcodes, "30 genes x 5 cells, but .* 30 genes .* 1 cells"),
    "half a matrix": (_half_a_matrix, "line .* of .*matrix.mtx is"),
    "complex numbers": (_with_header("integer|real", "complex"), "complex numbers"),
    "more entries than there are": (
        _with_header(r"^(\d+ \d+) \d+$", r"\1 999999999999"),
        "999,999,999,999 [a-z]+ numbers",
    ),
    "a type in the place of numbers": (_no_array, "b.h5 is damaged, or not 10x data"),
    "a number in the place of an array": (_one_number, "b.h5 is damaged, or not 10x data"),
    "names that are not there": (_hollow_names, "takes 0 in its file"),
    "a column of zarr that is not there": (_hollow_zarr, "bytes, and takes"),
    "no genes": (_no_genes, "no features of type 'Gene Expression', but 'Peaks'"),
    "no features": (_no_features, "b.h5 is damaged, or not 10x data"),
    "names in Latin-1": (_latin_names, "b.h5 is damaged, or not 10x data"),
    "another zarr": (_other_zarr, "holds 'images', and was not written by anndata"),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_a_bad_input_is_one_line_and_no_file(
    name: str, cli: Cli, made: Make, tmp_path: Path
) -> None:
    adata = made(sizes={"a": 5})
    adata.write_h5ad(tmp_path / "a.h5ad")
    spoil, says = BAD_INPUTS[name]
    refused(cli, [tmp_path / "a.h5ad", spoil(tmp_path, adata)], says, tmp_path)


def test_either_inputs_or_a_sheet(cli: Cli, counts: Path, tmp_path: Path) -> None:
    for words in ([], [counts, "--sheet", tmp_path / "s.tsv"]):
        done = cli("concat", *words, "-o", tmp_path / "out.h5ad")
        assert done.code == 2
        assert "--sheet" in "\n".join(done.err)


def test_run_takes_what_concat_takes(cli: Cli, made: Make, tmp_path: Path) -> None:
    as_tenx_file(made(sizes={"a": 20}), tmp_path / "a.h5")
    as_folder(made(sizes={"b": 20}, seed=1), tmp_path / "b")
    inputs = [tmp_path / "a.h5", tmp_path / "b"]
    words = ["--method", "fast", "--n-comps", 5, "--no-gmm", "-o"]
    assert cli("concat", *inputs, "-o", tmp_path / "joined.h5ad").code == 0
    done = cli("run", tmp_path / "joined.h5ad", "-b", "mnn_file", *words, tmp_path / "1.h5ad")
    assert done.code == 0, done.err
    assert cli("run", *inputs, *words, tmp_path / "2.h5ad").code == 0
    one, two = (anndata.read_h5ad(tmp_path / f"{number}.h5ad") for number in (1, 2))
    np.testing.assert_array_equal(one.obsm["X_mnn"], two.obsm["X_mnn"])
    np.testing.assert_array_equal(one.X.toarray(), two.X.toarray())
    assert list(one.obs_names) == list(two.obs_names)


def test_genes_are_matched_without_versions_and_by_a_column_that_one_lacks(
    cli: Cli, made: Make, tmp_path: Path
) -> None:
    ids = [f"ENSG{i:011d}" for i in range(30)]
    for number, name in enumerate(("symbols", "versions")):
        adata = made(sizes={"x": 25}, seed=number)
        if name == "symbols":
            adata.var["gene_ids"] = ids
        else:
            adata.var_names = [f"{name}.{1 + i % 3}" for i, name in enumerate(ids)]
        adata.write_h5ad(tmp_path / f"{name}.h5ad")
    files, out = [tmp_path / "symbols.h5ad", tmp_path / "versions.h5ad"], tmp_path / "o.h5ad"
    refused = cli("concat", *files, "-o", out)
    assert refused.code == 1
    (line,) = refused.err
    assert "--gene-key gene_ids and --strip-versions" in line
    assert not out.exists()
    done = cli("concat", *files, "-o", out, "--gene-key", "gene_ids", "--strip-versions")
    assert done.code == 0, done.err
    assert any("warning" in line and "versions" in line for line in done.err)
    assert anndata.read_h5ad(out).var_names.tolist() == ids


def test_a_layer_takes_the_place_of_x(cli: Cli, made: Make, tmp_path: Path) -> None:
    one, two = made(sizes={"a": 29}), made(sizes={"b": 27}, seed=1)
    for adata, name in ((one, "a"), (two, "b")):
        adata.layers["counts"] = adata.X.copy()
        adata.X = None if name == "b" else sp.csr_matrix(adata.shape, dtype=np.float32)
        adata.write_h5ad(tmp_path / f"{name}.h5ad")
    inputs = [tmp_path / "a.h5ad", tmp_path / "b.h5ad"]
    words = ["-o", tmp_path / "out.h5ad"]
    refused(cli, inputs, "a has an X of zeros only.*--layer: 'counts'", tmp_path)
    refused(cli, [*inputs, "--layer", "other"], "a has no layer 'other'.*'counts'", tmp_path)
    assert cli("concat", *inputs, *words, "--layer", "counts", "--use-raw").code == 2
    assert cli("concat", *inputs, *words, "--layer", "counts").code == 0
    found = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert "counts" not in found.layers
    np.testing.assert_array_equal(found.X[29:].toarray(), two.layers["counts"].toarray())
    more = ["--layer", "counts", "--method", "fast", "--n-comps", 5, "--no-gmm"]
    assert cli("run", *inputs, *more, "-o", tmp_path / "run.h5ad").code == 0


def test_raw_alone_takes_the_place_of_x(cli: Cli, made: Make, tmp_path: Path) -> None:
    for seed, name in enumerate(("a", "b")):
        adata = made(sizes={name: 9}, seed=seed)
        adata.raw = adata
        adata.X = None
        adata.write_h5ad(tmp_path / f"{name}.h5ad")
    inputs = [tmp_path / "a.h5ad", tmp_path / "b.h5ad"]
    refused(cli, inputs, "a has no X.*--use-raw", tmp_path)
    assert cli("concat", *inputs, "--use-raw", "-o", tmp_path / "out.h5ad").code == 0
    assert anndata.read_h5ad(tmp_path / "out.h5ad").X[9:].sum() == adata.raw.X.sum()


def test_texts_of_10x_files_are_utf8_whatever_their_tag_and_may_be_numbers(
    cli: Cli, made: Make, tmp_path: Path
) -> None:
    adata = made(sizes={"a": 9})
    as_tenx_file(adata, tmp_path / "a.h5")
    names = [f"TGFβ{number}" for number in range(adata.n_vars)]
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["matrix/features/name"], file["matrix/features/id"], file["matrix/barcodes"]
        file["matrix/features/name"] = np.array([name.encode() for name in names])  # tagged ASCII
        file["matrix/features/id"] = np.arange(adata.n_vars)
        file["matrix/barcodes"] = np.arange(9)
    assert cli("concat", tmp_path / "a.h5", "-o", tmp_path / "out.h5ad").code == 0
    found = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert list(found.var_names) == names
    assert list(found.var["gene_ids"]) == [str(number) for number in range(adata.n_vars)]
    assert [name.split("_")[-1].split("-")[0] for name in found.obs_names] == list("012345678")


def test_the_same_cells_under_two_names_are_warned_of(cli: Cli, made: Make, tmp_path: Path) -> None:
    one, two = made(sizes={"a": 9}), made(sizes={"b": 9}, seed=1)
    one.write_h5ad(tmp_path / "a.h5ad")
    two.write_h5ad(tmp_path / "b.h5ad")
    as_tenx_file(one, tmp_path / "copy.h5")
    as_folder(one, tmp_path / "folder")
    inputs = [tmp_path / name for name in ("a.h5ad", "b.h5ad", "copy.h5", "folder")]
    done = cli("concat", *inputs, "-o", tmp_path / "out.h5ad")
    assert done.code == 0
    (warning,) = [line for line in done.err if "warning" in line]
    assert re.search("'a', 'copy', 'folder' hold the same cells", warning)


@pytest.mark.parametrize("target", ["m.h5mu", "in/genes.tsv", "in/matrix.mtx"])
def test_no_file_of_an_input_is_written_over(
    target: str, cli: Cli, made: Make, tmp_path: Path
) -> None:
    adata = made(sizes={"a": 5})
    as_folder(adata, tmp_path / "in", old=True)
    with h5py.File(tmp_path / "m.h5mu", "w") as file:
        anndata.io.write_elem(file.create_group("mod"), "rna", adata)
    source = tmp_path / ("m.h5mu::rna" if target == "m.h5mu" else "in/matrix.mtx")
    before = (tmp_path / target).read_bytes()
    assert cli("concat", source, "-o", tmp_path / "out.h5ad").code == 0
    assert cli("concat", source, "-o", tmp_path / target, "--force").code == 1
    assert (tmp_path / target).read_bytes() == before


def test_inputs_without_x_are_compared_by_their_layers(
    cli: Cli, made: Make, tmp_path: Path
) -> None:
    for number, name in enumerate("abc"):
        one = made(sizes={"x": 9}, seed=min(number, 1))
        one.layers["counts"], one.X = one.X, None
        one.write_h5ad(tmp_path / f"{name}.h5ad")
    words = ["--layer", "counts", "-o", tmp_path / "o.h5ad", "--force"]
    done = cli("concat", tmp_path / "a.h5ad", tmp_path / "b.h5ad", *words)
    assert not any("same cells" in line for line in done.err)
    done = cli("concat", tmp_path / "b.h5ad", tmp_path / "c.h5ad", *words)
    assert any("'b', 'c' hold the same cells" in line for line in done.err)
