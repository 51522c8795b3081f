"""``mnncorrect.run`` and ``mnncorrect.plan``: all that ``mnncorrect run`` does, by one call."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mnncorrect._adata.record import as_call
from mnncorrect._prepare.method_registry import DEFAULT, method_named
from mnncorrect._run import execute
from mnncorrect._run.plan import RunPlan
from mnncorrect._run.planning import resolve
from mnncorrect._run.request import Request, request_of
from mnncorrect._wording import UsageError
from mnncorrect.core.runtime.unset import SEED, UNSET, Unset
from mnncorrect.tl._gmm import NUMBERS

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from mnncorrect._adata.arguments import Seed
    from mnncorrect.core.runtime.threads import Progress

__all__ = ["Plan", "plan", "run"]

# Arguments of a run that its request does not have; and those that results do not depend on, but
# for the files that are read and written.
HOW = ("params", "progress", "copy")
NOT_RECORDED = frozenset(
    {"data", "output", "sheet", "save_model", "report", "label_key", "force", "memory_limit",
     "workers", "scheduler", "n_jobs", "rng", "random_state"}
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
    min_counts: float | None = None,
    min_genes: int | None = None,
    max_mito: float | None = None,
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
    expression_clip: bool = False,
    expression_counts: bool = False,
    pca: bool | None = None,
    gmm: bool = True,
    umap: bool = False,
    leiden: float | None = None,
    n_dims: int | Literal["auto"] | None = "auto",
    n_components: int | Sequence[int] = NUMBERS,
    save_model: str | Path | None = None,
    report: str | Path | None = None,
    label_key: str | None = None,
    guide: bool = False,
    force: bool = False,
    memory_limit: str = "2G",
    workers: int | None = None,
    scheduler: str | None = None,
    random_state: Seed = SEED,
    rng: Seed | Unset = UNSET,
    n_jobs: int | None = None,
    progress: Progress | None = None,
    copy: bool = False,
    **params: Any,
) -> AnnData | None:
    """Run all steps: normalize, choose genes, correct, compute components and clusters.

    Results are bit-identical to those of the command ``mnncorrect run``. :func:`mnncorrect.plan`
    takes the same arguments and returns the steps without running them.

    Parameters
    ----------
    data
        An object, which is changed in place; or one or several files in any format that
        ``mnncorrect concat`` reads. Files are read in blocks. Several files are joined on their
        shared genes, and each is a batch unless ``key`` names a column.
    key
        Column of ``obs`` with the batch, or several columns, the outermost first. Required for a
        single input, unless ``batch_from_barcode`` is given.
    output
        h5ad file for the result, a folder of zarr (``.zarr``), or a MuData file (``.h5mu``) if the
        input is a modality of one; it appears when it is complete. ``None``: the object is changed,
        or a new object is returned for files.
    sheet
        Table (.tsv or .csv) of the files, instead of ``data``. It has the columns ``path`` and
        ``batch``; other columns become columns of ``obs``.
    layer, use_raw
        Layer to read values from instead of ``X``, or whether to read them from ``raw``.
    gene_key
        Column of ``var`` with the gene names that are matched between files. Default:
        ``var_names``.
    strip_versions
        Whether to ignore versions of Ensembl ids when genes are matched.
    subset
        Conditions on the cells: ``"COLUMN=VALUE"`` or ``"COLUMN!=VALUE"``, one or several.
    min_counts, min_genes
        Least sum of the counts of a cell, and least number of genes above zero. Cells with less are
        removed, as ``scanpy.pp.filter_cells`` does. Default: no filter.
    max_mito
        Largest percentage of counts (0 to 100) in mitochondrial genes. Cells with more are removed.
        These are the genes ``MT-`` or ``mt-`` by ``var_names`` or ``gene_key``. Default: no filter.
    batch_from_barcode
        Whether to read the batch from the part of the cell names beside the barcode.
    counts
        Whether values are counts. Default: detected.
    normalize, log1p
        Whether to scale counts to the median total, and whether to take log1p. Default: both.
    keep_normalized
        Whether to keep normalized values in ``layers["mnn_log1p"]``. Default: yes.
    hvg
        Whether to choose highly variable genes; ``"counts"``: only if values are counts. Default:
        yes, unless ``var`` has ``highly_variable`` or ``mask_var`` is given.
    n_top_genes
        Number of genes to choose, 1 or more. Default: 2000.
    method
        Correction method: ``"calibrated"`` (:func:`mnncorrect.pp.mnn_calibrated`), ``"fast"``,
        ``"cluster"`` or ``"classic"``.
    write_expression
        Whether to write corrected expression to ``layers["mnn"]``, in addition to corrected
        components (``calibrated``, ``fast``, ``cluster``).
    expression_scale, expression_mask_var
        ``scale`` and ``mask_var`` of :func:`mnncorrect.pp.mnn_expression`.
    expression_clip
        Whether negative values of corrected expression become 0, for tools that refuse them. The
        layer is ``mnn_clipped`` then. Values are not counts. ``classic`` keeps its layer ``mnn``
        too.
    expression_counts
        Whether corrected log values are scaled back to counts instead: ``expm1`` without negative
        values, times the ratio of the cell's counts to the common total. The layer is
        ``mnn_counts`` then. Values are not whole numbers. For ``calibrated``, for ``fast`` and
        ``cluster`` with ``expression_scale="log"``, and for ``classic`` with
        ``cosine_norm_out=False``; the input must be counts.
    pca
        Whether to compute components of corrected expression (``classic``). Default: yes.
    gmm, umap
        Whether to cluster cells with :func:`mnncorrect.tl.gmm`, and whether to compute a map with
        :func:`mnncorrect.tl.umap`.
    leiden
        Resolution of a second clustering by :func:`mnncorrect.tl.leiden`, such as 1. It needs the
        package igraph. Default: none.
    n_dims, n_components
        The same as in :func:`mnncorrect.tl.gmm`.
    save_model
        File for a model of the correction (``calibrated``, ``fast``, ``cluster``).
    report
        HTML file for a report of the result.
    label_key
        Column of ``obs`` with known labels, such as cell types, for the report and the model.
    guide
        Whether the labels of ``label_key`` guide the correction as well: pairs of cells whose
        labels differ are rejected. Scores by labels that guided the correction favor it.
    force
        Whether to replace existing files, and your own values in the input where results go.
    memory_limit
        Memory for the values of the input, such as ``"500M"``. Results do not depend on it. With
        ``workers``, the memory of each worker, 1 GB at least.
    workers
        Number of Dask workers (processes) to start on this machine for the passes over the values.
        ``n_jobs`` threads are divided among them. Inputs are files, and the output is zarr. Needs
        ``pip install 'mnncorrect[dask]'``. Results do not depend on it. A script calls this below
        ``if __name__ == "__main__":``, since workers import it.
    scheduler
        Address of a Dask scheduler to use instead, such as ``"tcp://host:8786"``. Its workers have
        mnncorrect, and read and write the same files under the same paths.
    random_state
        Random seed.
    rng
        numpy ``Generator``, or a seed for one, instead of ``random_state``.
    n_jobs
        Threads. Default: all available CPUs.
    progress
        Function that is called with the name of a stage and its completed share.
    copy
        Whether to return a changed copy instead of changing the object.
    **params
        Parameters of the method, such as ``mask_var``, ``use_rep``, ``n_comps``, ``keep`` or
        ``key_added``.
        Without ``merge_order``, ``fast``, ``cluster`` and ``classic`` merge similar batches first
        (``"balanced"``). ``merge_order=None`` is the default order of the method.

    Returns
    -------
    ``None`` if an object was changed or a file was written, or else the object
        It has the results of the method, and these fields:

    ``layers["mnn_log1p"]``
        Normalized values, if the input had counts.
    ``obs["gmm"]``, ``obs["mnn_leiden"]``, ``obsm["X_mnn_umap"]``
        Clusters and map, if requested.
    ``uns["mnn"]``
        In addition to the record of the method: ``prepared``, the steps before the correction;
        ``warnings`` about the input; ``call``, the arguments that differ from the defaults (JSON).

    Raises
    ------
    KeyError, OSError, TypeError, ValueError
        If an input cannot be read or corrected, or arguments exclude each other. Then the object is
        unchanged, and no file is written.

    See Also
    --------
    mnncorrect.plan : Return the steps with an estimate of memory and time.
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
    return execute.execute(_requested(given, params), progress=progress, copy=copy)


class Plan(RunPlan):
    """What :func:`mnncorrect.run` will do with some inputs: :func:`mnncorrect.plan` makes it."""

    def execute(self, *, progress: Progress | None = None, copy: bool = False) -> AnnData | None:
        """Carry the plan out, with the result and the errors of :func:`mnncorrect.run`.

        Inputs that are not those that the plan was made of are refused.
        """
        return execute.execute(self.request, progress=progress, copy=copy, expected=self)


def plan(
    data: AnnData | str | Path | Sequence[str | Path] | None = None,
    key: str | Sequence[str] | None = None,
    **arguments: Any,
) -> Plan:
    """Return the steps of :func:`mnncorrect.run` for some inputs without running them.

    Parameters
    ----------
    data, key
        The same as in :func:`mnncorrect.run`.
    **arguments
        All other arguments of :func:`mnncorrect.run`, except ``progress`` and ``copy``.

    Returns
    -------
    A plan
        Its method ``describe`` returns the steps in words, ``estimate`` returns memory and time,
        and ``execute`` runs it. For large files, the plan is based on the values of some cells.
        ``execute`` checks all cells and refuses inputs that do not fit the plan.

    Raises
    ------
    KeyError, OSError, TypeError, ValueError
        If the run would fail.

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
        raise UsageError(f"a plan has no use for `{idle[0]}`; give it to its method `execute`")
    request = _requested(*all_arguments(data=data, key=key, **arguments))
    return Plan(**vars(resolve(request)))


def all_arguments(**asked: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return all arguments of :func:`run`, as given or by default; parameters of methods apart."""
    known = inspect.signature(run).bind(**asked)
    known.apply_defaults()
    params = known.arguments.pop("params")
    return known.arguments, params


def _requested(given: Mapping[str, Any], params: Mapping[str, Any]) -> Request:
    """Make the request of a run, with the record of its arguments."""
    request = request_of(given, params)
    own = {name: at.default for name, at in method_named(request.method).parameters.items()}
    usual = own | {name: at.default for name, at in inspect.signature(run).parameters.items()}
    # A run has a default of its own for it.
    usual.pop("merge_order", None)
    asked = {name: value for name, value in given.items() if name not in NOT_RECORDED}
    if given["guide"]:
        asked["label_key"] = given["label_key"]
    asked |= {**params, "key": request.selection.key, "subset": request.selection.subset}
    asked["random_state"] = request.random_state
    usual |= {"random_state": 0}
    n_inputs = len(request.data) if isinstance(request.data, tuple) else 1
    return replace(request, call=as_call("run", asked, usual, n_inputs))
