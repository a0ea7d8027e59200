"""A board of figures worked out by hand: places, margins, flags, and that it comes back from disk as it was."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import pellucid as pl
from pellucid.errors import RequestError
from pellucid.results.board_page import board_page, headline
from pellucid.results.leaderboard import Column, Entry, Leaderboard
from tests.results.making import board, values


def test_places_follow_the_measure_and_its_direction() -> None:
    found = board()
    assert found.order == ("oracle", "strong", "weak", "centre", "random")
    assert [place.name for place in found.standings("deletion")] == ["strong", "oracle", "centre", "weak", "random"]
    assert [place.name for place in found.standings("model_randomisation")][-1] == "oracle"  # it was not measured


def test_a_margin_is_the_paired_difference_to_the_best_control() -> None:
    found = board()
    place = found.standing("deletion", "strong")
    gaps = np.array(found.entry("centre").values["deletion"]) - np.array(found.entry("strong").values["deletion"])
    assert place.control == "centre" and place.margin is not None
    assert place.margin.mean == pytest.approx(gaps.mean())
    assert place.margin.low < gaps.mean() < place.margin.high and place.beats


def test_who_does_not_beat_the_controls_for_sure_is_flagged() -> None:
    found = board()
    assert found.flags("weak") == ("pointing_game", "deletion", "model_randomisation")
    assert found.flags("strong") == found.flags("oracle") == ()
    assert not found.standing("pointing_game", "weak").beats  # a hundredth better, with a spread of a tenth


def test_a_check_is_passed_by_keeping_its_limit_whatever_the_controls_do() -> None:
    found = board()
    assert found.standing("model_randomisation", "strong").beats
    assert not found.standing("model_randomisation", "weak").beats
    assert not found.standing("model_randomisation", "centre").beats


def test_neighbours_are_told_apart_where_they_differ() -> None:
    places = {place.name: place.p_next for place in board().standings("pointing_game")}
    assert places["oracle"] is not None and places["oracle"] < 0.01
    assert places["weak"] is not None and places["weak"] > 0.05  # against the centre
    assert places["random"] is None


def test_it_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    found = board()
    again = pl.open(found.save(tmp_path / "board.json"))
    assert again == found and again.standings("deletion") == found.standings("deletion")


def test_the_csv_has_a_line_for_every_competitor_and_measure(tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(board().save(tmp_path / "board.csv").read_text())))
    assert len(rows) == 15
    first = rows[0]
    assert (first["method"], first["metric"], first["rank"]) == ("oracle", "pointing_game", "1")
    weak = next(row for row in rows if row["method"] == "weak" and row["metric"] == "deletion")
    assert weak["beats controls"] == "False" and float(weak["passes"]) == 3


def test_the_page_says_what_the_board_says(tmp_path: Path) -> None:
    page = board().save(tmp_path / "board.html").read_text()
    assert "Strong is best by pointing game" in headline(board()) and headline(board()) in page
    assert page.count('aria-label="does not beat') == 3 and "masks 499" in page and "513 passes" in page
    assert "http" not in page.replace("http-equiv", "")


def test_where_pictures_are_of_several_classes_the_mean_over_classes_stands_beside() -> None:
    row = board().entry("weak").values["pointing_game"]
    one_of_first = replace(board(), classes=("wren", *("swift",) * (len(row) - 1)))
    expected = (row[0] + np.mean(row[1:])) / 2
    assert one_of_first.class_mean("pointing_game", "weak") == pytest.approx(expected)
    assert "as mean over classes" in board_page(one_of_first)
    rows = list(csv.DictReader(io.StringIO(one_of_first.csv())))
    weak = next(row for row in rows if row["method"] == "weak" and row["metric"] == "pointing_game")
    assert float(weak["class mean"]) == pytest.approx(expected)
    alone = replace(board(), classes=("wren",) * len(row))
    assert alone.class_mean("pointing_game", "weak") is None and board().class_mean("pointing_game", "weak") is None


def test_the_headline_counts_who_does_not_beat_the_controls() -> None:
    assert "1 of 2 methods does not clearly beat" in headline(board())


def test_a_measure_or_competitor_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(RequestError, match="no measure 'insertion'"):
        board().column("insertion")
    with pytest.raises(RequestError, match="'rise' is not on the board"):
        board().entry("rise")


@pytest.mark.parametrize(("mass", "said"), [(0.69, True), (0.54, True), (0.51, False), (0.24, False)])
def test_an_alarm_is_raised_where_most_of_the_map_shown_first_surely_lies_beside_all_objects(
    mass: float, said: bool
) -> None:
    found = board()
    shown = Entry("shown first", "shown first", {"background_mass": (mass - 0.1, mass + 0.1) * 20})
    column = Column("background_mass", "lower", "What lies beside all objects.", "Zhang et al. 2018", truth=True)
    entries = (*[replace(one, values={**one.values, "background_mass": (0.9,) * 40}) for one in found.entries], shown)
    beside = replace(found, columns=(column,), entries=entries, rank_by="background_mass")
    assert bool(beside.alarms) == said and found.alarms == ()
    if said:
        assert f"{mass:.0%} of what the map shown first shows" in beside.alarms[0]
        assert beside.alarms[0] in board_page(beside) and beside.to_dict()["alarms"] == list(beside.alarms)
        assert Leaderboard.from_dict(beside.to_dict()) == beside


def test_the_board_says_which_kind_of_change_each_map_foretells() -> None:
    """`smooth` foretells noise alone, `cut` regions alone, `both` as much of either, `none` nothing."""
    high, low, nothing = values(0.8, seed=20), values(0.2, seed=21), values(-0.3, seed=22)
    columns = (
        Column("foretells_noise", "higher", "Noise.", "Han et al. 2022", changes="every pixel changes a little"),
        Column("foretells_regions", "higher", "Cells.", "Han et al. 2022", changes="cells are taken away"),
    )
    rows = {"smooth": (high, low), "cut": (low, high), "both": (high, high), "none": (nothing, values(-0.9, seed=23))}
    entries = tuple(
        Entry(name, "method", {"foretells_noise": noise, "foretells_regions": cells})
        for name, (noise, cells) in rows.items()
    )
    found = replace(board(), columns=columns, entries=entries, rank_by="foretells_noise")
    own = {name: found.answers_for(name) for name in rows}
    assert own == {"smooth": "foretells_noise", "cut": "foretells_regions", "both": None, "none": None}
    page = board_page(found)
    assert page.count("<b>0.") == 2
    assert "Where every pixel changes a little: Smooth foretells" in page and "not clearly better than Both" in page
    assert board().neighbourhoods == () and "Which question" not in board_page(board())


def test_errors_stand_beside_means_and_who_cannot_be_told_apart_is_drawn(tmp_path: Path) -> None:
    found = board()
    row = np.array(found.entry("weak").values["deletion"])
    rows = list(csv.DictReader(io.StringIO(found.csv())))
    weak = next(one for one in rows if one["method"] == "weak" and one["metric"] == "deletion")
    assert float(weak["standard error"]) == pytest.approx(row.std(ddof=1) / len(row) ** 0.5)
    ranks = found.ranks("deletion")
    assert ranks is not None and "oracle" not in ranks.ranks and float(weak["mean rank"]) == ranks.ranks["weak"]
    record = found.to_dict()
    assert record["standard errors"]["deletion"]["weak"] == pytest.approx(float(weak["standard error"]))
    assert record["ranks"]["deletion"]["critical"] == ranks.critical
    page = board_page(found)
    assert "Which cannot be told apart" in page and page.count('class="level"') >= 1
    assert "first by mean rank" in page and found.ranks("model_randomisation") is not None
