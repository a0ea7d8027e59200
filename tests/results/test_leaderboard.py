"""A board of figures worked out by hand: places, margins, flags, and that it comes back from disk as it was."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

import pellucid as pl
from pellucid.canvas.raster import png_bytes
from pellucid.errors import RequestError
from pellucid.results.board_page import headline
from pellucid.results.leaderboard import Column, Entry, Example, Leaderboard
from tests.results.making import CARD

COUNT = 40


def values(mean: float, spread: float = 0.1, seed: int = 0) -> tuple[float, ...]:
    """Values around exactly this mean."""
    noise = np.random.default_rng(seed).normal(size=COUNT)
    return tuple((mean + spread * (noise - noise.mean())).tolist())


def board() -> Leaderboard:
    nan = (float("nan"),) * COUNT
    picture = png_bytes(np.full((8, 8, 3), 200, np.uint8))
    return Leaderboard(
        model=CARD, truth="testbed scenes of seed 7", pictures=tuple(f"scene {at}" for at in range(COUNT)), total=50,
        columns=(
            Column("pointing_game", "higher", "Whether it hits.", "Zhang et al. 2018", truth=True),
            Column("deletion", "lower", "How fast it dies.", "Petsiuk et al. 2018"),
            Column("model_randomisation", "lower", "What is left.", "Adebayo et al. 2018", remakes=True, limit=0.5),
        ),
        entries=(
            Entry("weak", "method", {"pointing_game": values(0.41, seed=1), "deletion": values(0.5, seed=2),
                                     "model_randomisation": values(0.9)}, passes=3, seconds=0.001),
            Entry("strong", "method", {"pointing_game": values(0.8, seed=3), "deletion": values(0.1, seed=4),
                                       "model_randomisation": values(0.1)}, 226, 0.2, {"masks": 499}),
            Entry("oracle", "oracle", {"pointing_game": (1.0,) * COUNT, "deletion": values(0.2, seed=5),
                                       "model_randomisation": nan}),
            Entry("centre", "control", {"pointing_game": values(0.4, seed=6), "deletion": values(0.3, seed=7),
                                        "model_randomisation": (1.0,) * COUNT}),
            Entry("random", "control", {"pointing_game": values(0.1, seed=8), "deletion": values(0.6, seed=9),
                                        "model_randomisation": (0.0,) * COUNT}),
        ),
        rank_by="pointing_game", cap=500, seed=7, left_out=(("score_cam", 513.0, "takes more than 500 passes"),),
        examples=(Example("scene 0", {"picture": picture, "strong": picture}),), notes=("a note",),
        versions={"pellucid": "0.1.0"},
    )  # fmt: skip


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


def test_the_headline_counts_who_does_not_beat_the_controls() -> None:
    assert "1 of 2 methods does not clearly beat" in headline(board())


def test_a_measure_or_competitor_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(RequestError, match="no measure 'insertion'"):
        board().column("insertion")
    with pytest.raises(RequestError, match="'rise' is not on the board"):
        board().entry("rise")
