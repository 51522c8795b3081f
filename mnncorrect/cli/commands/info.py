"""``mnncorrect info``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import typer

from mnncorrect.cli import streams
from mnncorrect.cli.options.shared import Json
from mnncorrect.cli.runtime.command import command

# Fields of rows that tables show; columns that no row has are left out.
INFO_MERGES = (
    "merge", "left", "right", "pairs", "skipped", "batch_size", "evidence", "shared", "recall",
    "worst_recall",
)  # fmt: skip
PROJECTED_FIELDS = ("batch", "n_obs", "known", "skipped", "pairs", "evidence")
FIT_FIELDS = ("n_components", "bic", "icl", "log_likelihood", "converged", "as_good")
# The heads of columns, where these are not the names of fields, and how numbers are written.
INFO_HEADS = {
    "batch_size": "batch size", "recall": "recall of pairs", "worst_recall": "worst recall",
    "n_obs": "cells", "n_cells": "cells", "known": "in the model", "meta": "meta-cluster",
    "n_components": "components tried", "bic": "BIC", "icl": "ICL",
    "log_likelihood": "log-likelihood per cell", "as_good": "equally good",
}  # fmt: skip
INFO_FORMATS = {
    "batch_size": ".4g", "evidence": ".3g", "shared": ".2f", "recall": ".3f",
    "worst_recall": ".3f", "most": ".4f", "kept": ".2f", "bic": ".1f", "icl": ".1f",
    "log_likelihood": ".4f",
}  # fmt: skip
# What an error says that a file does not hold.
RECORD = "a result as mnncorrect writes it"
# More batches make the table of lost variance too wide: each batch gets a line instead.
MOST_COLUMNS = 12
# Rows of a table; what is more is in --json.
MOST_ROWS = 20


@command
def info(
    input: Annotated[  # noqa: A002
        Path | None,
        typer.Argument(metavar="INPUT.h5ad", help="h5ad file, zarr folder or model file to read."),
    ] = None,
    environment: Annotated[bool, typer.Option("--environment")] = False,
    as_json: Json = False,
) -> None:
    """Print merges, parameters, clusters and scores of a file.

    For a model, info prints its training data and what new cells need. With --environment, info
    prints what a bug report needs, without paths.

    Example: mnncorrect info corrected.h5ad --json

    Example: mnncorrect info atlas.mnn

    Example: mnncorrect info --environment

    Parameters
    ----------
    environment
        Print versions, platform and threads for a bug report.
    """
    from mnncorrect.cli.runtime import environment as versions

    if (input is None) != environment:
        raise typer.BadParameter("name either a file or --environment")
    if input is None:
        gathered = versions.environment_facts()
        lines = versions.lines(gathered)
    else:
        from mnncorrect._io.h5ad import reading
        from mnncorrect.report.collect.recorded import file_as_json

        # What is forged can be anything where a record is looked through.
        with reading(input, RECORD):
            gathered = file_as_json(input)
            lines = _info_lines(gathered)
    if as_json:
        streams.tell_json(gathered)
    else:
        streams.tell(lines)


def _info_lines(gathered: Mapping[str, Any]) -> list[str]:
    if "model" in gathered:
        return [f"{gathered['file']}: a model", *_model_lines(gathered["model"])]
    lines = [f"{gathered['file']}: {gathered['n_cells']} cells x {gathered['n_genes']} genes"]
    if not gathered["corrections"] and not gathered["projections"]:
        lines.append("/uns has no record of a correction by mnncorrect")
    parts: dict[str, Callable[[str, Any], list[str]]] = {
        "corrections": _correction_lines,
        "projections": _projection_lines,
        "components": _component_lines,
        "clusters": _cluster_lines,
        "leiden": _leiden_lines,
        "evaluations": _evaluation_lines,
    }
    for part, told in parts.items():
        for name, entry in gathered[part].items():
            lines += ["", *told(name, entry), *_origin_lines(entry, gathered)]
    return lines


def _origin_lines(entry: Mapping[str, Any], gathered: Mapping[str, Any]) -> list[str]:
    """Say which correction a result is derived from, if it is from one."""
    if "correction" not in entry:
        return []
    for part in ("corrections", "projections"):
        for name, found in gathered[part].items():
            if found.get("digest") == entry["correction"]:
                return [f"  of {part.removesuffix('s')} {name}"]
    return ["  of a correction that is no longer in the file"]


def _correction_lines(name: str, entry: Mapping[str, Any]) -> list[str]:
    params = entry["params"]
    lines = [
        f"correction {name}: method {params['method']}",
        f"  batches: obs[{params['key']!r}], {_batches_of(entry)}",
        f"  parameters: {_pairs_of(params, leave_out=('method', 'key'))}",
        *_result_lines(name, entry),
    ]
    if "prepared" in entry:
        from mnncorrect._prepare.removed_cells import with_removed_in_words

        lines.append(f"  prepared: {_pairs_of(with_removed_in_words(entry['prepared']))}")
    merges = [{"merge": number, **row} for number, row in enumerate(entry["merges"], 1)]
    fewest = sorted(sorted(merges, key=lambda row: row["pairs"])[:MOST_ROWS], key=merges.index)
    lines += [*_warned_lines(entry), *_shown_rows(INFO_MERGES, fewest)]
    if len(merges) > MOST_ROWS:
        pairs, n_skipped = [row["pairs"] for row in merges], sum(row["skipped"] for row in merges)
        lines.append(
            f"  those of {len(merges)} merges that have the fewest pairs; all have {min(pairs)} to "
            f"{max(pairs)}, {n_skipped} were skipped; --json has all"
        )
    lines += _lost_lines(entry)
    # The least kept first.
    kept = sorted(entry.get("kept", ()), key=lambda row: row["kept"])
    heads = {"batch": "kept in batch", "kept": "share of its difference left"}
    lines += _shown_rows(("batch", "value", "cells", "kept"), kept, heads)
    lines += _shown_rows(("cluster", "batch", "n_cells", "meta"), entry.get("clusters", ()))
    if entry.get("not_for_differential_expression"):
        lines.append("  corrected values are not for differential expression")
    return [*lines, *_provenance_lines(entry)]


def _lost_lines(entry: Mapping[str, Any]) -> list[str]:
    """Make the table of lost variance: merges by batches, or a line a batch if these are many."""
    lost, batches = entry.get("lost_variance", []), entry["batches"]
    if all(share is None for row in lost for share in row):
        return []
    if len(batches) <= MOST_COLUMNS:
        table = [
            [str(at), *(_cell(share, ".4f") for share in row)] for at, row in enumerate(lost, 1)
        ]
        return _indented([["lost variance", *batches], *table])
    rows = []
    for batch, shares in zip(batches, zip(*lost, strict=True), strict=True):
        most = max((share for share in shares if share is not None), default=None)
        at = None if most is None else shares.index(most) + 1
        rows.append({"batch": batch, "most": most, "merge": at})
    rows.sort(key=lambda row: row["most"] or 0, reverse=True)
    heads = {"batch": "lost variance", "most": "most in a merge"}
    return _shown_rows(("batch", "most", "merge"), rows, heads)


def _warned_lines(entry: Mapping[str, Any]) -> list[str]:
    """Repeat what was warned of about the input."""
    from mnncorrect._adata.lookup import in_short

    return [f"  warned: {in_short(text)}" for text in entry.get("warnings", ())]


def _batches_of(entry: Mapping[str, Any]) -> str:
    """List batches and their sizes; of many, the extremes."""
    from mnncorrect._adata.lookup import MOST_TOLD, told_sizes

    sizes = dict(zip(entry["batches"], entry["sizes"], strict=True))
    if len(sizes) > MOST_TOLD:
        return f"{len(sizes)}: {told_sizes(sizes)}"
    return ", ".join(f"{name} ({size})" for name, size in sizes.items())


def _model_lines(model: Mapping[str, Any]) -> list[str]:
    genes, scaling, about = model["genes"], model["scaling"], model["about"]
    needs = f"obsm[{about.get('use_rep')!r}] of {model['n_dims']} dimensions"
    if genes:
        needs = f"{len(genes)} genes, such as {', '.join(genes[:3])}; log-normalized values"
    if scaling is not None:
        total = "" if scaling["total"] is None else f"scaled to {scaling['total']:.6g} and "
        needs += f", or counts, which are {total}{'log1p' if scaling['log1p'] else 'kept'}"
    if model["covariates"]:
        needs += f"; columns of obs: {', '.join(model['covariates'])}"
    labels = []
    if model["labels"] is not None:
        labels = [f"  labels of /obs/{model['labels']['key']}: {_with_sizes(model['labels'])}"]
    return [
        f"  batches: {_batches_of(model)}",
        f"  cells: {model['n_cells']} of {about.get('n_obs', '?')}, {model['n_dims']} dimensions",
        f"  new cells need: {needs}",
        *labels,
        f"  parameters: {_pairs_of(about)}",
        f"  digest: {model['digest']}",
    ]


def _with_sizes(groups: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} ({size})" for name, size in groups["sizes"].items())


def _projection_lines(name: str, entry: Mapping[str, Any]) -> list[str]:
    params, model = entry["params"], entry["model"]
    missing = f"{len(model['missing'])} of {model['n_genes']}"
    share = f"{100 * model['missing_share']:.1f} % of the components"
    lines = [
        f"projection {name}: into obsm[{params['adjusted_basis']!r}]",
        f"  model: {model['n_obs']} cells of method {model['method']}, {model['digest'][:12]}",
        f"  genes missing: {missing}, {share}",
        f"  parameters: {_pairs_of(params, leave_out=('method',))}",
    ]
    if "labels" in entry:
        told = ", ".join(f"{row['label']} ({row['n_obs']})" for row in entry["labels"])
        lines.append(f"  labels: {told}")
    heads = {"skipped": "left as projected"}
    lines += [*_warned_lines(entry), *_shown_rows(PROJECTED_FIELDS, entry["projected"], heads)]
    return [*lines, *_provenance_lines(entry)]


def _result_lines(name: str, entry: Mapping[str, Any]) -> list[str]:
    """Say where the corrected values are."""
    params = entry["params"]
    lines = []
    if "adjusted_basis" in params:
        what = "corrected components"
        if "use_rep" in params:
            what = f"obsm[{params['use_rep']!r}], corrected"
        if "components" in entry:
            share = 100 * sum(entry["components"]["variance_ratio"])
            what += f", which held {share:.1f} % of the variance"
        lines.append(f"  obsm[{params['adjusted_basis']!r}]: {what}")
    if "expression" in entry:
        how, layer = str(entry["expression"]["scale"]), name
        from mnncorrect._adata import Keys

        keys = Keys(name)
        if entry["expression"].get("clipped"):
            how, layer = f"{how}, negative values set to 0", keys.clipped
        if entry["expression"].get("counts"):
            how, layer = f"{how}, scaled back to counts", keys.scaled_back
        if "adjusted_basis" not in params:
            lines.append(f"  layers[{keys.layer!r}]: corrected expression")
        lines.append(f"  layers[{layer!r}]: corrected expression ({how})")
    elif "adjusted_basis" not in params:
        lines.append(f"  layers[{name!r}]: corrected expression")
    return lines


def _component_lines(name: str, entry: Mapping[str, Any]) -> list[str]:
    ratio = entry["variance_ratio"]
    share = f"{100 * sum(ratio):.1f} % of the variance"
    return [
        f"components {name}: {len(ratio)} in obsm['X_{name}'], {share}",
        f"  parameters: {_pairs_of(entry['params'])}",
    ]


def _cluster_lines(name: str, entry: Mapping[str, Any]) -> list[str]:
    chosen = entry["n_components"]
    how = "converged" if entry["converged"] else "not converged"
    fit = f"{how} after {entry['n_iter']} iterations, fitted on {entry['fitted_on']} cells"
    lines = [
        f"clusters {name}: {len(entry['sizes'])} of {chosen} components, {fit}",
        f"  obs[{name!r}]: {_with_sizes(entry)}",
        f"  parameters: {_pairs_of(entry['params'])}",
    ]
    if entry.get("agreement") is not None:
        told = f"{entry['agreement']:.2f} (1: the same clusters)"
        lines.append(f"  agreement with equally good fits: {told}")
    if "overlap" in entry:
        steps = [row for row in entry["overlap"] if row["n_clusters"] > entry["n_clusters"]]
        merged = ", ".join(f"{row['overlap']:.3f}" for row in steps)
        lines.append(f"  merged at overlaps of {merged}" if merged else "  no components merged")
    apart = ", ".join(
        f"{row['cluster']} ({row['mixing']:.2f} of {row['attainable']:.2f} attainable)"
        for row in entry.get("mixing", ())
        if row["state"] == "apart"
    )
    lines += [f"  batches still apart in clusters: {apart}"] if apart else []
    tried = [(row["n_components"], row) for row in entry["bic"]]
    stars = [{**row, "n_components": f"{n}{' *' if n == chosen else ''}"} for n, row in tried]
    return [*lines, *_shown_rows(FIT_FIELDS, stars, most=len(stars))]


def _leiden_lines(name: str, entry: Mapping[str, Any]) -> list[str]:
    params = entry["params"]
    return [
        f"Leiden clusters {name}: {len(entry['sizes'])} at resolution {params['resolution']:g}",
        f"  obs[{name!r}]: {_with_sizes(entry)}",
        f"  parameters: {_pairs_of(params, leave_out=('resolution',))}",
    ]


def _evaluation_lines(name: str, entry: Mapping[str, Any]) -> list[str]:
    rows = [{"score": score, **row} for score, row in entry["scores"].items()]
    fields = list(dict.fromkeys(name for row in rows for name in row))
    return [
        f"evaluation {name}: {len(rows)} scores",
        f"  parameters: {_pairs_of(entry['params'])}",
        *_shown_rows(fields, rows, form=".3f"),
    ]


def _provenance_lines(entry: Mapping[str, Any]) -> list[str]:
    made = entry.get("provenance", {})
    packages = " ".join(f"{name} {version}" for name, version in made.get("packages", {}).items())
    return [f"  made by {made.get('software')} {made.get('version')}; {packages}"] if made else []


def _pairs_of(values: Mapping[str, Any], leave_out: Sequence[str] = ()) -> str:
    from mnncorrect._adata.lookup import in_short

    return ", ".join(
        f"{name} {in_short(str(value))}" for name, value in values.items() if name not in leave_out
    )


def _shown_rows(
    fields: Iterable[Any],
    rows: Sequence[Mapping[Any, Any]],
    heads: Mapping[Any, str] = MappingProxyType({}),
    form: str = "",
    *,
    most: int = MOST_ROWS,
) -> list[str]:
    """Make a table of the first rows, and say how many more there are; empty: there are none.

    ``heads``: of columns that are called otherwise here; ``form``: how numbers are written.
    """
    there = [name for name in fields if any(row.get(name) is not None for row in rows)]
    if not rows:
        return []
    head = [heads.get(name, INFO_HEADS.get(name, name)) for name in there]
    cells = [
        [_cell(row.get(name), form or INFO_FORMATS.get(name, "")) for name in there]
        for row in rows[:most]
    ]
    lines = _indented([head, *cells])
    if len(rows) > most:
        lines.append(f"  and {len(rows) - most} more: --json has all")
    return lines


def _indented(rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"  {line}" for line in streams.aligned(rows, left=range(len(rows[0])))]


def _cell(value: Any, form: str) -> str:
    """Write a value of a table; the batches of a side are named together."""
    from mnncorrect._adata.lookup import side

    if isinstance(value, list):
        return side(value)
    if value is None or isinstance(value, bool):
        return {None: "-", True: "yes", False: "no"}[value]
    return value if isinstance(value, str) else format(value, form)
