"""The command that would do it again, from what a correction or projection recorded.

It is not recorded itself: a call in Python, which had no command, may have made the correction,
and equal results have equal files however they were made. The resolved parameters are the record.
"""

from __future__ import annotations

import inspect
import json
import shlex
from typing import TYPE_CHECKING, Any

import numpy as np

from mnncorrect._adata import Keys, recorded_key
from mnncorrect._adata.barcodes import LIBRARY_KEY
from mnncorrect._adata.record import entry_of, is_current, is_derived
from mnncorrect._io.input_parts import FILE_KEY
from mnncorrect._prepare.methods import recorded_method
from mnncorrect._prepare.steps import N_TOP_GENES
from mnncorrect.report.collect.plain import as_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from anndata import AnnData

    from mnncorrect._adata.record import Record
    from mnncorrect.report.collect.facts import ReportOptions

# What of the parameters is no option of the command line, or has another form there.
NOT_OPTIONS = frozenset({"key", "method", "layer", "use_raw", "mask_var", "n_svd_used"})
# Of a projection, what is an option besides.
OF_PROJECTION = ("gene_key", "strip_versions", "counts", "max_missing", "recall", "adjusted_basis")


def command_of(
    adata: AnnData, record: Record, key: str | Sequence[str], wanted: ReportOptions
) -> dict[str, Any]:
    """Write the command that would do a correction again.

    It is ``run`` where there are clusters or normalized values were kept, or else
    ``correct``: what one of them does is what the other does with some options more.

    Returns
    -------
    ``text``, and ``notes`` on what a command line cannot say.
    """
    keys = Keys(wanted.key_added)
    params, prepared = record.params, record.stored.get("prepared", {})
    method, known = str(params.get("method", "")), recorded_method(params)
    clusters = entry_of(adata.uns, wanted.clusters, "clusters")
    if not is_current(adata.uns, wanted.clusters, wanted.key_added):
        clusters = None
    normalized = bool(prepared.get("counts") and (prepared.get("normalise") or prepared["log1p"]))
    kept = normalized and params.get("layer") == keys.normalized
    is_run = clusters is not None or kept
    words = ["mnncorrect", "run" if is_run else "correct"]
    # Several inputs are a batch each unless a column is named.
    words += ["INPUT.h5ad", "MORE.h5ad"] if key == FILE_KEY else ["INPUT.h5ad", *_batch_words(key)]
    words += ["--method", method]
    more, notes = _option_words(params, None if known is None else known.function, keys)
    if FILE_KEY in adata.obs:
        n_files = adata.obs[FILE_KEY].nunique()
        notes.append(f"the {n_files} inputs that were joined; obs[{FILE_KEY!r}] has them")
    words += more
    source = prepared if kept else params
    words += _source_words(source.get("layer"), use_raw=bool(source.get("use_raw")))
    words += _prepared_words(prepared, is_run=is_run)
    words += ["--no-keep-normalized"] if is_run and normalized and not kept else []
    if wanted.key_added != "mnn":
        words += ["--key-added", wanted.key_added]
    if is_run:
        words += _cluster_words(clusters["params"]) if clusters is not None else ["--no-gmm"]
        words += ["--umap"] if is_derived(adata.uns, keys.map, wanted.key_added) else []
    more, unsaid = _gene_words(adata, record, keys, is_run=is_run)
    words += more
    notes += unsaid
    if "expression" in record.stored:
        words.append("--write-expression")
    return {"text": _whole_command(words, record.stored), "notes": notes}


def projection_command(stored: Mapping[str, Any], key_added: str) -> dict[str, Any]:
    """Write the command that would place new cells again, as :func:`command_of` does."""
    from mnncorrect import tl

    params, keys = stored["params"], Keys(key_added)
    words = ["mnncorrect", "project", "INPUT.h5ad", "--model", "MODEL.mnn"]
    key = params.get("key")
    words += _batch_words([] if key is None else recorded_key(str(key), ()))
    words += ["--as-new"] if key is not None and params.get("as_new") else []
    words += _source_words(params.get("layer"), use_raw=bool(params.get("use_raw")))
    known = {name: params[name] for name in OF_PROJECTION if name in params}
    more, notes = _option_words(known, tl.project, keys)
    words += more
    if key_added != "mnn":
        words += ["--key-added", key_added]
    return {"text": _whole_command(words, stored), "notes": notes}


def _whole_command(words: Sequence[str], stored: Mapping[str, Any]) -> str:
    seed = int(stored.get("provenance", {}).get("random_state", 0))
    seeded = ["--random-state", str(seed)] if seed else []
    return shlex.join([*words, *seeded, "-o", "OUT.h5ad"])


def _batch_words(key: str | Sequence[str]) -> list[str]:
    if key == LIBRARY_KEY:
        return ["--batch-from-barcode"]
    return [word for name in ([key] if isinstance(key, str) else key) for word in ("-b", name)]


def _source_words(layer: Any, *, use_raw: bool) -> list[str]:
    return [
        *([] if layer is None else ["--layer", str(layer)]),
        *(["--use-raw"] if use_raw else []),
    ]


def _option_words(
    params: Mapping[str, Any], function: Callable[..., Any] | None, keys: Keys
) -> tuple[list[str], list[str]]:
    """Write the parameters that are not as they would be, and what cannot be written."""
    words: list[str] = []
    notes: list[str] = []
    defaults = {} if function is None else inspect.signature(function).parameters
    for name, value in params.items():
        known = defaults.get(name)
        if name in NOT_OPTIONS or known is None:
            continue
        usual = keys.embedding if name == "adjusted_basis" else known.default
        if _says(value) == _says(usual):
            continue
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool | np.bool_):
            words.append(option if value else f"--no-{option[2:]}")
        elif name == "neighbors":
            continue  # chosen by size again
        elif name == "merge_order":
            method = recorded_method(params)
            if method is None or not method.orders_merges:
                words += [option, _tree_text(value)]
        elif value == "an array":
            notes.append(f"{name} was given as an array, which a command line cannot")
        else:
            words += [option, str(value)]
    return words, notes


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


def _gene_words(
    adata: AnnData, record: Record, keys: Keys, *, is_run: bool
) -> tuple[list[str], list[str]]:
    """Say which genes were used, and what of that a command line cannot say."""
    if keys.genes not in adata.var:
        return [], []
    notes = []
    prepared = record.stored.get("prepared", {})
    method = recorded_method(record.params)
    has_comps = method is not None and "n_comps" in method.parameters
    if has_comps and "n_comps" not in record.params:
        notes.append("no components were taken (n_comps=None), which a command line cannot ask for")
    mask = record.params.get("mask_var")
    if mask is None and adata.var[keys.genes].all():
        # Columns of this name are taken by default; of many genes, run chooses some.
        many = adata.n_vars > N_TOP_GENES and (is_run or bool(prepared.get("counts")))
        said = many or "highly_variable" in adata.var
        return ["--mask-var", "none"] if said else [], notes
    chosen = bool(prepared.get("hvg"))
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
    # Files of earlier releases do not say how the number was chosen: it was given, or 15.
    if "n_dims" in params and params.get("dims_chosen") != "by elbow":
        words += ["--n-dims", str(int(params["n_dims"]))]
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
