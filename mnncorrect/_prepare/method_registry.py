"""The registry of correction methods: what the rest of the package knows of each.

A method registers itself in its own file, by :func:`register`, and has one line in
:data:`MODULES`. All else asks here: the options of the shell, the plan of a run, the null of an
evaluation, ``mnn_integrate``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from mnncorrect._wording import UsageError

if TYPE_CHECKING:
    from mnncorrect.core.metrics.null import Halves

    CorrectHalves = Callable[[Halves], tuple[Any, Any]]
    Call = TypeVar("Call", bound=Callable[..., Any])

# The file of each method, which registers it; imported when the method is asked for. These files
# import nothing heavy at the top, as the help of the shell reads signatures.
MODULES = {
    "calibrated": "mnncorrect.pp._calibrated",
    "fast": "mnncorrect.pp._fast",
    "cluster": "mnncorrect.pp._cluster",
    "classic": "mnncorrect.pp._classic",
}
DEFAULT = "calibrated"
# Parameters that concern genes, and have no meaning where an embedding is corrected as it is;
# besides those that say which values are read.
ABOUT_GENES = ("mask_var", "correct_all", "cosine_norm", "n_comps", "batch_weights", "regress_out")
# Parameters that a run decides, or takes itself.
NOT_PARAMETERS = (
    "copy", "layer", "n_jobs", "progress", "random_state", "rng", "use", "use_raw",
    "write_expression",
)  # fmt: skip


@dataclass(frozen=True)
class RegisteredMethod:
    """What the package knows of a method."""

    name: str  # As ``method`` and ``--method`` have it.
    # Its public call on AnnData. The signature decides which options it has.
    function: Callable[..., Any]
    # What it corrects. A method of components may correct expression by the same weights.
    corrects: Literal["components", "expression"]
    # What :mod:`mnncorrect.pp._adapter` calls with what it has read; ``None``: the call does all
    # itself.
    solve: Callable[[Any], Any] | None = None
    # Corrects two random halves of one batch, for the null of an evaluation; ``None``: it cannot.
    correct_halves: CorrectHalves | None = None
    described: str = ""  # Its description in the methods section of a paper.
    has_confidence: bool = False  # Whether it writes a confidence for each cell.
    # Whether it chooses an order of merges from the data where none is given.
    orders_merges: bool = False
    # Whether an embedding in a file is corrected without being held whole, unless cells are guided.
    out_of_core: bool = False
    # Cells of a batch that the null uses, where fewer are needed because of the time it takes.
    most_null_cells: int | None = None

    @cached_property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The parameters of the call."""
        return inspect.signature(self.function).parameters

    @property
    def embeds(self) -> bool:
        """Whether the result is an embedding."""
        return self.corrects == "components"

    @property
    def corrects_genes(self) -> bool:
        """Whether it corrects expression by the weights that correct the components."""
        return "write_expression" in self.parameters


_REGISTERED: dict[str, RegisteredMethod] = {}


def register(name: str, **facts: Any) -> Callable[[Call], Call]:
    """Register the function below as a method; ``facts`` as :class:`RegisteredMethod` has them."""

    def add(function: Call) -> Call:
        _REGISTERED[name] = RegisteredMethod(name, function, **facts)
        return function

    return add


def with_defaults(function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Add the defaults of a function to the arguments that are given."""
    parameters = inspect.signature(function).parameters
    foreign = [name for name in given if name not in parameters]
    if foreign:
        raise TypeError(
            f"{getattr(function, '__name__', function)} has no parameter {', '.join(foreign)}"
        )
    return {name: parameter.default for name, parameter in parameters.items()} | dict(given)


def method_names() -> list[str]:
    """Return the names of all methods, the default first."""
    return list(dict.fromkeys([*MODULES, *_REGISTERED]))


def method_named(name: str) -> RegisteredMethod:
    """Return a method."""
    if name not in method_names():
        raise UsageError(f"`method` is {name!r}; choose one of {', '.join(method_names())}")
    if name not in _REGISTERED:
        import_module(MODULES[name])
    return _REGISTERED[name]


def recorded_method(params: Mapping[str, Any] | None) -> RegisteredMethod | None:
    """Return the method that a correction's parameters name; ``None``: it is not registered."""
    name = None if params is None else params.get("method")
    return method_named(str(name)) if name in method_names() else None


def all_methods() -> list[RegisteredMethod]:
    """Return all methods, the default first."""
    return [method_named(name) for name in method_names()]


def owners_of(parameter: str) -> list[str]:
    """Name the methods that have a parameter."""
    return [method.name for method in all_methods() if parameter in method.parameters]


def names_where(methods: Iterable[RegisteredMethod]) -> str:
    """List the names of methods in a message."""
    return ", ".join(method.name for method in methods)
