"""What R reads of a corrected file: element types, and the code of the page about R."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import anndata
import h5py
import numpy as np
import pytest

import mnncorrect
from mnncorrect._io.example import make_example

PAGE = Path(__file__).parents[1] / "docs/r.md"
# Element types that the format documents, and readers in R have.
READ_BY_R = {
    ("array", "0.2.0"),
    ("categorical", "0.2.0"),
    ("csr_matrix", "0.1.0"),
    ("dataframe", "0.2.0"),
    ("dict", "0.1.0"),
    ("numeric-scalar", "0.2.0"),
    ("string", "0.2.0"),
    ("string-array", "0.2.0"),
}
COMPARED = """
told <- list(
  cells = rownames(cells), genes = rownames(genes), columns = colnames(cells),
  batch = as.character(cells$batch), clusters = levels(cells$gmm),
  confidence = sum(cells$mnn_confidence), embedding = rowSums(embedding),
  logged = as.vector(Matrix::colSums(logged)), of_genes = as.vector(Matrix::rowSums(logged)),
  pairs = sum(read_matrix(file, "obsp/mnn_pairs")), method = as.vector(method)
)
"""
AS_JSON = """
quoted <- function(x) if (is.character(x)) paste0('"', x, '"') else format(x, digits = 10)
fields <- sapply(names(told), function(name)
  paste0('"', name, '": [', paste(quoted(told[[name]]), collapse = ", "), "]"))
cat("{", paste(fields, collapse = ", "), "}")
"""


@pytest.fixture(scope="module")
def corrected(tmp_path_factory):
    """The folder of a corrected file."""
    folder = tmp_path_factory.mktemp("r")
    adata = make_example()[::3, ::4].copy()
    made = folder / "corrected.h5ad"
    adata.write_h5ad(folder / "in.h5ad")
    mnncorrect.run(
        folder / "in.h5ad",
        "batch",
        output=made,
        n_comps=10,
        n_components=[2],
        write_expression=True,
    )
    return folder


def test_output_has_only_element_types_that_readers_in_r_know(corrected):
    found, filters = set(), set()

    def look(name, item):
        if "encoding-type" in item.attrs:
            found.add((item.attrs["encoding-type"], item.attrs["encoding-version"]))
        if isinstance(item, h5py.Dataset):
            filters.add(item.compression)
            assert (item.shuffle, item.fletcher32, item.scaleoffset) == (False, False, None)

    with h5py.File(corrected / "corrected.h5ad") as file:
        file.visititems(look)
    assert found <= READ_BY_R
    assert filters <= {"gzip", None}


def rscript(code, folder, *packages):
    program = shutil.which("Rscript")
    if program is None:
        pytest.skip("R is not installed")
    needed = " && ".join(f"requireNamespace('{package}', quietly = TRUE)" for package in packages)
    how = {"cwd": folder, "capture_output": True, "text": True}
    has = subprocess.run([program, "-e", f"cat({needed})"], check=False, **how)
    if not has.stdout.endswith("TRUE"):
        pytest.skip(f"R has not all of {', '.join(packages)}")
    (folder / "code.R").write_text(code)
    done = subprocess.run([program, "code.R"], check=False, **how)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_code_for_rhdf5_reads_what_was_written(corrected):
    blocks = re.findall(r"```r\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    (code,) = [block for block in blocks if "library(rhdf5)" in block]
    told = json.loads(rscript(code + COMPARED + AS_JSON, corrected, "rhdf5", "Matrix"))
    adata = anndata.read_h5ad(corrected / "corrected.h5ad")
    logged = adata.layers["mnn_log1p"]
    assert told["cells"] == list(adata.obs_names)
    assert told["genes"] == list(adata.var_names)
    assert told["columns"] == list(adata.obs)
    assert told["batch"] == adata.obs["batch"].tolist()
    assert told["clusters"] == list(adata.obs["gmm"].cat.categories)
    assert told["method"] == ["calibrated"]
    numbers = {
        "confidence": adata.obs["mnn_confidence"].sum(),
        "embedding": adata.obsm["X_mnn"].sum(1, dtype=float),
        "logged": np.asarray(logged.sum(1)).ravel(),
        "of_genes": np.asarray(logged.sum(0)).ravel(),
        "pairs": adata.obsp["mnn_pairs"].sum(),
    }
    for name, expected in numbers.items():
        np.testing.assert_allclose(told[name], np.atleast_1d(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.slow  # rhdf5, above, reads all that there is
def test_hdf5r_opens_the_file(corrected):
    code = """
    library(hdf5r)
    file <- H5File$new("corrected.h5ad", "r")
    cat(dim(file[["obsm/X_mnn"]][, ]), h5attr(file[["obs"]], "encoding-type"))
    """
    assert rscript(code, corrected, "hdf5r").split() == ["10", "234", "dataframe"]
