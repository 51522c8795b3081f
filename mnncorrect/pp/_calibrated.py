"""The calibrated method, from genes or from an embedding, on AnnData."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mnncorrect._adata import (
    UNSET,
    Draft,
    Keys,
    check_object,
    note_expression,
    put_components,
    put_correction,
    put_expression,
    take_batches,
    take_embedding,
)
from mnncorrect._adata.arguments import take_rep, take_seed
from mnncorrect._adata.lookup import MOST_TOLD, side
from mnncorrect._prepare.methods import register
from mnncorrect._prepare.parameter_texts import shared_parameters
from mnncorrect.core.runtime.checks import check_count
from mnncorrect.core.runtime.unset import SEED
from mnncorrect.pp._checks import possible_comps, refuse_about_genes
from mnncorrect.pp._corrections import (
    Task,
    log_batches,
    log_merges,
    resolved,
    take_expression,
    take_weights,
)
from mnncorrect.pp._taking_part import taking_part

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from mnncorrect._adata import Batches
    from mnncorrect._adata.arguments import Seed
    from mnncorrect.core.merging.loop import Correction
    from mnncorrect.core.metrics.null import Halves
    from mnncorrect.core.runtime.threads import Progress
    from mnncorrect.core.runtime.unset import Unset

logger = logging.getLogger("mnncorrect")


def _correct_halves(halves: Halves) -> tuple[NDArray[Any], NDArray[Any]]:
    """Correct halves of a batch from the embedding that was corrected."""
    from mnncorrect.core.calibrated.method import calibrate

    found = calibrate(
        halves.x,
        halves.codes,
        reference=0 if "reference" in halves.parameters else None,
        compute=halves.compute,
    )
    return halves.x, found.correction.corrected


@register(
    "calibrated",
    corrects="components",
    correct_halves=_correct_halves,
    has_confidence=True,
    orders_merges=True,
)
@shared_parameters
def mnn_calibrated(
    adata: AnnData,
    key: str | Sequence[str],
    *,
    layer: str | None = None,
    use_raw: bool = False,
    use_rep: str | None = None,
    use: str | None = None,
    mask_var: str | Sequence[bool] | NDArray[np.bool_] | Unset | None = UNSET,
    correct_all: bool = False,
    cosine_norm: bool = True,
    n_comps: int | None = 50,
    batch_weights: str | bool | Mapping[str, float] | Sequence[Any] | None = None,
    write_expression: bool = False,
    merge_order: str | Sequence[Any] | None = None,
    reference: str | None = None,
    neighbors: Literal["auto", "exact", "partition", "pynndescent"] = "auto",
    recall: float = 0.995,
    key_added: str = "mnn",
    adjusted_basis: str | None = None,
    random_state: Seed = SEED,
    rng: Seed | Unset = UNSET,
    n_jobs: int | None = None,
    progress: Progress | None = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Correct principal components as far as batch effects are told apart from noise.

    Batches are merged two at a time, as in [1]_. A merge whose effect is not told apart from that
    of dealing out the cells at random is left alone. Otherwise each cell moves by what its paired
    neighbours say, less what may be noise; cells that are matched to another population, or have
    no counterpart, stay where they are. How sure this is, is told for each cell. The result
    depends neither on the order of cells nor on that of batches.

    Parameters
    ----------
    adata
        Log-normalised expression, in ``X`` or where ``layer`` or ``use_raw`` say; or an embedding.
    key
        Column of ``obs`` that names the batches: integer, boolean, string or categorical. Or
        several columns: batches are the combinations that occur.
    write_expression
        Whether expression is corrected too, by the weights that correct its components; of the
        genes of ``mask_var``, or of all with ``correct_all``. From genes only. The layer is dense,
        as large as cells x genes.
    merge_order
        ``None``: up to 10 batches, the reference or the largest batch comes first, and then always
        the batch most like what is merged; of more batches, as ``"balanced"``: similar batches
        first, in rounds that halve their number. Or batch names in the order of merging, the
        reference first; or nested lists for a tree; or the same as text, ``"A,B,C"`` or
        ``"((A,B),(C,D))"``. What was done is recorded.
    random_state
        Seed of the random dealing of cells and of an approximate search, and of the truncated
        solver for components, which is used where there are many cells and genes.

    Returns
    -------
    ``None``, or the copy, with these fields; ``X``, ``raw`` and other layers are not touched.

    ``obsm["X_mnn"]``
        Corrected components, cells x components, in the float type of the input.
    ``obs["mnn_confidence"]``
        How sure the place of a cell among those of other batches is, 0 to 1. A cell below 0.1 has
        not been moved: it has no counterpart in another batch, or what was found for it is not
        told apart from noise. 0 in merges that were left alone.
    ``obsp["mnn_pairs"]``
        Pairs, sparse cells x cells: row the corrected cell, column the reference cell, value 1.
    ``uns["mnn"]``
        ``merges``: a table, one row a merge: ``left`` (reference) and ``right`` (corrected) batches
        as JSON lists, number of ``pairs``, whether it was ``skipped``, and the ``evidence``: signal
        over noise, over the largest seen with cells dealt out at random. ``params``,
        ``provenance``.
    ``obsm["X_mnn_uncorrected"]``, ``varm["mnn_loadings"]``, ``var["mnn_center"]``,
    ``var["mnn_genes"]``, ``obs["mnn_norm"]``
        From genes, as :func:`mnn_fast` leaves them, with ``uns["mnn"]["components"]``.
    ``layers["mnn"]``, ``var["mnn_corrected"]``
        With ``write_expression``: expression as it is read, plus smoothed differences between
        cells, on the scale of what is read (log values, in which cells may be below 0); and which
        genes it has, the others being zero. Cells that did not move keep their values to the bit.
        It is **not for differential expression**, as the correction makes genes and cells
        dependent; ``uns["mnn"]["not_for_differential_expression"]`` says so in a file.

    Warns
    -----
    UserWarning
        If there are fewer components than asked for; if values look like counts; if an
        approximate search finds few of the pairs.

    Raises
    ------
    KeyError
        If a column, layer or embedding is not there.
    TypeError
        If values or masks are of the wrong kind.
    ValueError
        If the object is backed, or has no cells; if batches are missing for cells, or there is
        only one, or one has a single cell; if ``reference`` is no batch; if values are not finite;
        if a parameter is out of range, or two of them exclude one another.

    See Also
    --------
    mnn_expression : Expression of low rank from the corrected components, smooth over cells.
    mnn_fast : The reference's method.

    Notes
    -----
    The displacement of a cell is a Gaussian-weighted mean over the 100 nearest paired cells, of
    differences between means of 10 neighbours at each end; its variance follows from the weights.
    :mod:`mnncorrect.core.calibrated.merge` argues each step and says what is not proven. An effect
    that strikes one population alone, stronger than all others, is taken for a wrong match.

    All of it is a linear map of cells, :math:`y_c = x_c + \sum_i w_{ci} x_i` with
    :math:`\sum_i w_{ci} = 0`, of which only the weights of each step are held. Corrected expression
    is the same map of expression, each cell divided by its length before and multiplied by it
    afterwards, so that the components of corrected expression are the corrected components.

    References
    ----------
    .. [1] Haghverdi, Lun, Morgan & Marioni (2018), *Batch effects in single-cell RNA-sequencing
       data are corrected by matching mutual nearest neighbors*, Nature Biotechnology 36,
       421-427, doi:10.1038/nbt.4091.

    Examples
    --------
    >>> import anndata
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> cells = np.repeat(rng.normal(size=(2, 10)) * 4, 60, axis=0) + rng.normal(size=(120, 10))
    >>> cells[1::2] += 1.0  # every other cell is of a second batch
    >>> adata = anndata.AnnData(np.ones((120, 1)), obsm={"X_pca": cells})
    >>> adata.obs["batch"] = ["first", "second"] * 60
    >>> mnn_calibrated(adata, "batch", use_rep="X_pca", reference="first")
    >>> adata.uns["mnn"]["merges"][["left", "right", "skipped"]]
            left       right  skipped
    0  ["first"]  ["second"]    False
    >>> bool((adata.obsm["X_mnn"][::2] == cells[::2]).all())
    True
    """
    use_rep = take_rep(use_rep, use)
    random_state = take_seed(random_state, rng)
    about_genes: dict[str, Any] = {
        "layer": layer,
        "use_raw": use_raw,
        "mask_var": mask_var,
        "correct_all": correct_all,
        "cosine_norm": cosine_norm,
        "n_comps": n_comps,
        "batch_weights": batch_weights,
    }
    if use_rep is not None:
        refuse_about_genes(
            mnn_calibrated, use_rep, about_genes | {"write_expression": write_expression}
        )
    draft, values = calibrate_and_carry(
        adata,
        key,
        use_rep=use_rep,
        **about_genes,
        merge_order=merge_order,
        reference=reference,
        neighbors=neighbors,
        recall=recall,
        key_added=key_added,
        adjusted_basis=adjusted_basis,
        random_state=random_state,
        n_jobs=n_jobs,
        progress=progress,
        allocate=np.empty if write_expression else None,
    )
    if values is not None:
        genes = draft.puts["var", Keys(key_added).corrected]
        put_expression(draft, values, key_added=key_added, genes=genes)
    return draft.commit(copy=copy)


def calibrate_and_carry(
    adata: AnnData,
    key: str | Sequence[str],
    *,
    layer: str | None = None,
    use_raw: bool = False,
    use_rep: str | None = None,
    mask_var: Any = UNSET,
    correct_all: bool = False,
    cosine_norm: bool = True,
    n_comps: int | None = 50,
    batch_weights: Any = None,
    merge_order: Any = None,
    reference: str | None = None,
    neighbors: str = "auto",
    recall: float = 0.995,
    key_added: str = "mnn",
    adjusted_basis: str | None = None,
    random_state: int = 0,
    n_jobs: int | None = None,
    progress: Progress | None = None,
    allocate: Callable[[tuple[int, int], Any], Any] | None = None,
) -> tuple[Draft, Any]:
    """Correct an object, but put nothing into it; make expression where there is room for it.

    Parameters
    ----------
    adata, key, layer, use_raw, use_rep, mask_var, correct_all, cosine_norm, n_comps, batch_weights
        As of :func:`mnn_calibrated`.
    merge_order, reference, neighbors, recall, key_added, adjusted_basis, random_state
        As of :func:`mnn_calibrated`.
    n_jobs, progress
        As of :func:`mnn_calibrated`.
    allocate
        Given cells and corrected genes, and a float type, makes what corrected expression is
        written to; ``None``: it is not made.

    Returns
    -------
    The results, which are still to be committed; and what was allocated, filled: the layer's
    record is made, but no layer.
    """
    from mnncorrect.core.calibrated.expression import carry
    from mnncorrect.core.calibrated.method import calibrate
    from mnncorrect.core.matrix.pca import multibatch_pca
    from mnncorrect.core.merging.plans import parse_merge_order
    from mnncorrect.core.runtime.compute import compute_options

    if use_rep is None and n_comps is not None:
        check_count("n_comps", n_comps, 1)
    check_object(adata)
    batches = take_batches(adata, key)
    if reference is not None and str(reference) not in batches.names:
        msg = f"reference is {reference!r}; choose one of the batches {', '.join(batches.names)}"
        raise ValueError(msg)
    order = None if merge_order is None else parse_merge_order(merge_order, batches.names)
    log_batches(batches)
    task = Task(batches, None, None, {"key": key if isinstance(key, str) else list(key)})
    basis = Keys(key_added).basis(adjusted_basis, use_rep)
    recorded: dict[str, Any] = {
        "adjusted_basis": basis,
        "use_rep": use_rep,
        "reference": reference,
        "neighbors": neighbors,
        "recall": recall,
    }
    genes = components = norms = None
    if use_rep is not None:
        values = take_embedding(adata, use_rep)
        part = taking_part(batches, None)
        logger.info("distances in %d dimensions of obsm[%r]", values.shape[1], use_rep)
    else:
        genes = take_expression(
            adata,
            batches,
            layer=layer,
            use_raw=use_raw,
            mask_var=mask_var,
            correct_all=correct_all,
            key_added=key_added,
            to_layer=allocate is not None,
            for_all="have loadings",
        )
        part = taking_part(batches, genes.filled)
        n_comps = possible_comps(n_comps, int(part.cells.sum()), int(genes.used.sum()))
        weights, recorded_weights = take_weights(batch_weights, batches)
        norms = genes.norms() if cosine_norm else None
        components = multibatch_pca(
            genes.matrix,
            part.codes,
            n_comps,
            weights=part.weights(weights),
            mask=genes.mask,
            all_genes=correct_all,
            scale=norms,
            random_state=random_state,
            n_jobs=n_jobs,
        )
        values = components.scores
        recorded |= genes.params | {
            "cosine_norm": cosine_norm,
            "n_comps": n_comps,
            "batch_weights": recorded_weights,
        }
    found = calibrate(
        values,
        part.codes,
        names=part.names(batches.names),
        cells=np.asarray(adata.obs_names, dtype=str),
        merge_order=part.order(order),
        reference=None if reference is None else part.number(batches.names.index(str(reference))),
        compute=compute_options(
            neighbors=neighbors,
            recall=recall,
            random_state=random_state,
            n_jobs=n_jobs,
            progress=progress,
        ),
        keep=allocate is not None,
    )
    correction, confidence = part.restored(found.correction), found.confidence
    log_merges(correction, batches)
    _log_confidence(correction, confidence, batches)

    made = None
    if genes is not None and allocate is not None and found.weights is not None:
        made = allocate((adata.n_obs, int(genes.corrected.sum())), genes.matrix.dtype)
        carry(
            found.weights,
            genes.matrix,
            made,
            genes=None if genes.corrected.all() else genes.corrected,
            scale=norms,
            n_dims=values.shape[1],
            n_jobs=n_jobs,
            progress=progress,
        )
        logger.info(
            "corrected expression of %d of %d genes by the same weights, into layers[%r]",
            genes.corrected.sum(), adata.n_vars, Keys(key_added).layer,
        )  # fmt: skip
    draft = Draft(adata, Keys(key_added).uns)
    put_correction(
        draft,
        correction,
        batches,
        key_added=key_added,
        params=resolved("calibrated", task, correction, **recorded),
        random_state=random_state,
        genes=None if genes is None else genes.used,
        embedding=basis,
        more=None if genes is None else genes.prepared,
    )
    draft.put("obs", Keys(key_added).confidence, confidence)
    if genes is not None and components is not None:
        put_components(draft, components, key_added=key_added, genes=genes.corrected, norms=norms)
        if made is not None:
            how = {"scale": "log", "made_by": "weights"}
            note_expression(draft, key_added=key_added, genes=genes.corrected, how=how)
    return draft, made


def _log_confidence(
    correction: Correction, confidence: NDArray[np.float64], batches: Batches
) -> None:
    """Say which batches were left alone and why, and how many cells have no counterpart."""
    from mnncorrect.core.calibrated.confidence import UNSURE
    from mnncorrect.core.calibrated.fit import taking_part

    alone = [merge for merge in correction.merges if merge.skipped]
    if alone:
        told = ", ".join(
            f"{side([batches.names[b] for b in merge.right])} ({merge.evidence:.2g})"
            for merge in alone[:MOST_TOLD]
        )
        if len(alone) > MOST_TOLD:
            told += f" and {len(alone) - MOST_TOLD} more"
        logger.info(
            "left alone, as they differ from the others no more than cells dealt out at random"
            " (signal over noise, over that of random parts): %s",
            told,
        )
    live = taking_part(correction.merges)
    if live:
        among = np.isin(batches.codes, sorted(live))
        low, n = int((confidence[among] < UNSURE).sum()), int(among.sum())
        of_whom = "cells of the other batches" if alone else "cells"
        if low:
            logger.info(
                "%d of %d %s have no counterpart that is told apart from noise (confidence below"
                " %g), and stay where they were",
                low, n, of_whom, UNSURE,
            )  # fmt: skip
        else:
            logger.info(
                "all %d %s have a counterpart that is told apart from noise (confidence from %g"
                " up)",
                n, of_whom, UNSURE,
            )  # fmt: skip
