"""Texts of parameters, errors and sources that several public calls have, each in one place.

A docstring describes the parameters whose text is its own; :func:`shared_parameters` completes its
section ``Parameters`` in the order of the signature. A name of :data:`PASSAGES` in braces stands
for a passage in other sections.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

Call = TypeVar("Call", bound=Callable[..., Any])

TEXTS = {
    "adata": "    The object.",
    "key": """\
    Column of ``obs`` that names the batches: integer, boolean, string or categorical. The
    order of categories, or else of the sorted values, is the order of the batches. With
    several columns, from the outermost to the innermost, batches are the combinations that
    occur, and batches within an outer factor are merged first.""",
    "layer": """\
    Layer to read values from instead of ``X``.""",
    "use_raw": """\
    Whether to read values from ``raw``, for the genes of ``adata``.""",
    "use_rep": """\
    Embedding in ``obsm`` to correct instead of expression. It excludes the parameters of genes
    (``layer``, ``use_raw``, ``mask_var``, ``correct_all``, ``cosine_norm``, ``n_comps``,
    ``batch_weights``, ``regress_out``).""",
    "use": """\
    Another name of ``use_rep``, as in scanpy 2.""",
    "mask_var": """\
    Genes used for distances: a boolean column of ``var`` or a mask; ``None``: all genes.
    Default: ``highly_variable``, if it exists.""",
    "correct_all": """\
    Whether genes outside ``mask_var`` are corrected too.""",
    "cosine_norm": """\
    Whether cells are scaled to unit length over the genes of ``mask_var``.""",
    "n_comps": """\
    Number of principal components, 1 or more. If fewer exist, all are computed and this is
    logged. ``"auto"``: 20 to 50, as many as stand out from noise: those whose variance is more
    than 1.5 times that of the last ones. ``None``: no components; the centered genes are
    used.""",
    "batch_weights": """\
    Weight of each batch in the components. Numbers in the order of the batches, or a dict by
    name; or nested lists of names, which divide the weight equally at each level. ``None`` or
    ``True``: equal weights; ``False``: number of cells. As text: ``"A=2,B=1"``,
    ``"((A,B),C)"`` or ``"cells"``.""",
    "regress_out": """\
    Columns of ``obs`` whose effects are taken out of each gene first, by least squares together
    with the batches: text, categories and booleans are factors with one effect for each value;
    numbers are quantities with one slope. Effects come from differences within batches.""",
    "n_neighbors": """\
    Number of nearest neighbors in each direction. Larger gives more pairs and smoother
    corrections, and allows less similar pairs.""",
    "prop_neighbors": """\
    Number of neighbors as a share of the batch, 0 to 1, if larger than ``n_neighbors``.""",
    "ndist": """\
    Bandwidth of the smoothing, as a multiple of the median distance from a cell to its nearest
    paired cells. Larger is smoother. Above 1, each cell has a neighbor within it.""",
    "min_batch_size": """\
    Relative batch size below which a merge is skipped. 0: none is skipped; above 1: all are.
    ``None``: the size is not measured.""",
    "merge_order": """\
    Order of merges: a list of batch names, the reference first; nested lists for a tree; or
    text, ``"A,B,C"`` or ``"((A,B),(C,D))"``. ``"balanced"``: similar batches first, in rounds
    that halve their number, which is faster for many batches. ``None``: order of the batches.
    The order used is recorded.""",
    "auto_merge": """\
    Whether to merge the two batches with the most pairs next.""",
    "restrict": """\
    Cells that may form pairs: a boolean column of ``obs`` or a mask; ``None``: all. All cells
    are corrected.""",
    "label_key": """\
    Known labels, such as cell types: a column of ``obs``, or the label of each cell. Pairs of
    cells whose labels differ are rejected. A cell without a label may be paired with any cell.
    Labels have to mean the same in all batches; some may be missing or wrong.""",
    "keep": """\
    What must not be removed, such as a condition: a column of ``obs``, several, or the value of
    each cell. Pairs are made only between cells with the same value. Batches that share no value
    are not corrected onto each other.""",
    "neighbors": """\
    Search for neighbors: ``"exact"``, or approximate by ``"partition"`` or ``"pynndescent"``.
    ``"cuvs"`` searches on an NVIDIA graphics card, with cuVS and CuPy installed.
    ``"auto"`` chooses by the number of cells, and records the choice.""",
    "recall": """\
    Share of the true neighbors that ``"partition"`` finds, above 0 and at most 1. Larger is
    slower. Other searches ignore it.""",
    "sketch": """\
    Largest number of cells of each side of a merge that are searched for pairs. They are drawn
    from each batch and region in proportion, and no more than the other side has (but 1,000).
    All cells are corrected. Larger is slower and uses more pairs. ``"all"``: no limit, as in the
    reference. ``"auto"``: with more than 10 batches, 100,000 divided by their number, but 2,000
    at least; otherwise 10,000 with ``merge_order="balanced"``, 50,000 for more than 100,000
    cells, and all for fewer. All also with any ``neighbors`` but ``"auto"``, unless balanced.
    The number used is logged and recorded.""",
    "key_added": """\
    Prefix of all result keys.""",
    "adjusted_basis": """\
    Key in ``obsm`` of the result. Default: ``X_`` followed by ``key_added``.""",
    "rng": """\
    numpy ``Generator``, or a seed for one, instead of ``random_state``. Each call draws its
    seed from it, and the seed is recorded. ``None``: a new seed in each call.""",
    "n_jobs": """\
    Number of threads; ``None``: all available CPUs. Results do not depend on it.""",
    "progress": """\
    Function that is called with the name of a stage and its completed share.""",
    "copy": """\
    Whether to return a changed copy instead of changing ``adata``.""",
    "title": """\
    Title of the plot.""",
    "ax": """\
    Axes to draw on.""",
    "show": """\
    Whether to show the figure; ``None``: yes, unless it is drawn on ``ax``, saved or returned.""",
    "save": """\
    File to write the figure to; its extension gives the format.""",
    "return_fig": """\
    Whether to return the figure.""",
    "reference": """\
    Name of a batch that does not move. Default: merging starts with the largest batch, in
    which only the spread around neighbors changes.""",
}
# Of functions that search neighbors.
SEARCHING = {
    "n_jobs": """\
    Number of threads; ``None``: all available CPUs. Results of exact neighbors do not depend
    on it."""
}
PASSAGES = {
    "{errors of batches}": """\
KeyError
    If a column, layer or embedding does not exist.
TypeError
    If values or masks are of the wrong kind.
ValueError
    If the object is backed or has no cells; if a cell has no batch; if only one batch exists, or
    one has a single cell; if values are not finite; if a parameter is out of range; if two
    parameters exclude each other""",
    "{errors of embeddings}": """\
KeyError
    If the embedding does not exist.
TypeError
    If it does not contain numbers.
ValueError
    If the object is backed or has no cells; if the embedding is not finite; if a parameter is out
    of range""",
    "{Haghverdi}": """\
Haghverdi, Lun, Morgan & Marioni (2018), *Batch effects in single-cell RNA-sequencing
   data are corrected by matching mutual nearest neighbors*, Nature Biotechnology 36,
   421-427, doi:10.1038/nbt.4091""",
}
SECTION = re.compile(
    r"^Parameters\n-+\n(.*?)(?=\n\n[A-Z][\w ]+\n-+\n|\Z)", re.MULTILINE | re.DOTALL
)


def shared_parameters(function: Call) -> Call:
    """Complete the parameters in the docstring of a function by the shared texts."""
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
    doc = doc[: found.start(1)] + "\n".join(entries) + doc[found.end(1) :]
    for name, passage in PASSAGES.items():
        doc = doc.replace(name, passage)
    function.__doc__ = doc
    return function


def parameter_texts(described: Any) -> dict[str, tuple[str, str]]:
    """Return the parameters that the docstring of something describes, as :func:`texts_in`."""
    return texts_in(inspect.cleandoc(described.__doc__ or ""))


def texts_in(doc: str) -> dict[str, tuple[str, str]]:
    """Return what a docstring says of parameters: what follows the name, and the text on one line.

    Of ``path : FILE.h5ad``, ``FILE.h5ad`` follows the name.
    """
    found = SECTION.search(doc)
    texts: dict[str, tuple[str, str]] = {}
    for header, text in () if found is None else _entries(found[1]):
        names, _, kind = header.partition(" : ")
        texts |= dict.fromkeys(names.split(", "), (kind, " ".join(text.split())))
    return texts


def _entries(section: str) -> Iterator[tuple[str, str]]:
    """Yield the names that stand together in a section, and their indented text."""
    for entry in re.split(r"\n(?=\S)", section.strip("\n")):
        header, _, text = entry.partition("\n")
        yield header, text
