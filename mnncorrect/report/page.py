"""The page about one file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnncorrect.pl._colors import ALERT, EMPHASIS, colors_of
from mnncorrect.report import drawings
from mnncorrect.report.advice import MUCH_LOST, advise, percent, some
from mnncorrect.report.html import Html, embedded_json, joined, table, tag
from mnncorrect.report.maps import MANY_POINTS, PIXELS
from mnncorrect.report.parts import (
    MANY_COLUMNS,
    MOST_CHIPS,
    definitions,
    folded,
    group_map,
    heat,
    legend,
    number,
    number_map,
    said,
    scale,
    score_rows,
    together,
)
from mnncorrect.report.style import CSS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mnncorrect.report.advice import Advice
    from mnncorrect.report.facts import Gathered

# Nothing is fetched and no script is run, whatever a name in the file says.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
MANY_ROWS = 40
# Batches of one side of a merge that are named.
MOST_OF_SIDE = 3


def whole(title: str, sections: Iterable[tuple[str, str, Html | None]], data: Any) -> str:
    """Make a page.

    Parameters
    ----------
    title
        Of the page.
    sections
        Name, heading and content of each; the first has no heading, and those without content are
        left out.
    data
        What programs read.
    """
    given = [section for section in sections if section[2] is not None]
    links = [tag("a", heading, href=f"#{name}") for name, heading, _ in given if heading]
    body = [
        tag("section", tag("h2", heading) if heading else None, content, id=name)
        for name, heading, content in given
    ]
    made = data["made_by"] if isinstance(data, dict) else data[0]["made_by"]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="generator", content=f"mnncorrect {made['version']}"),
        tag("title", title),
        tag("style", Html(CSS)),
    )
    footer = tag(
        "footer",
        f"Made by mnncorrect {made['version']}. This page needs no network. Its numbers are in it "
        "as JSON, in the element with the id ",
        tag("code", "mnncorrect-report"),
        ".",
    )
    content = [tag("h1", title), tag("nav", *links), *body, footer]
    main = tag("main", joined(content))
    page = tag(
        "html", head, tag("body", main, embedded_json(data, name="mnncorrect-report")), lang="en"
    )
    return f"<!DOCTYPE html>\n{page}\n"


def render(found: Gathered) -> str:
    """Make the page about one file."""
    facts = found.facts
    told = advise(facts)
    data = facts | {
        "advice": [
            {"level": one.level, "title": one.title, "text": one.text, "remedy": one.remedy}
            for one in told
        ]
    }
    return whole(
        f"Batch correction of {facts['file']}",
        [
            ("summary", "", _summary(found, told)),
            ("advice", "What to know", advice_list(told)),
            ("maps", "Maps", _maps(found)),
            ("scores", "Mixing and preservation", _scores(facts)),
            ("merges", "Merges", _merges(facts)),
            ("lost", "Lost variance", _lost(facts)),
            ("confidence", "Confidence", _confidence(facts)),
            ("clusters", "Clusters", _clusters(found)),
            ("genes", "Most changed genes", _genes(facts)),
            ("covariates", "Covariates", _covariates(facts)),
            ("input", "What went in", _input(found)),
            ("done", "What was done", _done(facts)),
        ],
        data,
    )


def advice_list(told: Sequence[Advice]) -> Html:
    """List what to know."""
    return joined(
        tag(
            "div",
            tag(
                "p",
                tag("strong", one.title),
                Html(" — ") if one.level == "note" else Html(" ⚠ "),
                one.text,
            ),
            tag("p", tag("em", "What to do: "), one.remedy),
            class_=f"advice {one.level}",
        )
        for one in told
    )


def _summary(found: Gathered, told: Sequence[Advice]) -> Html:
    facts = found.facts
    n_warnings = sum(one.level == "warning" for one in told)
    entries: list[tuple[str, Any]] = [
        ("cells", f"{facts['n_cells']:,}"),
        ("batches", f"{len(facts['batches']['names']):,}"),
        ("method", facts["parameters"].get("method", "-")),
        ("pairs", f"{sum(merge['pairs'] for merge in facts['merges']):,}"),
    ]
    if facts["n_genes_used"] is not None:
        entries.append(("genes used for distances", f"{facts['n_genes_used']:,}"))
    if facts["clusters"] is not None:
        entries.append(("clusters", len(facts["clusters"]["names"])))
    if facts["confidence"] is not None:
        entries.append(("median confidence", number(facts["confidence"]["median"], 2)))
    worst = [share for merge in facts["merges"] for share in merge["lost_variance"].values()]
    if worst:
        entries.append(("most variance lost in a merge", percent(max(worst))))
    entries.append(("warnings", n_warnings))
    verdict = (
        "No warnings. What there is to know stands below."
        if not n_warnings
        else f"{n_warnings} {'thing' if n_warnings == 1 else 'things'} below should be looked at "
        "before the result is used."
    )
    return joined([tag("p", verdict), definitions(entries)])


def _maps(found: Gathered) -> Html:
    """Draw each place of the cells by batch, label, cluster and confidence."""
    places: list[tuple[str, str, Any]] = []
    if found.before is not None:
        places.append(("before", "before: first two components", found.before))
    places.append(("after", "after: first two components", found.after))
    if found.umap is not None:
        places.append(("umap", "after: UMAP", found.umap))
    sources = "; ".join(f"{name}: {where}" for name, where in found.names.items())
    n = found.facts["n_cells"]
    parts: list[Html] = [
        tag(
            "p",
            f"Every one of the {n:,} cells is drawn, as a dot in an image of {PIXELS} x {PIXELS} "
            "pixels; where dots overlap, one drawn at random is seen. "
            + ("The outermost one in a thousand lie at the edge. " if n >= MANY_POINTS else "")
            + f"Axes have no unit that could be compared between maps. {sources}.",
            class_="dim",
        )
    ]
    if found.before is None:
        parts.append(
            tag(
                "p",
                "The file holds no components from before the correction, so there is no map "
                "of them.",
            )
        )
    groupings = [("batch", found.batches), ("label", found.labels), ("cluster", found.clusters)]
    for what, groups in groupings:
        if groups is None:
            continue
        parts.append(tag("h3", f"By {what} ({groups.name})"))
        parts.append(legend(groups))
        parts.append(
            together(
                [
                    group_map(
                        points,
                        groups,
                        caption,
                        label=f"Map of {n:,} cells, {caption}, coloured by {what}",
                        names=what != "batch",
                    )
                    for _, caption, points in places
                ]
            )
        )
    if found.confidence is not None:
        parts.append(tag("h3", "By confidence"))
        parts.append(scale("0: was not moved", "1: sure"))
        parts.append(
            together(
                [
                    number_map(
                        points,
                        found.confidence,
                        caption,
                        label=f"Map of {n:,} cells, {caption}, coloured by confidence",
                        ends=(0.0, 1.0),
                    )
                    for _, caption, points in places
                ]
            )
        )
    return joined(parts)


def _scores(facts: Mapping[str, Any]) -> Html:
    told = facts["evaluation"]
    if told["scores"] is None:
        return tag("p", f"Not measured: {told['reason']}.")
    columns = ("before", "after", "null")
    rows = score_rows(
        [(row["score"], [row.get(column) for column in columns]) for row in told["scores"]],
        strong=lambda values, ideal: 1,  # noqa: ARG005
    )
    left_out = told["parameters"].get("null_left_out")
    label = told["parameters"].get("label_key")
    by = f"Labels: {label}. " if label else "No labels were given. "
    by += f"No null: {left_out}. " if left_out else ""
    return joined(
        [
            tag(
                "p",
                "Before and after the correction. The null is what the same correction gives where "
                "there is nothing to correct: the largest batch, dealt out at random to two "
                "halves. A score near it is as good as can be had in these data.",
            ),
            table(
                ["score", "before", "after", "null", "what it says"],
                rows,
                numbers=(1, 2, 3),
                label="Scores before and after the correction",
            ),
            tag(
                "p",
                by,
                "Scores of one run do not tell which method is best; compare several.",
                class_="dim",
            ),
        ]
    )


def _merges(facts: Mapping[str, Any]) -> Html:
    merges = facts["merges"]
    extra = [
        name for name in ("evidence", "batch_size", "recall") if any(name in m for m in merges)
    ]
    heads = {
        "evidence": "signal over noise",
        "batch_size": "relative batch size",
        "recall": "pairs found",
    }
    rows = [
        [
            str(at),
            some(merge["left"], MOST_OF_SIDE),
            some(merge["right"], MOST_OF_SIDE),
            f"{merge['pairs']:,}",
            *(number(merge.get(name), 2) for name in extra),
            "left alone" if merge["skipped"] else "corrected",
        ]
        for at, merge in enumerate(merges, 1)
    ]
    listed = table(
        ["merge", "reference", "target", "pairs", *(heads[name] for name in extra), ""],
        rows,
        numbers=range(3, 4 + len(extra)),
        label="Merges in their order",
    )
    drawn = drawings.tree(_all_batches(facts), merges)
    return joined(
        [
            tag(
                "p",
                "Batches are merged two sides at a time, from left to right. Dashed: left alone. "
                f"Orange: more than {percent(MUCH_LOST)} of a batch's variance was lost.",
            ),
            tag(
                "div",
                drawn,
                class_="scroll",
                role="region",
                aria_label="Tree of merges",
                tabindex="0",
            ),
            folded(f"All {len(rows)} merges", listed, fold=len(rows) > MANY_ROWS),
        ]
    )


def _all_batches(facts: Mapping[str, Any]) -> list[str]:
    """Name the batches of the correction, of which a subset may lack some."""
    names = dict.fromkeys(facts["batches"]["names"])
    for merge in facts["merges"]:
        names.update(dict.fromkeys([*merge["left"], *merge["right"]]))
    return list(names)


def _lost(facts: Mapping[str, Any]) -> Html | None:
    merges = facts["merges"]
    names = _all_batches(facts)
    shares = [[merge["lost_variance"].get(name) for name in names] for merge in merges]
    known = [share for row in shares for share in row if share is not None]
    parts: list[Html] = []
    if known:
        most = max(MUCH_LOST, *known)
        if len(names) <= MANY_COLUMNS:
            rows = [
                [
                    f"{at}: {some(merge['right'], MOST_OF_SIDE)}",
                    *(heat(s, most) for s in row),
                ]
                for at, (merge, row) in enumerate(zip(merges, shares, strict=True), 1)
            ]
            listed = table(
                ["merge", *names],
                rows,
                numbers=range(1, 1 + len(names)),
                label="Lost variance by merge and batch",
            )
        else:
            worst = []
            for column, name in enumerate(names):
                found = [
                    (row[column], at) for at, row in enumerate(shares, 1) if row[column] is not None
                ]
                share, at = max(found, default=(None, 0))
                worst.append([name, heat(share, most), str(at) if at else "-"])
            listed = table(
                ["batch", "most lost in a merge", "in merge"],
                worst,
                numbers=(1, 2),
                label="Most variance lost by each batch",
            )
        parts.append(
            tag(
                "p",
                "Share of the variance within each batch that each merge took away. "
                f"Above {percent(MUCH_LOST)}, biology may have gone with it.",
            )
        )
        parts.append(folded(f"All {len(names)} batches", listed, fold=len(names) > MANY_ROWS))
    overall = [
        row
        for row in facts["evaluation"].get("lost_variance") or ()
        if row.get("label") in (None, "") and row.get("lost") is not None
    ]
    if overall:
        most = max(MUCH_LOST, *(row["lost"] for row in overall))
        rows = [
            [row["batch"], f"{row['cells']:,}", number(row["before"]), number(row["after"]),
             heat(row["lost"], most)]
            for row in overall
        ]  # fmt: skip
        listed = table(
            ["batch", "cells", "variance before", "after", "lost"],
            rows,
            numbers=range(1, 5),
            label="Variance within batches",
        )
        parts.append(
            tag(
                "p",
                "Altogether, from before the first merge to after the last. Below 0: "
                "the variance has grown.",
            )
        )
        parts.append(folded(f"All {len(rows)} batches", listed, fold=len(rows) > MANY_ROWS))
    return joined(parts) if parts else None


def _confidence(facts: Mapping[str, Any]) -> Html | None:
    told = facts["confidence"]
    if told is None:
        return None
    parts = [
        tag(
            "p",
            "How sure the place of a cell among those of other batches is, from 0 to 1. Cells "
            f"below {told['threshold']:g} were not moved: they have no counterpart in another "
            "batch, or none that is told apart from chance.",
        )
    ]
    for name, rows in (("batch", told["by_batch"]), ("cluster", told["by_cluster"])):
        if rows is None:
            continue
        listed = table(
            [name, "cells", "median", "", f"below {told['threshold']:g}"],
            [
                [
                    row["name"],
                    f"{row['cells']:,}",
                    number(row["median"], 2),
                    drawings.bar(row["median"] or 0.0, EMPHASIS),
                    "-" if row["below"] is None else percent(row["below"]),
                ]
                for row in rows
            ],
            numbers=(1, 2, 4),
            label=f"Confidence by {name}",
        )
        parts.append(folded(f"All {len(rows)}", listed, fold=len(rows) > MANY_ROWS))
    return joined(parts)


def _clusters(found: Gathered) -> Html | None:
    facts = found.facts["clusters"]
    if facts is None:
        return None
    names = found.facts["batches"]["names"]
    colors = list(colors_of(names, found.facts["batches"]["sizes"]).values())
    few = len(names) <= MANY_COLUMNS
    rows = [
        [
            name,
            f"{sum(counts):,}",
            drawings.stacked(counts, colors, names),
            *(f"{count:,}" for count in (counts if few else ())),
        ]
        for name, counts in zip(facts["names"], facts["counts"], strict=True)
    ]
    everything = [sum(row[at] for row in facts["counts"]) for at in range(len(names))]
    rows.append(
        [
            "all",
            f"{sum(everything):,}",
            drawings.stacked(everything, colors, names),
            *(f"{count:,}" for count in (everything if few else ())),
        ]
    )
    listed = table(
        ["cluster", "cells", "shares of the batches", *(names if few else ())],
        rows,
        numbers=(1, *range(3, 3 + len(names))),
        label="Clusters by batch",
    )
    parts = [
        tag(
            "p",
            "How the cells of each cluster are shared out over the batches. The last row is "
            "what each would look like if batches were alike.",
        ),
        legend(found.batches) if len(names) <= MOST_CHIPS else None,
        folded(f"All {len(rows) - 1} clusters", listed, fold=len(rows) > MANY_ROWS),
    ]
    if facts["bic"] and len(facts["bic"]) > 1:
        parts += [
            tag("h3", "How many clusters"),
            tag(
                "p",
                "The Bayesian information criterion (BIC) of each number tried; the lowest is best."
                + (
                    f" Fitted on {facts['fitted_on']:,} cells."
                    if facts["fitted_on"] is not None
                    else ""
                ),
            ),
            tag(
                "div",
                drawings.curve(facts["bic"], int(facts["n_components"])),
                class_="scroll",
                role="region",
                aria_label="BIC curve",
                tabindex="0",
            ),
        ]
    return joined(parts)


def _genes(facts: Mapping[str, Any]) -> Html:
    told = facts["genes"]
    if told["table"] is None:
        return tag("p", f"Not known: {told['reason']}.")
    if not told["table"]:
        return tag("p", "No gene was changed.")
    names = facts["batches"]["names"]
    few = len(names) <= MANY_COLUMNS
    most = told["table"][0]["change"]
    rows = [
        [
            row["gene"],
            number(row["change"], 4),
            drawings.bar(row["change"] / most, EMPHASIS),
            *(number(value, 4) for value in (row["by_batch"] if few else ())),
        ]
        for row in told["table"]
    ]
    return joined(
        [
            tag(
                "p",
                "Root mean square over cells of what the correction changes in a gene, as the "
                f"corrected components have it ({told['unit']})"
                + ("; then the mean change in each batch." if few else "."),
            ),
            table(
                ["gene", "change", "", *(names if few else ())],
                rows,
                numbers=(1, *range(3, 3 + len(names))),
                label="Genes that were changed most",
            ),
            tag(
                "p",
                "Genes high up are not proof of a batch effect: where batches differ by "
                "treatment, these are its genes.",
                class_="dim",
            ),
        ]
    )


def _covariates(facts: Mapping[str, Any]) -> Html | None:
    if not facts["covariates"]:
        return None
    rows = [
        [
            entry["name"],
            "numbers" if entry["kind"] == "numbers" else f"{entry['n_values']} values",
            number(entry["strength"], 2),
            drawings.bar(entry["strength"], ALERT if entry["fixed"] else EMPHASIS),
            tag("span", _of_covariate(entry), class_="meaning"),
        ]
        for entry in facts["covariates"]
    ]
    return joined(
        [
            tag(
                "p",
                "How far other columns of obs go with the batch: 0 not at all, 1 entirely. Of "
                "categories Cramér's V; of numbers the root of the share of their variance that "
                "lies between batches. Labels found in the data go with the batch too, where "
                "batches have different cells.",
            ),
            table(
                ["column", "kind", "with the batch", "", "in words"],
                rows,
                numbers=(2,),
                label="Covariates and the batch",
            ),
        ]
    )


def _of_covariate(entry: Mapping[str, Any]) -> str:
    missing = f" Missing for {entry['missing']:,} cells." if entry["missing"] else ""
    if entry["identical"]:
        return f"The batch by another name: one value in each batch, one batch to a value.{missing}"
    if entry["fixed"]:
        return (
            "One value in each batch: its effect cannot be told apart from the batch effect, and "
            f"is corrected with it.{missing}"
        )
    if entry["strength"] >= 0.7:
        return f"Very unequal over batches; largely confounded.{missing}"
    if entry["strength"] >= 0.3:
        return f"Unequal over batches; partly confounded.{missing}"
    if entry["strength"] >= 0.1:
        return f"Somewhat unequal over batches.{missing}"
    return f"Alike in all batches.{missing}"


def _input(found: Gathered) -> Html:
    facts = found.facts
    batches = facts["batches"]
    total = sum(batches["sizes"]) or 1
    largest = max(batches["sizes"], default=1) or 1
    listed = table(
        ["batch", "cells", "", "share"],
        [
            [name, f"{size:,}", drawings.bar(size / largest, EMPHASIS), percent(size / total)]
            for name, size in zip(batches["names"], batches["sizes"], strict=True)
        ],
        numbers=(1, 3),
        label="Batches and their sizes",
    )
    words = (
        f"{facts['n_cells']:,} cells x {facts['n_genes']:,} genes in {len(batches['names'])} "
        f"batches (obs column {batches['key']})."
    )
    return joined(
        [
            tag("p", words),
            folded(
                f"All {len(batches['names'])} batches",
                listed,
                fold=len(batches["names"]) > MANY_ROWS,
            ),
        ]
    )


def _done(facts: Mapping[str, Any]) -> Html:
    command = facts["command"]
    rows = [[name, said(value)] for name, value in facts["parameters"].items()]
    rows += [[f"prepared: {name}", said(value)] for name, value in facts["prepared"].items()]
    clusters = facts["clusters"] or {}
    rows += [
        [f"clusters: {name}", said(value)]
        for name, value in (clusters.get("parameters") or {}).items()
    ]
    rows += [[f"map: {name}", said(value)] for name, value in (facts["umap"] or {}).items()]
    made = facts["provenance"]
    software = {made.get("software", "-"): made.get("version", "-"), **made.get("packages", {})}
    return joined(
        [
            tag("p", "The command that would do it again (names of files aside):"),
            tag("pre", tag("code", command["text"])),
            *(tag("p", f"Not in the command: {note}.", class_="dim") for note in command["notes"]),
            tag("h3", "Parameters as resolved"),
            table(["parameter", "value"], rows, label="Parameters"),
            tag("h3", "Software"),
            table(["package", "version"], software.items(), label="Versions"),
            tag(
                "p",
                f"Random seed {said(made.get('random_state'))}. Equal input, parameters and "
                "seed give equal results on any number of threads.",
            ),
        ]
    )
