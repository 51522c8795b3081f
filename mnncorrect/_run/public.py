"""``mnncorrect.run`` and ``mnncorrect.plan``: all that ``mnncorrect run`` does, by one call."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from mnncorrect._adata.record import as_call
from mnncorrect._prepare.methods import DEFAULT, method_named
from mnncorrect._run import execute
from mnncorrect._run.plan import Plan, resolve
from mnncorrect._run.request import request_of
from mnncorrect._wording import UsageError
from mnncorrect.core.runtime.unset import SEED, UNSET
from mnncorrect.tl._gmm import NUMBERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

    from mnncorrect._adata.arguments import Seed
    from mnncorrect._run.request import Request
    from mnncorrect.core.runtime.threads import Progress
    from mnncorrect.core.runtime.unset import Unset

__all__ = ["Plan", "plan", "run"]

# Arguments of a run that its request does not have; and those that results do not depend on, but
# for the files that are read and written.
HOW = ("params", "progress", "copy")
NOT_RECORDED = frozenset(
    {"data", "output", "sheet", "save_model", "report", "label_key", "force", "memory_limit",
     "n_jobs", "rng", "random_state"}
)  # fmt: skip


def run(
    data: AnnData | str | Path | Sequence[str | Path] | None = None,
    key: str | Sequence[str] | None = None,
    *,
    output: str | Path | None = None,
    sheet: str | Path | None = None,
    layer: str | None = None,
    use_raw: bool = False,
    gene_key: str | None = None,
    strip_versions: bool = False,
    subset: str | Sequence[str] = (),
    batch_from_barcode: bool = False,
    counts: bool | None = None,
    normalize: bool | None = None,
    log1p: bool | None = None,
    keep_normalized: bool | None = None,
    hvg: bool | Literal["counts"] | None = None,
    n_top_genes: int | None = None,
    method: str = DEFAULT,
    write_expression: bool = False,
    expression_scale: Literal["centered", "cosine", "log"] | None = None,
    expression_mask_var: str | Sequence[bool] | NDArray[Any] | None = None,
    pca: bool | None = None,
    gmm: bool = True,
    umap: bool = False,
    n_dims: int | Literal["auto"] | None = "auto",
    n_components: int | Sequence[int] = NUMBERS,
    save_model: str | Path | None = None,
    report: str | Path | None = None,
    label_key: str | None = None,
    force: bool = False,
    memory_limit: str = "2G",
    random_state: Seed = SEED,
    rng: Seed | Unset = UNSET,
    n_jobs: int | None = None,
    progress: Progress | None = None,
    copy: bool = False,
    **params: Any,
) -> AnnData | None:
    """Normalize, choose genes, correct, find components and clusters: all that the command does.

    The same as ``mnncorrect run`` on a shell, to the bit. :func:`mnncorrect.plan` takes the same
    arguments and says what would be done.

    Parameters
    ----------
    data
        An object, which is changed in place; or a file, or several, of the kinds that
        ``mnncorrect concat`` reads. Files are read in blocks, and several are joined: shared
        genes are kept, and each file is a batch unless ``key`` names a column.
    key
        Column of ``obs`` that names the batch, or several from the outermost to the innermost. One
        input needs it, unless ``batch_from_barcode`` is given.
    output
        h5ad file for the result; it appears when it is complete. ``None``: the result is put into
        the object, or returned where files were given.
    sheet
        Table (.tsv or .csv) that names the files instead of ``data``, with a column ``path`` and a
        column ``batch``; its other columns become columns of ``obs``.
    layer, use_raw
        Where values are read instead of ``X``.
    gene_key
        Column of ``var`` by which the genes of several files are matched. Default: ``var_names``.
    strip_versions
        Whether genes are matched without the versions of Ensembl identifiers.
    subset
        Conditions on the cells: ``"COLUMN=VALUE"`` or ``"COLUMN!=VALUE"``, one or several.
    batch_from_barcode
        Whether names of cells tell the batch, by what they have beside the barcode.
    counts
        Whether values are counts. Default: detected.
    normalize, log1p
        Whether counts are scaled to the median total, and their logarithm is taken. Default: both.
    keep_normalized
        Whether normalized values stay in ``layers["mnn_log1p"]``. Default: they do.
    hvg
        Whether highly variable genes are chosen; ``"counts"``: of counts only. Default: unless
        ``var`` has ``highly_variable``, or ``mask_var`` is given.
    n_top_genes
        Number of genes to choose, from 1 up. Default: 2000, where genes are chosen.
    method
        The correction: ``"calibrated"`` for :func:`mnncorrect.pp.mnn_calibrated`, ``"fast"``,
        ``"cluster"`` or ``"classic"``.
    write_expression
        Whether corrected expression is made beside corrected components, in ``layers["mnn"]``
        (``calibrated``, ``fast``, ``cluster``).
    expression_scale, expression_mask_var
        As ``scale`` and ``mask_var`` of :func:`mnncorrect.pp.mnn_expression`.
    pca
        Whether components of corrected expression are found (``classic``). Default: they are.
    gmm, umap
        Whether clusters are found by :func:`mnncorrect.tl.gmm`, and a map is drawn by
        :func:`mnncorrect.tl.umap`.
    n_dims, n_components
        As of :func:`mnncorrect.tl.gmm`.
    save_model
        File for a model of the correction (``calibrated``, ``fast``, ``cluster``).
    report
        HTML file for a report on the result.
    label_key
        Column of ``obs`` with known labels, such as cell types, that the report shows and scores.
    force
        Whether files that exist are replaced, and results of others in the input.
    memory_limit
        Memory that the values of the input may take, such as ``"500M"``. Results do not depend on
        it.
    random_state
        Random seed.
    rng
        The same as a numpy ``Generator``, or what numpy makes one of.
    n_jobs
        Threads. Default: all available CPUs.
    progress
        Called with the name of a stage and the share of it that is done.
    copy
        Whether to return a changed copy instead of changing the object.
    **params
        Parameters of the method, such as ``mask_var``, ``use_rep``, ``n_comps`` or ``key_added``.
        Where no ``merge_order`` is given, ``fast``, ``cluster`` and ``classic`` merge similar
        batches first (``"balanced"``); ``None`` is the method's own order.

    Returns
    -------
    ``None`` where an object was changed or a file written; otherwise the object with the results of
    the method, and:

    ``layers["mnn_log1p"]``
        Normalized values, where they were counts.
    ``obs["gmm"]``, ``obsm["X_mnn_umap"]``
        Clusters and map, where they were asked for.
    ``uns["mnn"]``
        Besides what the method records: ``prepared``, what was done with the values, and
        ``warnings`` of the input.

    Raises
    ------
    KeyError, OSError, TypeError, ValueError
        An input cannot be read or corrected, or arguments exclude one another. The object is as it
        was then, and no file is written.

    See Also
    --------
    mnncorrect.plan : Say what would be done, and what it takes.
    mnncorrect.pp.prepare : Normalize and choose genes, without a correction.

    Examples
    --------
    >>> import mnncorrect
    >>> from mnncorrect._io.example import make_example
    >>> adata = make_example()
    >>> mnncorrect.run(adata, "batch", n_comps=20, gmm=False)
    >>> adata.obsm["X_mnn"].shape
    (700, 20)
    """
    given = {name: value for name, value in locals().items() if name not in HOW}
    return execute.execute(_request(given, params), progress=progress, copy=copy)


def plan(
    data: AnnData | str | Path | Sequence[str | Path] | None = None,
    key: str | Sequence[str] | None = None,
    **arguments: Any,
) -> Plan:
    """Decide what :func:`mnncorrect.run` would do with inputs, and do nothing yet.

    Parameters
    ----------
    data, key
        As of :func:`mnncorrect.run`.
    **arguments
        All others that it has, but ``progress`` and ``copy``.

    Returns
    -------
    A plan. Its method ``describe`` returns the steps in words, ``estimate`` memory and time, and
    ``execute`` carries it out. Of large files, the values of some cells were looked at; ``execute``
    looks at all, and refuses inputs that do not fit the plan.

    Raises
    ------
    KeyError, OSError, TypeError, ValueError
        The run would fail.

    Examples
    --------
    >>> import mnncorrect
    >>> from mnncorrect._io.example import make_example
    >>> planned = mnncorrect.plan(make_example(), "batch", gmm=False)
    >>> planned.describe()[-1]
    'correct 700 cells by method calibrated'
    >>> planned.n_genes_used
    765
    """
    idle = [name for name in ("copy", "progress") if name in arguments]
    if idle:
        msg = f"a plan has no use for `{idle[0]}`; give it to its method `execute`"
        raise UsageError(msg)
    known = inspect.signature(run).bind(data, key, **arguments)
    known.apply_defaults()
    params = known.arguments.pop("params")
    return resolve(_request(known.arguments, params))


def _request(given: Mapping[str, Any], params: Mapping[str, Any]) -> Request:
    """Make the request of a run, with the record of its arguments."""
    request = request_of(given, params)
    own = {name: at.default for name, at in method_named(request.method).parameters.items()}
    usual = own | {name: at.default for name, at in inspect.signature(run).parameters.items()}
    # A run has a default of its own for it.
    usual.pop("merge_order", None)
    asked = {name: value for name, value in given.items() if name not in NOT_RECORDED}
    asked |= {**params, "key": request.selection.key, "subset": request.selection.subset}
    asked["random_state"] = request.random_state
    usual |= {"random_state": 0}
    n_inputs = len(request.data) if isinstance(request.data, tuple) else 1
    return replace(request, call=as_call("run", asked, usual, n_inputs))
