"""The command line offers what the API does, under its names and with its defaults."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import pytest
import typer.main

from mnncorrect import pp, tl
from mnncorrect._adata.arguments import SEED
from mnncorrect._prepare.method_registry import all_methods, method_named, method_names, owners_of
from mnncorrect._prepare.parameter_texts import parameter_texts
from mnncorrect.cli.app import app
from mnncorrect.cli.options.correction import (
    CorrectionOptions,
    ExpressionOptions,
    LaterSteps,
    Preparing,
)
from mnncorrect.cli.options.shared import Reading, Resources, whole_numbers
from mnncorrect.core.neighbors.engines import ENGINES
from mnncorrect.core.runtime.unset import UNSET

if TYPE_CHECKING:
    from collections.abc import Callable

# What a command line has no use for, or names otherwise: the key is --batch-key, rng is
# --random-state and use is --use-rep.
NOT_OPTIONS = {"adata", "key", "progress", "copy", "rng", "use"}
ALL_METHODS = sorted(method_names())


def _commands() -> dict[str, Any]:
    return typer.main.get_command(app).commands  # type: ignore[attr-defined]


def _defaults(command: str) -> dict[str, Any]:
    return {option.name: option.default for option in _commands()[command].params}


def _api_defaults(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.name not in NOT_OPTIONS}


def _same(name: str, cli: Any, api: Any) -> bool:
    if name == "n_components":
        return whole_numbers(cli) == list(api)
    if api is UNSET or api is inspect.Parameter.empty or api == ():
        return cli is None
    # The default of methods differs, and is theirs.
    if name == "n_comps" and cli is None:
        return True
    return cli == api and (type(cli) is type(api) or api is SEED)


@pytest.mark.parametrize("name", ALL_METHODS)
@pytest.mark.parametrize("command", ["run", "correct"])
def test_the_correction_has_the_options_and_defaults_of_the_api(command: str, name: str) -> None:
    options = _defaults(command)
    for parameter, default in _api_defaults(method_named(name).function).items():
        assert parameter in options, parameter
        assert _same(parameter, options[parameter], default), parameter


@pytest.mark.parametrize(
    ("command", "function"),
    [
        ("pca", pp.pca),
        ("gmm", tl.gmm),
        ("umap", tl.umap),
        ("evaluate", tl.evaluate),
        ("project", tl.project),
        ("model", tl.fit_model),
    ],
)
def test_a_step_has_the_options_and_defaults_of_the_api(
    command: str, function: Callable[..., Any]
) -> None:
    options = _defaults(command)
    for parameter, default in _api_defaults(function).items():
        assert parameter in options, parameter
        assert _same(parameter, options[parameter], default), parameter


def test_run_has_the_defaults_of_its_steps() -> None:
    options = _defaults("run")
    steps = _api_defaults(pp.pca) | _api_defaults(tl.gmm)
    for name in ("n_comps", "n_dims", "n_components", "random_state", "n_jobs"):
        assert _same(name, options[name], steps[name]), name


@pytest.mark.parametrize("command", sorted(_commands()))
def test_options_are_named_as_their_parameters(command: str) -> None:
    renamed = {"help", "input", "inputs", "as_json"}
    for option in _commands()[command].params:
        if option.name not in renamed:
            assert f"--{option.name.replace('_', '-')}" in option.opts, option.name


@pytest.mark.parametrize("command", sorted(_commands()))
def test_every_command_has_an_example_and_helps_with_every_option(command: str) -> None:
    found = _commands()[command]
    assert f"Example: mnncorrect {command} " in found.help
    for option in found.params:
        assert option.help, option.name


@pytest.mark.parametrize("command", sorted(_commands()))
def test_every_command_can_be_told_what_to_say(command: str) -> None:
    assert {"verbose", "quiet", "log_file", "debug"} <= set(_defaults(command))


@pytest.mark.parametrize(
    "name",
    [
        "memory_limit",
        "gene_key",
        "use_raw",
        "subset",
        "layer",
        "sheet",
        "force",
        "neighbors",
        "recall",
    ],
)
def test_an_option_has_one_default_and_one_text_wherever_it_is(name: str) -> None:
    found = [option for c in _commands().values() for option in c.params if option.name == name]
    # Of these, commands make different use.
    if name not in {"layer", "sheet", "gene_key"}:
        assert len({option.help for option in found}) == 1
    assert len({str(option.default) for option in found} - {"mnn"}) == 1


@pytest.mark.parametrize(
    "group", [CorrectionOptions, ExpressionOptions, Preparing, Reading, LaterSteps, Resources]
)
def test_what_a_group_describes_is_an_option_of_it(group: Any) -> None:
    assert set(parameter_texts(group)) <= {field.name for field in dataclasses.fields(group)}


def test_choices_are_those_of_the_api() -> None:
    choices = {name: get_args(hint) for name, hint in get_type_hints(CorrectionOptions).items()}
    assert choices["neighbors"] == ENGINES
    assert set(choices["method"]) == set(method_names())


def test_an_option_of_another_method_is_wrong_usage(cli: Any) -> None:
    words = ["correct", "in.h5ad", "-b", "batch", "-o", "out.h5ad"]
    done = cli(*words, "--sigma", 0.2)
    assert done.code == 2
    told = " ".join(done.err)
    assert "--sigma belongs to method classic, not to calibrated" in told
    assert "--method classic" in told.partition("not to calibrated")[2]
    # What is not given is not refused.
    assert cli(*words, "--method", "classic", "--sigma", 0.2).code == 1


def test_every_field_of_a_correction_belongs_to_a_method() -> None:
    known = {name for method in all_methods() for name in method.parameters}
    fields = {field.name for field in dataclasses.fields(CorrectionOptions)} - {"method"}
    assert fields <= known


CORRECTING = ["run", "correct"]


@pytest.mark.parametrize("command", CORRECTING)
def test_the_help_describes_what_people_use_and_names_the_rest(command: str, cli: Any) -> None:
    described, _, named = cli(command, "--help").out.partition("More options")
    options = [o for o in _commands()[command].params if o.param_type_name == "option"]
    long = {option.name: f"--{option.name.replace('_', '-')}" for option in options}
    long["as_json"] = "--json"
    start = r"^  (?:-\w, |--[\w-]+, )*"
    first = {
        n for n, text in long.items() if re.search(f"{start}{text}\\b", described, re.MULTILINE)
    }
    assert 10 <= len(first) <= 15
    assert all(text in named for name, text in long.items() if name not in first)
    assert "n_neighbors" not in first
    assert "help_all" in first


def test_each_option_is_in_the_section_of_its_subject(cli: Any) -> None:
    """A sheet is read first, and labels guide the correction: neither comes after it."""
    sections = re.split(r"^(?=\w.*:$)", cli("run", "--help-all").out, flags=re.MULTILINE)
    for option, title in (("--sheet", "Input:"), ("--guide", "Correction:")):
        (section,) = [text for text in sections if re.search(rf"^  {option}\b", text, re.MULTILINE)]
        assert section.startswith(title)


@pytest.mark.parametrize("width", [80, 120])
def test_help_all_says_of_each_option_which_methods_have_it(
    width: int, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text = cli("run", "--help-all").out
    assert max(map(len, text.splitlines())) <= width
    for name in (field.name for field in dataclasses.fields(CorrectionOptions)):
        owners = owners_of(name)
        if name == "method" or len(owners) == len(ALL_METHODS):
            continue
        # The whole name: --keep is not --keep-normalised.
        before, *more = re.split(rf"\n  --{name.replace('_', '-')}(?=[\s,])", text, maxsplit=1)
        after = "".join(more)
        assert after, name
        section = re.findall(r"^\w.*:$", before, re.MULTILINE)[-1]
        told = section if section.startswith("Only with --method") else after[:400]
        assert section == "Options:" or all(owner in told for owner in owners), name
        assert ("calibrated" in owners) != section.startswith("Only with --method"), name
