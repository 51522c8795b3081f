"""What is asked of corrected expression: how it is made, or why it cannot be made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mnncorrect._prepare.method_registry import all_methods, method_named, names_where
from mnncorrect._wording import UsageError

if TYPE_CHECKING:
    from mnncorrect import _adata

# The scale of expression that is as the input is.
LOG_SCALE = "log"
# Arguments that ask for expression without negative values.
WITHOUT_NEGATIVES = ("expression_clip", "expression_counts")


@dataclass(frozen=True)
class ExpressionWanted:
    """How corrected expression is made beside corrected components."""

    scale: str = "centered"  # As of :func:`mnncorrect.pp.mnn_expression`.
    mask_var: Any = None  # As of :func:`mnncorrect.pp.mnn_expression`.
    # As of :func:`mnncorrect.pp.mnn_expression`; or whether it is scaled back to counts.
    clip: bool = False
    counts: bool = False

    def layer(self, keys: _adata.Keys) -> str:
        """Return the layer that it is written to."""
        if self.counts:
            return keys.scaled_back
        return keys.clipped if self.clip else keys.layer

    @property
    def described(self) -> str:
        """What is done to its values, in words; empty: nothing."""
        if self.counts:
            return "scaled back to counts"
        return "negative values set to 0" if self.clip else ""


def expression_wanted(
    given: Mapping[str, Any], params: Mapping[str, Any]
) -> ExpressionWanted | None:
    """Return how corrected expression is made; refuse where it cannot be made, or is not wanted."""
    method, wanted, scale = given["method"], given["write_expression"], given["expression_scale"]
    names = ("write_expression", "expression_scale", "expression_mask_var", *WITHOUT_NEGATIVES)
    asked = [name for name in names if given[name] is not None and given[name] is not False]
    without = [name for name in asked if name in WITHOUT_NEGATIVES]
    if len(without) > 1:
        raise UsageError(f"`{without[0]}` and `{without[1]}` exclude each other; give one of them")
    if not method_named(method).embeds and set(asked) <= set(WITHOUT_NEGATIVES):
        return _of_corrected_layer(given, params)
    for name in asked:
        refuse_without_components(name, method)
        if params.get("use_rep") is not None:
            raise UsageError(
                f"`{name}` needs genes, and `use_rep` corrects an embedding: leave one out"
            )
        if not wanted:
            raise UsageError(f"`{name}` has no effect without `write_expression`; add it")
        if (
            method_named(method).corrects_genes
            and name == "expression_scale"
            and scale != LOG_SCALE
        ):
            raise UsageError(
                f"`{name}='{scale}'` is for expression made of components; {method} corrects "
                "expression itself, on the scale of the input"
            )
    if not wanted:
        return None
    if "expression_counts" in without:
        if not method_named(method).corrects_genes and scale != LOG_SCALE:
            raise UsageError(
                "`expression_counts` scales log values back; give `expression_scale='log'` with it"
            )
        return ExpressionWanted(LOG_SCALE, given["expression_mask_var"], counts=True)
    clip = bool(given["expression_clip"])
    if clip and not method_named(method).corrects_genes and scale in (None, "centered"):
        raise UsageError(
            "`expression_clip` needs values whose zero is no expression; the scale is 'centered' "
            "(each gene has mean zero): give `expression_scale='log'` or `expression_scale="
            "'cosine'`"
        )
    return ExpressionWanted(scale or "centered", given["expression_mask_var"], clip)


def _of_corrected_layer(
    given: Mapping[str, Any], params: Mapping[str, Any]
) -> ExpressionWanted | None:
    """Return what is made of a layer that a method of expression has written; ``None``: nothing."""
    clip, counts = (bool(given[name]) for name in WITHOUT_NEGATIVES)
    if not (clip or counts):
        return None
    if counts and params.get("cosine_norm_out", True):
        raise UsageError(
            "`expression_counts` scales log values back, and the corrected cells have length 1; "
            "give `cosine_norm_out=False` with it"
        )
    scale = "cosine" if params.get("cosine_norm_out", True) else LOG_SCALE
    return ExpressionWanted(scale, clip=clip, counts=counts)


def refuse_without_components(name: str, method: str) -> None:
    """Refuse what only methods of components have."""
    if not method_named(method).embeds:
        owners = names_where(known for known in all_methods() if known.embeds)
        raise UsageError(f"`{name}` belongs to method {owners}, not to {method}")
