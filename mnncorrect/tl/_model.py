"""Models of corrections: made of a corrected object, saved, and read again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnncorrect import __version__
from mnncorrect._adata import Keys, recorded_key, take_batches, take_embedding
from mnncorrect._adata.loadings import take_loadings
from mnncorrect._adata.lookup import listed, require
from mnncorrect._adata.record import entry_of, fields_of
from mnncorrect._adata.results import as_params
from mnncorrect._log import logger
from mnncorrect._prepare.before_and_after import take_label_groups
from mnncorrect._prepare.method_registry import recorded_method

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect.core.model.fit import Components, Labels, Model, Regressed, Scaling

# What of the parameters a model tells.
MODEL_PARAMETERS = (
    "method", "key", "use_rep", "layer", "use_raw", "cosine_norm", "n_comps", "reference",
    "merge_order", "neighbors", "label_key", "keep", "regress_out",
)  # fmt: skip
# Fewer labeled cells than this tell nothing of how far others may lie from them.
LEAST_LABELED = 2


def fit_model(
    adata: AnnData,
    *,
    gene_key: str | None = None,
    label_key: str | None = None,
    max_cells: int = 200_000,
    key_added: str = "mnn",
    n_jobs: int | None = None,
) -> Model:
    """Make a model of a correction, for :func:`project`.

    A model contains the coordinates of the cells before and after the correction, and the map from
    expression to them. It contains no expression and no names of cells.

    Parameters
    ----------
    adata
        Corrected by :func:`mnncorrect.pp.mnn_calibrated`, ``mnn_fast`` or ``mnn_cluster``.
    gene_key
        Column of ``var`` with the gene names. Default: ``var_names``.
    label_key
        Column of ``obs`` with labels, such as cell types, that the model keeps for new cells.
        Cells may lack a label.
    max_cells
        Number of cells, 2 or more, above which the model keeps the same share of each batch, evenly
        spaced in the order of the first component. Smaller gives a smaller model and coarser
        displacements.
    key_added
        Prefix of the keys of the correction.
    n_jobs
        Number of threads; ``None``: all available CPUs. Results do not depend on it.

    Returns
    -------
    The model
        It does not depend on the order of the cells. It has about 400 bytes for each cell at 50
        components.

    Raises
    ------
    KeyError
        If the correction does not exist, or a part of it was removed.
    TypeError
        If an embedding does not contain numbers.
    ValueError
        If the method has no model; if two genes used for distances have the same name; if fewer
        than two cells have a label of ``label_key``; if
        :func:`mnncorrect.pp.multibatch_pca` replaced the loadings of the correction; if
        ``gene_key`` is given but an embedding was corrected; if ``max_cells`` is below 2;
        if a number of the correction is not finite, or out of range.

    Examples
    --------
    >>> import anndata
    >>> import numpy as np
    >>> from mnncorrect.pp import mnn_calibrated
    >>> adata = anndata.AnnData(np.random.default_rng(0).gamma(2.0, size=(90, 6)))
    >>> adata.obs["batch"] = ["first", "second"] * 45
    >>> mnn_calibrated(adata, "batch", n_comps=3)
    >>> model = fit_model(adata)
    >>> model.batches, model.corrected.shape, len(model.components.genes)
    (('first', 'second'), (90, 3), 6)
    """
    from mnncorrect.core.model.fit import fit, refuse_unusable
    from mnncorrect.core.runtime.checks import check_count

    check_count("max_cells", max_cells, 2)
    keys = Keys(key_added)
    params = _params(adata, keys)
    use_rep = params.get("use_rep")
    if gene_key is not None and use_rep is not None:
        raise ValueError(
            f"a correction of obsm[{use_rep!r}] has no genes, and `gene_key` would have no effect; "
            "leave it out"
        )
    before = keys.uncorrected if use_rep is None else use_rep
    if before not in adata.obsm:
        raise KeyError(
            f"obsm has no {before!r}, where the cells lay before the correction; it has "
            f"{listed(adata.obsm)}; correct again"
        )
    corrected = take_embedding(adata, params["adjusted_basis"])
    uncorrected = take_embedding(adata, before)
    if corrected.shape != uncorrected.shape:
        raise ValueError(
            f"obsm[{before!r}] is {uncorrected.shape} and obsm[{params['adjusted_basis']!r}] is "
            f"{corrected.shape}: one of them has been replaced since; correct again"
        )
    batches = take_batches(adata, recorded_key(params["key"], adata.obs.columns))
    method = recorded_method(params)
    has_confidence = method is not None and method.has_confidence
    if has_confidence:
        require(keys.confidence, adata.obs.columns, "obs")
    model = fit(
        uncorrected,
        corrected,
        batches.codes,
        batches.names,
        confidence=adata.obs[keys.confidence].to_numpy(float) if has_confidence else None,
        cells=np.asarray(adata.obs_names, dtype=str),
        components=None
        if use_rep is not None
        else _model_components(adata, keys, params, gene_key),
        scaling=_recorded_scaling(adata, keys),
        # anndata 0.11 reads a truth value as numpy's, which JSON lacks.
        about=as_params(
            {name: params[name] for name in MODEL_PARAMETERS if name in params}
            | _recorded_values(adata, keys)
            | {"version": __version__}
        ),
        labels=take_known_labels(adata, label_key),
        regressed=_regressed(adata, keys),
        max_cells=max_cells,
        n_jobs=n_jobs,
    )
    _refuse_few_labels(model.labels)
    try:
        refuse_unusable(model)
    except ValueError as error:
        raise ValueError(
            f"the correction that uns[{keys.uns!r}] records has been changed since: of its model, "
            f"{error}; correct again"
        ) from error
    if len(model.codes) < adata.n_obs:
        logger.info("the model keeps %d of %d cells", len(model.codes), adata.n_obs)
    return model


def save_model(model: Model | AnnData, path: str | Path, *, force: bool = False) -> None:
    """Write a model to a file. The file appears when it is complete.

    Parameters
    ----------
    model
        A model; or a corrected object, which is passed to :func:`fit_model`.
    path
        The file.
    force
        Whether to replace an existing file.

    Returns
    -------
    ``None``.

    Raises
    ------
    OSError
        If the file exists, or cannot be written.
    KeyError, TypeError, ValueError
        As :func:`fit_model`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import anndata
    >>> import numpy as np
    >>> from mnncorrect.pp import mnn_calibrated
    >>> from mnncorrect.tl import read_model
    >>> adata = anndata.AnnData(np.random.default_rng(0).gamma(2.0, size=(90, 6)))
    >>> adata.obs["batch"] = ["first", "second"] * 45
    >>> mnn_calibrated(adata, "batch", n_comps=3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(adata, Path(folder) / "cells.mnn")
    ...     read_model(Path(folder) / "cells.mnn").batches
    ('first', 'second')
    """
    from mnncorrect._io import atomic, model_file
    from mnncorrect.core.model.fit import Model

    fitted = model if isinstance(model, Model) else fit_model(model)
    with atomic.whole_file(Path(path), force=force) as temporary:
        model_file.write(fitted, temporary)


def read_model(path: str | Path) -> Model:
    """Read a model from a file.

    Parameters
    ----------
    path
        Model file, written by this version of the package or an earlier one.

    Returns
    -------
    The model.

    Raises
    ------
    OSError
        If the file cannot be read, or was changed after it was written.
    ValueError
        If it is not a model, or has a later version.

    Examples
    --------
    >>> read_model("nowhere.mnn")
    Traceback (most recent call last):
    ...
    FileNotFoundError: the model nowhere.mnn does not exist
    """
    from mnncorrect._io import model_file

    return model_file.read(Path(path))


def refuse_doubled_genes(names: Iterable[Any]) -> None:
    """Refuse genes whose names do not tell them apart: a model finds them by name."""
    counts = Counter(map(str, names))
    doubled = sorted(name for name, count in counts.items() if count > 1)
    if doubled:
        raise ValueError(
            f"{len(doubled)} names of genes occur more than once: {listed(doubled, 5)}; a model "
            "finds genes by name: make them unique, or name a column of var that is: gene_key"
        )


def object_gene_names(adata: AnnData, gene_key: str | None) -> list[str]:
    """Name the genes of an object."""
    if gene_key is None:
        return [str(name) for name in adata.var_names]
    require(gene_key, adata.var.columns, "var")
    return [str(name) for name in adata.var[gene_key]]


def take_known_labels(adata: AnnData, label_key: str | None) -> Labels | None:
    """Take the labels that a model is to keep."""
    from mnncorrect.core.model.fit import Labels

    groups = None if label_key is None else take_label_groups(adata, label_key)
    if groups is None:
        return None
    return Labels(groups.column, tuple(groups.names), groups.codes.astype(np.int32))


def _refuse_few_labels(labels: Labels | None) -> None:
    """Refuse labels of a model, of which some cells may have been left out."""
    if labels is None:
        return
    n_labeled = int((labels.codes >= 0).sum())
    if n_labeled < LEAST_LABELED:
        raise ValueError(
            f"of the cells of the model, {n_labeled} has a label in obs[{labels.key!r}], and at "
            f"least {LEAST_LABELED} are needed; label more cells, or name another column"
        )


def _params(adata: AnnData, keys: Keys) -> Mapping[str, Any]:
    require(keys.uns, adata.uns, "uns", "correct first: mnncorrect run")
    record = entry_of(adata.uns, keys.uns, "correction")
    if record is None:
        raise ValueError(
            f"uns[{keys.uns!r}] holds no correction; correct first: mnncorrect.pp.mnn_calibrated"
        )
    params: Mapping[str, Any] = record["params"]
    if "adjusted_basis" not in params:
        raise ValueError(
            f"method {params.get('method')} corrects expression, and has no model; correct by "
            "calibrated, fast or cluster"
        )
    return params


def _model_components(
    adata: AnnData, keys: Keys, params: Mapping[str, Any], gene_key: str | None
) -> Components:
    from mnncorrect.core.model.fit import Components

    loadings, center = take_loadings(adata, keys)
    require(keys.genes, adata.var.columns, "var")
    used = adata.var[keys.genes].to_numpy(bool)
    names = np.array(object_gene_names(adata, gene_key), dtype=object)[used]
    refuse_doubled_genes(names)
    rotation = np.ascontiguousarray(loadings[used])
    shares = fields_of(adata.uns, keys.uns)["components"]
    variance = np.asarray(shares["variance"], np.float64)
    if rotation.shape[1] != len(variance):
        raise ValueError(
            f"varm[{keys.loadings!r}] has {rotation.shape[1]} components, and {len(variance)} were "
            "found: it has been replaced since; correct again"
        )
    # What share of the variance the components hold tells what they leave.
    held = float(np.sum(shares["variance_ratio"]))
    left = max(0.0, 1 / held - 1) * variance.sum() / len(rotation) if held > 0 else 0.0
    return Components(
        tuple(names), rotation, center[used], variance, float(left), bool(params["cosine_norm"])
    )


def _regressed(adata: AnnData, keys: Keys) -> Regressed | None:
    """Return the effects of covariates that a correction took out of expression."""
    from mnncorrect.core.matrix.covariates import Regression
    from mnncorrect.core.model.fit import Regressed

    table = fields_of(adata.uns, keys.uns).get("regressed")
    if table is None:
        return None
    require(keys.regressed, adata.varm, "varm", "correct again")
    effects = np.asarray(adata.varm[keys.regressed], np.float64)
    if effects.shape[1] != len(table):
        raise ValueError(
            f"varm[{keys.regressed!r}] has {effects.shape[1]} effects, and {len(table)} were "
            "found: it has been replaced since; correct again"
        )
    used = adata.var[keys.genes].to_numpy(bool)
    values = zip(table["value"], table["quantity"], strict=True)
    return Regressed(
        tuple(map(str, table["column"])),
        tuple(None if quantity else str(value) for value, quantity in values),
        Regression(table["center"].to_numpy(np.float64), np.ascontiguousarray(effects[used].T)),
    )


def _recorded_scaling(adata: AnnData, keys: Keys) -> Scaling | None:
    from mnncorrect.core.model.fit import Scaling

    done = fields_of(adata.uns, keys.uns).get("prepared", {})
    if not done.get("counts") and done.get("log_base") == np.e and "log_total" in done:
        # Counts become such log values, too.
        return Scaling(float(done["log_total"]), True, int(adata.n_vars))
    if not done.get("counts") or (done.get("normalize") and "total" not in done):
        return None
    total = float(done["total"]) if done.get("normalize") else None
    return Scaling(total, bool(done.get("log1p")), int(adata.n_vars))


def _recorded_values(adata: AnnData, keys: Keys) -> dict[str, Any]:
    """Return what a model tells of the values that it was trained on.

    ``values``: what they were; ``told``: whether the user said that they were counts, if so;
    ``log_base`` and ``log_total`` of log values, as far as they are known.
    """
    done = fields_of(adata.uns, keys.uns).get("prepared", {})
    known = {name: done[name] for name in ("values", "log_base", "log_total") if name in done}
    if done.get("told"):
        known["told"] = bool(done["counts"])
    return known
