"""The methods that a run knows by name, and their parameters."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from mnncorrect._adata.values import ValuesWarning
from mnncorrect._log import without
from mnncorrect._prepare.methods import (
    ABOUT_GENES,
    NOT_PARAMETERS,
    method_named,
    method_names,
    owners_of,
)
from mnncorrect._wording import UsageError

if TYPE_CHECKING:
    from anndata import AnnData


def refuse_unknown(name: str) -> None:
    """Refuse a method that there is not."""
    if name not in method_names():
        raise UsageError(f"`method` is {name!r}; choose one of {', '.join(method_names())}")


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


def correct_by(
    adata: AnnData,
    key: str | list[str],
    method: str,
    params: Mapping[str, Any],
    *,
    allocate: Callable[[tuple[int, int], Any], Any] | None = None,
    **more: Any,
) -> Any:
    """Correct an object in place by a method; return corrected expression made on the way.

    ``allocate`` makes room for that, if it is wanted. ``more``: what a run decides, such as
    ``mask_var``.
    """
    known = method_named(method)
    function, has = known.function, known.parameters
    options = {name: value for name, value in {**params, **more}.items() if name in has}
    # The values have been judged, all of them, before some were taken for the method.
    with warnings.catch_warnings(action="ignore", category=ValuesWarning), without(ValuesWarning):
        if allocate is None or not known.corrects_genes:
            function(adata, key, **options)
            return None
        from mnncorrect.pp._adapter import draft_by

        draft, made = draft_by(method, adata, key, allocate=allocate, **options)
        draft.commit()
        return made
