"""What is done with the values of an input, decided once: for the command and for its dry run."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import typer

from mnncorrect.cli.methods import genes_wanted, given

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect._prepare.decide import Verdict
    from mnncorrect.cli.options.correction import Correction, Preparing

logger = logging.getLogger("mnncorrect")


@dataclass(frozen=True)
class Steps:
    """What is done with values.

    Attributes
    ----------
    total, log1p
        Whether cells are scaled to a total, and the logarithm is taken.
    rescale
        Whether log values of several totals are brought to one.
    choose
        Whether highly variable genes are chosen.
    keep
        Whether what was normalized is kept.
    """

    total: bool
    log1p: bool
    rescale: bool
    choose: bool
    keep: bool

    @property
    def changes(self) -> bool:
        """Whether values are changed before they are corrected."""
        return self.total or self.log1p or self.rescale


def resolved(context: typer.Context, preparing: Preparing, correction: Correction) -> Preparing:
    """Take a number of genes for the wish to choose that many; refuse options that contradict it.

    Raises
    ------
    typer.BadParameter
        Genes are to be chosen, and are named as well.
    """
    if not given(context, "n_top_genes"):
        return preparing
    if preparing.hvg is False:
        msg = "--n-top-genes says how many genes are chosen, and --no-hvg that none are"
        raise typer.BadParameter(msg)
    if correction.mask_var is not None:
        msg = (
            "--n-top-genes says how many genes are chosen, and --mask-var which are used: leave "
            "one of them out"
        )
        raise typer.BadParameter(msg)
    return replace(preparing, hvg=True)


def without_effect(context: typer.Context, verdict: Verdict, where: str) -> None:
    """Warn of options that were given, and mean nothing for these values."""
    if verdict.counts:
        return
    for name in ("normalise", "log1p", "keep_normalised"):
        if given(context, name) and not (name == "keep_normalised" and verdict.factors):
            no = "no-" if context.params.get(name) is False else ""
            logger.warning(
                "--%s%s has no effect: %s holds values that are taken as they are",
                no, name.replace("_", "-"), where,
            )  # fmt: skip


def may_choose(var: AnnData, preparing: Preparing, correction: Correction, *, always: bool) -> bool:
    """Tell whether genes may have to be chosen, depending on what values are."""
    from mnncorrect import _adata
    from mnncorrect._adata.matrix import HIGHLY_VARIABLE

    if preparing.hvg is not None:
        return preparing.hvg
    open_to_choice = isinstance(genes_wanted(var, correction), _adata.Unset)
    open_to_choice = open_to_choice and HIGHLY_VARIABLE not in var.var
    return open_to_choice and (always or preparing.counts is not False)


def steps_of(
    verdict: Verdict,
    tables: AnnData,
    preparing: Preparing,
    correction: Correction,
    where: str,
    *,
    always: bool,
) -> Steps:
    """Decide what is done with values.

    Parameters
    ----------
    verdict
        What the values are.
    tables
        The object, or its tables alone.
    preparing, correction
        The options.
    where
        Where the values were read.
    always
        Whether genes are chosen, and what was normalized is kept, where the options leave it open;
        genes are chosen of counts at least.

    Raises
    ------
    ValueError
        Genes are to be chosen by values that do not tell how much they vary.
    """
    choose = may_choose(tables, preparing, correction, always=always)
    choose = choose and (always or verdict.counts or bool(preparing.hvg))
    if choose and not verdict.can_choose and tables.n_vars > preparing.n_top_genes:
        msg = (
            f"{where} holds scaled values, by which highly variable genes cannot be chosen; read "
            "counts or log values (--layer, --use-raw), or use all genes (--no-hvg)"
        )
        raise ValueError(msg)
    return Steps(
        verdict.counts and preparing.normalise,
        verdict.counts and preparing.log1p,
        bool(verdict.factors),
        choose,
        always if preparing.keep_normalised is None else preparing.keep_normalised,
    )


def warn_of_few_genes(n_genes: int) -> None:
    """Warn, before the correction does, of so few genes that hardly any cells are told apart."""
    from mnncorrect.pp._corrections import FEW_GENES

    if n_genes < FEW_GENES:
        logger.warning(
            "distances are measured on %d genes only, which tell hardly any cells apart; use more "
            "(--n-top-genes, --mask-var)",
            n_genes,
        )
