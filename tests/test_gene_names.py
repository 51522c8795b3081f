"""Names of genes: what is the same in two inputs, and why little is where little is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mnncorrect._adata.gene_names import (
    NamedGenes,
    cleaned,
    contradiction,
    difference,
    judge_gene_names,
    kind_of_names,
)

SYMBOLS = [f"Gene{i}" for i in range(60)]
IDS = [f"ENSG{i:011d}" for i in range(60)]
VERSIONS = [f"{name}.{1 + i % 7}" for i, name in enumerate(IDS)]


def _judged(one: NamedGenes, other: NamedGenes) -> list[str]:
    shared = set(one.names) & set(other.names)
    return judge_gene_names({one.what: one, other.what: other}, len(shared))


@pytest.mark.parametrize(
    ("names", "stripped"),
    [
        (["ENSG00000141510.18", "ENSMUSG0000005955.2"], ["ENSG00000141510", "ENSMUSG0000005955"]),
        (["ENSG00000182378.15_PAR_Y"], ["ENSG00000182378_PAR_Y"]),
        (["AC012345.1", "RP11-34P13.7", "nad.2", "WBGene00000001"], None),
    ],
)
def test_versions_are_those_of_ensembl_ids_only(names, stripped):
    assert cleaned(names, strip_versions=True) == (stripped or names)
    assert cleaned(names) == names


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ([name.upper() for name in SYMBOLS], ["60 genes", "case", "'Gene0'", "'GENE0'"]),
        ([f"GRCh38_{name}" for name in SYMBOLS], ["genome", "'GRCh38_Gene0'"]),
        ([f"mm10___{name}" for name in SYMBOLS], ["genome", "'mm10___Gene0'"]),
        (IDS, ["symbols", "Ensembl ids", "'Gene0'", "'ENSG00000000000'"]),
        ([str(i) for i in range(60)], ["symbols", "row numbers", "'0'"]),
        ([f"b{i}" for i in range(60)], ["one: Gene0", "two: b0", "`gene_key`"]),
    ],
)
def test_inputs_without_genes_in_common_are_refused_saying_why(other, says):
    with pytest.raises(ValueError, match="no genes in common") as error:
        _judged(NamedGenes("one", SYMBOLS), NamedGenes("two", other))
    for word in says:
        assert word in str(error.value)


def test_versions_are_told_with_an_example_and_the_argument():
    with pytest.raises(ValueError, match=r"60 genes.*'ENSG00000000000.1'.*`strip_versions=True`"):
        _judged(NamedGenes("one", IDS), NamedGenes("two", VERSIONS))
    (text,) = _judged(NamedGenes("one", VERSIONS), NamedGenes("two", VERSIONS[:30] + IDS[30:]))
    assert "30 genes" in text
    assert "`strip_versions=True`" in text


def test_a_column_that_matches_is_named_also_if_one_input_has_it():
    table = pd.DataFrame({"gene_ids": IDS, "n_cells": range(60)}, SYMBOLS)
    one = NamedGenes("one", SYMBOLS, table)
    for other in (NamedGenes("two", IDS), NamedGenes("two", IDS, pd.DataFrame(index=IDS))):
        assert "`gene_key='gene_ids'`" in difference(one, other)
        assert "strip_versions" not in difference(one, other)
    told = difference(one, NamedGenes("two", VERSIONS))
    assert "`gene_key='gene_ids'` and `strip_versions=True`" in told


@pytest.mark.parametrize(
    ("shared", "of", "expected"),
    [
        (60, 60, "well"),
        (25, 60, "well"),
        (25, 100, "warned"),
        (12, 60, "refused"),
        (12, 20, "well"),
    ],
)
def test_few_genes_in_common_are_warned_of_and_too_few_refused(shared, of, expected):
    one = NamedGenes("one", [f"a{i}" for i in range(of)])
    other = NamedGenes("two", one.names[:shared] + [f"b{i}" for i in range(of - shared)])
    if expected == "refused":
        with pytest.raises(ValueError, match=rf"only {shared} genes.*one: a0, a1; two: a0, a1"):
            _judged(one, other)
        return
    told = _judged(one, other)
    assert bool(told) == (expected == "warned")
    assert all(str(shared) in text and str(of) in text for text in told)


def test_a_panel_of_genes_beside_a_whole_genome_is_warned_of():
    (text,) = _judged(NamedGenes("panel", SYMBOLS[:30]), NamedGenes("whole", SYMBOLS + IDS))
    assert "30" in text
    assert "whole has 120" in text


def test_row_numbers_are_no_names():
    numbers = [str(i) for i in range(60)]
    (text,) = _judged(NamedGenes("one", numbers), NamedGenes("two", numbers))
    assert "row numbers" in text
    with pytest.raises(ValueError, match=r"row numbers.*one has 60, two has 50"):
        _judged(NamedGenes("one", numbers), NamedGenes("two", numbers[:50]))
    entrez = [str(7 * i + 100) for i in range(60)]
    (text,) = _judged(NamedGenes("one", entrez), NamedGenes("two", entrez))
    assert "mere numbers" in text


def test_names_that_mean_different_genes_are_refused():
    numbers = [str(i) for i in range(60)]
    one = NamedGenes("one", numbers, pd.DataFrame({"gene_ids": IDS}, numbers))
    other = NamedGenes("two", numbers, pd.DataFrame({"gene_ids": IDS[::-1]}, numbers))
    with pytest.raises(ValueError, match=r"'0' is 'ENSG00000000000' in one and .*`gene_key='gene"):
        _judged(one, other)
    # Versions, other columns and some differences between annotations are none.
    for ids in (VERSIONS, IDS[:40] + [f"{name}9" for name in IDS[40:]]):
        table = pd.DataFrame({"gene_ids": ids, "mean": np.arange(60.0)}, numbers)
        assert contradiction(one, NamedGenes("two", numbers, table)) == ""


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (IDS, "Ensembl ids"),
        (VERSIONS, "Ensembl ids"),
        (SYMBOLS, "symbols"),
        (["1", "2", "3"], "row numbers"),
        (["7157", "672", "675"], "numbers"),
        ([], "symbols"),
    ],
)
def test_kinds_of_names(names, kind):
    assert kind_of_names(names) == kind


@pytest.mark.parametrize("dtype", ["object", "string", "category"])
def test_missing_values_of_a_column_contradict_nothing(dtype):
    ids = pd.Series([None if i % 2 else name for i, name in enumerate(IDS)], dtype=dtype)
    one = NamedGenes("one", SYMBOLS, pd.DataFrame({"gene_ids": ids.array}, SYMBOLS))
    other = NamedGenes("two", SYMBOLS, pd.DataFrame({"gene_ids": IDS}, SYMBOLS))
    assert contradiction(one, other) == contradiction(other, one) == ""
    assert difference(one, other) == ""
