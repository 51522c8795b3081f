"""``mnncorrect info``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnncorrect.cli import streams
from mnncorrect.cli.options.shared import Json
from mnncorrect.cli.runtime.command import command

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mnncorrect.core.model.fit import Model


# What methods tell of a merge, by its field: the head of the column, and how numbers are written.
INFO_MERGE_COLUMNS = {
    "batch_size": ("batch size", ".4g"),
    "evidence": ("evidence", ".3g"),
    "shared": ("shared", ".2f"),
    "recall": ("recall of pairs", ".3f"),
    "worst_recall": ("worst recall", ".3f"),
}
# What of a stored evaluation is printed besides its scores.
EVALUATED = ("params", "provenance", "correction")
# What an error says that a file does not hold.
RECORD = "a result as mnncorrect writes it"
# More batches make the table of lost variance too wide: each batch gets a line instead.
MOST_COLUMNS = 12
# Rows of a table; what is more is in --json.
MOST_ROWS = 20


@command
def info(
    input: Annotated[  # noqa: A002
        Path | None, typer.Argument(metavar="INPUT.h5ad", help="h5ad file or model file to read.")
    ] = None,
    environment: Annotated[
        bool,
        typer.Option(
            "--environment", help="Print versions, platform and threads for a bug report."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Print merges, parameters, clusters and scores of a file.

    Of a model, prints the training data and what new cells need. With --environment, prints what a
    bug report needs; it contains no paths.

    Example: mnncorrect info corrected.h5ad --json

    Example: mnncorrect info atlas.mnn

    Example: mnncorrect info --environment
    """
    from mnncorrect.cli.runtime import environment as versions

    if (input is None) != environment:
        msg = "name either a file or --environment"
        raise typer.BadParameter(msg)
    if input is None:
        gathered = versions.environment_facts()
        lines = versions.lines(gathered)
    else:
        from mnncorrect._io.h5ad import reading

        # What is forged can be anything where a record is looked through.
        with reading(input, RECORD):
            gathered = _file_as_json(input)
            lines = _info_lines(gathered)
    if as_json:
        streams.tell_json(gathered)
    else:
        streams.tell(lines)


def _file_as_json(path: Path) -> dict[str, Any]:
    """Read what a file says of itself, as JSON has it."""
    from mnncorrect._adata.record import entries
    from mnncorrect._io import h5ad, model_file

    if model_file.is_model(path):
        return {"file": str(path), "model": _of_model(path)}
    found = h5ad.read_elements(path, ["obs", "var", "uns"])
    obs, uns = found["obs"], found.get("uns", {})
    of = partial(entries, uns)
    return {
        "file": str(path),
        "n_cells": len(obs),
        "n_genes": len(found["var"]),
        "corrections": {
            name: _correction(_plain(entry), obs) for name, entry in of("correction").items()
        },
        "projections": {name: _plain(entry) for name, entry in of("projection").items()},
        "components": {name: _plain(entry) for name, entry in of("components").items()},
        "clusters": {
            name: _plain(entry) | {"sizes": _sizes(obs, name)}
            for name, entry in of("clusters").items()
        },
        "evaluations": {name: _evaluation(entry) for name, entry in of("evaluation").items()},
    }


def _of_model(path: Path) -> dict[str, Any]:
    """Gather what a model says of itself."""
    import numpy as np

    from mnncorrect._io import model_file

    model = model_file.read(path)
    sizes = np.bincount(model.codes, minlength=len(model.batches)).tolist()
    components, scaling = model.components, model.scaling
    return {
        "digest": model.digest,
        "n_cells": len(model.codes),
        "n_dims": int(model.corrected.shape[1]),
        "batches": list(model.batches),
        "sizes": sizes,
        "genes": [] if components is None else list(components.genes),
        "scaling": None if scaling is None else vars(scaling),
        "labels": _labels_of(model),
        "about": model.about,
    }


def _correction(entry: dict[str, Any], obs: Any) -> dict[str, Any]:
    """Add the sizes of the batches to what a correction says of itself."""
    from mnncorrect import _adata

    params = entry["params"]
    key = _adata.recorded_key(params["key"], obs.columns)
    sizes: dict[Any, int] = {}
    if set([key] if isinstance(key, str) else key) <= set(obs.columns):
        sizes = _adata.batch_names(obs, key).value_counts().to_dict()
    # Subsetting may have left batches without cells.
    sizes_in_order = [int(sizes.get(name, 0)) for name in entry["batches"]]
    return entry | {"params": params | {"key": key}, "sizes": sizes_in_order}


def _evaluation(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Take what a stored evaluation says, each score by its name."""
    told: dict[str, Any] = _plain({name: entry[name] for name in EVALUATED if name in entry})
    scores = entry["scores"]
    rows = zip(scores.index, _plain(scores), strict=True)
    told["scores"] = {str(name): row for name, row in rows}
    return told


def _sizes(obs: Any, column: str) -> dict[str, int]:
    if column not in obs:
        return {}
    counted = obs[column].value_counts(sort=False)
    return {str(value): int(count) for value, count in counted.items()}


def _plain(value: Any) -> Any:
    from mnncorrect._adata.validity import JSON_TEXT
    from mnncorrect.report.collect.plain import as_json

    return as_json(value, texts=JSON_TEXT)


def _info_lines(gathered: Mapping[str, Any]) -> list[str]:
    if "model" in gathered:
        return [f"{gathered['file']}: a model", *_model_lines(gathered["model"])]
    lines = [f"{gathered['file']}: {gathered['n_cells']} cells x {gathered['n_genes']} genes"]
    if not gathered["corrections"] and not gathered["projections"]:
        lines.append("not corrected by mnncorrect: no merges in uns")
    parts: dict[str, Callable[[str, Any], list[str]]] = {
        "corrections": _correction_lines,
        "projections": _projection_lines,
        "components": _component_lines,
        "clusters": _cluster_lines,
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
        lines.append(f"  prepared: {_pairs_of(entry['prepared'])}")
    lines += _warned_lines(entry)
    lines += _aligned_columns(_merge_rows(entry["merges"]))
    if len(entry["merges"]) > MOST_ROWS:
        lines.append(_merges_left_out(entry["merges"]))
    lines += _lost_table_lines(entry)
    if "clusters" in entry:
        head = ["cluster", "batch", "cells", "meta-cluster"]
        columns = ("cluster", "batch", "n_cells", "meta")
        rows = [[str(row[column]) for column in columns] for row in entry["clusters"]]
        lines += _aligned_columns([head, *rows[:MOST_ROWS]])
        if len(rows) > MOST_ROWS:
            lines.append(f"  and {len(rows) - MOST_ROWS} more clusters: --json has all")
    if entry.get("not_for_differential_expression"):
        lines.append("  corrected values are not for differential expression")
    return [*lines, *_provenance_lines(entry)]


def _warned_lines(entry: Mapping[str, Any]) -> list[str]:
    """Repeat what was warned of about the input."""
    from mnncorrect._adata.lookup import in_short

    return [f"  warned: {in_short(text)}" for text in entry.get("warnings", ())]


def _merge_rows(merges: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Make the table of merges; what no merge tells has no column."""
    from mnncorrect._adata.lookup import side

    known = {
        name: head
        for name, head in INFO_MERGE_COLUMNS.items()
        if any(merge.get(name) is not None for merge in merges)
    }
    rows = [["merge", "left", "right", "pairs", "skipped", *(head for head, _ in known.values())]]
    shown = _fewest_pairs(merges)
    for number, merge in enumerate(merges, 1):
        if number - 1 not in shown:
            continue
        left, right = (side(merge[at]) for at in ("left", "right"))
        told = [
            "-" if merge.get(name) is None else format(merge[name], form)
            for name, (_, form) in known.items()
        ]
        skipped = "yes" if merge["skipped"] else "no"
        rows.append([str(number), left, right, str(merge["pairs"]), skipped, *told])
    return rows


def _fewest_pairs(merges: Sequence[Mapping[str, Any]]) -> set[int]:
    """Choose the merges that are shown: all, or of many those by the fewest pairs."""
    ranked = sorted(range(len(merges)), key=lambda number: merges[number]["pairs"])
    return set(ranked[:MOST_ROWS])


def _merges_left_out(merges: Sequence[Mapping[str, Any]]) -> str:
    """Say of which merges the table is."""
    skipped = sum(bool(merge["skipped"]) for merge in merges)
    pairs = [merge["pairs"] for merge in merges]
    return (
        f"  these {MOST_ROWS} of {len(merges)} merges have the fewest pairs; all have {min(pairs)} "
        f"to {max(pairs)}, {skipped} were skipped; --json has all"
    )


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
    return [
        f"  batches: {_batches_of(model)}",
        f"  cells: {model['n_cells']} of {about.get('n_obs', '?')}, {model['n_dims']} dimensions",
        f"  new cells need: {needs}",
        *_label_lines(model["labels"]),
        f"  parameters: {_pairs_of(about)}",
        f"  digest: {model['digest']}",
    ]


def _labels_of(model: Model) -> dict[str, Any] | None:
    """Count the cells of each label of a model."""
    if model.labels is None:
        return None
    counts = {
        name: int((model.labels.codes == n).sum()) for n, name in enumerate(model.labels.names)
    }
    return {"key": model.labels.key, "sizes": counts}


def _label_lines(labels: Mapping[str, Any] | None) -> list[str]:
    if labels is None:
        return []
    counts = ", ".join(f"{name} ({n})" for name, n in labels["sizes"].items())
    return [f"  labels of /obs/{labels['key']}: {counts}"]


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
    lines += _warned_lines(entry)
    rows = [["batch", "cells", "in the model", "left as projected", "pairs", "evidence"]]
    for row in entry["projected"][:MOST_ROWS]:
        known, skipped = ("yes" if row[flag] else "no" for flag in ("known", "skipped"))
        evidence = "-" if row["evidence"] is None else f"{row['evidence']:.3g}"
        rows.append([row["batch"], str(row["n_obs"]), known, skipped, str(row["pairs"]), evidence])
    lines += _aligned_columns(rows)
    if len(entry["projected"]) > MOST_ROWS:
        lines.append(f"  and {len(entry['projected']) - MOST_ROWS} more batches: --json has all")
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
        lines.append(f"  layers[{name!r}]: corrected expression ({entry['expression']['scale']})")
    elif "adjusted_basis" not in params:
        lines.append(f"  layers[{name!r}]: corrected expression")
    return lines


def _lost_table_lines(entry: Mapping[str, Any]) -> list[str]:
    """Make the table of lost variance: merges by batches, or a line a batch if these are many."""
    lost, batches = entry.get("lost_variance", []), entry["batches"]
    if all(share is None for row in lost for share in row):
        return []
    if len(batches) <= MOST_COLUMNS:
        rows = [["lost variance", *batches]]
        for number, row in enumerate(lost, 1):
            rows.append([str(number), *("-" if v is None else f"{v:.4f}" for v in row)])
        return _aligned_columns(rows)
    rows = [["lost variance", "most in a merge", "merge"]]
    for batch, shares in zip(batches, zip(*lost, strict=True), strict=True):
        most = max((share for share in shares if share is not None), default=None)
        at = "-" if most is None else str(shares.index(most) + 1)
        rows.append([batch, "-" if most is None else f"{most:.4f}", at])
    head, *rows = rows
    lines = _aligned_columns(
        [head, *sorted(rows, key=lambda row: row[1], reverse=True)[:MOST_ROWS]]
    )
    if len(rows) > MOST_ROWS:
        lines.append(f"  and {len(rows) - MOST_ROWS} more batches that lost less: --json has all")
    return lines


def _component_lines(name: str, entry: Mapping[str, Any]) -> list[str]:
    ratio = entry["variance_ratio"]
    share = f"{100 * sum(ratio):.1f} % of the variance"
    return [
        f"components {name}: {len(ratio)} in obsm['X_{name}'], {share}",
        f"  parameters: {_pairs_of(entry['params'])}",
    ]


def _apart_lines(entry: Mapping[str, Any]) -> list[str]:
    """Name the clusters in which batches are still apart."""
    apart = [
        f"{row['cluster']} ({row['mixing']:.2f} of {row['attainable']:.2f} attainable)"
        for row in entry.get("mixing", ())
        if row["state"] == "apart"
    ]
    return [f"  batches still apart in clusters: {', '.join(apart)}"] if apart else []


def _cluster_lines(name: str, entry: Mapping[str, Any]) -> list[str]:
    sizes = ", ".join(f"{cluster} ({n})" for cluster, n in entry["sizes"].items())
    how = "converged" if entry["converged"] else "not converged"
    fit = f"{how} after {entry['n_iter']} iterations, fitted on {entry['fitted_on']} cells"
    has_icl = all("icl" in row for row in entry["bic"])  # older files have none
    head = ["components tried", "BIC", *(["ICL"] if has_icl else []), "log-likelihood per cell"]
    head.append("converged")
    rows = [
        [
            f"{row['n_components']}{' *' if row['n_components'] == entry['n_components'] else ''}",
            f"{row['bic']:.1f}",
            *([f"{row['icl']:.1f}"] if has_icl else []),
            f"{row['log_likelihood']:.4f}",
            "yes" if row["converged"] else "no",
        ]
        for row in entry["bic"]
    ]
    return [
        f"clusters {name}: {len(entry['sizes'])} of {entry['n_components']} components, {fit}",
        f"  obs[{name!r}]: {sizes}",
        f"  parameters: {_pairs_of(entry['params'])}",
        *_overlap_lines(entry),
        *_apart_lines(entry),
        *_aligned_columns([head, *rows]),
    ]


def _overlap_lines(entry: Mapping[str, Any]) -> list[str]:
    """Tell which overlaps made one cluster of two, and the largest that did not."""
    if "overlap" not in entry:
        return []
    steps = sorted(entry["overlap"], key=lambda row: -row["n_clusters"])
    merged = [f"{row['overlap']:.3f}" for row in steps if row["n_clusters"] > entry["n_clusters"]]
    apart = next((row for row in steps if row["n_clusters"] == entry["n_clusters"]), None)
    told = f"merged at overlaps of {', '.join(merged)}" if merged else "no components merged"
    more = "" if apart is None else f"; the largest overlap left is {apart['overlap']:.3f}"
    return [f"  {told}{more}"]


def _evaluation_lines(name: str, entry: Mapping[str, Any]) -> list[str]:
    columns = list(dict.fromkeys(column for row in entry["scores"].values() for column in row))
    rows = [
        [score, *("-" if row.get(column) is None else f"{row[column]:.3f}" for column in columns)]
        for score, row in entry["scores"].items()
    ]
    return [
        f"evaluation {name}: {len(rows)} scores",
        f"  parameters: {_pairs_of(entry['params'])}",
        *_aligned_columns([["score", *columns], *rows]),
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


def _aligned_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align columns to the left; the first row is the head."""
    return [f"  {line}" for line in streams.aligned(rows, left=range(len(rows[0])))]
