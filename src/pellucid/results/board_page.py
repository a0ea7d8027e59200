"""The page of a leaderboard: one HTML file with a table that sorts, cost against quality, and every method's maps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.canvas import fragments
from pellucid.canvas.critical import critical_diagram
from pellucid.canvas.raster import data_uri_of_png
from pellucid.canvas.scatter import Point, scatter
from pellucid.canvas.words import listed, number, percent, tabular, title
from pellucid.compute.bootstrap import difference
from pellucid.results.readings import in_words, telling

if TYPE_CHECKING:
    from pellucid.results.leaderboard import Column, Leaderboard, Standing

_TEMPLATES = Path(__file__).parent / "templates"
_SIGNIFICANT = 0.05
_WAYS = {"higher": "↑", "lower": "↓"}


def board_page(board: Leaderboard) -> str:
    """The whole page as text."""
    template = fragments.environment(_TEMPLATES).get_template("board.html")
    return template.render(
        no_requests=fragments.NO_REQUESTS, base_css=fragments.stylesheet(),
        page_css=fragments.stylesheet(_TEMPLATES / "board.css"), script=fragments.stylesheet(_TEMPLATES / "board.js"),
        board=board, headline=headline(board), kept=f"{len(board.pictures)} of {board.total}",
        columns=[_head(column) for column in board.columns], rows=_rows(board), gallery=_gallery(board),
        chart=_chart(board), left_out=[(title(name), f"{passes:.0f}", why) for name, passes, why in board.left_out],
        foretelling=_foretelling(board), readings=_readings(board),
        ranks=_ranks(board), rank_by=title(board.rank_by), cap=f"{board.cap:.0f}", versions=board.versions,
    )  # fmt: skip


def headline(board: Leaderboard) -> str:
    """What the board says, in one sentence."""
    places = [place for place in board.standings(board.rank_by) if place.kind == "method" and place.value.count]
    if not places:
        return "No method could be measured."
    best, beaten = places[0], [place for place in places if not place.beats]
    first = (
        f"{title(best.name)} is best by {title(board.rank_by).lower()}: {number(best.value.mean)}, "
        f"95% between {number(best.value.low)} and {number(best.value.high)}."
    )
    if best.control is None:
        return first
    if not beaten:
        return f"{first} Every method beats the best of the maps that know nothing ({best.control})."
    count = f"{len(beaten)} of {len(places)} methods do" if len(beaten) > 1 else f"1 of {len(places)} methods does"
    return f"{first} {count} not clearly beat the best of the maps that know nothing ({best.control})."


def _head(column: Column) -> dict[str, Any]:
    return {
        "name": title(column.metric), "way": _WAYS[column.better], "better": column.better, "summary": column.summary,
        "paper": column.paper, "unit": column.unit,
        "kind": "truth" if column.truth else "check" if column.limit is not None else "model",
    }  # fmt: skip


def _rows(board: Leaderboard) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for rank, name in enumerate(board.order, start=1):
        entry = board.entry(name)
        cells = [_cell(board, column, board.standing(column.metric, name)) for column in board.columns]
        rows.append({
            "rank": rank, "name": title(name), "kind": entry.kind.replace(" ", "-"), "cells": cells,
            "passes": f"{entry.passes:.0f}" if entry.passes else "", "sort_passes": entry.passes,
            "milliseconds": f"{1000 * entry.seconds:.1f}" if entry.seconds else "", "sort_seconds": entry.seconds,
            "parameters": ", ".join(f"{key} {value}" for key, value in entry.parameters.items()),
            "flagged": sum(cell["flag"] for cell in cells),
        })  # fmt: skip
    return rows


def _cell(board: Leaderboard, column: Column, place: Standing) -> dict[str, Any]:
    value = place.value
    if not value.count:
        return {"text": "–", "sort": "", "flag": False, "title": "not measured"}
    said = [f"95% between {number(value.low)} and {number(value.high)}, {value.count} pictures"]
    if (each := board.class_mean(column.metric, place.name)) is not None:
        said.append(f"{number(each)} as mean over classes")
    if place.margin is not None:
        said.append(
            f"better than {place.control} by {number(place.margin.mean)} "
            f"({number(place.margin.low)} to {number(place.margin.high)})"
        )
    if place.p_next is not None:
        said.append(f"p {place.p_next:.3g} against the next")
    flag = place.kind != "control" and place.margin is not None and not place.beats
    return {"text": tabular(value.mean), "sort": value.mean, "flag": flag, "title": "; ".join(said)}


def _readings(board: Leaderboard) -> dict[str, Any] | None:
    """What decides in the world beside what moves this model; None where nothing could be changed."""
    if not board.readings:
        return None
    shown = telling(board.readings)
    rows = [
        {
            "name": one.name, "decides": one.decides, "read": one.read, "fall": tabular(one.fall.mean),
            "title": f"95% between {number(one.fall.low)} and {number(one.fall.high)}", "changed": percent(one.changed),
        }
        for one in shown
    ]  # fmt: skip
    rest = [one.name for one in board.readings if one not in shown]
    return {"sentence": in_words(board.readings), "rows": rows, "rest": listed(rest)}


def _ranks(board: Leaderboard) -> dict[str, Any] | None:
    """Which competitors cannot be told apart on the measure that orders the board; None where that is not known."""
    found = board.ranks(board.rank_by)
    if found is None:
        return None
    names = {name: title(name) for name in found.ranks}
    best = next(iter(found.ranks))
    level = [names[name] for name in found.level_with(best)]
    differ = "they do not all do the same" if found.p < _SIGNIFICANT else "nothing shows that they differ at all"
    beside = f"cannot be told apart from {listed(level)}" if level else "can be told apart from every other"
    sentence = (
        f"Over {found.items} pictures {differ} (Friedman's χ² {number(found.statistic)}, p {found.p:.2g}). "
        f"{names[best]}, first by mean rank, {beside}."
    )
    faint = {names[one.name] for one in board.entries if one.kind == "control" and one.name in names}
    return {"sentence": sentence, "critical": number(found.critical), "diagram": critical_diagram(
        {names[name]: rank for name, rank in found.ranks.items()},
        [[names[name] for name in group] for group in found.groups], found.critical, alt=sentence, faint=faint,
    )}  # fmt: skip


def _foretelling(board: Leaderboard) -> dict[str, Any] | None:
    """How well each map foretells the model, by kind of change; None where none was measured."""
    columns = board.neighbourhoods
    if not columns:
        return None
    rows: list[dict[str, Any]] = []
    for name in board.order:
        places = [board.standing(column.metric, name) for column in columns]
        own = board.answers_for(name)
        cells = [
            {"text": tabular(place.value.mean) if place.value.count else "–", "own": column.metric == own}
            for column, place in zip(columns, places, strict=True)
        ]
        rows.append({"name": title(name), "kind": board.entry(name).kind.replace(" ", "-"), "cells": cells})
    return {"changes": [column.changes for column in columns], "rows": rows,
            "best": [_foretells_best(board, column) for column in columns]}  # fmt: skip


def _foretells_best(board: Leaderboard, column: Column) -> str:
    """Which method foretells best under one kind of change, and which are as good for all that is known."""
    places = [place for place in board.standings(column.metric) if place.kind == "method" and place.value.count]
    if not places:
        return f"Where {column.changes}: no method was measured."
    first, rows = places[0], {place.name: board.entry(place.name).values[column.metric] for place in places}
    level = [
        title(place.name)
        for place in places[1:]
        if not difference(rows[first.name], rows[place.name], seed=board.seed).above_zero
    ]
    beside = f"; not clearly better than {listed(level)}" if level else ", clearly better than every other method"
    return (
        f"Where {column.changes}: {title(first.name)} foretells {number(first.value.mean)} of it "
        f"(95% between {number(first.value.low)} and {number(first.value.high)}){beside}."
    )


def _gallery(board: Leaderboard) -> list[dict[str, Any]]:
    if not board.examples:
        return []
    order = ["picture", *[name for name in board.order if name in board.examples[0].plates]]
    return [
        {
            "name": "The picture" if name == "picture" else title(name),
            "plates": [
                (data_uri_of_png(example.plates[name]), f"{title(name)}, {example.name}")
                for example in board.examples
                if name in example.plates
            ],
        }
        for name in order
    ]


def _chart(board: Leaderboard) -> Any:
    column = board.column(board.rank_by)
    points = [
        Point(title(place.name), board.entry(place.name).passes, place.value.mean, place.value.low, place.value.high,
              faint=not place.beats)
        for place in board.standings(board.rank_by)
        if place.value.count and board.entry(place.name).passes
    ]  # fmt: skip
    return scatter(
        points, alt=f"{title(column.metric)} of every method over the passes it takes",
        across="forward passes per picture", up=f"{title(column.metric)}, {column.better} is better",
    )  # fmt: skip
