"""Batches are proposed by names of columns as they are met, and by names of cells."""

from __future__ import annotations

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest

from mnncorrect import pp
from mnncorrect._adata import take_batches
from mnncorrect._adata.batch_columns import candidates
from mnncorrect._adata.batches import batches_in_order, texts_of
from mnncorrect._adata.libraries import (
    LIBRARY_KEY,
    add_libraries,
    libraries,
    numbers_first,
    told_libraries,
)

N = 240
# Columns of obs as they are met, and how many values each has; what may be batches comes first.
TABLES = {
    "CELLxGENE": (
        """donor_id 8, library_uuid 12, sample_id 12, assay 2""",
        """assay_ontology_term_id 2, cell_type 9, cell_type_ontology_term_id 9, development_stage 5,
         development_stage_ontology_term_id 5, disease 2, disease_ontology_term_id 2, sex 2,
         sex_ontology_term_id 2, self_reported_ethnicity 3, suspension_type 2, tissue 3,
         tissue_type 2, tissue_ontology_term_id 3, organism 2, author_cell_type 14,
         is_primary_data bool, mapped_reads float, donor_age 6, Clusters 9""",
    ),
    "Seurat": (
        """orig.ident 4, patient 4""",
        """nCount_RNA int, nFeature_RNA int, percent.mt float, RNA_snn_res.0.8 11,
         seurat_clusters 11,
         integrated_snn_res.0.5 9, SCT_snn_res.1 9, Phase 3, S.Score float, G2M.Score float,
         old.ident 3, DF.classifications_0.25_0.09_913 2, predicted.celltype.l1 8, stim 2,
         scDblFinder.class 2, seurat_annotations 13, singler.labels 9""",
    ),
    "scanpy": (
        """batch 3, sample 6""",
        """n_genes int, n_genes_by_counts int, total_counts int, pct_counts_mt float, leiden 14,
         leiden_res_0.50 9, louvain 11, doublet_score float, predicted_doublet bool, phase 3,
         bulk_labels 10, dpt_groups 4, size_factors float, cell_cycle 3, outlier bool,
         n_counts int, passed_qc 2""",
    ),
    "atlas": (
        """PatientID 7, channel 9, Study 3, chemistry 2, run 5, lane 8, technology 2, subject 7,
         individual 7, dataset 3, sequencing_batch 4, library_id 9, Donor 7, replicate 2""",
        """condition 2, Treatment 3, cell_subtype 20, lineage 4, gender 2, Age 7, timepoint 4,
         day 3,
         diagnosis 2, response 2, guide_identity 30, sample_type 2, tissue_region 4, n_umi int,
         cluster 15, annotation_level_1 6, cell_state 5, confidence float, group 2""",
    ),
}


def _column(kind: str, name: str) -> object:
    rng = np.random.default_rng(len(name))
    if kind == "bool":
        return rng.random(N) < 0.5
    if kind == "float":
        return rng.random(N)
    if kind == "int":
        return rng.integers(500, 5000, N)
    return pd.Categorical([f"v{value}" for value in np.arange(N) % int(kind)])


def _table(text: str) -> pd.DataFrame:
    columns = (entry.rsplit(" ", 1) for entry in text.split(","))
    return pd.DataFrame({name.strip(): _column(kind, name) for name, kind in columns})


@pytest.mark.parametrize("source", TABLES)
def test_columns_as_they_are_met_are_offered_or_not(source):
    batches, others = TABLES[source]
    obs = pd.concat([_table(others), _table(batches)], axis=1)
    assert set(candidates(obs)) == set(_table(batches))


def test_the_likeliest_comes_first():
    obs = _table("assay 2, dataset 3, donor_id 4, orig.ident 5, batch 6")
    assert list(candidates(obs)) == ["batch", "orig.ident", "donor_id", "dataset", "assay"]


@pytest.mark.parametrize(
    ("values", "offered"),
    [
        ([f"GSM{4000 + i % 3}" for i in range(N)], True),
        ([f"SRR77{i % 5}_lane" for i in range(N)], True),
        ([f"Donor {i % 4}" for i in range(N)], True),
        ([f"pbmc{i % 4}k" for i in range(N)], True),
        ([f"{i % 4}" for i in range(N)], False),
        (["T cell", "B cell", "NK"] * 80, False),
        (["ctrl", "stim"] * 120, False),
        ([f"C{i % 9}" for i in range(N)], False),
        ([f"day{i % 3}" for i in range(N)], False),
    ],
)
def test_a_column_of_any_name_is_offered_by_what_it_holds(values, offered):
    assert ("x1" in candidates(pd.DataFrame({"x1": values}))) == offered


def test_batches_that_are_numbers_count_and_measures_do_not():
    obs = pd.DataFrame(
        {
            "batch": np.arange(N) % 3 + 1.0,
            "sample": np.arange(N) % 4,
            "donor": np.linspace(0, 1, N),
            "lane": "only one",
            "run": np.arange(N),
            "patient": np.arange(N) % 2 == 0,
        }
    )
    assert candidates(obs) == {"batch": 3, "sample": 4}


BARCODES = ["AAACCTGAGAAACCAT", "AAACCTGAGAAACCGC", "AAACCTGAGAAACCTA"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("{b}-{l}", "{l}"),
        ("sample{l}_{b}-1", "sample{l}"),
        ("my_sample_{l}_{b}", "my_sample_{l}"),
        ("{b}-1-{l}", "{l}"),
        ("{b}-1_{l}", "{l}"),
        ("run{l}:{b}x", "run{l}"),
        ("P{l}#{b}-1", "P{l}"),
        ("{b}.{l}", "{l}"),
        ("{b}-1-donor{l}", "donor{l}"),
        ("P{l}_{b}-1_{l}", "P{l}"),
    ],
)
def test_libraries_are_told_by_what_stands_beside_the_barcode(pattern, expected):
    names = [pattern.format(b=b, l=library) for library in (1, 2, 11) for b in BARCODES]
    told = [expected.format(l=library) for library in (1, 2, 11) for _ in BARCODES]
    short = [_digits(name) for name in told]
    found = libraries(names).tolist()
    assert found == told or [_digits(name) for name in found] == short
    assert list(told_libraries(names).values()) == [3, 3, 3]
    assert sorted(told_libraries(names), key=numbers_first) == list(told_libraries(names))


def _digits(name):
    return "".join(sign for sign in name if sign.isdecimal())


def test_libraries_that_are_numbers_are_in_order_of_size():
    obs = pd.DataFrame(index=[f"{b}-{library}" for library in (11, 2, 1) for b in BARCODES])
    add_libraries(obs)
    assert obs[LIBRARY_KEY].cat.categories.tolist() == ["1", "2", "11"]


def test_the_public_call_reads_libraries_from_names():
    names = [f"{b}-{library}" for library in (11, 2) for b in BARCODES]
    adata = anndata.AnnData(np.ones((len(names), 1)), obs=pd.DataFrame(index=names))
    made = pp.batch_from_barcode(adata, key_added="lib", copy=True)
    assert "lib" not in adata.obs
    assert made.obs["lib"].cat.categories.tolist() == ["2", "11"]
    pp.batch_from_barcode(adata)
    pp.batch_from_barcode(adata)  # its own column is replaced without a warning
    assert adata.obs[LIBRARY_KEY].tolist() == ["11"] * 3 + ["2"] * 3
    adata.obs["lib"] = "mine"
    with pytest.warns(UserWarning, match="lib"):
        pp.batch_from_barcode(adata, key_added="lib")
    adata.obs_names = [f"cell{i}" for i in range(adata.n_obs)]
    with pytest.raises(ValueError, match="`key`"):
        pp.batch_from_barcode(adata)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([f"cell{i}" for i in range(6)], "6 of 6 cell names have no barcode"),
        ([f"{b}-1" for b in BARCODES], "only one library"),
        ([f"{b}-{i}" for i, b in enumerate(BARCODES)], "3 libraries of 3 cells"),
        ([*(f"{b}-1" for b in BARCODES), "empty"], "1 of 4 cell names have no barcode.*'empty'"),
    ],
)
def test_names_that_tell_no_libraries_are_refused(names, says):
    with pytest.raises(ValueError, match=says):
        libraries(names)
    assert told_libraries(names) == {}


@pytest.mark.parametrize("name", ["nan", "NA", "None", "null", "", "N/A", "unknown"])
@pytest.mark.parametrize("several", [False, True])
def test_a_batch_called_as_missing_values_are_is_warned_of(name, several):
    adata = anndata.AnnData(np.ones((8, 1), np.float32))
    adata.obs["donor"] = pd.Categorical(["a", "a", "b", "b", name, name, "a", "b"])
    adata.obs["lane"] = ["x"] * 8
    with pytest.warns(UserWarning, match=f"'donor'.* {name!r} of 2 cells"):
        take_batches(adata, ["donor", "lane"] if several else "donor")
    with warnings.catch_warnings(action="error", category=UserWarning):
        take_batches(adata[adata.obs["donor"] != name].copy(), "donor")


def test_text_of_missing_values_leaves_the_column_as_it_is():
    # pandas 3 may give out the memory of a column where text is asked for.
    column = pd.Series(["a", None, "b"])
    assert list(texts_of(column))[::2] == ["a", "b"]
    assert column.isna().tolist() == [False, True, False]


def test_batches_that_a_correction_did_not_have_follow_those_that_it_had():
    obs = pd.DataFrame({"lane": ["new", "b", "a", "b", "also"]})
    found = batches_in_order(obs, "lane", ["b", "gone", "a"])
    assert found.tolist() == obs["lane"].tolist()
    assert found.cat.categories.tolist() == ["b", "a", "also", "new"]
