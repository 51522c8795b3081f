"""What would do a correction or a projection again: a command, or a call in Python.

A run, and a projection of a file, record the arguments that they were given: they are written here
as a command. Other results are of a function of ``pp`` or ``tl``, whose parameters are recorded.
"""

from __future__ import annotations

import inspect
import json
import shlex
from collections.abc import Mapping
from typing import Any

from mnncorrect import tl
from mnncorrect._adata import Keys, recorded_key
from mnncorrect._adata.record import ARRAY, call_of
from mnncorrect._prepare.command_text import option_words
from mnncorrect._prepare.method_registry import recorded_method
from mnncorrect._prepare.steps import asked_by_correct
from mnncorrect.report.collect.json_values import as_json

# Parameters that are recorded as resolved; what was resolved is resolved again.
RESOLVED = frozenset({"key", "neighbors"})
NONE_IF_MISSING = ("mask_var", "n_comps", "min_batch_size")


def command_of(stored: Mapping[str, Any], key_added: str) -> dict[str, Any]:
    """Write the command, or the call, that would make a result again, with ``notes`` on gaps."""
    call = call_of(stored)
    if call is None:
        return _python_call(stored, Keys(key_added))
    command, asked = call["command"], dict(call["arguments"])
    if command == "run":
        usual = asked_by_correct(asked.get("use_rep"))
        if asked.keys() >= usual.keys() and asked["pca"] is asked["gmm"] is False:
            command = "correct"
            asked = {name: value for name, value in asked.items() if usual.get(name, "") != value}
            asked.pop("guide", None)  # labels have no other use there
    words, notes = ["mnncorrect", command, "INPUT.h5ad"], []
    if call["inputs"] > 1:
        words.append("MORE.h5ad")
        notes.append(f"which {call['inputs']} inputs were joined")
    words += ["--model", "MODEL.mnn"] if command == "project" else []
    for name, value in asked.items():
        more = option_words(name, value)
        words += more
        if not more:
            given = "an array" if value == ARRAY else f"{value!r}"
            notes.append(f"{name} was given as {given}, which a command line cannot")
    return {"text": shlex.join([*words, "-o", "OUT.h5ad"]), "notes": notes}


def _python_call(stored: Mapping[str, Any], keys: Keys) -> dict[str, Any]:
    """Write the call of a function by the parameters that it recorded."""
    params, method = stored["params"], recorded_method(stored["params"])
    if "projected" in stored:
        function: Any = tl.project
        text, named = "mnncorrect.tl.project(adata, model", params.get("key")
    elif method is None:
        return {"text": "", "notes": []}
    else:
        function = method.function
        text, named = f"mnncorrect.pp.{function.__name__}(adata", params["key"]
    words = [text] if named is None else [text, repr(recorded_key(str(named), ()))]
    usual = inspect.signature(function).parameters
    seed = int(stored.get("provenance", {}).get("random_state", 0))
    notes = []
    asked = {**params, "key_added": keys.key_added, "random_state": seed}
    if "use_rep" not in params:
        # What is None is not recorded.
        asked = {name: None for name in NONE_IF_MISSING if name in usual} | asked
    for name, value in asked.items():
        default = usual[name].default if name in usual else value
        if name == "adjusted_basis":
            default = keys.embedding
        told = _parsed(as_json(value))
        if name in RESOLVED or told == as_json(default):
            continue
        words.append(f"{name}={'...' if told == ARRAY else repr(told)}")
        if told == ARRAY:
            notes.append(f"{name} was given as an array")
    return {"text": f"{', '.join(words)})", "notes": notes}


def _parsed(value: Any) -> Any:
    """Return a list that was recorded as JSON; all else as it is."""
    if isinstance(value, str) and value.startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value
