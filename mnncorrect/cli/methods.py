"""What the shell does with the method that ``--method`` names."""

from __future__ import annotations

import dataclasses
import logging
import warnings
from typing import TYPE_CHECKING, Any

import typer

from mnncorrect._prepare.methods import all_methods, method_named, names_where, owners_of
from mnncorrect.cli.options.correction import ALL_GENES, Correction, Expression, Preparing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

    import numpy as np
    from anndata import AnnData
    from numpy.typing import NDArray

    from mnncorrect._io.scratch import Scratch

logger = logging.getLogger("mnncorrect")


# The scale of expression that is as the input is, and how it is packed while it is made by columns.
LOG = "log"
CHUNK = (4096, 64)
# What concerns genes, and has no meaning where an embedding is corrected as it is.
ABOUT_GENES = (
    "layer", "use_raw", "mask_var", "correct_all", "cosine_norm", "n_comps", "batch_weights",
)  # fmt: skip


def refuse_foreign(
    context: typer.Context, correction: Correction, *, also_known: Collection[str] = ()
) -> None:
    """Refuse, as wrong usage, options that the chosen method does not have, or that it lacks.

    Parameters
    ----------
    context
        Knows which options were given.
    correction
        Their values.
    also_known
        Options that another step of the command takes.
    """
    has = method_named(correction.method).parameters
    for field in dataclasses.fields(Correction):
        if field.name == "method" or field.name in has or field.name in also_known:
            continue
        if given(context, field.name):
            option, owners = _option(context, field.name), owners_of(field.name)
            msg = (
                f"{option} belongs to method {', '.join(owners)}, not to {correction.method}: "
                f"leave it out, or add --method {owners[0]}"
            )
            raise typer.BadParameter(msg)
    for name, parameter in has.items():
        needed = parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
        if needed and getattr(correction, name) is None:
            msg = f"method {correction.method} needs {_option(context, name)}"
            raise typer.BadParameter(msg)
    if correction.use_rep is not None:
        prepare = tuple(field.name for field in dataclasses.fields(Preparing))
        for name in ABOUT_GENES + prepare:
            if name not in also_known and given(context, name):
                msg = (
                    f"{_option(context, name)} concerns genes, and --use-rep corrects an "
                    "embedding as it is: leave one of them out"
                )
                raise typer.BadParameter(msg)


def refuse_expression(
    context: typer.Context, correction: Correction, expression: Expression
) -> None:
    """Refuse, as wrong usage, to make expression where it cannot be made, or to say how if not."""
    for field in dataclasses.fields(Expression):
        if not given(context, field.name):
            continue
        option = _option(context, field.name)
        if not method_named(correction.method).embeds:
            owners = names_where(method for method in all_methods() if method.embeds)
            msg = f"{option} belongs to method {owners}, not to {correction.method}"
            raise typer.BadParameter(msg)
        if correction.use_rep is not None:
            msg = f"{option} needs genes, and --use-rep corrects an embedding: leave one out"
            raise typer.BadParameter(msg)
        if not expression.write_expression:
            msg = f"{option} says how expression is written: add --write-expression"
            raise typer.BadParameter(msg)
        scale = expression.expression_scale
        as_input = method_named(correction.method).carries and field.name == "expression_scale"
        if as_input and scale != LOG:
            msg = (
                f"{option} {scale} is for expression made of components; {correction.method} "
                "corrects expression itself, on the scale of the input"
            )
            raise typer.BadParameter(msg)


def given(context: typer.Context, name: str) -> bool:
    """Return whether an option was given, rather than left at its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _option(context: typer.Context, name: str) -> str:
    """Write an option as it was given."""
    no = "no-" if context.params.get(name) is False else ""
    return f"--{no}{name.replace('_', '-')}"


def correct(
    adata: AnnData,
    key: str | list[str],
    correction: Correction,
    *,
    mask_var: Any,
    scratch: Scratch | None = None,
    **more: Any,
) -> Any:
    """Correct an object in place by the chosen method.

    Parameters
    ----------
    adata
        The object.
    key
        The column of obs that names the batches, or several.
    correction
        The options, of which the method is given those that it has.
    mask_var
        The genes, as the method takes them.
    scratch
        Gives the file for corrected expression, if that is wanted.
    more
        What does not come from these options: ``layer``, ``random_state`` and the like.

    Returns
    -------
    Corrected expression in the scratch file, where the method makes it while it corrects; the
    record says how it was made.
    """
    method = method_named(correction.method)
    function, has = method.function, method.parameters
    options = {
        field.name: getattr(correction, field.name)
        for field in dataclasses.fields(Correction)
        if field.name in has
    }
    given = {"mask_var": mask_var} | more
    options |= {name: value for name, value in given.items() if name in has}
    from mnncorrect._adata.values import ValuesWarning

    # The values have been judged, all of them, before some were taken for the method.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ValuesWarning)
        return _carried_out(function, adata, key, options, scratch, correction)


def _carried_out(
    function: Callable[..., Any],
    adata: AnnData,
    key: str | list[str],
    options: dict[str, Any],
    scratch: Scratch | None,
    correction: Correction,
) -> Any:
    if scratch is None or not method_named(correction.method).carries:
        function(adata, key, **options)
        return None
    from mnncorrect.pp._adapter import draft_by

    def allocate(shape: tuple[int, int], dtype: Any) -> Any:
        packed = tuple(min(most, size) for most, size in zip(CHUNK, shape, strict=True))
        return scratch().create_dataset("expression", shape, dtype, chunks=packed)

    draft, made = draft_by(correction.method, adata, key, allocate=allocate, **options)
    draft.commit()
    return made


def note_prepared(adata: AnnData, correction: Correction, done: Mapping[str, Any]) -> None:
    """Record what was done to the values before they were corrected, if anything was."""
    from mnncorrect._adata import Draft, Keys

    if not done:
        return
    keys = Keys(correction.key_added)
    draft = Draft(adata, keys.uns)
    draft.amend(keys.uns, {"prepared": dict(done)})
    if keys.normalized in adata.layers:
        draft.claim("layers", keys.normalized)
    draft.commit()


def note_warnings(adata: AnnData, key_added: str) -> None:
    """Record what was warned of about the input, if anything was."""
    from mnncorrect._adata import Draft, Keys
    from mnncorrect._adata.record import WARNINGS, as_warnings
    from mnncorrect.cli.runtime import logs

    told = as_warnings(adata.uns, logs.warned())
    if told != as_warnings({}, ()):
        draft = Draft(adata, None)
        draft.amend(Keys(key_added).uns, {WARNINGS: told})
        draft.commit()


def genes_wanted(adata: AnnData, correction: Correction) -> Any:
    """Turn what ``--mask-var`` says into what a method takes."""
    from mnncorrect._adata import UNSET

    if correction.mask_var is None:
        return UNSET
    if correction.mask_var == ALL_GENES and ALL_GENES not in adata.var:
        return None
    return correction.mask_var


def embedding_of(correction: Correction) -> str:
    """Name what a method that embeds leaves in obsm."""
    from mnncorrect._adata import Keys

    return correction.adjusted_basis or Keys(correction.key_added).embedding


def write(
    adata: AnnData,
    path: Path,
    correction: Correction,
    expression: Expression,
    n_jobs: int | None,
    made: Any = None,
) -> None:
    """Write an object, with corrected expression if it is wanted.

    The layer is made, if it is not ``made`` already, and written in blocks of cells, and never
    held whole.
    """
    from mnncorrect._adata import Draft, Keys, note_expression
    from mnncorrect._adata.record import fields_of
    from mnncorrect._io import h5ad, layers
    from mnncorrect.pp._expression import take_low_rank, wanted_genes

    if not expression.write_expression:
        h5ad.write(adata, path)
        return
    keys = Keys(correction.key_added)
    if made is not None:
        params = fields_of(adata.uns, keys.uns)["params"]
        has = adata.var[keys.corrected].to_numpy(bool)
        genes = wanted_genes(adata, keys, params, expression.expression_mask_var)
        draft = Draft(adata, keys.uns)
        note_expression(draft, key_added=correction.key_added, genes=genes)
        draft.claim("layers", keys.layer)
        draft.commit()
        if keys.layer in adata.layers:
            del adata.layers[keys.layer]
        h5ad.write(adata, path)
        layers.add_layer(path, keys.layer, adata.shape, made.dtype, _among(made, has, genes))
        return
    lazy = take_low_rank(
        adata,
        key_added=correction.key_added,
        scale=expression.expression_scale,
        mask_var=expression.expression_mask_var,
    )
    draft = Draft(adata, keys.uns)
    how = {"scale": lazy.scale}
    note_expression(draft, key_added=correction.key_added, genes=lazy.genes, how=how)
    draft.claim("layers", keys.layer)
    draft.commit()
    if keys.layer in adata.layers:
        del adata.layers[keys.layer]
    h5ad.write(adata, path)
    layers.add_layer(path, keys.layer, lazy.shape, lazy.dtype, lazy.blocks(n_jobs=n_jobs))
    logger.info(
        "corrected expression (%s) of %d of %d genes, into layers[%r]",
        lazy.scale, lazy.genes.sum(), adata.n_vars, keys.layer,
    )  # fmt: skip


def _among(
    made: Any, has: NDArray[np.bool_], genes: NDArray[np.bool_]
) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield rows of all genes, of which ``made`` has some and some are wanted; others are zero."""
    import numpy as np

    from mnncorrect.core.runtime.threads import row_blocks

    columns = genes[has]
    for rows in row_blocks(made.shape[0], CHUNK[0]):
        values = np.zeros((rows.stop - rows.start, len(genes)), made.dtype)
        values[:, genes] = made[rows][:, columns]
        yield rows, values
