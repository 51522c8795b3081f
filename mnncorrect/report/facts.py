"""What a corrected file holds, as numbers and names: all that a report says is said from these."""

from __future__ import annotations

import contextlib
import inspect
import json
import shlex
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mnncorrect import __version__
from mnncorrect._adata import Keys, batch_names, take_embedding
from mnncorrect._adata.lookup import require
from mnncorrect._adata.record import take_record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from mnncorrect._adata.record import Record
    from mnncorrect.core.threads import Progress

# Cells below this confidence have not been moved.
UNSURE = 0.1
# Genes told as most changed; covariates looked at, and values that one may have to be one.
MOST_GENES, MOST_COVARIATES, MOST_VALUES = 25, 30, 100
MOST_ROWS = 2_000
# How many genes run and correct choose, if not said.
N_TOP_GENES = 2000
# What of the parameters is no option of the command line, or is told otherwise.
NOT_OPTIONS = frozenset({"key", "method", "layer", "use_raw", "mask_var", "n_svd_used"})


@dataclass(frozen=True)
class Wanted:
    """What a report is asked for.

    Attributes
    ----------
    key
        Column of ``obs`` that names the batch, or several; ``None``: as the correction recorded it.
    label_key
        Column of ``obs`` with known labels of cells, if there is one.
    key_added
        What the names of the correction's results begin with.
    clusters
        Key of the clusters, as ``tl.gmm`` made them.
    evaluate
        Whether scores are computed where the file has none.
    random_state, n_jobs
        Seed and threads of what is computed for it.
    progress
        Told how far that is.
    """

    key: str | list[str] | None = None
    label_key: str | None = None
    key_added: str = "mnn"
    clusters: str = "gmm"
    evaluate: bool = True
    random_state: int = 0
    n_jobs: int | None = None
    progress: Progress | None = None


@dataclass(frozen=True)
class Groups:
    """A grouping of the cells.

    Attributes
    ----------
    name
        Column, or columns joined by a comma.
    codes
        Number of each cell's group; -1: none.
    names, sizes
        Of the groups.
    """

    name: str
    codes: NDArray[np.int64]
    names: list[str]
    sizes: list[int]


@dataclass(frozen=True)
class Gathered:
    """What is known of one file.

    Attributes
    ----------
    facts
        What JSON can hold: everything that is written in the report.
    batches, labels, clusters
        Groups of cells.
    before, after, umap
        Places of the cells, cells x 2 or more; ``None``: the file has none.
    names
        Where these places come from, by the same names.
    confidence
        Of each cell, if it was told.
    cells
        Names of the cells.
    """

    facts: dict[str, Any]
    batches: Groups
    labels: Groups | None
    clusters: Groups | None
    before: NDArray[Any] | None
    after: NDArray[Any]
    umap: NDArray[Any] | None
    names: Mapping[str, str]
    confidence: NDArray[np.float64] | None
    cells: pd.Index[Any]


def gather(adata: AnnData, file: str, wanted: Wanted) -> Gathered:
    """Collect what a report needs.

    Parameters
    ----------
    adata
        The object of a corrected file; its matrices may still be in it.
    file
        Name of the file.
    wanted
        What is asked for.

    Raises
    ------
    KeyError
        If the file holds no correction, or lacks a column or embedding.
    ValueError
        If values are not finite, or batches are missing for cells.
    """
    record = take_record(adata, wanted.key_added)
    keys = Keys(wanted.key_added)
    key = record.key if wanted.key is None else wanted.key
    names = [key] if isinstance(key, str) else list(key)
    named = batch_names(adata.obs, key)
    batches = _grouped(", ".join(names), _in_order(named, record.batches))
    labels = None if wanted.label_key is None else take_groups(adata, wanted.label_key)
    clusters = take_groups(adata, wanted.clusters) if wanted.clusters in adata.obs else None
    before, after, places, same_axes = _places(adata, keys, wanted)
    drawn = f"{keys.embedding}_umap"
    umap = take_embedding(adata, drawn) if drawn in adata.obsm else None
    confidence = None
    if keys.confidence in adata.obs:
        confidence = adata.obs[keys.confidence].to_numpy(dtype=np.float64)
    facts: dict[str, Any] = {
        "format": "mnncorrect report 1",
        "made_by": {"software": "mnncorrect", "version": __version__},
        "file": file,
        "n_cells": int(adata.n_obs),
        "n_genes": int(adata.n_vars),
        "batches": _group_facts(batches),
        "labels": None if labels is None else _group_facts(labels),
        "parameters": as_json(record.params),
        "prepared": as_json(record.stored.get("prepared", {})),
        "provenance": as_json(record.stored.get("provenance", {})),
        "command": command_of(adata, record, key, wanted),
        "n_genes_used": int(adata.var[keys.genes].sum()) if keys.genes in adata.var else None,
        "components": as_json(record.stored.get("components")),
        "merges": _merge_facts(record),
        "confidence": _confidence_facts(confidence, batches, clusters),
        "clusters": _cluster_facts(adata, wanted.clusters, clusters, batches),
        "genes": _gene_facts(adata, keys, batches, before, after, same_axes=same_axes),
        "covariates": _covariate_facts(
            adata, [*names, wanted.label_key, wanted.clusters], keys, batches
        ),
        "umap": as_json(adata.uns.get(f"{wanted.key_added}_umap", {}).get("params"))
        if umap is not None
        else None,
        "evaluation": _evaluation_facts(adata, key, keys, wanted),
    }
    places = places | ({"umap": f"obsm[{drawn!r}]"} if umap is not None else {})
    return Gathered(
        facts, batches, labels, clusters, before, after, umap, places, confidence, adata.obs_names
    )


def take_groups(adata: AnnData, column: str) -> Groups:
    """Read a column as groups, largest numbers of categories and missing values included."""
    require(column, adata.obs.columns, "obs")
    return _grouped(column, adata.obs[column])


def _grouped(name: str, values: pd.Series[Any]) -> Groups:
    column = values.astype("category").cat.remove_unused_categories()
    codes = column.cat.codes.to_numpy().astype(np.int64)
    names = [str(value) for value in column.cat.categories]
    sizes = np.bincount(codes[codes >= 0], minlength=len(names))
    return Groups(name, codes, names, sizes.tolist())


def _in_order(named: pd.Series[Any], order: Sequence[str]) -> pd.Series[Any]:
    """Give batches the order that the correction had them in; others follow by name."""
    there = set(named)
    known = [name for name in order if name in there]
    others = sorted(there - set(known), key=str)
    out: pd.Series[Any] = named.astype(pd.CategoricalDtype([*known, *others]))
    return out


def as_json(value: Any) -> Any:
    """Turn arrays, tables and numbers into what JSON has; what is not finite becomes null.

    Entries are in the order of their names, as files keep them.
    """
    if isinstance(value, pd.DataFrame):
        rows = value.to_dict("records")
        return [{str(name): as_json(entry) for name, entry in row.items()} for row in rows]
    if isinstance(value, dict):
        return {str(name): as_json(value[name]) for name in sorted(value, key=str)}
    if isinstance(value, np.ndarray | list | tuple):
        return [as_json(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _group_facts(groups: Groups) -> dict[str, Any]:
    return {
        "key": groups.name,
        "names": groups.names,
        "sizes": groups.sizes,
        "without": int((groups.codes < 0).sum()),
    }


def _places(
    adata: AnnData, keys: Keys, wanted: Wanted
) -> tuple[NDArray[Any] | None, NDArray[Any], dict[str, str], bool]:
    """Find the embeddings before and after, as `tl.evaluate` compares them."""
    from mnncorrect.core.threads import resolve_n_jobs
    from mnncorrect.tl._compared import Values, take_compared

    with contextlib.ExitStack() as stack:
        # That nothing is there to compare with is told in the report.
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", UserWarning)
        threads = resolve_n_jobs(wanted.n_jobs)
        values = Values(adata, keys, stack, wanted.random_state, threads)
        found = take_compared(adata, None, None, values)
    names = {}
    if found.before_name is not None:
        in_obsm = found.before_name in adata.obsm
        names["before"] = f"obsm[{found.before_name!r}]" if in_obsm else found.before_name
    names["after"] = f"obsm[{found.after_name!r}]"
    return found.before, found.after, names, found.same_axes


def command_of(
    adata: AnnData, record: Record, key: str | Sequence[str], wanted: Wanted
) -> dict[str, Any]:
    """Write the command that would do it again: ``run`` where there are clusters, or ``correct``.

    Returns
    -------
    ``text``, and ``notes`` on what a command line cannot say.
    """
    from mnncorrect import pp

    method = str(record.params.get("method", ""))
    clusters = adata.uns.get(wanted.clusters)
    is_run = isinstance(clusters, dict) and "bic" in clusters
    words = ["mnncorrect", "run" if is_run else "correct", "INPUT.h5ad"]
    for name in [key] if isinstance(key, str) else key:
        words += ["-b", name]
    words += ["--method", method]
    notes: list[str] = []
    function = getattr(pp, f"mnn_{method}", None)
    defaults = {} if function is None else inspect.signature(function).parameters
    for name, value in record.params.items():
        known = defaults.get(name)
        if name in NOT_OPTIONS or known is None:
            continue
        usual = Keys(wanted.key_added).embedding if name == "adjusted_basis" else known.default
        if _says(value) == _says(usual):
            continue
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool | np.bool_):
            words.append(option if value else f"--no-{option[2:]}")
        elif name == "neighbors":
            continue  # chosen by size again
        elif name == "merge_order":
            if method != "calibrated":  # whose merges follow from the data
                words += [option, _tree_text(value)]
        elif value == "an array":
            notes.append(f"{name} was given as an array, which a command line cannot")
        else:
            words += [option, str(value)]
    layer = record.params.get("layer")
    if layer is not None and layer != f"{wanted.key_added}_log1p":
        words += ["--layer", str(layer)]
    words += ["--use-raw"] if record.params.get("use_raw") else []
    words += _prepared_words(record.stored.get("prepared", {}), is_run=is_run)
    if wanted.key_added != "mnn":
        words += ["--key-added", wanted.key_added]
    if is_run:
        words += _cluster_words(clusters.get("params", {}))
        words += ["--umap"] if f"{wanted.key_added}_umap" in adata.uns else []
    more, unsaid = _gene_words(adata, record, Keys(wanted.key_added))
    words += more
    notes += unsaid
    if "expression" in record.stored:
        words.append("--write-expression")
    seed = record.stored.get("provenance", {}).get("random_state", 0)
    words += ["--random-state", str(int(seed))] if int(seed) else []
    return {"text": shlex.join([*words, "-o", "OUT.h5ad"]), "notes": notes}


def _says(value: Any) -> str:
    """Write a value so that it can be compared, whether it came from a file or a signature."""
    return json.dumps(as_json(value))


def _prepared_words(prepared: Mapping[str, Any], *, is_run: bool) -> list[str]:
    words = []
    if prepared.get("counts"):
        for name in ("normalise", "log1p"):
            words += [] if prepared.get(name, True) else [f"--no-{name}"]
    if prepared.get("hvg"):
        n_top = int(prepared.get("n_top_genes", N_TOP_GENES))
        words += [] if is_run or prepared.get("counts") else ["--hvg"]
        words += [] if n_top == N_TOP_GENES else ["--n-top-genes", str(n_top)]
    return words


def _gene_words(adata: AnnData, record: Record, keys: Keys) -> tuple[list[str], list[str]]:
    """Say which genes were used, and what of that a command line cannot say."""
    if keys.genes not in adata.var:
        return [], []
    notes = []
    if "n_comps" not in record.params and record.params.get("method") in {"fast", "calibrated"}:
        notes.append("no components were taken (n_comps=None), which a command line cannot ask for")
    mask = record.params.get("mask_var")
    if mask is None and adata.var[keys.genes].all():
        # Columns of this name are taken if nothing is said.
        return ["--mask-var", "none"] if "highly_variable" in adata.var else [], notes
    chosen = bool(record.stored.get("prepared", {}).get("hvg"))
    if mask in {None, "an array"} or (mask == keys.genes and not chosen):
        return [], [*notes, "genes were chosen by an array, which a command line cannot give"]
    return [] if mask in {"highly_variable", keys.genes} else ["--mask-var", str(mask)], notes


def _cluster_words(params: Mapping[str, Any]) -> list[str]:
    from mnncorrect import tl

    usual = inspect.signature(tl.gmm).parameters
    words = []
    tried = json.loads(str(params.get("n_components", "[]")))
    if tried and tried != list(usual["n_components"].default):
        words += ["--n-components", ",".join(map(str, tried))]
    n_dims = params.get("n_dims")
    # Fewer may be all that there were.
    if n_dims is not None and int(n_dims) > usual["n_dims"].default:
        words += ["--n-dims", str(int(n_dims))]
    return words


def _tree_text(stored: Any) -> str:
    """Write a merge order as the command line reads it."""
    try:
        order = json.loads(stored)
    except (TypeError, ValueError):
        return str(stored)
    if isinstance(order, list) and not any(isinstance(part, list) for part in order):
        return ",".join(map(str, order))

    def nested(part: Any) -> str:
        return f"({','.join(map(nested, part))})" if isinstance(part, list) else str(part)

    return nested(order)


def _merge_facts(record: Record) -> list[dict[str, Any]]:
    return [
        {
            "left": list(merge.left),
            "right": list(merge.right),
            "pairs": merge.pairs,
            "skipped": merge.skipped,
            # A merge takes nothing from batches that it does not join.
            "lost_variance": {
                name: merge.lost[name] for name in (*merge.left, *merge.right) if name in merge.lost
            },
            **as_json(dict(merge.more)),
        }
        for merge in record.merges
    ]


def _confidence_facts(
    confidence: NDArray[np.float64] | None, batches: Groups, clusters: Groups | None
) -> dict[str, Any] | None:
    if confidence is None:
        return None
    known = confidence[np.isfinite(confidence)]

    def by(groups: Groups) -> list[dict[str, Any]]:
        rows = []
        for code, name in enumerate(groups.names):
            inside = confidence[groups.codes == code]
            rows.append(
                {
                    "name": name,
                    "cells": len(inside),
                    "median": as_json(float(np.median(inside))),
                    "below": as_json(float((inside < UNSURE).mean())),
                }
            )
        return rows

    return {
        "threshold": UNSURE,
        "median": as_json(float(np.median(known))) if len(known) else None,
        "below": as_json(float((known < UNSURE).mean())) if len(known) else None,
        "by_batch": by(batches),
        "by_cluster": None if clusters is None else by(clusters),
    }


def _cluster_facts(
    adata: AnnData, key: str, clusters: Groups | None, batches: Groups
) -> dict[str, Any] | None:
    """Tell the sizes of clusters in batches, and how their number was chosen."""
    from mnncorrect.core import composition

    if clusters is None:
        return None
    both = (clusters.codes >= 0) & (batches.codes >= 0)
    counts = np.zeros((len(clusters.names), len(batches.names)), np.int64)
    np.add.at(counts, (clusters.codes[both], batches.codes[both]), 1)
    uneven = composition.abundance_variance(counts) if len(batches.names) > 1 else None
    stored = adata.uns.get(key)
    told = stored if isinstance(stored, dict) and "bic" in stored else {}
    return {
        **_group_facts(clusters),
        "counts": counts.tolist(),
        "uneven": as_json(uneven),
        "bic": as_json(told.get("bic")),
        "n_components": as_json(told.get("n_components")),
        "converged": as_json(told.get("converged")),
        "fitted_on": as_json(told.get("fitted_on")),
        "parameters": as_json(told.get("params")),
    }


def _gene_facts(
    adata: AnnData,
    keys: Keys,
    batches: Groups,
    before: NDArray[Any] | None,
    after: NDArray[Any],
    *,
    same_axes: bool,
) -> dict[str, Any]:
    """Find the genes that the correction changed most, from loadings and how far cells moved.

    The change of a cell in a gene is its displacement times the gene's loadings. Its mean square
    over cells follows from the mean products of displacements, without any matrix of expression.
    """
    if keys.loadings not in adata.varm or before is None or not same_axes:
        reason = (
            "the file has no loadings of the corrected components: an embedding was corrected as "
            "it was, or expression itself"
        )
        return {"table": None, "reason": reason}
    loadings = np.asarray(take_rows_of(adata.varm[keys.loadings]), dtype=np.float64)
    if loadings.shape[1] != after.shape[1] or before.shape != after.shape:
        return {"table": None, "reason": "loadings and components have different numbers"}
    moved = after.astype(np.float64) - before
    products = moved.T @ moved / len(moved)
    change = np.sqrt(np.maximum(0, np.einsum("gd,de,ge->g", loadings, products, loadings)))
    order = np.argsort(-change, kind="stable")[: min(MOST_GENES, int((change > 0).sum()))]
    means = np.stack(
        [
            moved[batches.codes == code].mean(0) if size else np.zeros(moved.shape[1])
            for code, size in enumerate(batches.sizes)
        ]
    )
    by_batch = loadings[order] @ means.T
    return {
        "unit": "log-expression of cells scaled to unit length"
        if keys.norm in adata.obs
        else "log-expression",
        "table": [
            {
                "gene": str(adata.var_names[gene]),
                "change": float(change[gene]),
                "by_batch": row.tolist(),
            }
            for gene, row in zip(order.tolist(), by_batch, strict=True)
        ],
    }


def take_rows_of(values: Any) -> Any:
    """Return a matrix that may still be in a file."""
    from mnncorrect._adata.stored import is_stored, load

    return load(values) if is_stored(values) else values


def _covariate_facts(
    adata: AnnData, taken: Sequence[str | None], keys: Keys, batches: Groups
) -> list[dict[str, Any]]:
    """Compare the other columns of obs with the batch, those most confounded first."""
    from mnncorrect.core import confounding

    own = {keys.confidence, keys.norm}
    found = []
    for name in adata.obs.columns:
        if name in taken or name in own:
            continue
        column = adata.obs[name]
        numeric = column.dtype.kind in "iuf" and column.nunique() > MOST_VALUES
        if numeric:
            how = confounding.of_numbers(column.to_numpy(dtype=np.float64), batches.codes)
            n_values = None
        else:
            groups = _grouped(str(name), column)
            n_values = len(groups.names)
            # One value says nothing; as many as cells are names of cells, not a covariate.
            if not 2 <= n_values <= max(MOST_VALUES, len(batches.names)):
                continue
            how = confounding.of_categories(groups.codes, batches.codes)
        found.append(
            {
                "name": str(name),
                "kind": "numbers" if numeric else "categories",
                "n_values": n_values,
                "missing": int(column.isna().sum()),
                "strength": how.strength,
                "fixed": how.fixed,
                "identical": how.identical,
            }
        )
    found.sort(key=lambda entry: (-float(str(entry["strength"])), str(entry["name"])))
    return found[:MOST_COVARIATES]


def _evaluation_facts(
    adata: AnnData, key: str | list[str], keys: Keys, wanted: Wanted
) -> dict[str, Any]:
    """Take the scores that are stored, or compute them."""
    from mnncorrect import tl

    stored = adata.uns.get(keys.evaluation)
    if not isinstance(stored, dict) or "scores" not in stored:
        stored = None
    if stored is not None and wanted.label_key is not None:
        told = stored.get("params", {}).get("label_key")
        stored = stored if told == wanted.label_key else None
    if stored is None:
        if not wanted.evaluate:
            return {"scores": None, "reason": "the file has no scores; compute them by evaluate"}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                tl.evaluate(
                    adata,
                    key,
                    label_key=wanted.label_key,
                    key_added=wanted.key_added,
                    random_state=wanted.random_state,
                    n_jobs=wanted.n_jobs,
                    progress=wanted.progress,
                )
        except ValueError as error:
            return {"scores": None, "reason": str(error)}
        stored = adata.uns[keys.evaluation]
    scores = stored["scores"]
    return {
        "scores": [
            {"score": str(name), **{str(column): as_json(row[column]) for column in scores.columns}}
            for name, row in scores.iterrows()
        ],
        "lost_variance": as_json(_whole_batches(stored.get("lost_variance"))),
        "parameters": as_json(stored.get("params", {})),
    }


def _whole_batches(table: Any) -> Any:
    """Of a table too long to be read, keep the rows that are of all cells of a batch."""
    if not isinstance(table, pd.DataFrame) or len(table) <= MOST_ROWS or "label" not in table:
        return table
    return table[table["label"].astype(str) == ""]
