"""``mnncorrect info``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mnncorrect.cli import streams
from mnncorrect.cli.options.shared import Json
from mnncorrect.cli.runtime.command import command

# What methods tell of a merge, by its field: the head of the column, and how numbers are written.
INFO_MERGE_COLUMNS = {
    "batch_size": ("batch size", ".4g"),
    "evidence": ("evidence", ".3g"),
    "shared": ("shared", ".2f"),
    "recall": ("recall of pairs", ".3f"),
    "worst_recall": ("worst recall", ".3f"),
}
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
    lines += [*_warned_lines(entry), *_merge_lines(entry["merges"]), *_lost_table_lines(entry)]
    lines += _kept_lines(entry)
    if "clusters" in entry:
        columns = ("cluster", "batch", "n_cells", "meta")
        rows = [[str(row[column]) for column in columns] for row in entry["clusters"]]
        lines += _first_rows(["cluster", "batch", "cells", "meta-cluster"], rows, "clusters")
    if entry.get("not_for_differential_expression"):
        lines.append("  corrected values are not for differential expression")
    return [*lines, *_provenance_lines(entry)]


def _warned_lines(entry: Mapping[str, Any]) -> list[str]:
    """Repeat what was warned of about the input."""
    from mnncorrect._adata.lookup import in_short

    return [f"  warned: {in_short(text)}" for text in entry.get("warnings", ())]


def _merge_lines(merges: Sequence[Mapping[str, Any]]) -> list[str]:
    """Make the table of merges, of many those by the fewest pairs; unused columns are left out."""
    from mnncorrect._adata.lookup import side

    known = {
        name: head
        for name, head in INFO_MERGE_COLUMNS.items()
        if any(merge.get(name) is not None for merge in merges)
    }
    rows = [["merge", "left", "right", "pairs", "skipped", *(head for head, _ in known.values())]]
    fewest = sorted(range(len(merges)), key=lambda number: merges[number]["pairs"])[:MOST_ROWS]
    for number in sorted(fewest):
        merge = merges[number]
        told = [_number_or_dash(merge.get(name), form) for name, (_, form) in known.items()]
        sides, skipped = map(side, (merge["left"], merge["right"])), _yes_or_no(merge["skipped"])
        rows.append([str(number + 1), *sides, str(merge["pairs"]), skipped, *told])
    lines = _aligned_columns(rows)
    if len(merges) > MOST_ROWS:
        n_skipped = sum(bool(merge["skipped"]) for merge in merges)
        pairs = [merge["pairs"] for merge in merges]
        lines.append(
            f"  these {MOST_ROWS} of {len(merges)} merges have the fewest pairs; all have "
            f"{min(pairs)} to {max(pairs)}, {n_skipped} were skipped; --json has all"
        )
    return lines


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
    head = ["batch", "cells", "in the model", "left as projected", "pairs", "evidence"]
    rows = []
    for row in entry["projected"]:
        known, skipped = _yes_or_no(row["known"]), _yes_or_no(row["skipped"])
        evidence = _number_or_dash(row["evidence"], ".3g")
        rows.append([row["batch"], str(row["n_obs"]), known, skipped, str(row["pairs"]), evidence])
    lines += [*_warned_lines(entry), *_first_rows(head, rows, "batches")]
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


def _lost_table_lines(entry: Mapping[str, Any]) -> list[str]:
    """Make the table of lost variance: merges by batches, or a line a batch if these are many."""
    lost, batches = entry.get("lost_variance", []), entry["batches"]
    if all(share is None for row in lost for share in row):
        return []
    if len(batches) <= MOST_COLUMNS:
        rows = [["lost variance", *batches]]
        for number, row in enumerate(lost, 1):
            rows.append([str(number), *(_number_or_dash(share, ".4f") for share in row)])
        return _aligned_columns(rows)
    rows = []
    for batch, shares in zip(batches, zip(*lost, strict=True), strict=True):
        most = max((share for share in shares if share is not None), default=None)
        at = "-" if most is None else str(shares.index(most) + 1)
        rows.append([batch, _number_or_dash(most, ".4f"), at])
    rows.sort(key=lambda row: row[1], reverse=True)
    head = ["lost variance", "most in a merge", "merge"]
    return _first_rows(head, rows, "batches that lost less")


def _kept_lines(entry: Mapping[str, Any]) -> list[str]:
    """Make the table of what is left of differences that were to be kept: the least kept first."""
    rows = [
        [row["batch"], row["value"], str(row["cells"]), f"{row['kept']:.2f}"]
        for row in sorted(entry.get("kept", ()), key=lambda row: row["kept"])
    ]
    head = ["kept in batch", "value", "cells", "share of its difference left"]
    return _first_rows(head, rows, "values that kept more") if rows else []


def _component_lines(name: str, entry: Mapping[str, Any]) -> list[str]:
    ratio = entry["variance_ratio"]
    share = f"{100 * sum(ratio):.1f} % of the variance"
    return [
        f"components {name}: {len(ratio)} in obsm['X_{name}'], {share}",
        f"  parameters: {_pairs_of(entry['params'])}",
    ]


def _cluster_lines(name: str, entry: Mapping[str, Any]) -> list[str]:
    apart = ", ".join(
        f"{row['cluster']} ({row['mixing']:.2f} of {row['attainable']:.2f} attainable)"
        for row in entry.get("mixing", ())
        if row["state"] == "apart"
    )
    how = "converged" if entry["converged"] else "not converged"
    fit = f"{how} after {entry['n_iter']} iterations, fitted on {entry['fitted_on']} cells"
    has_icl = all("icl" in row for row in entry["bic"])  # older files have none
    head = ["components tried", "BIC", *(["ICL"] if has_icl else []), "log-likelihood per cell"]
    head.append("converged")
    has_good = all("as_good" in row for row in entry["bic"])
    head += ["equally good"] if has_good else []
    rows = [
        [
            f"{row['n_components']}{' *' if row['n_components'] == entry['n_components'] else ''}",
            f"{row['bic']:.1f}",
            *([f"{row['icl']:.1f}"] if has_icl else []),
            f"{row['log_likelihood']:.4f}",
            _yes_or_no(row["converged"]),
            *([_yes_or_no(row["as_good"])] if has_good else []),
        ]
        for row in entry["bic"]
    ]
    return [
        f"clusters {name}: {len(entry['sizes'])} of {entry['n_components']} components, {fit}",
        f"  obs[{name!r}]: {_with_sizes(entry)}",
        f"  parameters: {_pairs_of(entry['params'])}",
        *_agreement_lines(entry),
        *_overlap_lines(entry),
        *([f"  batches still apart in clusters: {apart}"] if apart else []),
        *_aligned_columns([head, *rows]),
    ]


def _leiden_lines(name: str, entry: Mapping[str, Any]) -> list[str]:
    params = entry["params"]
    return [
        f"Leiden clusters {name}: {len(entry['sizes'])} at resolution {params['resolution']:g}",
        f"  obs[{name!r}]: {_with_sizes(entry)}",
        f"  parameters: {_pairs_of(params, leave_out=('resolution',))}",
    ]


def _agreement_lines(entry: Mapping[str, Any]) -> list[str]:
    """Say how far fits that are as good as the chosen one have the same clusters."""
    if entry.get("agreement") is None:
        return []
    return [f"  agreement with equally good fits: {entry['agreement']:.2f} (1: the same clusters)"]


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
        [score, *(_number_or_dash(row.get(column), ".3f") for column in columns)]
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


def _first_rows(head: list[str], rows: list[list[str]], what: str) -> list[str]:
    """Make a table of the first rows, and say how many more there are."""
    lines = _aligned_columns([head, *rows[:MOST_ROWS]])
    if len(rows) > MOST_ROWS:
        lines.append(f"  and {len(rows) - MOST_ROWS} more {what}: --json has all")
    return lines


def _number_or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _yes_or_no(value: Any) -> str:
    return "yes" if value else "no"
