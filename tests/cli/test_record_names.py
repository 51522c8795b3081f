"""Records of older files are read with the names that their fields have now."""

from __future__ import annotations

import anndata

import mnncorrect
from mnncorrect._adata.record import fields_of


def test_a_step_of_an_older_record_is_shown_by_its_name_of_today(cli, counts, tmp_path):
    out = tmp_path / "out.h5ad"
    mnncorrect.run(str(counts), "batch", output=out, gmm=False)
    adata = anndata.read_h5ad(out)
    done = dict(adata.uns["mnn"]["prepared"])
    assert "normalize" in done
    old = {"normalise" if step == "normalize" else step: value for step, value in done.items()}
    adata.uns["mnn"]["prepared"] = old
    assert dict(fields_of(adata.uns, "mnn")["prepared"]) == done
    adata.write_h5ad(out)
    told = cli("info", out)
    assert told.code == 0
    assert "normalize" in told.out
    assert "normalise" not in told.out
