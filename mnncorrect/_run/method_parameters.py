"""Which parameters a method takes, of those that a run is given."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from mnncorrect._prepare.method_registry import ABOUT_GENES, NOT_PARAMETERS, method_named, owners_of
from mnncorrect._wording import UsageError


def refuse_other_parameters(
    method: str,
    params: Mapping[str, Any],
    about_genes: Mapping[str, Any],
    *,
    also_known: Collection[str] = (),
) -> None:
    """Refuse parameters that a method does not have, or that it lacks.

    ``about_genes``: what else concerns genes. ``also_known``: parameters that another step takes.
    """
    has = method_named(method).parameters
    for name, value in params.items():
        if name in NOT_PARAMETERS:
            raise UsageError(f"`{name}` is not a parameter of a method here; leave it out")
        if name in has or name in also_known:
            continue
        owners = owners_of(name)
        if owners and value is None:
            continue
        if not owners:
            own = [each for each in has if each not in (*NOT_PARAMETERS, "adata", "key")]
            raise UsageError(f"`{name}` belongs to no method; {method} has {', '.join(own)}")
        raise UsageError(
            f"{_called(name, value)} belongs to method {', '.join(owners)}, not to {method}: leave "
            f"it out, or give `method='{owners[0]}'`"
        )
    for name, parameter in has.items():
        needed = parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
        if needed and params.get(name) is None:
            raise UsageError(f"method {method} needs `{name}`")
    if params.get("use_rep") is None:
        return
    given = {name: value for name, value in about_genes.items() if value is not None}
    given |= {name: params[name] for name in ABOUT_GENES if name in params}
    for name, value in given.items():
        if name not in also_known:
            raise UsageError(
                f"{_called(name, value)} concerns genes, and `use_rep` corrects an embedding as it "
                "is: leave one of them out"
            )


def _called(name: str, value: Any) -> str:
    """Write an argument as a message names it: a switch with what it was set to."""
    return f"`{name}={value}`" if isinstance(value, bool) else f"`{name}`"
