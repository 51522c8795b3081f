"""``mnncorrect evaluate``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer import Option

from mnncorrect._log import logger
from mnncorrect.cli import streams
from mnncorrect.cli.options.given import arguments_of, columns
from mnncorrect.cli.options.shared import (
    BatchKey,
    ComputingOptions,
    Force,
    Input,
    Json,
    KeyAdded,
    Reporting,
)
from mnncorrect.cli.runtime.command import command

if TYPE_CHECKING:
    from anndata import AnnData

# More batches than this are not listed one by one, and so many groups that lost most are named.
MOST_LISTED_BATCHES, MOST_GROUPS = 12, 5
# Groups of fewer cells vary too much to be named for what they lost.
LEAST_GROUP_CELLS = 20
SCORE_COLUMNS = ("before", "after", "null_before", "null")


@command
def evaluate(
    *,
    input: Input,  # noqa: A002
    batch_key: BatchKey = None,
    label_key: str | None = None,
    format: Literal["table", "tsv", "json"] = "table",  # noqa: A002
    as_json: Json = False,
    output: Annotated[Path | None, Option("--output", "-o")] = None,
    force: Force = False,
    use_rep: str | None = None,
    before: str | None = None,
    n_splits: int = 5,
    max_cells: int = 10_000,
    key_added: KeyAdded = "mnn",
    computing: ComputingOptions,
    reporting: Reporting,
) -> None:
    """Score a correction, before and after it.

    Prints how well batches mix, how well labels stay apart, and what was changed. The null is the
    largest batch, whose cells are assigned at random to two halves. "null before" shows what
    perfect mixing looks like; "null after" shows what the correction does to cells that it should
    leave alone. The default batch is that of the correction.

    Example: mnncorrect evaluate corrected.h5ad -b donor --label-key cell_type

    Example: mnncorrect evaluate corrected.h5ad -b donor --format tsv > scores.tsv

    Example: mnncorrect evaluate other.h5ad -b donor --use-rep X_harmony --before X_pca --json

    Parameters
    ----------
    label_key : COLUMN
        Column of obs with groups that should stay apart, such as cell types. Default: scores that
        need labels are skipped.
    format
        Format of the output.
    output : OUT.h5ad
        Write a copy of the file with the scores in uns['mnn_evaluation']: h5ad, or a zarr folder if
        the name ends in .zarr.
    use_rep : NAME
        Corrected embedding in obsm, of this program or another. Default: result of the correction
        --key-added.
    before : NAME
        Uncorrected embedding in obsm. Default: input of the correction.
    n_splits
        Number of random splits of the largest batch for the null. 0: no null.
    max_cells
        Number of cells above which scores are computed on a sample.
    """
    asked = locals()
    from mnncorrect import tl
    from mnncorrect._adata import Keys
    from mnncorrect._adata.record import fields_of
    from mnncorrect._run.changed_files import changed_file
    from mnncorrect.cli.runtime.progress import bars

    if as_json and format == "tsv":
        raise typer.BadParameter("--json and --format tsv exclude one another; give one of them")
    if force and output is None:
        raise typer.BadParameter("--force replaces an output: add --output")
    with (
        changed_file(input, output, [("uns", Keys(key_added).evaluation)], force=force) as adata,
        bars(reporting) as progress,
    ):
        key = columns(batch_key)
        if key is None:
            key = _recorded_key(adata, key_added)
        tl.evaluate(adata, key, **arguments_of(tl.evaluate, asked), progress=progress)
        found = _scores_as_json(input, fields_of(adata.uns, Keys(key_added).evaluation))
    if as_json or format == "json":
        streams.tell_json(found)
    elif format == "tsv":
        import pandas as pd

        table = pd.DataFrame.from_dict(found["scores"], orient="index")
        numbers = dict.fromkeys(SCORE_COLUMNS, float)
        streams.tell_table(table.astype(numbers).rename_axis("score").reset_index())
    else:
        streams.tell(_score_lines(found))


def _recorded_key(adata: AnnData, key_added: str) -> str | list[str]:
    """Return the columns that name the batches of the correction."""
    from mnncorrect import _adata
    from mnncorrect._adata.lookup import listed
    from mnncorrect._adata.record import entries, entry_of

    record = entry_of(adata.uns, _adata.Keys(key_added).uns, "correction", "projection")
    others = entries(adata.uns, "correction")
    if record is None and others:
        raise KeyError(
            f"uns has no correction {key_added!r}; name one of these by key_added: "
            f"{listed(others)}; or name the column of obs with the batch: --batch-key COLUMN"
        )
    if record is None or "key" not in record["params"]:
        raise ValueError(
            "the file has no record of its batches; name the column of obs with the "
            "batch: --batch-key COLUMN"
        )
    key = _adata.recorded_key(str(record["params"]["key"]), adata.obs.columns)
    logger.info("batches: obs[%r], as in the correction", key)
    return key


def _scores_as_json(path: Path, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Put what was found into the form that JSON has."""
    from mnncorrect.core.metrics.evaluation import SCORES
    from mnncorrect.report.collect.json_values import as_json

    null = evaluation.get("null")
    scores = {}
    for name, row in evaluation["scores"].iterrows():
        perfect = None
        if null is not None and f"{name}_before" in null:
            perfect = as_json(null[f"{name}_before"].mean())
        scores[str(name)] = {
            "before": as_json(row["before"]),
            "after": as_json(row["after"]),
            "null_before": perfect,
            "null": as_json(row["null"]),
            "ideal": SCORES[str(name)].ideal,
            "meaning": SCORES[str(name)].meaning,
        }
    return {
        "file": str(path),
        "scores": scores,
        "null": [] if null is None else as_json(null),
        "lost_variance": as_json(evaluation["lost_variance"]),
        "params": dict(evaluation["params"]),
    }


def _score_lines(found: Mapping[str, Any]) -> list[str]:
    params, scores = found["params"], found["scores"]
    against = f" against {params['before']}" if "before" in params else ""
    what = f"{params['n_cells']} cells"
    if params["n_sampled"] < params["n_cells"]:
        what += f", neighbors and silhouettes of a sample of {params['n_sampled']}"
    lines = [f"{found['file']}: {params['use_rep']}{against}; {what}"]
    if "null_batch" in params:
        how = f"and corrected by {params.get('method')}"
        if "null_left_out" in params:
            how = f"and not corrected ({params['null_left_out']})"
        splits = "one split" if params["n_splits"] == 1 else f"mean of {params['n_splits']} splits"
        lines.append(
            f"null: {params['null_cells']} cells of {params['null_batch']!r} alone, assigned "
            f"at random to two halves {how}; {splits}"
        )
    else:
        lines.append(f"no null: {params['null_left_out']}")
    lines += _label_lines(params)
    head = ["score", "before", "after", "null before", "null after", "ideal", "meaning"]
    rows = [head]
    for name, score in scores.items():
        numbers = [_shown_number(score[column]) for column in SCORE_COLUMNS]
        rows.append([name, *numbers, f"{score['ideal']:g}", score["meaning"]])
    lines += ["", *streams.aligned(rows, left=(0, len(head) - 1))]
    notes = []
    if "null_batch" in params:
        notes.append("Perfect mixing: scores of mixing equal 'null before'.")
        if "null_left_out" not in params:
            notes.append(
                "What differs between 'null before' and 'null after' was changed without need."
            )
    if "moved" in scores and scores["moved"]["after"] is None:
        notes.append("How far cells moved is not known: axes before and after are not the same.")
    cluster = "cluster " if "clusters" in params else ""
    lines += ["", *notes] if notes else []
    return [*lines, "", *_lost_share_lines(found["lost_variance"], cluster)]


def _label_lines(params: Mapping[str, Any]) -> list[str]:
    """Say which cells the scores by label leave out."""
    from mnncorrect._adata.lookup import listed

    if "n_unlabeled" not in params:
        return []
    called = json.loads(params.get("no_labels", "[]"))
    also = f" (also those called {listed(called)})" if called else ""
    where = f"obs[{params['label_key']!r}]{also}"
    return [f"labels: {params['n_unlabeled']} cells without one in {where} are left out of scores"]


def _shown_number(value: float | None) -> str:
    # Adding zero takes the sign off what is rounded to zero.
    return "-" if value is None else f"{round(value, 3) + 0.0:.3f}"


def _lost_share_lines(groups: Sequence[Mapping[str, Any]], cluster: str) -> list[str]:
    """Say what share of the variance each batch lost, and which groups of cells lost most."""
    known = [group for group in groups if group["lost"] is not None]
    if not known:
        return ["Lost variance is not known: there is nothing of the same kind to compare with."]
    batches = [group for group in known if not group["label"]]
    labels = [group for group in known if group["label"] and group["cells"] >= LEAST_GROUP_CELLS]
    shown = batches
    if len(batches) > MOST_LISTED_BATCHES:
        shown = sorted(batches, key=lambda group: -group["lost"])[:MOST_LISTED_BATCHES]
    rows = [["batch", "cells", "lost variance"]]
    rows += [[g["batch"], str(g["cells"]), _shown_number(g["lost"])] for g in shown]
    lines = streams.aligned(rows, left=(0,))
    if len(shown) < len(batches):
        lines.append(f"and {len(batches) - len(shown)} batches that lost less")
    if labels:
        most = sorted(labels, key=lambda group: -group["lost"])[:MOST_GROUPS]
        rows = [["lost most", "cells", "lost variance"]]
        for group in most:
            name = f"{cluster}{group['label']} of {group['batch']}"
            rows.append([name, str(group["cells"]), _shown_number(group["lost"])])
        lines += ["", *streams.aligned(rows, left=(0,))]
    return lines
