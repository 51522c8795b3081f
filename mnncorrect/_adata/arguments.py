"""Arguments of public calls that have two names: scanpy moves from the first to the second.

``rng`` stands beside ``random_state``, and ``use`` beside ``use_rep``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from mnncorrect.core.runtime.unset import SEED, UNSET, Unset

Seed: TypeAlias = (
    int
    | np.integer[Any]
    | Sequence[int]
    | np.random.SeedSequence
    | np.random.BitGenerator
    | np.random.Generator
    | np.random.RandomState
    | None
)
# Numbers that are drawn as seeds are below this; all libraries take them.
SEED_BOUND = 2**31 - 1


def take_seed(random_state: Seed, rng: Seed | Unset = UNSET) -> int:
    """Return the random seed of a call: ``random_state``, or a number that is drawn from ``rng``.

    At most one of them is given. ``None`` draws a new seed in each call. A call with the returned
    number gives the same result again, so it is what results record.
    """
    given: Any = random_state
    if not isinstance(rng, Unset):
        if random_state is not SEED:
            raise ValueError("rng and random_state are two names of one argument; give one of them")
        given = rng
    name = "random_state" if given is random_state else "rng"
    if isinstance(given, int | np.integer):
        if given < 0:
            raise ValueError(
                f"{name} is {given}; give a whole number from 0 up, a numpy Generator, or None"
            )
        return int(given)
    if isinstance(given, np.random.RandomState):
        return int(given.randint(SEED_BOUND))
    try:
        generator = np.random.default_rng(given)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name} is {given!r}; give a whole number from 0 up, a numpy Generator, or None"
        ) from error
    return int(generator.integers(SEED_BOUND))


def take_rep(use_rep: Any, use: Any = None) -> str | None:
    """Return the key in ``obsm`` of the one embedding that a call is to use, if one is given."""
    if use is not None and use_rep is not None:
        raise ValueError("use and use_rep are two names of one argument; give one of them")
    given = use_rep if use is None else use
    if given is None or isinstance(given, str):
        return given
    # An accessor of anndata 0.13, told without importing what earlier versions do not have.
    if type(given).__name__ == "MultiAcc" and given.dim == "obs":
        return str(given.k)
    raise TypeError(
        f"{'use_rep' if use is None else 'use'} is {given!r}; give a key of obsm, such as 'X_pca'"
    )
