"""The methods that ``--method`` names: adding one is adding a line to the table."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from mnncorrect.cli.options import ALL_GENES, Correction

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anndata import AnnData


@dataclass(frozen=True)
class Method:
    """What the command line has to know of a method.

    Attributes
    ----------
    function
        Its function in ``mnncorrect.pp``, whose signature says which options it takes.
    embeds
        Whether it gives a corrected embedding, rather than corrected expression.
    """

    function: str
    embeds: bool


METHODS: Mapping[str, Method] = {"classic": Method("mnn_classic", embeds=False)}


def function_of(name: str) -> Callable[..., AnnData | None]:
    """Return the function that carries out a method."""
    from mnncorrect import pp

    function: Callable[..., AnnData | None] = getattr(pp, METHODS[name].function)
    return function


def refuse_foreign(context: typer.Context, correction: Correction) -> None:
    """Refuse, as wrong usage, an option that the chosen method does not have."""
    own = set(inspect.signature(function_of(correction.method)).parameters) | {"method"}
    for field in dataclasses.fields(Correction):
        source = context.get_parameter_source(field.name)
        if field.name in own or source is None or source.name == "DEFAULT":
            continue
        owners = [
            name
            for name in METHODS
            if field.name in inspect.signature(function_of(name)).parameters
        ]
        option = f"--{field.name.replace('_', '-')}"
        msg = f"{option} belongs to method {', '.join(owners)}, not to {correction.method}"
        raise typer.BadParameter(msg)


def correct(
    adata: AnnData, key: str, correction: Correction, *, mask_var: Any, **more: Any
) -> None:
    """Correct an object in place by the chosen method.

    Parameters
    ----------
    adata
        The object.
    key
        The column of obs that names the batches.
    correction
        The options, of which the method is given those that it has.
    mask_var
        The genes, as the method takes them.
    more
        What does not come from these options: ``layer``, ``random_state`` and the like.
    """
    function = function_of(correction.method)
    has = inspect.signature(function).parameters
    options = {
        field.name: getattr(correction, field.name)
        for field in dataclasses.fields(Correction)
        if field.name in has
    }
    function(adata, key, **(options | {"mask_var": mask_var} | more))


def genes_wanted(adata: AnnData, correction: Correction) -> Any:
    """Turn what ``--mask-var`` says into what a method takes."""
    from mnncorrect._adata import UNSET

    if correction.mask_var is None:
        return UNSET
    if correction.mask_var == ALL_GENES and ALL_GENES not in adata.var:
        return None
    return correction.mask_var
