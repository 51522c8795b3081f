"""Plots: what is drawn, in what order and colours, and what becomes of the figure."""

from __future__ import annotations

import inspect
import json

import anndata
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csc_matrix, csr_matrix

from mnncorrect import pl, pp, tl
from mnncorrect._adata import provenance
from mnncorrect._adata.record import MergeRecord
from mnncorrect.pl._merges import lay_out
from mnncorrect.pl.palettes import ABSENT, OTHER, colors_of, palette
from mnncorrect.report.draw.cells import uncovered

PLOTS = {name: getattr(pl, name) for name in pl.__all__}
every_call = pytest.mark.parametrize("name", PLOTS)
# `placed` needs a second object; test_over_reference.py draws it.
every_plot = pytest.mark.parametrize("name", sorted(PLOTS.keys() - {"placed"}))


@pytest.fixture(autouse=True)
def _drawn_nowhere():
    """Figures go to no window, and none is left behind."""
    import matplotlib.pyplot as plt

    mpl.use("agg")
    before = dict(mpl.rcParams)
    yield
    plt.close("all")
    assert dict(mpl.rcParams) == before, "a plot has changed matplotlib's settings"


@pytest.fixture(scope="module")
def corrected():
    """Cells in three batches, corrected by both kinds of methods, with clusters."""
    rng = np.random.default_rng(0)
    cells = np.repeat(rng.normal(size=(2, 8)) * 5, 60, axis=0) + rng.normal(size=(120, 8))
    cells[1::3] += 1.5
    adata = anndata.AnnData(np.zeros((120, 1)), obsm={"X_pca": cells.astype(np.float32)})
    adata.obs["batch"] = ["a", "b_$x$", "<c>"] * 40
    adata.obs["kind"] = pd.Categorical([*["T"] * 60, *["B"] * 59, None])
    adata.obs["age"] = np.linspace(0, 1, 120)
    pp.mnn_calibrated(adata, "batch", use_rep="X_pca", key_added="cal")
    pp.mnn_fast(adata, "batch", use_rep="X_pca")
    tl.gmm(adata, n_components=[1, 2, 3], n_jobs=1)
    return adata


def drawn(name, adata, **more):
    """One plot with what it needs."""
    own = {"confidence": {"key_added": "cal"}, "embedding": {"color": "batch"}}
    return PLOTS[name](adata, **own.get(name, {}), **more)


@every_call
def test_calls_are_those_of_scanpy(name):
    parameters = inspect.signature(PLOTS[name]).parameters
    objects = ["adata", "reference"] if name == "placed" else ["adata"]
    assert list(parameters)[: len(objects)] == objects
    assert list(parameters)[-4:] == ["ax", "show", "save", "return_fig"]
    others = list(parameters.values())[len(objects) :]
    assert all(p.kind is p.KEYWORD_ONLY for p in others)
    assert [p.default for p in others[-4:]] == [None, None, None, False]


@every_plot
def test_axes_go_in_and_come_out(name, corrected):
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    assert drawn(name, corrected, ax=ax) is ax
    assert drawn(name, corrected, show=False) is not ax
    assert isinstance(drawn(name, corrected, return_fig=True), Figure)
    assert drawn(name, corrected, show=True) is None  # nowhere to show it, and no warning


@every_plot
def test_a_figure_is_saved_and_closed(name, corrected, tmp_path):
    import matplotlib.pyplot as plt

    assert drawn(name, corrected, save=tmp_path / "plot.png") is None
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert plt.get_fignums() == []


@pytest.mark.slow
@every_plot
def test_equal_calls_draw_equal_pictures(name, corrected, tmp_path):
    for copy in ("one", "two"):
        drawn(name, corrected, save=tmp_path / f"{copy}.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_no_category_is_drawn_above_the_others(corrected):
    ax = pl.embedding(corrected, basis="pca", color="batch", show=False)
    points = ax.collections[0]
    colors = [mpl.colors.to_hex(color).upper() for color in points.get_facecolors()]
    firsts = [colors.index(color) for color in palette(3)]
    assert max(firsts) < 20
    at = np.asarray(points.get_offsets(), np.float32)
    batch = dict(zip(map(tuple, at.tolist()), colors, strict=True))
    expected = dict(zip(["<c>", "a", "b_$x$"], palette(3), strict=True))
    for cell, name in zip(corrected.obsm["X_pca"][:, :2], corrected.obs["batch"], strict=True):
        assert batch[tuple(cell.tolist())] == expected[name]


def test_names_are_drawn_as_they_are(corrected):
    ax = pl.embedding(corrected, color="batch", show=False)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["<c>", "a", r"b_\$x\$"]  # escaped, so that it is no mathematics


def test_cells_without_a_value_lie_beneath(corrected):
    ax = pl.embedding(corrected, color="kind", show=False)
    shown = [mpl.colors.to_hex(c).upper() for c in ax.collections[0].get_facecolors()]
    assert shown[0] == ABSENT
    assert shown.count(ABSENT) == 1


def test_numbers_have_a_scale_and_labels_can_be_on_the_cells(corrected):
    axes = pl.embedding(corrected, color=["age", "kind"], legend_loc="on data", show=False)
    assert axes[0].collections[0].get_clim() == pytest.approx((0, 1))
    assert sorted(text.get_text() for text in axes[1].texts) == ["B", "T"]


def test_long_names_that_are_cut_alike_stay_apart():
    adata = anndata.AnnData(np.zeros((3, 1)), obsm={"X_mnn": np.eye(3)})
    adata.obs["name"] = ["x" * 30 + letter + "x" * 30 for letter in "abc"]
    ax = pl.embedding(adata, color="name", show=False)
    assert len({text.get_text() for text in ax.get_legend().get_texts()}) == 3


def test_of_many_categories_the_largest_keep_colours():
    names = [f"batch{b}" for b in range(40)]
    colors = colors_of(names, list(range(40)))
    assert sum(color == OTHER for color in colors.values()) == 18
    assert all(colors[name] == OTHER for name in names[:18])
    assert len(set(colors.values())) == 23
    assert OTHER not in palette(23)
    assert colors_of(["x", "y"], [1, 1], {"y": "red"}) == {"x": palette(1)[0], "y": "red"}


def merge(left, right):
    return MergeRecord(tuple(left), tuple(right), 1, False, {}, {})


def test_batches_that_are_merged_lie_together():
    tree = lay_out(
        "abcde", [merge("d", "b"), merge("a", "e"), merge("ae", "c"), merge("db", "aec")]
    )
    assert tree.leaves == ("d", "b", "a", "e", "c")
    assert [(joint.x, joint.y) for joint in tree.joints] == [
        (1, 0.5),
        (1, 2.5),
        (2, 3.25),
        (3, 1.875),
    ]
    assert tree.depth == 3
    assert lay_out("ab", []).leaves == ("a", "b")


def test_a_tree_says_pairs_and_what_was_lost(corrected):
    ax = pl.merges(corrected, show=False)
    table = corrected.uns["mnn"]
    worst = 100 * table["lost_variance"].max(1)
    told = [text.get_text() for text in ax.texts]
    assert told == [
        f"{pairs:,} pairs, lost {lost:.1f} %"
        for pairs, lost in zip(table["merges"]["pairs"], worst, strict=True)
    ]


def test_lost_variance_is_blank_where_batches_are_not_joined(corrected):
    ax = pl.lost_variance(corrected, show=False)
    told = np.ma.filled(ax.images[0].get_array(), np.nan)
    merges = corrected.uns["mnn"]["merges"]
    joined = [
        [
            name in json.loads(row.left) + json.loads(row.right)
            for name in corrected.uns["mnn"]["batches"]
        ]
        for row in merges.itertuples()
    ]
    np.testing.assert_array_equal(np.isfinite(told), joined)
    np.testing.assert_array_equal(told[joined], corrected.uns["mnn"]["lost_variance"][joined])


def test_lost_variance_that_was_scored_is_drawn_where_the_method_tells_none(corrected):
    scored = corrected.copy()
    batches = ["a", "b_$x$", "<c>"]
    lost = {"batch": [*batches, "a"], "label": ["", "", "", "T"], "lost": [0.1, -0.2, 0.3, 0.4]}
    numbers = dict.fromkeys(("cells", "before", "after"), 1.0)
    scored.uns["cal_evaluation"] = {
        "lost_variance": pd.DataFrame(lost | numbers),
        "scores": pd.DataFrame(columns=["before", "after", "null"], dtype=float),
        "params": {"use_rep": "X_cal"},
        "provenance": provenance(0),
        "correction": scored.uns["cal"]["digest"],
    }
    ax = pl.lost_variance(scored, key_added="cal", show=False)
    order = [batches.index(name) for name in scored.uns["cal"]["batches"]]
    told = np.array([0.1, -0.2, 0.3])[order]
    np.testing.assert_array_equal(ax.images[0].get_array(), [told])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["altogether"]


def test_names_on_cells_do_not_cover_those_of_larger_groups():
    found = uncovered(
        ["a", "b", "c" * 60, "d", "e"], [1, 9, 99, 5, 7],
        [(0.0, 0.5), (0.5, 0.5), (0.5, 0.9), (0.51, 0.5), None], letter=0.02, line=0.05,
    )  # fmt: skip
    assert found == [(1, 0.5, 0.5), (0, 0.02, 0.5)]


def test_confidence_is_drawn_from_0_to_1(corrected):
    ax = pl.embedding(corrected, color="cal_confidence", show=False)
    assert ax.collections[0].get_clim() == (0, 1)
    ax = pl.embedding(corrected, color="cal_confidence", vmin=0.2, show=False)
    assert ax.collections[0].get_clim() == (0.2, 1)


def test_confidence_is_grouped_by_batch_or_column(corrected):
    ax = pl.confidence(corrected, key_added="cal", show=False)
    rows = [label.get_text() for label in ax.get_yticklabels()]
    assert rows == ["<c>", "a", r"b_\$x\$"]
    low = (corrected.obs["cal_confidence"] < 0.1).groupby(corrected.obs["batch"]).mean()
    told = [f"{100 * low[name]:.0f} % below 0.1" for name in ("<c>", "a", "b_$x$")]
    assert [text.get_text() for text in ax.texts] == told
    ax = pl.confidence(corrected, key_added="cal", groupby="kind", show=False)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["B", "T"]


def test_confidence_of_projected_cells_is_drawn(corrected):
    new = corrected[::3].copy()
    tl.project(new, tl.fit_model(corrected, key_added="cal"), key_added="cal", n_jobs=1)
    ax = pl.confidence(new, key_added="cal", show=False)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a"]
    del new.obs["batch"]
    tl.project(new, tl.fit_model(corrected, key_added="cal"), key_added="cal", n_jobs=1)
    ax = pl.confidence(new, key_added="cal", show=False)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["all cells"]


@pytest.mark.parametrize("form", [np.asarray, csr_matrix, csc_matrix])
def test_cells_are_colored_by_a_gene(form):
    expression = np.arange(12, dtype=np.float32).reshape(4, 3)
    adata = anndata.AnnData(form(expression), obsm={"X_mnn": np.eye(4)})
    adata.var_names = ["A", "B", "n"]
    adata.var["symbol"] = ["alpha", "twice", "twice"]
    adata.obs["n"] = [5.5, 6.5, 7.5, 8.5]
    adata.layers["log"] = form(-expression)

    def drawn(color, **options):
        figure = pl.embedding(adata, color=color, show=False, return_fig=True, **options)
        return sorted(figure.axes[0].collections[0].get_array()), figure.axes[0].get_title()

    assert drawn("B") == ([1, 4, 7, 10], "B (X)")
    assert drawn("B", layer="log") == ([-10, -7, -4, -1], "B (layers['log'])")
    assert drawn("alpha", gene_key="symbol") == ([0, 3, 6, 9], "alpha (X)")
    assert drawn("n") == ([5.5, 6.5, 7.5, 8.5], "n")  # a column of obs comes first
    with pytest.raises(ValueError, match="2 genes have the name 'twice'"):
        drawn("twice", gene_key="symbol")
    assert len(pl.embedding(adata, color=["A", "n"], show=False)) == 2


def test_a_tree_of_many_merges_fits_its_figure(rng):
    """Merges have numbers there, which are explained beside the tree."""
    batches = [f"donor {number}" for number in range(16)]
    adata = anndata.AnnData(np.zeros((16 * 30, 1), np.float32))
    adata.obsm["X_pca"] = rng.normal(size=(16 * 30, 4)).astype(np.float32)
    adata.obs["batch"] = pd.Categorical(batches * 30, categories=batches)
    pp.mnn_fast(adata, "batch", use_rep="X_pca", n_jobs=1)
    ax = pl.merges(adata, show=False)
    figure = ax.get_figure()
    figure.canvas.draw()
    assert figure.get_size_inches()[0] < 14
    texts = [text.get_text() for text in ax.texts]
    assert texts[:15] == [str(number) for number in range(1, 16)]
    assert [text.split(":")[0] for text in texts[15:]] == texts[:15]
    assert all("pairs" in text for text in texts[15:])
    edge = figure.bbox.x1
    assert all(text.get_window_extent().x1 <= edge for text in ax.texts)


def test_the_number_of_clusters_that_was_taken_is_marked(corrected):
    ax = pl.bic(corrected, show=False)
    (note,) = ax.texts
    stored = corrected.uns["gmm"]
    assert note.get_text().startswith(f"{stored['n_components']} components")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("number of components", "ICL, BIC")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["ICL", "BIC"]


def test_numbers_close_to_the_best_can_be_seen_apart(corrected):
    """However far off one component is, the better half fills the axis."""
    corrected = corrected.copy()
    table = corrected.uns["gmm"]["bic"]
    corrected.uns["gmm"]["bic"] = table.assign(icl=[-1e5, -2e5 - 5, -2e5], bic=[-1e5, -2e5, -2e5])
    corrected.uns["gmm"]["n_components"] = 2
    low, high = pl.bic(corrected, show=False).get_ylim()
    assert high - low < 20


def test_clusters_of_an_earlier_release_are_drawn(corrected):
    corrected = corrected.copy()
    stored = corrected.uns["gmm"]
    del stored["bic"]["icl"], stored["n_clusters"], stored["overlap"], stored["params"]["criterion"]
    assert pl.bic(corrected, show=False).get_ylabel() == "BIC"


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("embedding", {"basis": "umap"}, KeyError, "obsm has no 'umap'; it has: "),
        ("embedding", {"color": "donor"}, KeyError, "neither obs nor var_names has 'donor'"),
        ("embedding", {"color": "0", "layer": "no"}, KeyError, "no 'no'"),
        ("embedding", {"color": "0", "gene_key": "symbol"}, KeyError, "var has no 'symbol'"),
        ("embedding", {"dimensions": (0, 8)}, ValueError, "has 8, the first of which is 0"),
        ("merges", {"key_added": "x"}, KeyError, "by key_added: 'cal', 'mnn'"),
        ("lost_variance", {"key_added": "cal"}, ValueError, "calibrated measures no lost variance"),
        ("confidence", {}, KeyError, "method fast has no confidence"),
        ("confidence", {"key_added": "cal", "groupby": "x"}, KeyError, "obs has no 'x'"),
        ("bic", {"key": "kmeans"}, KeyError, "uns has no clusters 'kmeans'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(corrected, name, options, error, message):
    with pytest.raises(error, match=message):
        PLOTS[name](corrected, show=False, **options)


def test_several_plots_need_axes_of_their_own(corrected):
    from matplotlib.figure import Figure

    with pytest.raises(ValueError, match="2 plots are asked for"):
        pl.embedding(corrected, color=["batch", "kind"], ax=Figure().subplots())


def test_the_name_of_a_scattered_group_stands_on_one_of_its_cells():
    from mnncorrect.report.draw.maps import PIXELS, middles

    points = np.array([[0.0, 0.0], [1.0, 1.0], [0.50, 0.50], [0.53, 0.50], [0.50, 0.53]])
    (place,) = middles(points, np.array([-1, -1, 0, 0, 0]), 1)
    assert place is not None
    on_a_cell = [middles(points, np.where(np.arange(5) == cell, 0, -1), 1)[0] for cell in (2, 3, 4)]
    assert min(np.hypot(*np.subtract(place, one)) for one in on_a_cell) < 1 / PIXELS


def test_a_legend_does_not_reach_into_the_next_plot():
    adata = anndata.AnnData(np.zeros((40, 1)))
    adata.obsm["X_mnn"] = np.random.default_rng(0).normal(size=(40, 2))
    adata.obs["type"] = ["CD8+/CD45RA+ Naive Cytotoxic", "B"] * 20
    adata.obs["batch"] = ["a"] * 40
    one, other = pl.embedding(adata, color=["type", "batch"], show=False)
    one.figure.draw_without_rendering()
    assert one.get_legend().get_window_extent().x1 < other.get_window_extent().x0
    mpl.pyplot.close("all")
