"""What is asked of a run: arguments that fit together, with all that follows from them alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnncorrect import _adata
from mnncorrect._adata.arguments import take_seed
from mnncorrect._io.sheet import read_sheet
from mnncorrect._prepare.inputs import Selection, refuse_idle_names
from mnncorrect._prepare.limits import size_in_bytes
from mnncorrect._prepare.methods import all_methods, method_named, names_where
from mnncorrect._prepare.steps import Preparation
from mnncorrect._run.methods import refuse_foreign, refuse_unknown
from mnncorrect._wording import UsageError
from mnncorrect.tl._gmm import NUMBERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

# The scale of expression that is as the input is.
LOG = "log"


@dataclass(frozen=True)
class Expression:
    """How corrected expression is made beside corrected components.

    Attributes
    ----------
    scale, mask_var
        As of :func:`mnncorrect.pp.mnn_expression`.
    """

    scale: str = "centred"
    mask_var: Any = None


@dataclass(frozen=True)
class Computing:
    """What numbers depend on besides, or only the time they take; as steps take it."""

    random_state: int = 0
    n_jobs: int | None = None


@dataclass(frozen=True)
class Request:
    """What is asked of a run.

    Attributes
    ----------
    data
        The inputs, in order; or an object.
    about
        Columns of obs for the cells of each input, if a table names them.
    selection, preparation
        What is taken of the inputs, and what is done with it before the correction.
    method, params
        The method, and its parameters where they are not the default.
    expression
        How corrected expression is made besides; ``None``: it is not.
    pca, gmm, umap
        What is done afterwards.
    n_dims, n_components
        As of :func:`mnncorrect.tl.gmm`.
    output, save_model, report
        What is written; ``None``: it is not.
    label_key
        Column of obs with known labels, for the report.
    sheet
        The table that names the inputs.
    force
        Whether files, and results of others in the inputs, may be replaced.
    memory
        How many bytes the values of the inputs may take.
    computing
        Random seed and threads.
    """

    data: AnnData | tuple[Path, ...]
    about: Sequence[Mapping[str, Any]] | None
    selection: Selection
    preparation: Preparation
    method: str
    params: Mapping[str, Any]
    expression: Expression | None = None
    pca: bool = False
    gmm: bool = True
    umap: bool = False
    n_dims: Any = "auto"
    n_components: Any = NUMBERS
    output: Path | None = None
    save_model: Path | None = None
    report: Path | None = None
    label_key: str | None = None
    sheet: Path | None = None
    force: bool = False
    memory: int = 2 << 30
    computing: Computing = field(default_factory=Computing)

    def param(self, name: str) -> Any:
        """Return a parameter of the method: as given, or the default."""
        if name in self.params:
            return self.params[name]
        return method_named(self.method).parameters[name].default

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
        return _adata.Keys(self.param("key_added"))

    @property
    def components(self) -> str:
        """What the principal components of corrected expression are called."""
        return f"{self.keys.key_added}_pca"

    @property
    def n_comps(self) -> int:
        """How many components are found, before the correction or after it."""
        if "n_comps" in self.params:
            return int(self.params["n_comps"] or 0)
        return 50

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
    data: AnnData | str | Path | Sequence[str | Path] | None,
    key: str | Sequence[str] | None,
    *,
    sheet: str | Path | None,
    layer: str | None,
    use_raw: bool,
    gene_key: str | None,
    strip_versions: bool,
    subset: str | Sequence[str],
    batch_from_barcode: bool,
    counts: bool | None,
    normalize: bool | None,
    log1p: bool | None,
    keep_normalized: bool | None,
    hvg: Any,
    n_top_genes: int | None,
    method: str,
    write_expression: bool,
    expression_scale: str | None,
    expression_mask_var: Any,
    pca: bool | None,
    gmm: bool,
    umap: bool,
    n_dims: Any,
    n_components: Any,
    output: str | Path | None,
    save_model: str | Path | None,
    report: str | Path | None,
    label_key: str | None,
    force: bool,
    memory_limit: str,
    random_state: Any,
    rng: Any,
    n_jobs: int | None,
    params: Mapping[str, Any],
) -> Request:
    """Make a request of the arguments of :func:`mnncorrect.run`, with all that follows from them.

    Raises
    ------
    UsageError
        They exclude one another, or the method does not have them.
    """
    refuse_unknown(method)
    held, about = _inputs(data, sheet)
    names = key if key is None or isinstance(key, str) else [*map(str, key)] or None
    if isinstance(names, list) and len(names) == 1:
        (names,) = names
    selection = Selection(
        names,
        layer,
        use_raw,
        gene_key,
        strip_versions,
        (subset,) if isinstance(subset, str) else tuple(subset),
        batch_from_barcode,
    )
    one = about is None and (not isinstance(held, tuple) or len(held) == 1)
    if one and not names and not batch_from_barcode:
        msg = (
            "one input needs `key`, the column of obs that names the batch, or "
            "`batch_from_barcode`; mnncorrect check lists the columns that could be"
        )
        raise UsageError(msg)
    if one:
        model = save_model is not None and params.get("use_rep") is None
        refuse_idle_names(selection, model=model)
    embeds = method_named(method).embeds
    if embeds and pca:
        owners = names_where(known for known in all_methods() if not known.embeds)
        msg = f"`pca` belongs to method {owners}; {method} corrects components"
        raise UsageError(msg)
    pca = not embeds if pca is None else pca
    if not (pca or embeds):
        if gmm:
            msg = "clusters are found in principal components; with `pca=False`, give `gmm=False`"
            raise UsageError(msg)
        if umap or report is not None:
            msg = "`umap` and `report` need principal components; leave out `pca=False`"
            raise UsageError(msg)
    if label_key is not None and report is None:
        msg = "`label_key` is a column that `report` shows; give `report`, or leave it out"
        raise UsageError(msg)
    preparing = {
        "counts": counts,
        "normalize": normalize,
        "log1p": log1p,
        "keep_normalized": keep_normalized,
        "hvg": hvg,
        "n_top_genes": n_top_genes,
    }
    about_genes = {"layer": layer, "use_raw": use_raw or None} | preparing
    refuse_foreign(method, params, about_genes, also_known=("n_comps",) if pca else ())
    expression = _expression(
        method, params, expression_scale, expression_mask_var, wanted=write_expression
    )
    if save_model is not None and not embeds:
        owners = names_where(known for known in all_methods() if known.embeds)
        msg = f"`save_model` belongs to method {owners}, not to {method}"
        raise UsageError(msg)
    genes = params.get("mask_var", _adata.UNSET)
    return Request(
        held,
        about,
        selection,
        Preparation(**preparing, genes=genes),
        method,
        _in_good_order(method, params, names),
        expression,
        pca,
        gmm,
        umap,
        n_dims,
        n_components,
        _path(output),
        _path(save_model),
        _path(report),
        label_key,
        _path(sheet),
        force,
        size_in_bytes(memory_limit),
        Computing(take_seed(random_state, rng), n_jobs),
    )


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)


def _inputs(
    data: AnnData | str | Path | Sequence[str | Path] | None, sheet: str | Path | None
) -> tuple[AnnData | tuple[Path, ...], Sequence[Mapping[str, Any]] | None]:
    """Return the object, or the paths and what a table says of their cells."""
    if (data is None) == (sheet is None):
        msg = "give either the inputs, or a table of them: `sheet`"
        raise UsageError(msg)
    if sheet is not None:
        listed = read_sheet(Path(sheet))
        return tuple(listed.paths), listed.about
    if isinstance(data, str | Path):
        return (Path(data),), None
    if isinstance(data, list | tuple) and data and all(isinstance(p, str | Path) for p in data):
        return tuple(map(Path, data)), None
    _adata.check_object(data)
    return data, None


def _expression(
    method: str, params: Mapping[str, Any], scale: str | None, mask_var: Any, *, wanted: bool
) -> Expression | None:
    """Refuse to make expression where it cannot be made, or to say how where it is not."""
    asked = {
        "write_expression": wanted or None,
        "expression_scale": scale,
        "expression_mask_var": mask_var,
    }
    for name in [name for name, value in asked.items() if value is not None]:
        if not method_named(method).embeds:
            owners = names_where(known for known in all_methods() if known.embeds)
            msg = f"`{name}` belongs to method {owners}, not to {method}"
            raise UsageError(msg)
        if params.get("use_rep") is not None:
            msg = f"`{name}` needs genes, and `use_rep` corrects an embedding: leave one out"
            raise UsageError(msg)
        if not wanted:
            msg = f"`{name}` says how expression is written: add `write_expression`"
            raise UsageError(msg)
        if method_named(method).carries and name == "expression_scale" and scale != LOG:
            msg = (
                f"`{name}='{scale}'` is for expression made of components; {method} corrects "
                "expression itself, on the scale of the input"
            )
            raise UsageError(msg)
    return Expression(scale or "centred", mask_var) if wanted else None


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
