"""``mnncorrect check``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from mnncorrect.cli.command import command
from mnncorrect.cli.inputs import opened
from mnncorrect.cli.options import Inputs, Reading, Resources

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

    from mnncorrect.cli.inputs import Loaded

# A column with more values than this is not offered as one that names batches.
MOST_BATCHES = 100


@command
def check(inputs: Inputs, reading: Reading) -> None:
    """Say what is in the input, and whether it is fit to be corrected.

    Exit code 1 if it is not. Without --batch-key, the columns that could name batches are listed.

    Example: mnncorrect check pbmc.h5ad --batch-key donor
    """
    from mnncorrect.cli.prepare import limits

    with limits(Resources(), None) as limit, opened(inputs, reading, limit) as loaded:
        _tell(loaded)


def _tell(loaded: Loaded) -> None:
    adata = loaded.adata
    _print("cells", str(adata.n_obs))
    _print("genes", str(adata.n_vars))
    problems = []
    for name, finding in (("values", _values), ("genes used", _genes), ("batches", _batches)):
        try:
            _print(name, finding(loaded))
        except (KeyError, ValueError, TypeError) as error:
            problems.append(str(error.args[0]))
            _print(name, f"not fit: {error.args[0]}")
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        msg = f"not fit to be corrected: {problems[0]}{more}"
        raise ValueError(msg)


def _print(name: str, text: str) -> None:
    typer.echo(f"{name:<11} {text}")


def _values(loaded: Loaded) -> str:
    from mnncorrect import _counts

    values = _counts.take(loaded.adata, **loaded.source)
    found = _counts.survey(values, None, _counts.Wanted(genes=False))
    kind = "counts" if found.are_counts else "log values"
    todo = "; run normalises them" if found.are_counts else ""
    span = f"{found.range.smallest:.4g} to {found.range.largest:.4g}"
    return f"{values.where}: {kind}, {span}{todo}"


def _genes(loaded: Loaded) -> str:
    from mnncorrect import _adata

    chosen = _adata.take_gene_mask(loaded.adata, _adata.UNSET)
    if chosen.mask is None:
        return "all; run chooses highly variable ones"
    return f"{int(chosen.mask.sum())} by var[{chosen.column!r}]"


def _batches(loaded: Loaded) -> str:
    from mnncorrect import _adata

    if loaded.key is None:
        return f"no --batch-key given; columns that could be: {_candidates(loaded.adata)}"
    batches = _adata.take_batches(loaded.adata, loaded.key)
    sizes = ", ".join(f"{n} {s}" for n, s in zip(batches.names, batches.sizes, strict=True))
    return f"{len(batches.names)} in obs[{loaded.key!r}]: {sizes}"


def _candidates(adata: AnnData) -> str:
    """Return the columns of obs with more than one value and not too many."""
    import pandas as pd

    is_number: Callable[[Any], bool] = pd.api.types.is_float_dtype
    counted = {
        str(column): adata.obs[column].nunique()
        for column in adata.obs
        if not is_number(adata.obs[column].dtype)
    }
    most = min(MOST_BATCHES, adata.n_obs // 2)
    fit = [f"{column} ({n})" for column, n in counted.items() if 2 <= n <= most]
    return ", ".join(fit) or "none"
