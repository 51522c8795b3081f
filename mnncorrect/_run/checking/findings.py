"""What ``check`` found: facts for programs, lines for people, and problems."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mnncorrect import _adata
from mnncorrect._adata.gene_names import kind_of_names
from mnncorrect._adata.lookup import listed, told_sizes
from mnncorrect._adata.record import entries
from mnncorrect._adata.slots import elements_of
from mnncorrect._io.pieces import joint_type
from mnncorrect._log import in_words
from mnncorrect._prepare.decide import COUNTED, described
from mnncorrect._prepare.steps import Preparation, Treatment, genes_named

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from mnncorrect._adata import Batches
    from mnncorrect._io.input_parts import Part
    from mnncorrect._prepare.fitness import Fitness, Relation
    from mnncorrect._prepare.inputs import JoinedInputs
    from mnncorrect.pp._arguments import Arguments

# With fewer cells than neighbors are looked at, every cell of a batch is a neighbor.
FEW_CELLS = 20
# More cells than this share without counts are droplets rather than cells.
MANY_EMPTY = 0.2
# Strengths of confounding from which on it is called strong, and is worth a word.
STRONG_CONFOUNDING, SOME = 0.5, 0.1
# A gene that a batch lacks is compared with zeros; a smaller share of common genes is warned of.
FEW_SHARED = 0.5


@dataclass
class Findings:
    """What was found: facts for programs, lines for people, and problems."""

    # For programs, and for people.
    facts: dict[str, Any] = field(default_factory=dict)
    lines: list[tuple[str, str]] = field(default_factory=list)
    # What is to be known, and what makes the input unfit.
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    # What each problem is of: "inputs", "batches", "arguments", "values", "genes used" or
    # "covariate".
    unfit_parts: list[str] = field(default_factory=list)
    # What a person has to decide before the next command is run as it is proposed.
    decisions: list[str] = field(default_factory=list)
    needed: dict[str, Any] = field(default_factory=dict)  # Arguments that the next run needs.
    # Arguments by which genes of several inputs match better than by their names.
    matching: dict[str, Any] = field(default_factory=dict)
    # Arguments that may tell the batches, where the call does not say; empty: none do.
    proposed: dict[str, Any] | None = None
    # Conditions on the cells that would solve a problem of the batches.
    conditions: list[str] = field(default_factory=list)
    # Cells and genes of all inputs; ``None``: they cannot be joined.
    tables: AnnData | None = None

    def unfit(self, name: str, problem: str) -> None:
        """Note what makes the input unfit, once."""
        if problem not in self.problems:
            self.problems.append(problem)
            self.unfit_parts.append(name)
            self.lines.append((name, f"not fit: {problem}"))

    def try_to(self, name: str, find: Callable[[], Any]) -> Any:
        """Find something out; what keeps it from being found makes the input unfit."""
        try:
            return find()
        except (KeyError, ValueError, TypeError) as error:
            self.conditions += getattr(error, "conditions", ())
            self.unfit(name, in_words(error))
            return None


def open_batches(tables: AnnData) -> str:
    """Say what has to be decided where nothing in the inputs tells the batches."""
    return (
        "what the batches are: give other files beside this one, or a column of obs with "
        f"--batch-key ({listed(tables.obs.columns) or 'obs has none'})"
    )


def tell_values(found: Findings, seen: Fitness, joined: JoinedInputs) -> None:
    """Say what the values are, and how many each cell has."""
    import numpy as np

    tables, judged = joined.tables, seen.judged
    container = "sparse" if any(piece.sparse for piece in joined.pieces) else "dense"
    formats = {getattr(piece.value, "format", "dense").upper() for piece in joined.pieces}
    dtype = str(joint_type([piece.dtype for piece in joined.pieces]))
    share = seen.n_above / (tables.n_obs * joined.pieces[0].shape[1])
    found.facts["values"] = {
        "where": joined.where,
        "kind": judged.kind,
        "base": judged.base,
        "smallest": judged.smallest,
        "largest": judged.largest,
        "n_negative": judged.n_negative,
        "n_nan": seen.n_nan,
        "n_infinite": seen.n_infinite,
        "share_above_zero": share,
        "scaled_to": seen.scaled_to,
        "container": container,
        "formats": sorted(formats),
        "dtype": dtype,
    }
    todo = "; run normalizes them" if judged.kind in COUNTED else ""
    span = f"{judged.smallest:.4g} to {judged.largest:.4g}"
    found.lines.append(("values", f"{joined.where}: {described(judged)}, {span}{todo}"))
    formats -= {"DENSE"}
    told = f" ({', '.join(sorted(formats))})" if formats else ""
    found.lines.append(("stored", f"{container}{told}, {dtype}, {share:.1%} above zero"))
    n_empty = int((seen.n_genes == 0).sum())
    name = "counts" if judged.kind == "counts" else "values above zero"
    found.facts["depth"] = {
        "median_total": float(np.median(seen.totals)),
        "median_genes": float(np.median(seen.n_genes)),
        "n_empty": n_empty,
    }
    depth = f"{np.median(seen.n_genes):.0f} genes in a cell (median)"
    if judged.kind == "counts":
        depth = (
            f"{np.median(seen.totals):.0f} counts of {np.median(seen.n_genes):.0f} genes in a cell "
            "(medians)"
        )
    empty = f"{n_empty} cells have no {name} at all" if n_empty else "no cell is empty"
    found.lines.append(("depth", f"{depth}; {empty}"))
    if n_empty < tables.n_obs and n_empty > MANY_EMPTY * tables.n_obs:
        found.warnings.append(
            f"{n_empty} of {tables.n_obs} cells have no {name}: are these all droplets? Take the "
            "filtered matrix, or leave out empty cells"
        )


def tell_embedding(found: Findings, use_rep: str, parts: Mapping[str, Part]) -> None:
    """Say what embedding is corrected as it is, and refuse one that cannot be."""
    widths = {_adata.take_embedding(part.adata, use_rep).shape[1] for part in parts.values()}
    found.facts["embedding"] = {"name": use_rep, "n_dims": max(widths)}
    told = " or ".join(map(str, sorted(widths)))
    found.lines.append(("values", f"obsm[{use_rep!r}]: {told} dimensions, corrected as they are"))


def tell_names(found: Findings, tables: AnnData) -> None:
    """Say whether names of cells and genes are doubled."""
    told = []
    for what, names in (("cells", tables.obs_names), ("genes", tables.var_names)):
        doubled = names[names.duplicated()]
        found.facts[f"n_doubled_{what}"] = len(doubled)
        if len(doubled):
            shown = listed(doubled.unique(), 3)
            told.append(f"{len(doubled)} {what} have a duplicate name ({shown})")
    found.lines.append(("names", "; ".join(told) or "unique for cells and genes"))
    if kind_of_names([str(name) for name in tables.var_names]) == "row numbers":
        columns = listed(tables.var.columns, 5)
        found.warnings.append(
            f"genes are named by row numbers ({listed(tables.var_names[:2])}), by which they match "
            "with no other file: " + (f"var has {columns}" if columns else "var is empty")
        )


def tell_batches(found: Findings, batches: Batches, key: Any) -> None:
    """Say how many batches there are, and their sizes."""
    sizes = dict(zip(batches.names, batches.sizes.tolist(), strict=True))
    found.facts["batches"] = {"key": key, "sizes": sizes}
    told = told_sizes(sizes)
    found.lines.append(("batches", f"{len(sizes)} in obs[{key!r}]: {told}"))
    few = [name for name, size in sizes.items() if size < FEW_CELLS]
    if few:
        found.warnings.append(
            f"batches of fewer than {FEW_CELLS} cells, whose pairs are unreliable: {listed(few, 5)}"
        )


def tell_arguments(found: Findings, arguments: Arguments) -> None:
    """Say what the arguments do, such as labels and protected covariates, and warn of them."""
    known = arguments.known
    if known.params:
        found.facts["guides"] = {**known.params, "told": list(known.told)}
    found.lines += [("guides", in_words(text)) for text in known.told]
    covariates = arguments.covariates
    if covariates is not None:
        found.facts["regressed"] = list(dict.fromkeys(covariates.columns))
        found.lines.append(("regressed", covariates.told))
    found.warnings += [*arguments.warnings, *arguments.doubts]


def tell_shared(found: Findings, seen: Fitness, batches: Batches) -> None:
    """Report how many genes have values in every batch; batches without values take no part."""
    by_batch = seen.seen.sum(1)
    taking_part = by_batch > 0
    in_all = int(seen.seen[taking_part].all(0).sum()) if taking_part.any() else 0
    in_some = int(seen.seen.any(0).sum())
    fewest = min(range(len(by_batch)), key=lambda batch: (not taking_part[batch], by_batch[batch]))
    found.facts["genes_in_batches"] = {
        "in_all": in_all,
        "in_some": in_some,
        "by_batch": dict(zip(batches.names, by_batch.tolist(), strict=True)),
    }
    text = f"{in_all} genes are above zero in every batch, {in_some} in some"
    if in_all < in_some:
        text += f"; fewest in {batches.names[fewest]}: {by_batch[fewest]}"
    found.lines.append(("shared", text))
    if 0 < in_all < FEW_SHARED * in_some:
        found.warnings.append(
            f"only {in_all} of {in_some} genes are above zero in every batch; the others "
            "distinguish batches, not cells"
        )


def tell_covariate(
    found: Findings, name: str, ties: Relation, values: pd.Series[Any], codes: NDArray[np.int64]
) -> None:
    """Report whether a covariate is distinguishable from the batches."""
    tie = ties.confounding
    found.facts["covariates"][name] = {
        "n_values": ties.n_values,
        "n_missing": ties.n_missing,
        "strength": tie.strength,
        "fixed": tie.fixed,
        "identical": tie.identical,
        "within": ties.within,
    }
    measure = f"{'R' if ties.quantity else 'V'} {tie.strength:.2f}"
    missing = f"; missing for {ties.n_missing} cells" if ties.n_missing else ""
    if ties.n_values < 2:
        text = "has one value only" if ties.n_values else "has no values"
    elif tie.identical:
        text = f"is identical with the batch ({measure}, {ties.n_values} values)"
        found.warnings.append(
            f"{name} is identical with the batch: the correction removes all differences "
            "between its values"
        )
    elif tie.fixed:
        text = f"has one value in each batch ({measure}, {ties.n_values} values)"
        # The value that most batches have: of one batch alone there is nothing to correct.
        of_batches = values.groupby(codes, observed=True).first().value_counts()
        value = f"{name}={of_batches.index[0]}"
        found.warnings.append(
            f"{name} has one value in each batch, so the correction can remove differences between "
            "its values; to keep them, correct the batches of each value separately: "
            f"--subset {shlex.quote(value)}"
        )
    elif ties.within and not ties.quantity:
        text = (
            f"divides batches: each of its {ties.n_values} values is in one batch ({measure}); "
            f"-b BATCH -b {shlex.quote(name)} corrects these too"
        )
    elif tie.strength >= STRONG_CONFOUNDING:
        text = f"is strongly associated with the batches ({measure}, {ties.n_values} values)"
        found.warnings.append(
            f"{name} is strongly associated with the batches ({measure}): the correction may "
            "remove part of the differences between its values"
        )
    elif tie.strength >= SOME:
        text = f"is weakly associated with the batches ({measure}, {ties.n_values} values)"
    else:
        text = f"is independent of the batches ({measure}, {ties.n_values} values)"
    found.lines.append(("covariate", f"{name} {text}{missing}"))


def tell_genes(
    found: Findings, tables: AnnData, treatment: Treatment | None, preparation: Preparation
) -> None:
    """Say which genes distances would be measured in; ``treatment``: as far as it is known."""
    chosen = _adata.take_gene_mask(tables, genes_named(preparation.genes, tables))
    used = tables.n_vars if chosen.mask is None else int(chosen.mask.sum())
    found.facts["genes_used"] = used
    text = "all" if chosen.column is None else f"{used} by var[{chosen.column!r}]"
    if treatment is not None and treatment.choose is not None:
        text += f"; run chooses {treatment.choose} highly variable ones"
    elif treatment is None and preparation.wanted(tables).genes:
        found.facts["genes_used"] = None
        text = f"none yet: run chooses {preparation.n_genes} where the values are fit"
    found.lines.append(("genes used", text))


def tell_places(found: Findings, joined: JoinedInputs, *, single: bool) -> None:
    """Say what else of a file can be corrected, and whether it has been."""
    if not single:
        return
    (part,) = joined.parts.values()
    adata = part.adata
    layers = {
        name: str(getattr(value, "dtype", ""))
        for name, value in elements_of(adata, "layers").items()
    }
    shapes = {name: value.shape for name, value in adata.obsm.items()}
    # What is no table of numbers is no embedding, and is not offered as one.
    obsm = {name: int(shape[1]) for name, shape in shapes.items() if len(shape) == 2}
    found.facts |= {"layers": list(layers), "obsm": obsm, "raw": adata.raw is not None}
    told = [f"--layer {shlex.quote(name)}" for name in layers]
    told += [f"--use-rep {shlex.quote(name)} ({n} dimensions)" for name, n in obsm.items()]
    told += ["--use-raw"] if adata.raw is not None else []
    if told:
        found.lines.append(("also there", ", ".join(told)))
    made = {
        name: str(entry["params"].get("key", ""))
        for name, entry in entries(adata.uns, "correction").items()
    }
    found.facts["corrections"] = made
    if made:
        names = ", ".join(f"uns[{name!r}] (batches: {key})" for name, key in made.items())
        found.lines.append(
            ("corrected", f"already, see info: {names}; {joined.where} itself was not changed")
        )
