"""What is asked of a run: arguments that fit together, with all that follows from them alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnncorrect import _adata
from mnncorrect._adata.arguments import take_seed
from mnncorrect._distributed import Dask, end_if_imported_by_worker, refuse_without_dask
from mnncorrect._io.input_parts import Selection
from mnncorrect._io.sheet import read_sheet
from mnncorrect._io.zarr_output import is_zarr_name
from mnncorrect._prepare.inputs import refuse_idle_names
from mnncorrect._prepare.limits import size_in_bytes
from mnncorrect._prepare.method_registry import all_methods, method_named, names_where
from mnncorrect._prepare.removed_cells import CellFilters
from mnncorrect._prepare.steps import Preparation
from mnncorrect._run.expression_wanted import (
    ExpressionWanted,
    expression_wanted,
    refuse_without_components,
)
from mnncorrect._run.method_parameters import refuse_other_parameters
from mnncorrect._wording import UsageError
from mnncorrect.core.matrix.elbow import MOST_COMPONENTS
from mnncorrect.core.runtime.unset import UNSET
from mnncorrect.tl._gmm import NUMBERS
from mnncorrect.tl._leiden import refuse_no_leiden

if TYPE_CHECKING:
    from anndata import AnnData

# Arguments that remove cells by their values.
CELL_FILTERS = tuple(field.name for field in fields(CellFilters))
# The address of a scheduler: a protocol, which may be left out, a host, and a port.
ADDRESS = r"(\w+://)?[^\s/]+:\d+/?"


@dataclass(frozen=True)
class Request:
    """What is asked of a run."""

    data: AnnData | tuple[Path, ...]  # The inputs, in order; or an object.
    # Columns of obs for the cells of each input, if a table names them.
    about: Sequence[Mapping[str, Any]] | None
    # What is taken of the inputs, and what is done with it before the correction.
    selection: Selection
    preparation: Preparation
    # The method, and its parameters where they are not the default.
    method: str
    params: Mapping[str, Any]
    # How corrected expression is made besides; ``None``: it is not.
    expression: ExpressionWanted | None = None
    # What is done afterwards.
    pca: bool = False
    gmm: bool = True
    umap: bool = False
    leiden: float | None = None  # Resolution of Leiden clusters; ``None``: they are not found.
    n_dims: Any = "auto"  # As of :func:`mnncorrect.tl.gmm`.
    n_components: Any = NUMBERS  # As of :func:`mnncorrect.tl.gmm`.
    # What is written; ``None``: it is not.
    output: Path | None = None
    save_model: Path | None = None
    report: Path | None = None
    label_key: str | None = None  # Column of obs with known labels, for report and model.
    sheet: Path | None = None  # The table that names the inputs.
    force: bool = False  # Whether files, and results of others in the inputs, may be replaced.
    memory: int = 2 << 30  # How many bytes the values of the inputs may take.
    # Random seed and threads.
    random_state: int = 0
    n_jobs: int | None = None
    dask: Dask | None = None  # The Dask cluster that carries it out; ``None``: this process.
    # The arguments that were given, as they are recorded; empty: there is nothing to record.
    call: str = ""

    @property
    def computing(self) -> dict[str, Any]:
        """Random seed and threads, as steps take them."""
        return {"random_state": self.random_state, "n_jobs": self.n_jobs}

    @property
    def writes_zarr(self) -> bool:
        """Whether the output is a folder of zarr."""
        return is_zarr_name(self.output)

    @property
    def embeds(self) -> bool:
        """Whether an embedding is corrected, rather than expression."""
        return method_named(self.method).embeds

    @property
    def use_rep(self) -> str | None:
        """The embedding that is corrected as it is; ``None``: values of genes are corrected."""
        return self.params.get("use_rep")

    @property
    def keys(self) -> _adata.Keys:
        """Names of results."""
        default = method_named(self.method).parameters["key_added"].default
        return _adata.Keys(self.params.get("key_added", default))

    @property
    def components(self) -> str:
        """What the principal components of corrected expression are called."""
        return f"{self.keys.key_added}_pca"

    @property
    def n_comps(self) -> int:
        """How many components are found, before the correction or after it."""
        given = self.params.get("n_comps", "auto")
        return MOST_COMPONENTS if given == "auto" else int(given or 0)

    @property
    def embedding(self) -> str:
        """Where the corrected embedding is, in ``obsm``; of expression, its components."""
        if not self.embeds:
            return f"X_{self.components}"
        return self.params.get("adjusted_basis") or self.keys.embedding

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that are read."""
        if not isinstance(self.data, tuple):
            return ()
        return self.data if self.sheet is None else (*self.data, self.sheet)

    @property
    def named_by(self) -> str | None:
        """The column of var that names the genes of a model; ``None``: their var_names."""
        return None if self.several else self.selection.gene_key

    @property
    def several(self) -> bool:
        """Whether inputs are joined."""
        return self.about is not None or (isinstance(self.data, tuple) and len(self.data) > 1)


def request_of(
    given: Mapping[str, Any], params: Mapping[str, Any], *, open_batches: bool = False
) -> Request:
    """Make a request of the arguments of :func:`mnncorrect.run`, and what follows from them.

    ``open_batches``: whether nothing needs to name the batches of one input.
    """
    method = given["method"]
    method_named(method)  # which is refused if it is none
    params = _guided(given, params)
    data, about = listed_inputs(given["data"], given["sheet"])
    selection = _selection(given)
    if about is None and not (isinstance(data, tuple) and len(data) > 1):
        if not open_batches:
            _refuse_without_key(selection)
        of_genes = given["save_model"] is not None and params.get("use_rep") is None
        refuse_idle_names(selection, model=of_genes)
    pca = _finds_components(given)
    preparation = {
        field.name: given[field.name] for field in fields(Preparation) if field.name in given
    }
    about_genes = {"layer": given["layer"], "use_raw": given["use_raw"] or None} | preparation
    about_genes |= {name: given[name] for name in CELL_FILTERS}
    refuse_other_parameters(method, params, about_genes, also_known=("n_comps",) if pca else ())
    if pca and params.get("n_comps") == "auto":
        raise UsageError("`n_comps='auto'` is for corrected components; give a number")
    expression = expression_wanted(given, params)
    if given["save_model"] is not None:
        refuse_without_components("save_model", method)
    if given["leiden"] is not None:
        refuse_no_leiden(given["leiden"])
    for name, default in (("n_dims", "auto"), ("n_components", NUMBERS)):
        if not given["gmm"] and str(given[name]) != str(default):
            raise UsageError(f"`{name}` has no effect with `gmm=False`; leave one of them out")
    as_given = ("gmm", "umap", "leiden", "n_dims", "n_components", "label_key", "force", "n_jobs")
    paths = {name: _path(name, given[name]) for name in ("output", "save_model", "report", "sheet")}
    return Request(
        data,
        about,
        selection,
        Preparation(**preparation, genes=params.get("mask_var", UNSET)),
        method,
        _in_good_order(method, params, selection.key),
        expression,
        pca,
        memory=size_in_bytes(given["memory_limit"]),
        random_state=take_seed(given["random_state"], given["rng"]),
        dask=_dask(given, paths["output"], is_open=open_batches),
        **paths,
        **{name: given[name] for name in as_given},
    )


def _dask(given: Mapping[str, Any], output: Path | None, *, is_open: bool) -> Dask | None:
    """Return the Dask cluster that is wanted; refuse what it cannot carry out.

    ``is_open``: the output may still be chosen, as in ``check``.
    """
    workers, scheduler = given["workers"], given["scheduler"]
    if workers is None and scheduler is None:
        return None
    dask = Dask(workers, scheduler)
    name = dask.argument
    if workers is not None and scheduler is not None:
        raise UsageError(
            "`workers` starts a Dask cluster, and `scheduler` names one: give one of them"
        )
    if workers is not None and (not isinstance(workers, int) or workers < 1):
        raise UsageError(f"`workers` is {workers!r}; give a number of processes from 1 up")
    if scheduler is not None and re.fullmatch(ADDRESS, str(scheduler)) is None:
        raise UsageError(
            f"`scheduler` {scheduler!r} is no address; give one such as tcp://host:8786"
        )
    if not (is_zarr_name(output) or (is_open and output is None)):
        raise UsageError(
            f"`{name}` needs an `output` that ends in .zarr, because several processes write it at "
            "once; rename the output"
        )
    if not isinstance(given["data"], str | Path | list | tuple) and given["sheet"] is None:
        raise UsageError(
            f"`{name}` needs inputs that other processes can read: give the paths of files"
        )
    refuse_without_dask(name)
    end_if_imported_by_worker()
    return dask


def _guided(given: Mapping[str, Any], params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give the labels to the method if they are to guide it; refuse labels that nothing uses."""
    label_key, guide = given["label_key"], given["guide"]
    if guide and label_key is None:
        raise UsageError(
            "`guide` has the correction follow known labels; name their column: `label_key`"
        )
    used = guide or given["report"] is not None or given["save_model"] is not None
    if label_key is not None and not used:
        raise UsageError(
            "`label_key` has no effect without `report`, which shows the labels, `save_model`, "
            "which keeps them, or `guide=True`, which has them guide the correction; give one of "
            "them, or leave it out"
        )
    covariates = params.get("regress_out") or ()
    if label_key in ([covariates] if isinstance(covariates, str) else covariates):
        raise UsageError(
            f"`regress_out` takes differences of {label_key!r} out of the genes, and `label_key` "
            "names them as known labels; leave one out"
        )
    return {**params, "label_key": label_key} if guide else params


def _path(name: str, given: Any) -> Any:
    if given is None:
        return None
    if not isinstance(given, str | PathLike):
        raise UsageError(f"`{name}` is {given!r}; give the path of a file")
    return Path(given)


def _selection(given: Mapping[str, Any]) -> Selection:
    key, subset = given["key"], given["subset"]
    if key is not None and not isinstance(key, str):
        names = [str(name) for name in key]
        key = names[0] if len(names) == 1 else names or None
    as_given = (
        "layer",
        "use_raw",
        "gene_key",
        "strip_versions",
        "batch_from_barcode",
        *CELL_FILTERS,
    )
    return Selection(
        key,
        subset=(subset,) if isinstance(subset, str) else tuple(subset),
        **{name: given[name] for name in as_given},
    )


def _refuse_without_key(selection: Selection) -> None:
    """Refuse, of one input, that nothing names its batches."""
    if not selection.key and not selection.batch_from_barcode:
        raise UsageError(
            "one input needs `key`, the column of obs that names the batch, or "
            "`batch_from_barcode`; mnncorrect check lists possible columns"
        )


def _finds_components(given: Mapping[str, Any]) -> bool:
    """Return whether components are found afterwards; refuse steps that lack them."""
    method, wanted = given["method"], given["pca"]
    embeds = method_named(method).embeds
    if embeds and wanted:
        owners = names_where(known for known in all_methods() if not known.embeds)
        raise UsageError(f"`pca` belongs to method {owners}; {method} corrects components")
    pca = not embeds if wanted is None else bool(wanted)
    if not (pca or embeds):
        if given["gmm"]:
            raise UsageError(
                "clusters are found in principal components; with `pca=False`, give `gmm=False`"
            )
        if given["umap"] or given["leiden"] is not None or given["report"] is not None:
            raise UsageError(
                "`umap`, `leiden` and `report` need principal components; leave out `pca=False`"
            )
    return pca


def listed_inputs(
    data: AnnData | str | Path | Sequence[str | Path] | None, sheet: str | Path | None
) -> tuple[AnnData | tuple[Path, ...], Sequence[Mapping[str, Any]] | None]:
    """Return the object, or the paths and what a table says of their cells."""
    if (data is None) == (sheet is None):
        raise UsageError("give either the inputs, or a table of them: `sheet`")
    if sheet is not None:
        listed = read_sheet(Path(sheet))
        return tuple(listed.paths), listed.about
    if isinstance(data, list | tuple) and not data:
        raise UsageError("no inputs are given: the list of them is empty; name one or more files")
    if isinstance(data, str | Path):
        return (Path(data),), None
    if isinstance(data, list | tuple) and data and all(isinstance(p, str | Path) for p in data):
        return tuple(map(Path, data)), None
    _adata.check_object(data)
    return data, None


def _in_good_order(
    method: str, params: Mapping[str, Any], key: str | list[str] | None
) -> Mapping[str, Any]:
    """Merge similar batches first where no order is given.

    The order of names means nothing, and a first batch that lacks a population spoils the rest.
    Some methods find an order themselves.
    """
    if method_named(method).orders_merges or isinstance(key, list):
        return params
    if "merge_order" in params or params.get("auto_merge"):
        return params
    return {**params, "merge_order": "balanced"}
