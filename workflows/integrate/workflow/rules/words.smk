"""What is wrong in the configuration or the sheet, in words: place, value, what is allowed."""

import difflib
import json
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator
from snakemake.exceptions import WorkflowError

KINDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a section of keys",
    "null": "null",
}
# What a value must be that breaks a rule of a schema.
NEEDED = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "minLength": "not empty",
    "minItems": "not empty",
    "minProperties": "not empty",
}


def schema_of(name):
    path = workflow.source_path(f"../schemas/{name}.schema.yaml")
    return yaml.safe_load(Path(path).read_text(encoding="utf-8"))


# The keys of the configuration, and the options of commands by section.
CONFIG = schema_of("config")
OPTIONS = schema_of("options")["properties"]
ALL_KEYS = [*CONFIG["properties"], *(key for spec in OPTIONS.values() for key in spec["properties"])]
# What the command line or Python calls a key.
CALLED = {"n_jobs": "threads", "seed": "random_state"}


def refuse(problems, where="the configuration"):
    """Stop with all problems at once, one a line."""
    if problems:
        lines = "\n".join(f"  {each}" for each in dict.fromkeys(problems))
        raise WorkflowError(f"{where} is not valid:\n{lines}")


def problems_of(data, schema, place=()):
    """Return what is wrong in data, in words; ``place`` is where the data stand."""
    unnamed = list(keys_that_are_no_text(data, place))
    if unnamed:
        return unnamed
    errors = Draft202012Validator(schema).iter_errors(data)
    return [text for error in errors for text in in_words(error, place)]


def keys_that_are_no_text(data, place):
    for key, value in data.items() if isinstance(data, dict) else ():
        if isinstance(key, str):
            yield from keys_that_are_no_text(value, (*place, key))
        else:
            yield f'{dotted((*place, key))}: the key {key} is not text; write it in quotes, "{key}"'


def in_words(error, place):
    """Tell an error of a schema in words."""
    place, value, rule = (*place, *error.absolute_path), error.instance, error.validator_value
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        for key in sorted(set(value) - set(known)):
            instead = instead_of(key, value[key], place, known)
            yield f"{dotted((*place, key))}: there is no such key; {instead}"
        return
    if error.validator == "type":
        kinds = [rule] if isinstance(rule, str) else rule
        needed = " or ".join(KINDS[kind] for kind in kinds) + how_to_write(value, kinds)
    elif error.validator == "enum":
        needed = f"one of {', '.join(map(str, rule))}"
    elif error.validator in NEEDED:
        needed = NEEDED[error.validator].format(rule)
    else:
        needed = error.schema["description"]
    yield f"{dotted(place)}: {json.dumps(value, ensure_ascii=False, default=str)} must be {needed}"


def dotted(place):
    """Write a place in the configuration as ``sets.fast.correct.n_neighbors``."""
    return ".".join(map(str, place)) or "all of it"


def instead_of(key, value, place, known):
    """Tell what to write instead of a key that does not exist in the section at ``place``."""
    name = CALLED.get(key, key).replace("-", "_")
    if name in known:
        return f"did you mean {name}?"
    if homes := homes_of(name, place):
        return f"write {'it' if name == key else name} {homes}"
    if not place and isinstance(value, dict) and value and set(value) <= set(OPTIONS):
        return "if it is a parameter set, write it into the section sets"
    for close in difflib.get_close_matches(name, [*known, *ALL_KEYS], 1):
        return f"did you mean {close}?" + ("" if close in known else f" Write it {homes_of(close, place)}")
    return f"allowed are {', '.join(sorted(known))}"


def homes_of(name, place):
    """Tell where the configuration has a key of this name, seen from the section at ``place``."""
    own = place[:2] if place[:1] == ("sets",) else ()
    within = set(CONFIG["properties"]["sets"]["additionalProperties"]["properties"])
    homes = []
    if name in CONFIG["properties"]:
        in_set = own and name in within
        homes.append(f"into {dotted(own)}" if in_set else "at the top of the file")
    sections = [section for section, spec in OPTIONS.items() if name in spec["properties"]]
    places = [dotted((*(own if section in within else ()), section)) for section in sections]
    if places:
        homes.append(f"into the section {' or '.join(places)}")
    return ", or ".join(homes)


def how_to_write(value, kinds):
    """Tell how to write what YAML reads as something else."""
    if isinstance(value, str) and {"integer", "number"} & set(kinds):
        try:
            number = float(value)
        except ValueError:
            return ""
        return f"; YAML reads this as text, so write {int(number) if number.is_integer() else number}"
    if isinstance(value, bool | int | float) and "string" in kinds:
        return f'; write it in quotes: "{value}"'
    if isinstance(value, str) and "array" in kinds:
        return f"; write [{value}]"
    return ""
