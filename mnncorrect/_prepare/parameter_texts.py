"""Texts of parameters that several public calls have, each in one place.

A docstring describes the parameters whose text is its own; :func:`shared_parameters` completes its
section ``Parameters`` in the order of the signature.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Call = TypeVar("Call", bound=Callable[..., Any])

TEXTS = {
    "key": """\
    Column of ``obs`` that names the batches: integer, boolean, string or categorical. The
    order of categories, or else of the sorted values, is the order of the batches. Or several
    columns, from the outermost to the innermost: batches are the combinations that occur, and
    those that differ in the innermost only are merged first.""",
    "layer": """\
    Layer to read instead of ``X``.""",
    "use_raw": """\
    Whether to read ``raw`` instead, of the genes that ``adata`` has.""",
    "use_rep": """\
    Embedding in ``obsm`` to correct as it is, instead of expression. What concerns genes
    (``layer``, ``use_raw``, ``mask_var``, ``correct_all``, ``cosine_norm``, ``n_comps``,
    ``batch_weights``) cannot be given then.""",
    "use": """\
    Another name of ``use_rep``, as in scanpy 2.""",
    "mask_var": """\
    Genes that distances are measured on: a boolean column of ``var``, or a mask; ``None``:
    all genes. If not given, ``highly_variable`` where it exists.""",
    "correct_all": """\
    Whether the genes outside ``mask_var`` are corrected too.""",
    "cosine_norm": """\
    Whether cells are scaled to unit length, over the genes of ``mask_var``.""",
    "n_comps": """\
    Number of components, from 1 up. No more than there are cells or genes, which is said.
    ``None``: no components, the centred genes themselves.""",
    "batch_weights": """\
    Weight of each batch in the components: numbers in the order of the batches, or by name in
    a dict; or nested lists of names, at each level of which the weight is shared out equally.
    ``None`` or ``True``: the same for all; ``False``: their numbers of cells. As text:
    ``"A=2,B=1"``, ``"((A,B),C)"``, or ``"cells"``.""",
    "n_neighbors": """\
    Neighbours in each direction. More gives more pairs and smoother corrections, and ties
    looser matches together.""",
    "prop_neighbors": """\
    Neighbours as a share of the batch, 0 to 1, where that is more than ``n_neighbors``.""",
    "ndist": """\
    Bandwidth of the smoothing, in distances to the middle one of a cell's nearest paired
    cells. Larger is smoother; above 1, that no cell is left without any.""",
    "min_batch_size": """\
    Merges whose relative batch size is below this are left uncorrected: 0 corrects all, above
    1 none. ``None``: the size is not measured.""",
    "merge_order": """\
    Batch names in the order of merging, the reference first; or nested lists for a tree; or
    the same as text, ``"A,B,C"`` or ``"((A,B),(C,D))"``. ``"balanced"``: similar batches
    first, in rounds that halve their number, which is quicker for many batches. ``None``: the
    order of the batches. What was done is recorded.""",
    "auto_merge": """\
    Whether to merge always the two with most pairs between them instead.""",
    "restrict": """\
    Cells that pairs may be taken from: a boolean column of ``obs``, or a mask; ``None``: all.
    All cells are corrected.""",
    "neighbors": """\
    Search: ``"exact"``; ``"partition"`` or ``"pynndescent"``, which are approximate;
    ``"auto"`` takes one by the number of cells, and records which.""",
    "recall": """\
    Share of the true neighbours, and about that of the mutual pairs, that ``"partition"`` is
    to find, above 0, at most 1. Higher takes longer. The other searches do not heed it.""",
    "sketch": """\
    Cells of each side of a merge that pairs are sought among where it has more; they are
    drawn with the seed, from every batch and every region alike, and all cells are corrected
    by their pairs. More takes longer and rests on more pairs. ``"all"``: no limit, as in the
    reference. ``"auto"``: 10,000 with ``merge_order="balanced"``, otherwise all.""",
    "key_added": """\
    What the names of all results begin with.""",
    "adjusted_basis": """\
    Key in ``obsm`` for the result, where it is not ``X_`` and ``key_added``.""",
    "rng": """\
    The same as a numpy ``Generator``, or what numpy makes one of, in place of
    ``random_state``. Each call then takes its seed from it; the seed is recorded. ``None``: a
    new seed in each call.""",
    "n_jobs": """\
    Threads; ``None``: all CPUs that the process may use. Results do not depend on it.""",
    "progress": """\
    Called with the name of a stage and the share of it that is done.""",
    "copy": """\
    Whether to return a changed copy instead of changing ``adata``.""",
    "reference": """\
    Name of a batch that stays as it is. If not given, merging starts with the largest batch,
    whose cells change only in how far they scatter about their neighbours.""",
}
# Of functions that search neighbors.
SEARCHING = {
    "n_jobs": """\
    Threads; ``None``: all CPUs that the process may use. Results do not depend on it with
    exact neighbours.""",
}
SECTION = re.compile(
    r"^Parameters\n-+\n(.*?)(?=\n\n[A-Z][\w ]+\n-+\n|\Z)", re.MULTILINE | re.DOTALL
)


def shared_parameters(function: Call) -> Call:
    """Complete the parameters in the docstring of a function by the shared texts.

    Raises
    ------
    KeyError
        If a parameter has neither a text of its own nor a shared one.
    """
    doc = inspect.getdoc(function)
    if doc is None:  # python -OO
        return function
    found = SECTION.search(doc)
    assert found is not None, function
    own = dict(_entries(found[1]))
    parameters = inspect.signature(function).parameters
    texts = TEXTS | (SEARCHING if "neighbors" in parameters else {})
    entries = []
    described: set[str] = set()
    for name in parameters:
        if name in described:
            continue
        header = next((header for header in own if name in header.split(", ")), name)
        described |= set(header.split(", "))
        text = own[header] if header in own else texts[name]
        entries.append(f"{header}\n{text}")
    function.__doc__ = doc[: found.start(1)] + "\n".join(entries) + doc[found.end(1) :]
    return function


def _entries(section: str) -> Iterator[tuple[str, str]]:
    """Yield the names that stand together in a section, and their indented text."""
    for entry in re.split(r"\n(?=\S)", section.strip("\n")):
        header, _, text = entry.partition("\n")
        yield header, text
