"""New cells, placed in a fitted correction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from mnncorrect._adata import Draft, Keys, check_object, recorded_key, take_labels
from mnncorrect._adata.arguments import Seed, take_seed
from mnncorrect._adata.batches import join_names, warn_of_missing
from mnncorrect._adata.lookup import listed
from mnncorrect._adata.stored import BLOCK_BYTES
from mnncorrect._log import logger, warn_caller
from mnncorrect._prepare.method_registry import with_defaults
from mnncorrect._prepare.parameter_texts import shared_parameters
from mnncorrect.core.runtime.unset import SEED, UNSET, Unset
from mnncorrect.tl._model import fit_model, read_model
from mnncorrect.tl._query import Projected, project_expression, take_projected

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect._io.scratch import Scratch
    from mnncorrect.core.model.fit import Model
    from mnncorrect.core.model.projection import Placement
    from mnncorrect.core.runtime.threads import Progress

# What cells are called that no column tells a batch of.
ALL_CELLS = "all cells"


@shared_parameters
def project(
    adata: AnnData,
    model: Model | AnnData | str | Path,
    *,
    key: str | Sequence[str] | None = None,
    as_new: bool = False,
    label_key: str | None = None,
    layer: str | None = None,
    use_raw: bool = False,
    gene_key: str | None = None,
    strip_versions: bool = False,
    counts: bool | None = None,
    max_missing: float = 0.2,
    neighbors: Literal["auto", "exact", "partition", "pynndescent", "cuvs"] = "auto",
    recall: float = 0.995,
    key_added: str = "mnn",
    adjusted_basis: str | None = None,
    random_state: Seed = SEED,
    rng: Seed | Unset = UNSET,
    n_jobs: int | None = None,
    progress: Progress | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Place new cells in a fitted correction, whose cells do not move.

    New cells are prepared and projected like the training cells. Cells of a batch in the model
    move as the training cells around them did. Cells of a new batch are merged onto the corrected
    training cells by the steps of [1]_ and of :func:`mnncorrect.pp.mnn_calibrated`, whatever the
    method of the model. They do not move if the batch effect is not distinguishable from noise.
    The place of a batch does not depend on the other batches that are projected.

    Parameters
    ----------
    adata
        The new cells: counts, or log-normalized expression, in ``X``, ``layer`` or ``raw``
        (``use_raw``); or the embedding in ``obsm`` that the model was trained on.
    model
        A model, the file of one, or a corrected object.
    key
        Column of ``obs`` with the batches, or several columns. Default: the column of the training
        data; if it does not exist, all cells are one new batch.
    as_new
        Whether to treat all batches as new, even if the model has their names.
    label_key
        Column of labels of the training cells, such as cell types, that new cells get from the
        training cells around them. The model must have it: see :func:`fit_model`.
    gene_key
        Column of ``var`` with the gene names that are matched with the model. Default:
        ``var_names``.
    strip_versions
        Whether to ignore versions of Ensembl ids: ``ENSG00000141510.18`` matches
        ``ENSG00000141510``.
    counts
        Whether values are counts. Counts are normalized like the training data. Default: detected.
    max_missing
        Largest share of the components, 0 to 1, that missing genes may account for. Missing genes
        are predicted from the others, so the result is less certain if more are missing.
    random_state
        Random seed of the random splits and of an approximate search.

    Returns
    -------
    ``None``, or the copy, with these fields; ``X``, ``raw`` and layers are not changed.

    ``obsm["X_mnn"]``
        Corrected coordinates, cells x dimensions, float32, in the space of the corrected training
        cells.
    ``obsm["X_mnn_uncorrected"]``
        Coordinates before the correction; not for a model of an embedding.
    ``obs["mnn_confidence"]``
        Confidence of a cell, 0 to 1. In a new batch, it is the chance of a counterpart among the
        training cells, as in :func:`mnncorrect.pp.mnn_calibrated`. In a batch of the model, it is
        the confidence of the training cells around it (1 if the method has none), times the
        familiarity, 0 to 1: how near these cells are. A cell with a familiarity below 0.1 did not
        move.
    ``obs["mnn_label"]``, ``obs["mnn_label_probability"]``
        With ``label_key``: label of each cell, and the probability that it is right. A cell whose
        probability is below one half is ``"unassigned"``. So is a cell of a new batch with a
        confidence below 0.1, if the batch has at least 31 cells.
    ``uns["mnn"]``
        ``projected``: a table with one row for each batch: whether the model has it (``known``),
        whether it was projected only (``skipped``), number of ``pairs``, ``evidence`` that the
        cells differ from the training cells (of a known batch: from its own), and ``familiar``, the
        mean familiarity of the cells of a known batch. ``model``: its ``digest``, and the missing
        genes. ``params``, ``provenance``.

    Warns
    -----
    UserWarning
        If a new batch has fewer than 31 cells; they are projected only, with confidence 0. If the
        cells of a batch in the model differ from its training cells, so it may be another batch of
        the same name. If values do not look like those of the training data.

    Raises
    ------
    KeyError
        If a column, layer or embedding does not exist.
    TypeError
        If values are of the wrong kind.
    ValueError
        If missing genes account for more than ``max_missing``; if a gene occurs twice; if values
        are counts and the model does not know the normalization of its training data; if values are
        not finite; if batches are missing for cells; if an argument about genes is given, and the
        model was trained on an embedding.
    OSError
        If the model cannot be read.

    See Also
    --------
    fit_model : The model of a corrected object.

    Notes
    -----
    A training cell with the same values gets its own corrected coordinates, to 1e-5 of the typical
    length of a cell. :mod:`mnncorrect.core.model.projection` describes the placement and its error
    for training cells that were left out.

    References
    ----------
    .. [1] {Haghverdi}.

    Examples
    --------
    >>> import anndata
    >>> import numpy as np
    >>> from mnncorrect.pp import mnn_calibrated
    >>> rng = np.random.default_rng(0)
    >>> cells = np.repeat(rng.normal(size=(2, 10)) * 4, 80, axis=0) + rng.normal(size=(160, 10))
    >>> cells[1::2] += 1.0  # every other cell is in a second batch
    >>> adata = anndata.AnnData(np.ones((160, 1)), obsm={"X_pca": cells})
    >>> adata.obs["batch"] = ["first", "second"] * 80
    >>> new = adata[::4].copy()
    >>> mnn_calibrated(adata, "batch", use_rep="X_pca")
    >>> project(new, adata)
    >>> bool(np.allclose(new.obsm["X_mnn"], adata.obsm["X_mnn"][::4], atol=1e-5))
    True
    """
    return project_stored(locals())


def project_stored(
    given: dict[str, Any], *, scratch: Scratch | None = None, block_bytes: int = BLOCK_BYTES
) -> AnnData | None:
    """As :func:`project`, of values that may stay in a file and are read in blocks.

    Parameters
    ----------
    given
        Parameters as :func:`project` has them; others have its defaults.
    scratch
        Gives a file for values that cannot be read by rows as they are.
    block_bytes
        What a block takes in memory, roughly.
    """
    from mnncorrect._adata.draft import refuse_non_finite_result
    from mnncorrect._adata.projections import put_labels, put_projection
    from mnncorrect._prepare.decide import JudgedGroups
    from mnncorrect.core.model.labels import transfer
    from mnncorrect.core.model.projection import place
    from mnncorrect.core.runtime.compute import compute_options

    given = with_defaults(project, given)
    adata, key_added = given["adata"], given["key_added"]
    random_state = take_seed(given["random_state"], given["rng"])
    max_missing, n_jobs, as_new = (given[name] for name in ("max_missing", "n_jobs", "as_new"))
    values = {
        name: given[name] for name in ("layer", "use_raw", "gene_key", "strip_versions", "counts")
    }
    if not 0 <= max_missing <= 1:
        raise ValueError(f"max_missing is {max_missing}; it must be a share between 0 and 1")
    check_object(adata)
    fitted = _as_model(given["model"], given["label_key"])
    logger.info("%r, by method %s", fitted, fitted.about.get("method", "unknown"))
    codes, names, told = _query_batches(adata, fitted, given["key"])
    as_new = as_new or not told
    use_rep = fitted.about.get("use_rep")
    basis = Keys(key_added).basis(given["adjusted_basis"], use_rep)
    if use_rep is None:
        projected = project_expression(
            adata,
            fitted,
            scratch=scratch,
            block_bytes=block_bytes,
            n_jobs=n_jobs,
            max_missing=max_missing,
            groups=JudgedGroups(codes, names),
            **values,
        )
    else:
        of_genes = {name: value or None for name, value in values.items() if name != "counts"}
        of_genes |= {"counts": values["counts"]}
        idle = [f"`{name}`" for name, value in of_genes.items() if value is not None]
        if idle:
            raise ValueError(
                f"the model was trained on obsm[{use_rep!r}] and has no genes; "
                f"{', '.join(idle)} would have no effect: leave that out"
            )
        projected = take_projected(adata, fitted, use_rep)
    refuse_non_finite_result(projected.scores, f"obsm[{Keys(key_added).uncorrected!r}]")
    of_batch = codes if projected.empty is None else np.where(projected.empty, -1, codes)
    how = {name: given[name] for name in ("neighbors", "recall", "n_jobs", "progress")}
    compute = compute_options(**how, random_state=random_state)
    placed = place(
        fitted,
        projected.scores,
        of_batch,
        names,
        cells=np.asarray(adata.obs_names, dtype=str),
        as_new=as_new,
        compute=compute,
    )
    _log_placement(placed, np.bincount(codes).tolist())
    _warn_of_kept(fitted, placed)
    draft = Draft(adata, Keys(key_added).uns)
    put_projection(
        draft,
        None if use_rep is not None else projected.scores,
        placed,
        codes,
        key_added=key_added,
        model=_record(fitted, projected),
        params={
            "method": "project",
            "key": told,
            "as_new": as_new,
            "label_key": given["label_key"],
            "use_rep": use_rep,
            **values,
            "strip_versions": values["strip_versions"] or None,
            "counts": projected.counts,
            "max_missing": max_missing,
            "neighbors": given["neighbors"],
            "recall": given["recall"],
            "adjusted_basis": basis,
        },
        random_state=random_state,
    )
    if given["label_key"] is not None:
        assert fitted.labels is not None
        if len(fitted.labels.names) == 1:
            warn_caller(
                f"the model has one label, {fitted.labels.names[0]!r}: cells get it or none, "
                "whatever they are"
            )
        found = transfer(fitted, placed, of_batch, compute=compute)
        put_labels(draft, fitted.labels, found, key_added=key_added)
        logger.info(
            "transferred %d labels of the model's column %r; %d of %d cells are unassigned",
            len(fitted.labels.names), fitted.labels.key, (found.codes < 0).sum(), adata.n_obs,
        )  # fmt: skip
    return draft.commit(copy=given["copy"])


def _as_model(model: Model | AnnData | str | Path, label_key: str | None) -> Model:
    from mnncorrect.core.model.fit import Model

    if isinstance(model, str | Path):
        model = read_model(model)
    if not isinstance(model, Model):
        return fit_model(model, label_key=label_key)
    if label_key is not None and (model.labels is None or model.labels.key != label_key):
        has = "" if model.labels is None else f", but those of obs[{model.labels.key!r}]"
        raise KeyError(
            f"the model has no labels of obs[{label_key!r}]{has}; make it of the corrected "
            f"data again, with `label_key={label_key!r}`"
        )
    return model


def _query_batches(
    adata: AnnData, model: Model, key: str | Sequence[str] | None
) -> tuple[NDArray[np.int64], list[str], str | list[str] | None]:
    """Give the batch number of each new cell, the names, and the columns that say so."""
    given = key
    if key is None:
        key = recorded_key(str(model.about.get("key", "")), adata.obs.columns)
    keys = [key] if isinstance(key, str) else list(key)
    if given is None and not set(keys) <= set(adata.obs.columns):
        logger.info("obs has no %s: all cells are one new batch", listed(keys))
        return np.zeros(adata.n_obs, np.int64), [ALL_CELLS], None
    columns = [take_labels(adata, name) for name in keys]
    for name, (numbers, values) in zip(keys, columns, strict=True):
        warn_of_missing(name, values, np.bincount(numbers))
    of_cell = [
        join_names(row)
        for row in zip(*([values[c] for c in codes] for codes, values in columns), strict=True)
    ]
    names, codes = np.unique(np.array(of_cell, dtype=object), return_inverse=True)
    return codes.ravel().astype(np.int64), names.tolist(), keys[0] if len(keys) == 1 else keys


def _log_placement(placed: Placement, sizes: Sequence[int]) -> None:
    """Say what became of each batch, and warn of what is doubtful."""
    from mnncorrect.core.calibrated.evidence import ENOUGH_EVIDENCE
    from mnncorrect.core.model.projection import DOUBTFUL, LEAST_NEW

    few, doubtful = [], []
    for size, (name, how) in zip(sizes, placed.by_batch.items(), strict=True):
        if how.known:
            told = ""
            if not np.isnan(how.evidence):
                told = f"; evidence that they differ from its training cells: {how.evidence:.3g}"
            logger.info(
                "%s: %d more cells of a batch of the model, %.0f %% familiar%s",
                name, size, 100 * how.familiar, told,
            )  # fmt: skip
            if how.familiar < DOUBTFUL or how.evidence >= ENOUGH_EVIDENCE:
                doubtful.append(name)
        elif size < LEAST_NEW:
            few.append(name)
        else:
            done = (
                "left as projected: they differ no more than random parts would"
                if how.skipped
                else f"merged onto the training cells by {how.pairs} pairs"
            )
            logger.info(
                "%s: %d cells of a new batch, %s (evidence %.3g)", name, size, done, how.evidence
            )
    if few:
        warn_caller(
            f"new batches of fewer than {LEAST_NEW} cells cannot be corrected, and are left as "
            f"projected, with confidence 0: {listed(few)}"
        )
    if doubtful:
        warn_caller(
            f"the cells of {listed(doubtful)} differ from the training cells of the batch of this "
            "name: if these are other batches, give `as_new=True`"
        )


def _warn_of_kept(model: Model, placed: Placement) -> None:
    """Warn that new batches are matched across what the correction of the model kept."""
    new = [name for name, how in placed.by_batch.items() if not (how.known or how.skipped)]
    if "keep" in model.about and new:
        warn_caller(
            f"the correction of the model kept {model.about['keep']!r} (`keep`); projection does "
            "not: it matches the cells of new batches with training cells of all values, so what "
            f"differs between these may be removed from {listed(new)}. To keep it there too, "
            "correct all cells together"
        )


def _record(model: Model, projected: Projected) -> dict[str, Any]:
    """Gather what is recorded of the model with the result."""
    return {
        "digest": model.digest,
        "version": str(model.about.get("version", "")),
        "method": str(model.about.get("method", "")),
        "n_obs": len(model.codes),
        "batches": np.array(model.batches, dtype=object),
        "n_genes": 0 if model.components is None else len(model.components.genes),
        "missing": np.array(projected.missing, dtype=object),
        "missing_share": projected.missing_share,
    }
