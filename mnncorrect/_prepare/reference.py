"""Read and check the correction in which new cells were placed, to show both together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mnncorrect._adata import Keys, take_embedding
from mnncorrect._adata.lookup import require, shortened
from mnncorrect._adata.record import RecordError, entry_of, fields_of
from mnncorrect._prepare.cell_filters import symbol_columns
from mnncorrect.core.model.fit import DIGEST_LETTERS, Model

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


# Letters of a list of batches in a message.
PARAMETER_LETTERS = 80


@dataclass(frozen=True)
class ReferenceCells:
    """The cells of a correction that new cells were placed in."""

    corrected: NDArray[Any]  # Their corrected coordinates, of the same space as those of new cells.
    drawn: NDArray[Any] | None = None  # Their UMAP; ``None``: there is none.


def take_reference(adata: AnnData, reference: AnnData | Model, key_added: str) -> ReferenceCells:
    """Read the cells of the correction, or of its model, that ``adata`` was placed in.

    Refuses a correction that differs in its method, cells, batches or dimensions.
    """
    keys = Keys(key_added)
    model = _projection_entry(adata, keys)["model"]
    if isinstance(reference, Model):
        if reference.digest != model["digest"]:
            raise ValueError(
                f"the reference is another model ({reference.digest[:DIGEST_LETTERS]}) than the "
                f"one that the new cells were placed in ({str(model['digest'])[:DIGEST_LETTERS]}); "
                "give that one"
            )
        return ReferenceCells(reference.corrected)
    record = entry_of(reference.uns, keys.uns, "correction")
    if record is None or "adjusted_basis" not in record["params"]:
        raise ValueError(
            f"the reference has no correction in uns[{keys.uns!r}]; give the corrected data whose "
            "model the new cells were placed in, or that model"
        )
    corrected = take_embedding(reference, str(record["params"]["adjusted_basis"]))
    width = adata.obsm[placed_basis(adata, key_added)].shape[1]
    unlike = {
        "dimensions": (corrected.shape[1], int(width)),
        "batches": (sorted(map(str, record["batches"])), sorted(map(str, model["batches"]))),
        "method": (str(record["params"].get("method")), str(model["method"])),
    }
    if int(model["n_obs"]) > reference.n_obs:  # a model may keep some of the cells
        unlike["cells"] = (reference.n_obs, int(model["n_obs"]))
    for what, (here, there) in unlike.items():
        if here != there:
            raise ValueError(
                f"the reference is not the correction that the new cells were placed in: {what} "
                f"{_short(here)}, and the model has {_short(there)}; give the corrected data that "
                "the model was made of"
            )
    drawn = take_embedding(reference, keys.drawn) if keys.drawn in reference.obsm else None
    return ReferenceCells(corrected, drawn)


def same_reference(
    fit_model: Callable[..., Model], adata: AnnData, reference: AnnData | Model, key_added: str
) -> ReferenceCells:
    """Read the cells of the correction that cells were placed in; refuse any other one.

    ``fit_model``: :func:`mnncorrect.tl.fit_model`, by whose result corrections are compared.
    """
    found = take_reference(adata, reference, key_added)
    if isinstance(reference, Model):
        return found
    entry = fields_of(adata.uns, Keys(key_added).uns)
    model, gene_key = entry["model"], entry["params"].get("gene_key")
    # Of a model of some cells of the correction, the digest is another.
    if int(model["n_obs"]) == reference.n_obs:
        names = [None, gene_key, *symbol_columns(reference.var)]
        if not makes_model(fit_model, reference, str(model["digest"]), names, key_added=key_added):
            raise ValueError(
                "the reference is not the correction that the new cells were placed in: its model "
                "has another digest; give the corrected data that the model was made of, or place "
                "the cells again"
            )
    return found


def makes_model(
    fit_model: Callable[..., Model],
    adata: AnnData,
    digest: str,
    gene_keys: Iterable[str | None],
    *,
    key_added: str,
) -> bool:
    """Return whether a model of this correction is the one of the digest.

    ``gene_keys``: columns of ``var`` by which it may name its genes.
    """
    for gene_key in dict.fromkeys(gene_keys):
        if gene_key is not None and gene_key not in adata.var:
            continue
        try:
            if fit_model(adata, gene_key=gene_key, key_added=key_added).digest == digest:
                return True
        except (KeyError, ValueError, RecordError):
            continue
    return False


def placed_basis(adata: AnnData, key_added: str) -> str:
    """Name the embedding of placed cells in ``obsm``; refuse cells that were not placed."""
    basis = str(_projection_entry(adata, Keys(key_added))["params"]["adjusted_basis"])
    require(basis, adata.obsm, "obsm", "place the cells again")
    return basis


def _projection_entry(adata: AnnData, keys: Keys) -> Mapping[str, Any]:
    """Return the record of placed cells."""
    entry = entry_of(adata.uns, keys.uns, "projection")
    if entry is None:
        raise ValueError(
            f"uns[{keys.uns!r}] has no placed cells; place them first with mnncorrect project "
            "(tl.project)"
        )
    return entry


def _short(value: Any) -> str:
    return shortened(", ".join(value) if isinstance(value, list) else str(value), PARAMETER_LETTERS)
