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


# The options of commands, by section of the configuration.
OPTIONS = schema_of("options")["properties"]


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
            yield f"{dotted((*place, key))}: there is no such key; {instead_of(key, known)}"
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


def instead_of(key, known):
    """Tell what to write instead of a key that does not exist."""
    close = difflib.get_close_matches(key, known, 1)
    if close:
        return f"did you mean {close[0]}?"
    sections = [name for name, spec in OPTIONS.items() if key in spec["properties"] and name in known]
    if sections:
        return f"write it into the section {' or '.join(sections)}"
    return f"allowed are {', '.join(sorted(known))}"


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
