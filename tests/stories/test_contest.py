"""The benchmark on the world where the answer is known: the truth wins, the same seed gives the same board."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import pellucid as pl
from pellucid.errors import FileError, MethodUnavailable, RequestError, UnknownMethod
from pellucid.results import Leaderboard
from pellucid.results.board_page import board_page
from pellucid.stories.cases import fresh_scenes
from pellucid.stories.contest import benchmark
from pellucid.stories.ledger import Ledger
from pellucid.subject import wrap
from pellucid.values import Films, Places
from tests.guests import unchanged
from tests.nets import Twin

CHEAP = ("grad_cam", "layer_cam", "gradient")


@pytest.fixture(scope="module")
def board() -> Leaderboard:
    return pl.benchmark("testbed:cnn", methods=CHEAP, scenes=7, seed=77)


def without_time(found: Leaderboard) -> dict[str, Any]:
    record = found.to_dict()
    return {**record, "entries": [{**entry, "seconds": 0} for entry in record["entries"]]}


def test_the_truth_stands_first_on_every_measure_that_knows_it(board: Leaderboard) -> None:
    for column in board.columns:
        if column.truth:
            assert board.standings(column.metric)[0].name == "oracle"
            assert board.standings(column.metric)[0].value.mean == pytest.approx(float(column.better == "higher"))


def test_the_board_says_what_the_map_shown_first_costs_and_what_measures_say_of_themselves(board: Leaderboard) -> None:
    assert 100 < board.entry("shown first").passes <= 400  # the budget of `explain`
    assert any(note.startswith("relevance_mass: values below 0") for note in board.notes)
    (negative,) = (note for note in board.notes if note.startswith("Negative evidence, left out"))
    assert "shown first" in negative and "layer_cam" not in negative  # occlusion among the first is signed
    assert len(board.classes) == len(board.pictures)
    assert set(board.classes) <= set(pl.testbed.scenes(77, 7).task.labels)


def test_methods_controls_the_truth_and_the_chosen_map_stand_on_one_board(board: Leaderboard) -> None:
    assert Counter(entry.kind for entry in board.entries) == {
        "method": 3, "control": 3, "oracle": 1, "shown first": 1,
    }  # fmt: skip
    assert len(board.pictures) <= board.total == 7
    assert all(len(row) == len(board.pictures) for entry in board.entries for row in entry.values.values())


@pytest.mark.parametrize(
    ("net", "read"), [("cnn", {"wing", "tail", "plume"}), ("cnn_background", {"landscape", "plume"})]
)
def test_what_a_net_reads_is_what_it_was_made_to_learn(net: str, read: set[str]) -> None:
    """The one learned from birds in all landscapes, the other from birds told by theirs."""
    readings = fresh_scenes(pl.load(f"testbed:{net}"), 60, 78).readings()
    assert {one.name for one in readings if one.decides} == {"wing", "tail", "plume"}
    assert {one.name for one in readings if one.read} == read
    for one in readings:
        if one.read:
            assert one.changed > 0.8 and one.fall.low > 1
        elif not one.decides:
            assert abs(one.fall.mean) < 0.5


def test_what_decides_in_the_world_stands_on_the_board_beside_what_the_model_reads() -> None:
    board = benchmark("testbed:cnn_background", methods=["random"], metrics=["relevance_mass"], scenes=30, seed=78)
    page = board_page(board)
    assert "What decides, and what this model reads" in page
    assert "This model&#39;s answer rests on landscape and plume" in page
    assert Leaderboard.from_dict(json.loads(json.dumps(board.to_dict()))).readings == board.readings != ()


def test_a_board_agrees_with_measuring_by_hand(board: Leaderboard) -> None:
    model = pl.load("testbed:cnn")
    scenes = pl.testbed.scenes(77, [int(name.split()[-1]) for name in board.pictures])
    heat = pl.attribute(model, scenes.frames(), "layer_cam", target=scenes.labels.tolist(), seed=77)
    (score,) = pl.evaluate(model, scenes.frames(), heat, "deletion", steps=8, fills=("blur", "mean", "noise"))
    assert board.entry("layer_cam").values["deletion"] == pytest.approx(score.values, abs=1e-5)
    assert board.entry("centre").values["deletion"] == pytest.approx(score.centre, abs=1e-5)


def test_the_same_seed_gives_the_same_board_in_two_processes_and_notes_spare_the_work(
    board: Leaderboard, tmp_path: Path
) -> None:
    notes = Ledger(tmp_path / "benchmark.jsonl")
    again = benchmark("testbed:cnn", methods=CHEAP, scenes=7, seed=77, folder=tmp_path, workers=2)
    assert without_time(again) == without_time(board) and len(notes.read()) == 6
    written = (tmp_path / "benchmark.jsonl").read_bytes()
    resumed = benchmark("testbed:cnn", methods=CHEAP, scenes=7, seed=77, folder=tmp_path)
    assert resumed == again and (tmp_path / "benchmark.jsonl").read_bytes() == written


def test_what_only_this_process_has_is_not_sent_to_others() -> None:
    known = pl.load("testbed:cnn")
    assert known.network is not None
    model = wrap(known.network, preprocess=known.preprocess, labels=known.labels.names)
    with pytest.raises(RequestError, match="Take workers=1"):
        benchmark(model, methods=("gradient",), scenes=12, seed=77, workers=2)


def test_killed_at_any_moment_it_goes_on_without_repeating_finished_work(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pellucid", "benchmark", "--scenes", "16", "--methods", "gradient", "--metrics",
               "deletion,pointing_game", "--seed", "78", "--out", str(tmp_path)]  # fmt: skip
    notes = tmp_path / "benchmark.jsonl"
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (notes.exists() and notes.read_bytes().count(b"\n")) and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(signal.SIGKILL)
    running.wait()
    finished = [line for line in notes.read_text().splitlines(keepends=True) if line.endswith("\n")]
    assert finished and not (tmp_path / "leaderboard.json").exists()
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    lines = notes.read_text().splitlines(keepends=True)
    assert lines[: len(finished)] == finished
    keys = []
    for line in lines:
        try:
            keys.append(json.loads(line)["key"])
        except ValueError:
            continue  # cut short by the kill
    assert len(keys) == len(set(keys)) == 4 or len(keys) == len(set(keys)) == 3
    assert isinstance(pl.open(tmp_path / "leaderboard.json"), Leaderboard)


def test_samplers_run_with_what_the_cap_allows_and_dearer_methods_are_listed() -> None:
    from pellucid.stories.contestants import contestants

    model = pl.load("testbed:cnn")
    taking_part, left_out = contestants(model, (64, 64), "all", 60)
    assert all(one.passes <= 60 for one in taking_part)
    cut = {one.method.name: dict(one.parameters) for one in taking_part if one.parameters}
    assert cut["rise"] == {"masks": 59} and cut["smoothgrad"]["samples"] == 19
    assert "occlusion" in {name for name, _, _ in left_out}
    (named,), nobody = contestants(model, (64, 64), ["occlusion"], 60)
    assert named.passes > 60 and not nobody


def test_every_method_there_is_takes_part_or_is_listed() -> None:
    from pellucid.stories.contestants import contestants

    model = pl.load("testbed:vit")
    taking_part, left_out = contestants(model, (64, 64), "all", 500)
    known = {
        name for name, entry in pl.methods().items()
        if entry.question == "where" and not entry.control and not {Films, Places} & set(entry.needs)
    }  # fmt: skip
    assert {one.method.name for one in taking_part} | {name for name, _, _ in left_out} == known


def test_a_benchmark_leaves_the_model_as_it_was() -> None:
    model = pl.load("testbed:cnn")
    assert model.module is not None
    with unchanged(model.module):
        benchmark(model, methods=["grad_cam", "guided_backprop"], metrics=["deletion"], scenes=2, seed=79)


def test_what_cannot_be_compared_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="does not classify the testbed's birds"):
        benchmark(wrap(Twin(), input_size=(12, 12)), scenes=2)
    with pytest.raises(RequestError, match="learned from"):
        benchmark("testbed:cnn", scenes=2, seed=0)
    with pytest.raises(RequestError, match="expected testbed, testbed:model.* or folder:DIR"):
        benchmark("testbed:cnn", "nowhere", scenes=2)
    with pytest.raises(UnknownMethod, match="grad_cma"):
        benchmark("testbed:cnn", methods=["grad_cma"], scenes=2)
    with pytest.raises(UnknownMethod, match="delition"):
        benchmark("testbed:cnn", metrics=["delition"], scenes=2)
    with pytest.raises(MethodUnavailable, match="black box"):
        benchmark(
            wrap(blind, labels=pl.load("testbed:cnn").labels, input_size=(64, 64)), methods=["gradient"], scenes=2
        )
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FileError, match="file"):
        benchmark("testbed:cnn", methods=["gradient"], metrics=["deletion"], scenes=1, folder=tmp_path / "file")


def blind(pictures: Tensor) -> Tensor:
    return pl.load("testbed:cnn").predict(pictures)
