"""Decide what is done with values by what they are, the same for all commands and calls.

:func:`decide` refuses values that no correction can use, mixtures of unlike values and values that
could be either counts or logarithms. Whoever knows better says so: ``--counts`` or ``--no-counts``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect._adata.lookup import listed
from mnncorrect.core.matrix.value_kinds import Judged, Statistics, judge

# What is treated as counts.
COUNTED = ("counts", "fractional counts", "normalized values")
# What cells are scaled to where their sums do not tell how many molecules were counted.
USUAL_TOTAL = 1e4
# Sums of cells between which values are counts; and between which numbers of 32 bits can hold them.
LEAST_COUNTS, MOST_COUNTS = 1.0, 1e9
LEAST_SUM, MOST_SUM = 1e-33, 1e37
# A batch of so many cells whose median cell has fewer counts than this is of droplets, not cells.
SOME_CELLS, FEW_COUNTS = 20, 50
# Log values of batches whose totals differ by this factor, or more, are brought to one total. They
# differ by less where batches were normalized to one coverage, or each to its median total.
FAR_APART = 1.5
# Batches that a message names of each kind.
LISTED = 4
KIND_NAMES = {
    "counts": "counts",
    "fractional counts": "counts with fractions",
    "normalized values": "normalized values without logarithm",
    "log values": "log values",
    "scaled values": "scaled or centered values, some below zero",
    "zeros and ones": "zeros and ones only",
    "all zero": "zeros only",
    "unclear": "fractions that may be counts or log values",
}
LOGARITHMS = {float(np.e): "natural logarithm", 2.0: "log2", 10.0: "log10"}


class UnclearValues(ValueError):  # noqa: N818
    """Values that may be counts or log values, of which the user has to say which."""


class MixedValues(ValueError):  # noqa: N818
    """Values of several kinds; ``proven``: whether that is proven of each."""

    def __init__(self, message: str, *, proven: bool) -> None:
        super().__init__(message)
        self.proven = proven


@dataclass(frozen=True)
class JudgedGroups:
    """Cells whose values are judged together."""

    codes: NDArray[np.int64]  # The number of each cell's group.
    names: Sequence[str]  # Of the groups.


@dataclass(frozen=True)
class ValuesVerdict:
    """What values are, and what is therefore done with them."""

    judged: Judged  # What the values are, of all cells together.
    groups: Mapping[str, Judged]  # What those of each batch or file are, by name.
    # Whether they are treated as counts: scaled to a total, and their logarithm taken.
    counts: bool
    told: bool = False  # Whether that is what the user said.
    # The total that cells of counts are scaled to; ``None``: the median of their totals.
    target: float | None = None
    # Of each group of cells, what its log values are multiplied by without the logarithm, so that
    # all groups have the same total; empty: nothing.
    factors: tuple[float, ...] = ()
    warnings: list[str] = field(default_factory=list)  # What is doubtful.

    @property
    def totals(self) -> list[str]:
        """Name the groups of log values with the total that each was scaled to."""
        known = ((name, one.total) for name, one in self.groups.items())
        return [f"{name} {total:g}" for name, total in known if total is not None]

    @property
    def can_choose(self) -> bool:
        """Whether highly variable genes can be chosen by these values."""
        return self.counts or self.judged.kind != "scaled values"


def recorded(judged: Judged) -> dict[str, Any]:
    """Return what is recorded of values: what they are, and base and total of log values."""
    about: dict[str, Any] = {"values": judged.kind}
    if judged.base is not None:
        about["log_base"] = judged.base
        if judged.total is not None:
            about["log_total"] = judged.total
    return about


def described(judged: Judged) -> str:
    """Say what values are.

    Examples
    --------
    >>> from mnncorrect.core.matrix.value_kinds import Judged
    >>> described(Judged("log values", base=2.0, total=1e4))
    'log values (log2, scaled to 10000)'
    """
    if judged.mixed:
        return f"{KIND_NAMES[judged.kind]} mixed with others"
    about = [LOGARITHMS[judged.base]] if judged.base is not None else []
    about += [f"scaled to {judged.total:.6g}"] if judged.total is not None else []
    return f"{KIND_NAMES[judged.kind]} ({', '.join(about)})" if about else KIND_NAMES[judged.kind]


def decide(
    looks: Statistics,
    where: str,
    *,
    groups: JudgedGroups | None = None,
    counts: bool | None = None,
    layers: Sequence[str] = (),
    can_tell: bool = True,
) -> ValuesVerdict:
    """Decide what is done with values, or refuse those that are unclear, mixed or unfit.

    ``where`` they were read and other places (``layers``) are for the advice. ``groups`` are
    batches or files, whose values are judged each for themselves. ``counts``: whether they are
    counts, if the user says so; ``can_tell``: whether the user can.
    """
    (of_all,) = judge(looks)
    by_name = {where: of_all}
    if groups is not None:
        by_name = dict(zip(groups.names, judge(looks, groups.codes), strict=True))
    _refuse_useless(of_all, where, layers)
    telling = {name: one for name, one in by_name.items() if one.tells}
    chief = _chief(telling, of_all)
    if counts is None:
        _refuse_mixture(telling, where, can_tell=can_tell)
    # Who says that these are no counts has seen the values below zero.
    if counts is True or (counts is None and chief.kind == "counts"):
        _refuse_negative(of_all, where, can_tell=can_tell)
    if counts is not None:
        return _as_told(chief, by_name, of_all, where, counts=counts)
    if chief.mixed or chief.kind in ("unclear", "zeros and ones"):
        raise UnclearValues(
            f"{where} holds {described(chief)} ({of_all.smallest:.4g} to {of_all.largest:.4g})"
            f"{_remedy(can_tell=can_tell)}"
        )
    are_counts = chief.kind in COUNTED
    warnings = _doubts(by_name, chief, of_all, where)
    target = USUAL_TOTAL if are_counts and not _plausible(chief) else None
    factors = _group_factors(by_name, chief)
    return ValuesVerdict(chief, by_name, are_counts, False, target, factors, warnings)


def _remedy(*, can_tell: bool) -> str:
    if not can_tell:
        return "; give log values of one kind"
    return (
        "; set `counts=True` to normalize them and take their logarithm, or `counts=False` to use "
        "them unchanged"
    )


def _plausible(judged: Judged) -> bool:
    """Return whether the sums of cells are numbers of molecules."""
    of_counts = judged.kind != "normalized values"
    return of_counts and LEAST_COUNTS <= judged.median_total <= MOST_COUNTS


def _chief(telling: Mapping[str, Judged], of_all: Judged) -> Judged:
    """Return what all values are, as the groups that tell say it; they agree, or are refused."""
    if not telling:
        return of_all
    some = list(telling.values())
    kinds = {one.kind for one in some}
    first = max(some, key=lambda one: one.n_cells)
    kind = first.kind
    if "fractional counts" in kinds and kinds <= set(COUNTED):
        kind = "fractional counts"
    bases = {one.base for one in some} - {None}
    totals = [one.total for one in some if one.total is not None]
    known = len(totals) == len(some)
    return Judged(
        kind,
        bases.pop() if len(bases) == 1 else None,
        float(np.sort(totals)[len(totals) // 2]) if known else None,
        of_all.smallest,
        of_all.largest,
        of_all.n_negative,
        of_all.whole,
        of_all.n_cells,
        of_all.n_empty,
        of_all.median_total,
        proven=all(one.proven for one in some),
    )


def _refuse_useless(of_all: Judged, where: str, layers: Sequence[str]) -> None:
    """Refuse values that are all the same, or that numbers of 32 bits cannot hold once scaled."""
    if of_all.kind == "all zero":
        advice = "name a layer with other values: `layer`"
        if layers:
            advice = f"name the layer that has the values with `layer`: {listed(layers, 5)}"
        raise ValueError(f"{where} holds zeros only: no cell has a value above zero; {advice}")
    if of_all.smallest == of_all.largest:
        raise ValueError(
            f"{where} holds one value only, {of_all.largest:g}: all cells are the same; name the "
            "right values: `layer`"
        )
    if of_all.kind != "scaled values" and not LEAST_SUM < of_all.median_total < MOST_SUM:
        raise ValueError(
            f"{where} holds values from {of_all.smallest:.4g} to {of_all.largest:.4g}, with a sum "
            f"of {of_all.median_total:.4g} in a cell (median): neither counts nor log values; name "
            "the right values: `layer`"
        )


def _refuse_negative(of_all: Judged, where: str, *, can_tell: bool) -> None:
    if of_all.n_negative:
        remedy = "set `counts=False` if these are not counts"
        raise ValueError(
            f"{where} holds {of_all.n_negative} negative values, down to {of_all.smallest:g}, and "
            f"counts cannot be negative; correct them{', or ' + remedy if can_tell else ''}"
        )


def _as_told(
    chief: Judged, groups: Mapping[str, Judged], of_all: Judged, where: str, *, counts: bool
) -> ValuesVerdict:
    """Take values for what the user says, and say where they look like something else."""
    warnings = []
    if counts and chief.kind in ("log values", "normalized values"):
        warnings.append(f"{where} holds {described(chief)}; treated as counts, as given")
    elif counts and not of_all.whole:
        warnings.append(f"{where} holds fractions; treated as counts, as given")
    elif not counts and chief.kind == "counts":
        warnings.append(
            f"{where} holds whole numbers, which look like counts; used unchanged, as given"
        )
    elif not counts and chief.kind in COUNTED:
        warnings.append(f"{where} holds {described(chief)}; used unchanged, as given")
    if not counts and of_all.n_negative:
        warnings.append(_scaled(of_all, where))
    target = None
    if counts and not LEAST_COUNTS <= of_all.median_total <= MOST_COUNTS:
        target = USUAL_TOTAL
    return ValuesVerdict(chief, groups, counts, True, target, (), warnings)


def _scaled(of_all: Judged, where: str) -> str:
    return (
        f"{where} holds {of_all.n_negative} negative values: is it scaled? The method expects log "
        "values that are not centered; read them elsewhere with `layer` or `use_raw=True`"
    )


def _refuse_mixture(telling: Mapping[str, Judged], where: str, *, can_tell: bool) -> None:
    """Refuse values that are not of one kind, and name which are of which."""
    families: dict[str, list[str]] = {}
    has_counts = any(one.kind in ("counts", "fractional counts") for one in telling.values())
    for name, one in telling.items():
        family = described(one)
        if one.mixed:
            pass
        elif one.kind in ("counts", "fractional counts"):
            family = KIND_NAMES["counts"]
        elif one.kind == "normalized values":
            # Without a total, these and counts with fractions are hardly distinguishable.
            family = KIND_NAMES["counts" if one.total is None and has_counts else one.kind]
        elif one.kind == "log values":
            # A logarithm of unknown base may be of any, and totals can be made the same.
            family = KIND_NAMES[one.kind]
            if one.base is not None:
                family = f"{family} ({LOGARITHMS[one.base]})"
        families.setdefault(family, []).append(name)
    if len(families) > 1 and KIND_NAMES["log values"] in families:
        logs = [name for name in families if name.startswith(f"{KIND_NAMES['log values']} (")]
        if logs:
            families[logs[0]] += families.pop(KIND_NAMES["log values"])
    if len(families) < 2 and not any(one.mixed for one in telling.values()):
        return
    told = "; ".join(f"{family} in {listed(names, LISTED)}" for family, names in families.items())
    remedy = "read values of one kind from each (`layer`, `use_raw=True`), or bring all to one kind"
    if can_tell:
        remedy += "; `counts=True` and `counts=False` treat all values as one kind"
    raise MixedValues(
        f"{where} holds values of different kinds: {told}; {remedy}",
        proven=all(one.proven for one in telling.values()),
    )


def _doubts(groups: Mapping[str, Judged], chief: Judged, of_all: Judged, where: str) -> list[str]:
    """Say what is doubtful of values of one kind."""
    doubts = []
    if chief.kind == "scaled values":
        doubts.append(_scaled(of_all, where))
    if chief.kind in ("counts", "normalized values"):
        doubts += _unlike_counts(groups, where)
    if chief.kind in ("counts", "fractional counts"):
        fractional = [name for name, one in groups.items() if one.kind == "fractional counts"]
        if fractional and chief.kind == "fractional counts":
            of = "" if len(fractional) == len(groups) else f" in {listed(fractional, LISTED)}"
            doubts.append(
                f"{where} holds counts with fractions{of}, as SoupX, CellBender, alevin and RSEM "
                "make them, or other values without logarithm; they are treated as counts"
            )
        shallow = [
            f"{name} ({one.median_total:.4g} in a cell)"
            for name, one in groups.items()
            if one.n_cells >= SOME_CELLS and one.tells and one.median_total < FEW_COUNTS
        ]
        if shallow:
            doubts.append(
                f"cells have so few counts that they resemble empty droplets: "
                f"{listed(shallow, LISTED)} (medians); give the filtered matrix, or leave out cells"
            )
    return doubts


def _unlike_counts(groups: Mapping[str, Judged], where: str) -> list[str]:
    """Say which groups hold counts, and which values that may be made of counts, if both occur."""
    kinds: dict[str, list[str]] = {}
    for name, one in groups.items():
        if one.tells and one.kind in COUNTED:
            kinds.setdefault(KIND_NAMES[one.kind], []).append(name)
    if len(kinds) < 2:
        return []
    told = "; ".join(f"{kind} in {listed(names, LISTED)}" for kind, names in kinds.items())
    return [f"{where} holds {told}; all are treated as counts"]


def _group_factors(groups: Mapping[str, Judged], chief: Judged) -> tuple[float, ...]:
    """Return what brings log values of each group to the same total; nothing if they have it."""
    if chief.kind != "log values" or chief.base is None or chief.total is None:
        return ()
    factors = [1.0 if one.total is None else chief.total / one.total for one in groups.values()]
    alike = max(factors) / min(factors) < FAR_APART
    return () if alike else tuple(factors)
