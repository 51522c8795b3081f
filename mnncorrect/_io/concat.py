"""Make one object of several inputs without holding a matrix whole.

Cells are put below each other, and genes are matched by name. Tables are joined in memory;
matrices are written once to a scratch file, block by block, and stand in the object as they are
there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
from numpy.typing import NDArray

from mnncorrect._adata.lookup import leading, listed
from mnncorrect._adata.matrix import describe_source
from mnncorrect._adata.objects import doubled_names
from mnncorrect._adata.record import owned
from mnncorrect._adata.slots import elements_of
from mnncorrect._adata.stored import is_stored_sparse, n_stored
from mnncorrect._adata.unread import refuse_unread
from mnncorrect._io.h5ad import refuse_unwritable
from mnncorrect._io.input_parts import FEW_LISTED
from mnncorrect._io.joined_tables import (
    columns_of,
    common_var,
    genes_of,
    input_gene_names,
    joined_obs,
    keys_of,
    shared_genes,
)
from mnncorrect._io.pieces import Piece
from mnncorrect._io.same_cells import warn_of_twins
from mnncorrect._io.subsets import cut_table, meeting
from mnncorrect._log import logger

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from mnncorrect._adata.result_places import Place

from mnncorrect._io.input_parts import Part, Selection, WritesPieces


@dataclass(frozen=True)
class Union:
    """The parts of the inputs that are joined."""

    # The tables of the result.
    obs: pd.DataFrame
    var: pd.DataFrame
    # Which cells and genes of each input are taken; ``None``: all.
    rows: Mapping[str, NDArray[np.bool_] | None]
    columns: Mapping[str, NDArray[np.int64] | None]
    layers: Sequence[str]  # Which layers.
    # What becomes X: ``"X"``, ``"raw.X"`` or ``"layers['counts']"``; ``None``: nothing.
    x: str | None
    take: Callable[[AnnData], Any]  # Gives what becomes X of an input.

    def make(
        self, parts: Mapping[str, Part], store: WritesPieces, kept: Collection[Place] = ()
    ) -> AnnData:
        """Make one object of the inputs, whose matrices are written to the store.

        ``kept``: results of the inputs that are put into it afterwards.
        """
        warn_of_twins(parts)
        _log_left_out(parts, kept, use_raw=self.x == "raw.X")
        refuse_unwritable(anndata.AnnData(obs=self.obs, var=self.var))

        def joined(where: str, take: Callable[[AnnData], Any]) -> Any:
            return store(
                [
                    Piece(
                        take(part.adata), f"{where} of {name}", self.rows[name], self.columns[name]
                    )
                    for name, part in parts.items()
                ]
            )

        with doubled_names():
            return anndata.AnnData(
                None if self.x is None else joined(self.x, self.take),
                obs=self.obs,
                var=self.var,
                layers={
                    layer: joined(f"layers[{layer!r}]", lambda a, layer=layer: a.layers[layer])  # type: ignore[misc]
                    for layer in self.layers
                },
            )


def planned(parts: Mapping[str, Part], selection: Selection, *, as_x: bool = False) -> Union:
    """Join the tables of inputs, and plan how their matrices are joined.

    With ``as_x``, the layer that is selected takes the place of X, and every input must have values
    there; otherwise an input may lack X where a layer is selected. With ``use_raw``, `raw` takes
    the place of X, and its genes that of the genes.

    Kept are X and the layers that all have, on the genes that all have, in the order of the first.
    ``obs`` has the columns of all, covariates of each input, and ``obs["mnn_file"]`` with the name
    of the input; cells are named ``{name}-{input}``. Columns of var that are equal in all are kept.
    Embeddings, graphs, raw and ``uns`` belong to one input each and are left out.
    """
    layer, use_raw = selection.layer if as_x else None, selection.use_raw
    needs_x, gene_key = as_x or selection.layer is None, selection.gene_key
    strip_versions, subset = selection.strip_versions, selection.subset
    for name, part in parts.items():
        _refuse_lacking(part, name, layer, use_raw=use_raw, needs_x=needs_x)
    variables = {
        name: part.adata.raw.var if use_raw else part.adata.var for name, part in parts.items()
    }
    x: str | None = describe_source(layer, use_raw=use_raw)
    if any(_taken(part.adata, layer=layer, use_raw=use_raw) is None for part in parts.values()):
        x = None
    single = len(parts) == 1 and gene_key is None and not strip_versions
    names = {
        name: input_gene_names(
            var, parts[name], name, key, unique=not single, strip_versions=strip_versions
        )
        for (name, var), key in zip(variables.items(), keys_of(variables, gene_key), strict=True)
    }
    shared = shared_genes(names, variables)
    columns = {name: columns_of(names[name], shared, single=single) for name in parts}
    obs = joined_obs(parts, from_barcode=selection.batch_from_barcode)
    keep = meeting(obs, subset) if subset else None
    if any(part.cells is not None for part in parts.values()):
        each = [(part.cells, part.adata.n_obs) for part in parts.values()]
        taken = np.concatenate([np.ones(n, bool) if cells is None else cells for cells, n in each])
        keep = taken if keep is None else keep & taken
    return Union(
        obs if keep is None else cut_table(obs, keep),
        common_var(
            [
                genes_of(var, columns[name], shared).drop(
                    columns=list(_results(parts[name], "var")), errors="ignore"
                )
                for name, var in variables.items()
            ]
        ),
        _rows_of(parts, keep),
        columns,
        [] if use_raw else [name for name in _shared_layers(parts) if name != layer],
        x,
        partial(_taken, layer=layer, use_raw=use_raw),
    )


def _taken(adata: AnnData, *, layer: str | None, use_raw: bool) -> Any:
    """Return the values of an input that become X; ``None``: it has none."""
    if use_raw:
        return adata.raw.X
    return adata.X if layer is None else adata.layers[layer]


def _refuse_lacking(
    part: Part, name: str, layer: str | None, *, use_raw: bool, needs_x: bool
) -> None:
    """Refuse an input without the values that are joined."""
    adata = part.adata
    layers = elements_of(adata, "layers")
    if use_raw or layer is not None or needs_x:
        slot = "raw" if use_raw else "X" if layer is None else "layers"
        refuse_unread(adata, slot, layer if layer is not None and not use_raw else "")
    if use_raw and adata.raw is None:
        raise KeyError(f"{name} has no raw values; leave out `use_raw`, or name a layer by `layer`")
    if layer is not None and layer not in layers:
        raise KeyError(
            f"{name} has no layer {layer!r}; it has layers: {listed(layers) or 'none'}; name one "
            "that all inputs have: `layer`"
        )
    if layer is not None or use_raw or not needs_x:
        return
    # Some programs leave X out, others write one without numbers.
    is_sparse = is_stored_sparse(adata.X) or hasattr(adata.X, "nnz")
    empty = is_sparse and n_stored(adata.X) == 0
    if adata.X is None or empty:
        raw = "" if adata.raw is None else ", or take its raw values: `use_raw=True`"
        told = f"take a layer by `layer`: {listed(layers)}" if layers else "it has no layers"
        what = "an X of zeros only" if empty else "no X"
        raise ValueError(f"{name} has {what}, and concat joins X; {told}{raw}")


def _rows_of(
    parts: Mapping[str, Part], keep: NDArray[np.bool_] | None
) -> dict[str, NDArray[np.bool_] | None]:
    """Part a choice among all cells by their inputs."""
    if keep is None:
        return dict.fromkeys(parts)
    ends = np.cumsum([part.adata.n_obs for part in parts.values()])
    return dict(zip(parts, np.split(keep, ends[:-1]), strict=True))


def _shared_layers(parts: Mapping[str, Part]) -> list[str]:
    present = [
        [name for name in elements_of(part.adata, "layers") if name not in _results(part, "layers")]
        for part in parts.values()
    ]
    kept = set.intersection(*map(set, present))
    dropped = set().union(*present) - kept
    if dropped:
        logger.info("left out layers that not all inputs have: %s", ", ".join(sorted(dropped)))
    return [layer for layer in present[0] if layer in kept]


def _results(part: Part, slot: str) -> set[str]:
    """Return the names in a slot that this package has put there; they belong to one input."""
    return {name for place, name in owned(part.adata.uns) if place == slot}


def _log_left_out(parts: Mapping[str, Part], kept: Collection[Place], *, use_raw: bool) -> None:
    """Say what belongs to one input, and is therefore not in the result."""
    adatas = [part.adata for part in parts.values()]
    found = [
        f"{slot}[{name!r}]"
        for slot in ("obsm", "obsp", "varm", "varp", "uns")
        for name in dict.fromkeys(name for adata in adatas for name in elements_of(adata, slot))
        if (slot, name) not in kept
    ]
    found += [
        f"{slot}[{name!r}]"
        for slot in ("obs", "var", "layers")
        for name in dict.fromkeys(n for part in parts.values() for n in _results(part, slot))
        if (slot, name) not in kept and any(name in getattr(adata, slot) for adata in adatas)
    ]
    if not use_raw and any(adata.raw is not None for adata in adatas):
        found.append("raw (`use_raw=True` takes it in the place of X)")
    if found:
        logger.info(
            "not joined, because they describe single files: %s", leading(found, FEW_LISTED)
        )
