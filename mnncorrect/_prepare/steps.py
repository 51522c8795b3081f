"""What is done with the values of an input, decided once: from what is asked and what they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mnncorrect import _adata
from mnncorrect._adata.matrix import HIGHLY_VARIABLE
from mnncorrect._io.input_parts import FILE_KEY
from mnncorrect._log import logger
from mnncorrect._prepare.decide import JudgedGroups, ValuesVerdict, decide, described, recorded
from mnncorrect._wording import UsageError
from mnncorrect.core.runtime.unset import UNSET, Unset

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect._adata import Batches
    from mnncorrect.core.matrix.value_kinds import Statistics

# How many genes run and correct choose by default.
N_TOP_GENES = 2000
# What `mask_var` says for all genes, where no column has this name.
ALL_GENES = "none"
# Fewer genes than this tell hardly any cells apart.
FEW_GENES = 20


def asked_by_correct(use_rep: str | None) -> dict[str, Any]:
    """Return what the command ``correct`` asks of a run by default: less than ``run`` does."""
    of_genes = {} if use_rep is not None else {"hvg": "counts", "keep_normalized": False}
    return {"merge_order": None, **of_genes, "pca": False, "gmm": False}


@dataclass(frozen=True)
class WantedSteps:
    """What is to be done to values."""

    counts: bool | None = None  # Whether they are counts; ``None``: detected.
    # Whether counts are scaled to the median total of cells, and the logarithm is taken.
    total: bool = True
    log1p: bool = True
    genes: bool = True  # Whether genes are to be chosen.


@dataclass(frozen=True)
class Preparation:
    """What is asked to be done with values before they are corrected; ``None``: it is left open."""

    counts: bool | None = None  # Whether the values are counts. Open: detected.
    # Whether counts are scaled to a total, and their logarithm is taken. Open: both.
    normalize: bool | None = None
    log1p: bool | None = None
    keep_normalized: bool | None = None  # Whether what was normalized is kept. Open: it is.
    # Whether highly variable genes are chosen; ``"counts"``: of counts only, and otherwise as if
    # open. Open: unless genes are named, or ``var`` has ``highly_variable``.
    hvg: bool | Literal["counts"] | None = None
    n_top_genes: int | None = None  # How many genes are chosen; a number means that they are.
    # The genes that are used otherwise, as ``_adata.take_gene_mask`` takes them.
    genes: Any = UNSET

    def __post_init__(self) -> None:
        if self.n_top_genes is None:
            return
        if not isinstance(self.n_top_genes, int | np.integer) or self.n_top_genes < 1:
            raise UsageError(
                f"`n_top_genes` is {self.n_top_genes!r}; give a whole number from 1 up"
            )
        if self.hvg is False:
            raise UsageError(
                "`n_top_genes` has no effect with `hvg=False`, which chooses no genes; leave "
                "one of them out"
            )
        if not isinstance(self.genes, Unset):
            raise UsageError(
                "`n_top_genes` has no effect with `mask_var`, which names the genes; leave "
                "one of them out"
            )

    @property
    def n_genes(self) -> int:
        """How many genes are chosen, if any are."""
        return self.n_top_genes or N_TOP_GENES

    def wanted(self, tables: AnnData) -> WantedSteps:
        """Return what a survey of the values has to find out."""
        return WantedSteps(
            self.counts,
            total=self.normalize is not False,
            log1p=self.log1p is not False,
            genes=self.may_choose(tables) and tables.n_vars > self.n_genes,
        )

    def may_choose(self, tables: AnnData) -> bool:
        """Return whether genes may have to be chosen, depending on what the values are."""
        if self.n_top_genes is not None:
            return True
        if isinstance(self.hvg, bool):
            return self.hvg
        is_open = isinstance(self.genes, Unset) and HIGHLY_VARIABLE not in tables.var
        return is_open and not (self.hvg == "counts" and self.counts is False)


@dataclass(frozen=True)
class Treatment:
    """What is done with values before they are corrected."""

    # Whether cells are scaled to a total, and the logarithm is taken.
    total: bool
    log1p: bool
    rescale: bool  # Whether log values of several totals are brought to one.
    keep: bool  # Whether what is normalized is kept.
    choose: int | None  # How many highly variable genes are chosen; ``None``: none.
    genes: Any  # The genes that are used otherwise, as ``_adata.take_gene_mask`` takes them.
    n_used: int  # How many genes distances are measured in.
    verdict: ValuesVerdict  # What the values are.
    # How many genes would be chosen if there were more; ``None``: that is not why none are.
    at_most: int | None = None

    @property
    def changes(self) -> bool:
        """Whether values are changed before they are corrected."""
        return self.total or self.log1p or self.rescale

    @property
    def done(self) -> str:
        """What is done with the values, in words."""
        target = self.verdict.target
        total = "the median total" if target is None else f"{target:g}"
        steps = [(f"scale to {total}", self.total), ("log1p", self.log1p)]
        steps.append(("bring all batches to one total", self.rescale))
        names = " and ".join(name for name, wanted in steps if wanted) or "take them as they are"
        return f"values are {described(self.verdict.judged)}: {names}"

    def record_of(self, total: float | None) -> dict[str, Any]:
        """Return what is recorded of it; ``total``: what cells were scaled to, if they were."""
        about = recorded(self.verdict.judged)
        done: dict[str, Any] = {
            "counts": self.verdict.counts,
            "normalize": self.total,
            "log1p": self.log1p,
            "hvg": self.choose is not None,
            **about,
        }
        if self.verdict.told:
            done["told"] = True
        if self.choose is not None:
            done["n_top_genes"] = self.choose
        return done if total is None else {**done, "total": total}


@dataclass(frozen=True)
class Judge:
    """How the values of an input are judged: the same way wherever they are looked at."""

    where: str  # Where they are read.
    # Cells whose values are judged together: those of a batch, and of a file.
    groups: JudgedGroups | None
    counts: bool | None = None  # Whether they are counts, if the user says so.
    layers: Sequence[str] = ()  # Other places of values, for the advice.

    def __call__(self, looks: Statistics, cells: Any = None) -> ValuesVerdict:
        """Judge what was read off all cells, or off some of them."""
        groups = self.groups
        if groups is not None and cells is not None:
            groups = JudgedGroups(groups.codes[cells], groups.names)
        return decide(looks, self.where, groups=groups, counts=self.counts, layers=self.layers)


def judged_groups(tables: AnnData, batches: Batches | None) -> JudgedGroups | None:
    """Find the cells whose values are judged together: those of a batch, and of a file."""
    files = None
    if FILE_KEY in tables.obs and not tables.obs[FILE_KEY].isna().any():
        codes, names = _adata.take_labels(tables, FILE_KEY)
        files = JudgedGroups(codes, [str(name) for name in names]) if len(names) > 1 else None
    if batches is None or files is None:
        return files if batches is None else JudgedGroups(batches.codes, batches.names)
    pairs, joint = np.unique(np.stack([batches.codes, files.codes], 1), axis=0, return_inverse=True)
    told = [(batches.names[batch], files.names[file]) for batch, file in pairs.tolist()]
    names = [batch if batch == file else f"{batch} of {file}" for batch, file in told]
    return JudgedGroups(joint.ravel().astype(np.int64), names)


def genes_named(genes: Any, tables: AnnData) -> Any:
    """Return genes as ``_adata.take_gene_mask`` takes them, where a word says that all are."""
    is_word = isinstance(genes, str) and genes == ALL_GENES and ALL_GENES not in tables.var
    return None if is_word else genes


def treatment_of(
    verdict: ValuesVerdict, tables: AnnData, preparation: Preparation, where: str
) -> Treatment:
    """Decide what is done with values; refuse to choose genes by values that show none."""
    choose = preparation.may_choose(tables)
    if preparation.hvg == "counts" and preparation.n_top_genes is None:
        choose = choose and verdict.counts
    genes, n_top_genes, at_most = genes_named(preparation.genes, tables), preparation.n_genes, None
    if choose and tables.n_vars <= n_top_genes:
        choose, genes, at_most = False, None, n_top_genes
    if choose and not verdict.can_choose:
        raise ValueError(
            f"{where} holds scaled values, by which highly variable genes cannot be chosen; read "
            "counts or log values (`layer`, `use_raw=True`), or use all genes (`hvg=False`)"
        )
    n_used = n_top_genes
    if not choose:
        mask = _adata.take_gene_mask(tables, genes).mask
        n_used = tables.n_vars if mask is None else int(mask.sum())
    _warn_of_no_effect(preparation, verdict, where)
    return Treatment(
        verdict.counts and preparation.normalize is not False,
        verdict.counts and preparation.log1p is not False,
        bool(verdict.factors),
        preparation.keep_normalized is not False,
        n_top_genes if choose else None,
        genes,
        n_used,
        verdict,
        at_most,
    )


def _warn_of_no_effect(preparation: Preparation, verdict: ValuesVerdict, where: str) -> None:
    """Warn of what was asked for, and means nothing for these values."""
    if verdict.counts:
        return
    asked: dict[str, bool | None] = {
        "normalize": preparation.normalize,
        "log1p": preparation.log1p,
        # What is not normalized is not kept either.
        "keep_normalized": True if preparation.keep_normalized and not verdict.factors else None,
    }
    for name, value in asked.items():
        if value is not None:
            logger.warning(
                "`%s=%s` has no effect: %s holds values that are taken as they are",
                name, value, where,
            )  # fmt: skip


def warn_of_few_genes(n_genes: int) -> None:
    """Warn of so few genes that hardly any cells can be distinguished."""
    if n_genes < FEW_GENES:
        logger.warning(
            "distances are measured on only %d genes, which hardly distinguish cells; name others "
            "(`mask_var`)",
            n_genes,
        )


def chosen_genes(choose: Callable[[int], Any], treatment: Treatment) -> Any:
    """Return the genes, as a method takes them: chosen where that was decided."""
    if treatment.at_most is not None:
        logger.info("all genes are used; there are no more than %d", treatment.at_most)
    if treatment.choose is None:
        return treatment.genes
    genes = choose(treatment.choose)
    logger.info("chose %d of %d genes as highly variable in batches", genes.sum(), len(genes))
    return genes
