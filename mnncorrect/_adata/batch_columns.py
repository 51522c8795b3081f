"""Which columns of obs may name batches, by what they are called and what they hold.

Names are compared by their words: ``donor_id``, ``DonorID`` and ``donor id`` are the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd


def _word_set(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What batches are called, the likeliest first; those of one row are as likely.
CALLED = (
    _word_set("batch batches"),
    _word_set("""
        sample samples sampleid library libraries lib channel gem lane run flowcell pool sequencing
    """),
    _word_set("""
        donor donors patient patients individual ind indiv subject participant mouse animal embryo
        replicate rep biorep plate chip array slide
    """),
    _word_set("""
        dataset datasets study studies project experiment experiments cohort site center center lab
        institute gse gsm srr accession
    """),
    _word_set("tech technology chemistry assay platform protocol method kit version instrument"),
)
# What batches are not called, whatever else is in the name.
NOT_CALLED = _word_set("""
    cluster clusters clust leiden louvain walktrap phenograph metacell snn res resolution type types
    celltype subtype class subclass supertype annotation annotations annot ann label labels lineage
    identity state fate compartment cell cells
    condition conditions treatment treated treat stim stimulation stimulus perturbation perturbed
    guide sgrna drug compound dose dosage concentration time timepoint hour hours day days week
    genotype mutation mutant strain phenotype response responder group arm
    sex gender age bmi ethnicity ancestry race disease diagnosis status health grade stage stages
    severity outcome smoking tissue organ region location anatomical layer organism species
    development developmental suspension
    qc pass passed fail filter filtered keep kept outlier doublet doublets singlet scrublet droplet
    empty ambient discard primary active old
    phase cycle g1 g2m s
    n ncount nfeature ngenes numi counts count genes features total sum log log1p pct percent
    percentage fraction ratio mito mt ribo hb rrna score scores size factor factors reads umi umis
    mean median confidence probability prob prediction predicted pseudotime latent ptime color
    colors color ontology term tier is has
""")
# Of these words alone a name tells nothing: obs["version"], obs["array"].
ALONE_NOTHING = _word_set("version array accession sequencing center site")
# Pairs of words that make a name, and those alone that make one.
WHOLE_NAMES = {
    "origident": 1,
    "gemgroup": 1,
    "gemwell": 1,
    "mnnfile": 0,
    "mnnlibrary": 0,
    "hashid": 2,
}
# What samples, libraries and donors are called that have a number.
NUMBERED = re.compile(
    r"(?:gs[em]|[sed]r[rsxp]|samn|samea|ega[nrx]|hca|sample|samp|batch|donor|patient|pat|pt|subject"
    r"|lane|library|lib|run|rep|replicate|plate|mouse|animal|individual|indiv|channel|pool|sid|"
    r"pbmc|well)s?[\s_.:-]*[a-z]?\d+[a-z]?(?:[\s_.-].*)?",
    re.IGNORECASE,
)
# More batches than this are none, and fewer than two.
MOST_BATCHES = 2000
# Less than this share of the values in the form of a sample's name is no such column.
MOSTLY_SAMPLES = 0.8
LAST = len(CALLED)


def words_of(name: str) -> list[str]:
    """Return the words of a name in lower case; numbers at an end belong to no word.

    Examples
    --------
    >>> words_of("RNA_snn_res.0.8"), words_of("DonorID"), words_of("nCount_RNA")
    (['rna', 'snn', 'res'], ['donor', 'id'], ['n', 'count', 'rna'])
    """
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return [word.lower() for word in re.findall(r"[A-Za-z]+[0-9]+[A-Za-z]+|[A-Za-z]+", spaced)]


def rank_by_name(name: str) -> int | None:
    """Say how likely a column of this name is to name batches: 0 most; ``None``: it does not tell.

    -1 if it is called what batches are not.

    Examples
    --------
    >>> rank_by_name("batch"), rank_by_name("orig.ident"), rank_by_name("donor_id")
    (0, 1, 2)
    >>> rank_by_name("leiden"), rank_by_name("sample_type"), rank_by_name("x") is None
    (-1, -1, True)
    """
    words = words_of(name)
    whole = "".join(words)
    if whole in WHOLE_NAMES:
        return WHOLE_NAMES[whole]
    if set(words) & NOT_CALLED:
        return -1
    if set(words) <= ALONE_NOTHING:
        return None
    ranks = [rank for rank, called in enumerate(CALLED) if called & set(words)]
    return min(ranks, default=None)


def candidates(obs: pd.DataFrame) -> dict[str, int]:
    """Return the columns that may name batches, likeliest first, with their numbers of values."""
    found = []
    for place, column in enumerate(obs):
        n = _n_batches(obs[column])
        if n is None:
            continue
        rank = rank_by_name(str(column))
        if rank is None:
            rank = LAST if _are_sample_names(obs[column]) else -1
        if rank >= 0:
            found.append((rank, place, str(column), n))
    return {column: n for _, _, column, n in sorted(found)}


def _n_batches(column: pd.Series[Any]) -> int | None:
    """Count the values of a column; ``None``: it holds measures, or too many of them."""
    kind = column.dtype
    if pd.api.types.is_bool_dtype(kind) or pd.api.types.is_datetime64_any_dtype(kind):
        return None
    if pd.api.types.is_float_dtype(kind):
        # Whole numbers that a conversion has made others.
        values = column.dropna().to_numpy(np.float64)
        if not (np.isfinite(values).all() and (values == np.floor(values)).all()):
            return None
    n = int(column.nunique())
    return n if 2 <= n <= min(MOST_BATCHES, len(column) // 2) else None


def _are_sample_names(column: pd.Series[Any]) -> bool:
    """Tell whether values are what samples, libraries or donors are called."""
    if pd.api.types.is_numeric_dtype(column.dtype):
        return False
    values: Iterable[Any] = column.dropna().unique()
    matched = [NUMBERED.fullmatch(str(value)) is not None for value in values]
    return bool(matched) and float(np.mean(matched)) >= MOSTLY_SAMPLES
