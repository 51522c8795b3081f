"""Messages name options at the command line and arguments in Python, from one text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from typer.main import get_command

from mnncorrect import pp
from mnncorrect._wording import Worded, for_shell, option
from mnncorrect.cli.app import app
from mnncorrect.cli.wording import on_shell, options_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Cli = Callable[..., Any]


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("merge_order starts with 'a'", "--merge-order starts with 'a'"),
        ('use neighbors="exact" or more', "use --neighbors exact or more"),
        ("if not, say counts=False", "if not, say --no-counts"),
        ("auto_merge=True and a merge_order", "--auto-merge and a --merge-order"),
        ("recall is 2; sigma is 0", "--recall is 2; --sigma is 0"),
        ("`key` names several; n_jobs is 0", "--batch-key names several; --threads is 0"),
        ("give `layer`, or `layer='my counts'`", "give --layer, or --layer 'my counts'"),
        ("`max_missing`, which run does not have", "--max-missing, which run does not have"),
        # What only looks like an argument is none.
        ("obs['merge_order'], obsm[\"use_rep\"]", "/obs/merge_order, /obsm/use_rep"),
        # Places, as paths inside a file; in code for Python they stay as they are.
        ("layers['my counts'] of one holds logs", "/layers/my counts of one holds logs"),
        ("raw.X holds, raw.var['kind'] is", "/raw/X holds, /raw/var/kind is"),
        ("X has 3 values; X of a.h5ad holds logs", "/X has 3 values; /X of a.h5ad holds logs"),
        ("obs has no 'donor'; it has: 'batch'", "/obs has no 'donor'; it has: 'batch'"),
        ('uns["it\'s"] and obs["a\'b"]', "/uns/it's and /obs/a'b"),
        ("an X of zeros only, del adata.uns['mnn'], adata.obs['X'].isna()", None),
        ("/data/obs['x'].h5ad", None),
        ("/data/n_comps/my_key_added.h5ad, n_comps.tsv", None),
        ("max_missing is 2; recall of pairs; mnn_correct(adata, batch_key=None)", None),
    ],
)
def test_arguments_are_written_as_options(told: str, shown: str | None) -> None:
    run = cast("Any", get_command(app)).commands["run"]
    with options_of(run.params):
        assert on_shell(told) == (shown or told)


def test_a_message_can_have_other_words_for_the_shell() -> None:
    told = Worded("set `adata.X`", command_line="write another file")
    assert for_shell(ValueError(told)) == for_shell(told) == "write another file"
    assert str(ValueError(told)) == "set `adata.X`"
    assert for_shell(OSError(2, "no such file")) == "[Errno 2] no such file"
    assert option("subset", "a b!=c") == "--subset 'a b!=c'"
    assert option("layer", "-x") == "--layer=-x"


def test_one_error_names_the_argument_in_python_and_the_option_at_the_shell(
    cli: Cli, made: Any, counts: Path, tmp_path: Path
) -> None:
    adata = made()
    adata.obsm["X_pca"] = adata.X.toarray()
    with pytest.raises(ValueError, match="n_neighbors") as error:
        pp.mnn_fast(adata, "batch", use_rep="X_pca", n_neighbors=0)
    assert "--" not in str(error.value)
    words = ["--method", "fast", "--n-neighbors", 0, "--n-comps", 5]
    done = cli("correct", counts, "-b", "batch", "-o", tmp_path / "o.h5ad", *words)
    assert done.code == 1
    assert "--n-neighbors" in done.err[-1]
    assert "n_neighbors" not in done.err[-1]
