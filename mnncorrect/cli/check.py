"""``mnncorrect check``."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from mnncorrect.cli.command import command
from mnncorrect.cli.options import Json, MemoryLimit, Reading, Resources

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from mnncorrect._adata import Batches
    from mnncorrect._adata.pieces import Piece
    from mnncorrect._fitness import Look, Relation
    from mnncorrect._parts import Part
    from mnncorrect.cli.prepare import Limits

# A column with more values than this is not offered as one that names batches.
MOST_BATCHES = 100
# Columns that are named so are offered first.
USUAL = ("batch", "sample", "donor", "lane", "dataset")
# With fewer cells than neighbours are looked at, every cell of a batch is a neighbour.
FEW_CELLS = 20
# More cells than this share without counts are droplets rather than cells.
MANY_EMPTY = 0.2
# Strengths of confounding from which on it is called strong, and is worth a word.
STRONG, SOME = 0.5, 0.1
# A gene that a batch lacks is compared with zeros; fewer common genes than this share are said.
FEW_SHARED = 0.5
WIDTH = 11
# What is found out of a block takes so many times its memory.
LOOKED_AT = 4
KINDS = {
    "counts": "counts",
    "log values": "log values",
    "scaled values": "centred or scaled values, some below zero",
    "zeros and ones": "zeros and ones only",
    "fractions": "fractions too large for logarithms",
}


@dataclass
class Findings:
    """What was found: facts for programs, lines for people, and what is amiss."""

    facts: dict[str, Any] = field(default_factory=dict)
    lines: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def try_to(self, name: str, find: Callable[[], Any]) -> Any:
        """Find something out; what keeps it from being found makes the input unfit."""
        try:
            return find()
        except (KeyError, ValueError, TypeError) as error:
            self.problems.append(str(error.args[0]))
            self.lines.append((name, f"not fit: {error.args[0]}"))
            return None


@dataclass(frozen=True)
class Opened:
    """The inputs put together, without their values.

    Attributes
    ----------
    tables
        Cells and genes.
    pieces
        The values.
    where
        Where these are.
    parts
        The inputs.
    """

    tables: AnnData
    pieces: list[Piece]
    where: str
    parts: Mapping[str, Part]


@command
def check(
    *,
    inputs: Annotated[
        list[Path] | None,
        Argument(
            metavar="INPUT",
            help="The h5ad file to look at, or what else concat reads. Several are looked at as if"
            " they were put together, each a batch unless --batch-key names a column.",
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        Option(
            "--sheet",
            metavar="SAMPLES.tsv",
            help="A table of the inputs instead, as concat takes it; its covariates are looked at.",
        ),
    ] = None,
    reading: Reading,
    covariate: Annotated[
        list[str] | None,
        Option(
            "--covariate",
            metavar="COLUMN",
            help="A column of obs: say whether it can be told apart from the batches. May be"
            " repeated.",
        ),
    ] = None,
    as_json: Json = False,
    memory_limit: MemoryLimit = "2G",
) -> None:
    """Say what the input holds, and whether it is fit to be corrected.

    What the values are, batches and their sizes, genes that all of them have, cells without counts,
    doubled names, covariates that go with the batch, what else can be corrected, and the command to
    run next. Exit code 1 if it is not fit. Without --batch-key, the columns that could name batches
    are listed. Values are read in blocks.

    Example: mnncorrect check pbmc.h5ad --batch-key donor

    Example: mnncorrect check pbmc.h5ad -b donor --covariate sex --covariate condition --json
    """
    from mnncorrect.cli.inputs import parts
    from mnncorrect.cli.prepare import limits
    from mnncorrect.cli.sheet import read_sheet

    if bool(inputs) == (sheet is not None):
        msg = "give either the inputs, or a table of them with --sheet"
        raise typer.BadParameter(msg)
    table = None if sheet is None else read_sheet(sheet)
    paths = (inputs or []) if table is None else table.paths
    with (
        limits(Resources(memory_limit=memory_limit), None) as limit,
        parts(paths, limit.scratch, None if table is None else table.about) as several,
    ):
        covariates = list(covariate or [])
        if table is not None:
            covariates += [name for name in table.about[0] if name not in {"batch", *covariates}]
        found = _find(paths, several, reading, covariates, limit, sheet)
    if as_json:
        typer.echo(json.dumps(found.facts, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        typer.echo("\n".join(f"{name:<{WIDTH}} {text}" for name, text in found.lines))
    if found.problems:
        more = f" (and {len(found.problems) - 1} more)" if len(found.problems) > 1 else ""
        msg = f"not fit to be corrected: {found.problems[0]}{more}"
        raise ValueError(msg)


def _find(
    paths: Sequence[Path],
    several: Mapping[str, Part],
    reading: Reading,
    covariates: Sequence[str],
    limit: Limits,
    sheet: Path | None,
) -> Findings:
    import numpy as np

    from mnncorrect import _adata, _fitness, _parts

    found = Findings()
    facts, lines = found.facts, found.lines
    opened = _opened(several, reading, together=len(paths) > 1 or sheet is not None)
    tables = opened.tables
    facts["inputs"] = [str(path) for path in paths]
    facts["n_cells"], facts["n_genes"] = tables.shape
    lines += [("cells", str(tables.n_obs)), ("genes", str(tables.n_vars))]
    key: Any = reading.batch_key or ([] if len(paths) == 1 and sheet is None else None)
    if key is None:
        key = ["batch" if sheet is not None else _parts.FILE_KEY]
    key = key[0] if len(key) == 1 else key
    batches = found.try_to("batches", lambda: _adata.take_batches(tables, key)) if key else None
    codes = np.zeros(tables.n_obs, np.int64) if batches is None else batches.codes
    seen = found.try_to(
        "values",
        lambda: _fitness.look(
            opened.pieces, codes, limit.scratch, block_bytes=limit.block // LOOKED_AT
        ),
    )
    if seen is not None:
        _tell_values(found, seen, opened)
    _tell_names(found, tables)
    if batches is not None:
        _tell_batches(found, batches, key)
        if seen is not None:
            _tell_shared(found, seen, batches)
    elif not key:
        facts["batches"] = None
        facts["candidates"] = _candidates(tables.obs)
        offered = ", ".join(f"{name} ({n})" for name, n in facts["candidates"].items()) or "none"
        lines.append(("batches", f"no --batch-key given; columns that could be: {offered}"))
    facts["covariates"] = {}
    for name in covariates:
        ties = found.try_to("covariate", lambda name=name: _relation(tables, codes, name))  # type: ignore[misc]
        if ties is not None and batches is not None:
            _tell_covariate(found, name, ties, tables.obs[name], codes)
    found.try_to("genes used", lambda: _tell_genes(found, tables))
    _tell_places(found, opened, single=len(several) == 1)
    facts["warnings"], facts["problems"] = found.warnings, found.problems
    facts["fit"] = not found.problems
    lines += [("warning", text) for text in found.warnings]
    facts["next"] = _next(found, paths, key, seen, sheet)
    verdict = "yes" if facts["fit"] else "no"
    if not key:
        verdict = f"{verdict}, as far as can be told without batches"
    lines += [("fit", verdict), ("next", facts["next"])]
    return found


def _opened(several: Mapping[str, Part], reading: Reading, *, together: bool) -> Opened:
    """Put the tables of inputs together, and find their values."""
    import warnings

    import anndata
    import numpy as np

    from mnncorrect import _adata, _concat, _subset
    from mnncorrect._adata.matrix import take_values
    from mnncorrect._adata.pieces import Piece

    subset = reading.subset or ()
    where = _adata.describe_source(reading.layer, use_raw=reading.use_raw)
    rows: Mapping[str, Any]
    columns: Mapping[str, Any]
    if together:
        plan = _concat.planned(
            several, gene_key=reading.gene_key, use_raw=reading.use_raw, subset=subset
        )
        obs, var, rows, columns = plan.obs, plan.var, plan.rows, plan.columns
    else:
        ((name, part),) = several.items()
        keep = _subset.meeting(part.adata.obs, subset) if subset else None
        obs = part.adata.obs if keep is None else part.adata.obs[keep]
        genes = part.genes
        var = part.adata.var if genes is None else part.adata.var[genes]
        rows, columns = {name: keep}, {name: None if genes is None else np.flatnonzero(genes)}
    pieces = []
    for name, part in several.items():
        if together and reading.use_raw:
            values, at = part.adata.raw.X, None
        else:
            values, at = take_values(part.adata, layer=reading.layer, use_raw=reading.use_raw)
        place = f"{where} of {name}" if len(several) > 1 else where
        pieces.append(Piece(values, place, rows[name], columns[name] if at is None else at))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*names are not unique")
        return Opened(anndata.AnnData(obs=obs, var=var), pieces, where, several)


def _tell_values(found: Findings, seen: Look, opened: Opened) -> None:
    import numpy as np

    from mnncorrect._adata.pieces import joint_type

    tables, span = opened.tables, seen.range
    container = "sparse" if any(piece.sparse for piece in opened.pieces) else "dense"
    formats = {getattr(piece.value, "format", "dense").upper() for piece in opened.pieces}
    dtype = str(joint_type([piece.dtype for piece in opened.pieces]))
    share = seen.n_above / (tables.n_obs * tables.n_vars)
    found.facts["values"] = {
        "where": opened.where,
        "kind": seen.kind,
        "smallest": span.smallest,
        "largest": span.largest,
        "n_negative": span.n_negative,
        "n_nan": seen.n_nan,
        "n_infinite": seen.n_infinite,
        "share_above_zero": share,
        "scaled_to": seen.scaled_to,
        "container": container,
        "formats": sorted(formats),
        "dtype": dtype,
    }
    todo = "; run normalises them" if seen.kind == "counts" else ""
    if seen.scaled_to is not None and seen.kind == "log values":
        todo = f", of values scaled to {seen.scaled_to:.6g} in each cell"
    text = f"{opened.where}: {KINDS[seen.kind]}, {span.smallest:.4g} to {span.largest:.4g}{todo}"
    found.lines.append(("values", text))
    formats -= {"DENSE"}
    told = f" ({', '.join(sorted(formats))})" if formats else ""
    found.lines.append(("stored", f"{container}{told}, {dtype}, {share:.1%} above zero"))
    n_bad = seen.n_nan + seen.n_infinite
    if n_bad and seen.first_bad is not None:
        cell, gene = (
            str(names[at])
            for names, at in zip((tables.obs_names, tables.var_names), seen.first_bad, strict=True)
        )
        problem = (
            f"{opened.where} has {n_bad} values that are not finite ({seen.n_nan} NaN, "
            f"{seen.n_infinite} infinite); the first is cell {cell!r}, {gene!r}; leave out or fill "
            "in these values"
        )
        _unfit(found, "values", problem)
    if span.are_counts and span.n_negative:
        problem = (
            f"{opened.where} holds {span.n_negative} negative values, down to {span.smallest:g}, "
            "and counts cannot be negative; correct them, or say --no-counts to run if these are "
            "not counts"
        )
        _unfit(found, "values", problem)
    elif span.n_negative:
        found.warnings.append(
            f"{opened.where} has {span.n_negative} values below zero: the methods expect counts or "
            "their logarithms, not scaled or centred ones"
        )
    if seen.kind == "fractions":
        found.warnings.append(
            f"{opened.where} holds fractions up to {span.largest:g}: normalised counts without "
            "logarithm, or counts made fractions; say --counts to run to have the logarithm taken"
        )
    n_empty = int((seen.n_genes == 0).sum())
    name = "counts" if seen.kind == "counts" else "values above zero"
    found.facts["depth"] = {
        "median_total": float(np.median(seen.totals)),
        "median_genes": float(np.median(seen.n_genes)),
        "n_empty": n_empty,
    }
    depth = f"{np.median(seen.n_genes):.0f} genes in a cell"
    if seen.kind == "counts":
        depth = f"{np.median(seen.totals):.0f} counts of {depth}"
    empty = f"{n_empty} cells have no {name} at all" if n_empty else "no cell is empty"
    found.lines.append(("depth", f"{depth} (medians); {empty}"))
    if n_empty == tables.n_obs:
        _unfit(found, "depth", f"no cell has any {name}; name the right values with --layer")
    elif n_empty > MANY_EMPTY * tables.n_obs:
        found.warnings.append(
            f"{n_empty} of {tables.n_obs} cells have no {name}: are these all droplets? Take the "
            "filtered matrix, or leave out empty cells"
        )


def _unfit(found: Findings, name: str, problem: str) -> None:
    found.problems.append(problem)
    found.lines.append((name, f"not fit: {problem}"))


def _tell_names(found: Findings, tables: AnnData) -> None:
    from mnncorrect._adata.lookup import listed

    told = []
    for what, names in (("cells", tables.obs_names), ("genes", tables.var_names)):
        doubled = names[names.duplicated()]
        found.facts[f"n_doubled_{what}"] = len(doubled)
        if len(doubled):
            shown = listed(doubled.unique(), 3)
            told.append(f"{len(doubled)} {what} have the name of an earlier one ({shown})")
    found.lines.append(("names", "; ".join(told) or "each cell and gene has its own"))


def _tell_batches(found: Findings, batches: Batches, key: Any) -> None:
    from mnncorrect._adata.lookup import listed
    from mnncorrect._parts import told_sizes

    sizes = dict(zip(batches.names, batches.sizes.tolist(), strict=True))
    found.facts["batches"] = {"key": key, "sizes": sizes}
    told = told_sizes(sizes)
    found.lines.append(("batches", f"{len(sizes)} in obs[{key!r}]: {told}"))
    few = [name for name, size in sizes.items() if size < FEW_CELLS]
    if few:
        found.warnings.append(
            f"batches of fewer than {FEW_CELLS} cells, whose pairs say little: {listed(few, 5)}"
        )


def _tell_shared(found: Findings, seen: Look, batches: Batches) -> None:
    """Say how many genes all batches have values of."""
    by_batch = seen.seen.sum(1)
    in_all, in_some = int(seen.seen.all(0).sum()), int(seen.seen.any(0).sum())
    fewest = int(by_batch.argmin())
    found.facts["genes_in_batches"] = {
        "in_all": in_all,
        "in_some": in_some,
        "by_batch": dict(zip(batches.names, by_batch.tolist(), strict=True)),
    }
    text = f"{in_all} genes are above zero in every batch, {in_some} in some"
    if in_all < in_some:
        text += f"; fewest in {batches.names[fewest]}: {by_batch[fewest]}"
    found.lines.append(("shared", text))
    if in_all == 0 and in_some:
        _unfit(found, "shared", "no gene is above zero in every batch: are genes named alike?")
    elif in_all < FEW_SHARED * in_some:
        found.warnings.append(
            f"only {in_all} of {in_some} genes are above zero in every batch; the others tell "
            "batches apart, not cells"
        )


def _relation(tables: AnnData, codes: Any, name: str) -> Relation:
    from mnncorrect._adata.lookup import require
    from mnncorrect._fitness import relation

    require(name, tables.obs.columns, "--covariate: obs")
    return relation(codes, tables.obs[name])


def _tell_covariate(
    found: Findings, name: str, ties: Relation, values: pd.Series[Any], codes: NDArray[np.int64]
) -> None:
    """Say in plain words whether a covariate can be told apart from the batches."""
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
        text = f"is the batch by another name ({measure}, {ties.n_values} values)"
        found.warnings.append(
            f"{name} is the batch by another name: all that differs between its values is taken "
            "for batch effect"
        )
    elif tie.fixed:
        text = f"has one value in each batch ({measure}, {ties.n_values} values)"
        # The value that most batches have: of one batch alone there is nothing to correct.
        of_batches = values.groupby(codes, observed=True).first().value_counts()
        value = f"{name}={of_batches.index[0]}"
        found.warnings.append(
            f"{name} has one value in each batch, so what differs between its values is taken for "
            "batch effect where cells are alike; to keep that, correct the batches of each value "
            f"apart: --subset {shlex.quote(value)}"
        )
    elif ties.within and not ties.quantity:
        text = (
            f"divides batches: each of its {ties.n_values} values is in one batch ({measure}); "
            f"-b BATCH -b {shlex.quote(name)} corrects these too"
        )
    elif tie.strength >= STRONG:
        text = f"goes strongly with the batches ({measure}, {ties.n_values} values)"
        found.warnings.append(
            f"{name} goes strongly with the batches ({measure}): part of what differs between its "
            "values may be taken for batch effect"
        )
    elif tie.strength >= SOME:
        text = f"goes with the batches somewhat ({measure}, {ties.n_values} values)"
    else:
        text = f"is spread alike over the batches ({measure}, {ties.n_values} values)"
    found.lines.append(("covariate", f"{name} {text}{missing}"))


def _tell_genes(found: Findings, tables: AnnData) -> None:
    from mnncorrect import _adata

    chosen = _adata.take_gene_mask(tables, _adata.UNSET)
    used = tables.n_vars if chosen.mask is None else int(chosen.mask.sum())
    found.facts["genes_used"] = used
    text = "all; run chooses highly variable ones"
    if chosen.mask is not None:
        text = f"{used} by var[{chosen.column!r}]"
    found.lines.append(("genes used", text))


def _tell_places(found: Findings, opened: Opened, *, single: bool) -> None:
    """Say what else of a file can be corrected, and whether it has been."""
    if not single:
        return
    (part,) = opened.parts.values()
    adata = part.adata
    layers = {name: str(getattr(value, "dtype", "")) for name, value in adata.layers.items()}
    obsm = {name: int(value.shape[1]) for name, value in adata.obsm.items()}
    found.facts |= {"layers": list(layers), "obsm": obsm, "raw": adata.raw is not None}
    told = [f"--layer {shlex.quote(name)}" for name in layers]
    told += [f"--use-rep {shlex.quote(name)} ({n} dimensions)" for name, n in obsm.items()]
    told += ["--use-raw"] if adata.raw is not None else []
    if told:
        found.lines.append(("also there", ", ".join(told)))
    made = {
        name: str(entry["params"].get("key", ""))
        for name, entry in adata.uns.items()
        if isinstance(entry, dict) and {"merges", "params"} <= set(entry)
    }
    found.facts["corrections"] = made
    if made:
        names = ", ".join(f"uns[{name!r}] (batches: {key})" for name, key in made.items())
        found.lines.append(
            ("corrected", f"already, see info: {names}; {opened.where} itself was not changed")
        )


def _next(
    found: Findings, paths: Sequence[Path], key: Any, seen: Look | None, sheet: Path | None
) -> str:
    """Return the command to run next."""
    given = " ".join(shlex.quote(str(path)) for path in paths)
    if sheet is not None:
        return f"mnncorrect concat --sheet {shlex.quote(str(sheet))} -o joined.h5ad"
    if not key:
        columns = list(found.facts["candidates"])
        usual = [name for name in USUAL if name in columns]
        name = shlex.quote((usual or columns or ["COLUMN"])[0])
        return f"mnncorrect check {given} -b {name}"
    if found.problems:
        return "mend what is said to be not fit, and check again"
    keys = [key] if isinstance(key, str) else key
    words = [f"-b {shlex.quote(name)}" for name in keys] if len(paths) == 1 else []
    raws = found.facts.get("raw") or "counts" in found.facts.get("layers", [])
    if seen is not None and seen.kind == "scaled values" and raws:
        words.append("--layer counts" if "counts" in found.facts["layers"] else "--use-raw")
    stem = paths[0].name.removesuffix(paths[0].suffix) if len(paths) == 1 else "joined"
    output = shlex.quote(f"{stem}.corrected.h5ad")
    return " ".join(["mnncorrect run", given, *words, "-o", output])


def _candidates(obs: pd.DataFrame) -> dict[str, int]:
    """Return the columns of obs with more than one value and not too many."""
    import pandas as pd

    is_number: Callable[[Any], bool] = pd.api.types.is_float_dtype
    counted = {
        str(column): int(obs[column].nunique())
        for column in obs
        if not is_number(obs[column].dtype)
    }
    most = min(MOST_BATCHES, len(obs) // 2)
    return {column: n for column, n in counted.items() if 2 <= n <= most}
