"""Compiled loops over the bytes of text, and nothing else."""

from __future__ import annotations

from numba import config, njit

from mnncorrect.core.runtime.caches import find_place, own_files

find_place(njit, config)


@njit(nogil=True, cache=True)
def follow(table, text, state):
    """Go through bytes from state to state; return the last one, and how far it went.

    ``table[state, byte]`` is the next state. State 0 is that of refusal: it ends the way.
    """
    for at in range(text.shape[0]):
        state = table[state, text[at]]
        if state == 0:
            return state, at
    return state, text.shape[0]


own_files(globals().values())
