"""``mnncorrect run``."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnncorrect.cli.command import command
from mnncorrect.cli.inputs import load, need_batch_key
from mnncorrect.cli.options import (
    Computing,
    Correction,
    Force,
    Inputs,
    NComponents,
    NComps,
    NDims,
    Output,
    Preparing,
    Reading,
    Reporting,
    whole_numbers,
)

if TYPE_CHECKING:
    from mnncorrect.cli.inputs import Loaded

logger = logging.getLogger("mnncorrect")


@command
def run(
    *,
    context: typer.Context,
    inputs: Inputs,
    output: Output,
    force: Force = False,
    reading: Reading,
    preparing: Preparing,
    correction: Correction,
    pca: Annotated[
        bool, typer.Option("--pca/--no-pca", help="Compute principal components afterwards.")
    ] = True,
    n_comps: NComps = 50,
    gmm: Annotated[
        bool, typer.Option("--gmm/--no-gmm", help="Cluster by a Gaussian mixture afterwards.")
    ] = True,
    n_dims: NDims = 15,
    n_components: NComponents = "1-15",
    computing: Computing,
    reporting: Reporting,
) -> None:
    """Normalise, choose genes, correct, find components and clusters.

    Counts are scaled to the median total and log1p is taken (layers["mnn_log1p"]); genes that vary
    highly within batches are chosen (var["mnn_genes"]); corrected values are written to
    layers["mnn"], their principal components to obsm["X_mnn_pca"], clusters to obs["gmm"]. X, raw
    and other layers stay as they are. Each step can be left out.

    Example: mnncorrect run pbmc.h5ad --batch-key donor -o corrected.h5ad

    Example: mnncorrect run donor1.h5ad donor2.h5ad donor3.h5ad -o corrected.h5ad
    """
    from mnncorrect.cli import methods

    need_batch_key(inputs, reading)
    numbers = whole_numbers("--n-components", n_components)
    methods.refuse_foreign(context, correction)
    if gmm and not pca and not methods.METHODS[correction.method].embeds:
        msg = "clusters are found in principal components: with --no-pca, say --no-gmm too"
        raise typer.BadParameter(msg)
    from mnncorrect import _adata, _atomic, _h5ad, pp, tl
    from mnncorrect.cli.progress import bars

    keys = _adata.Keys(correction.key_added)
    with _atomic.whole_file(output, force=force, inputs=inputs) as temporary:
        loaded = load(inputs, reading)
        adata = loaded.adata
        mask_var, source, prepared = _prepare(loaded, preparing, correction)
        with bars(reporting) as progress:
            methods.correct(
                adata,
                loaded.batch_key,
                correction,
                mask_var=mask_var,
                progress=progress,
                **source,
                **asdict(computing),
            )
            adata.uns[keys.uns]["prepared"] = prepared
            embedding = keys.embedding
            if pca and not methods.METHODS[correction.method].embeds:
                components = f"{correction.key_added}_pca"
                embedding = f"X_{components}"
                pp.pca(
                    adata,
                    layer=keys.layer,
                    n_comps=n_comps,
                    key_added=components,
                    **asdict(computing),
                )
            if gmm:
                tl.gmm(
                    adata,
                    use_rep=embedding,
                    n_dims=n_dims,
                    n_components=numbers,
                    progress=progress,
                    **asdict(computing),
                )
        if source != loaded.source and not preparing.keep_normalised:
            del adata.layers[source["layer"]]
        _h5ad.write(adata, temporary)
    logger.info("wrote %s", output)


def _prepare(
    loaded: Loaded, preparing: Preparing, correction: Correction
) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Normalise if needed and choose genes.

    Returns
    -------
    The genes, as a method takes them; where values are read from now on; and what was done, for
    the record.
    """
    from mnncorrect import _adata, _counts
    from mnncorrect._adata.matrix import HIGHLY_VARIABLE
    from mnncorrect.cli.methods import genes_wanted

    adata, source = loaded.adata, loaded.source
    _adata.check_object(adata)
    batches = _adata.take_batches(adata, loaded.batch_key)
    values = _counts.look_at(adata, **source)
    are_counts = _counts.decide_counts(values, counts=preparing.counts)
    done: dict[str, Any] = {
        "counts": are_counts,
        "normalise": are_counts and preparing.normalise,
        "log1p": are_counts and preparing.log1p,
        "hvg": False,
    }
    told = "" if preparing.counts is None else ", as told"
    span = f"{values.smallest:.4g} to {values.largest:.4g}"
    if not are_counts:
        logger.info("%s holds log values (%s)%s: taken as they are", values.where, span, told)
    elif not (done["normalise"] or done["log1p"]):
        logger.info("%s holds counts (%s)%s: taken as they are", values.where, span, told)
    else:
        layer = f"{correction.key_added}_log1p"
        adata.layers[layer] = _counts.normalise(
            adata, **source, total=done["normalise"], log1p=done["log1p"]
        )
        source = {"layer": layer, "use_raw": False}
        steps = [
            text
            for name, text in (("normalise", "scaled to the median total"), ("log1p", "log1p"))
            if done[name]
        ]
        logger.info(
            "%s holds counts (%s)%s: %s, into layers[%r]",
            values.where, span, told, " and ".join(steps), layer,
        )  # fmt: skip

    genes = genes_wanted(adata, correction)
    wanted = preparing.hvg
    if wanted is None:
        wanted = isinstance(genes, _adata.Unset) and HIGHLY_VARIABLE not in adata.var
    if not wanted:
        return genes, source, done
    if adata.n_vars <= preparing.n_top_genes:
        logger.info("no more than %d genes: all are used", preparing.n_top_genes)
        return None, source, done
    genes = _counts.choose_genes(
        _adata.take_matrix(adata, **source), batches, preparing.n_top_genes
    )
    logger.info("chose %d of %d genes as highly variable in batches", genes.sum(), adata.n_vars)
    return genes, source, done | {"hvg": True, "n_top_genes": preparing.n_top_genes}
