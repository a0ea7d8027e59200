"""Trainings are noted as they end: whoever is killed goes on from there, and several processes give the same table."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import pellucid as pl
from pellucid.errors import RequestError, UnknownMethod
from pellucid.results import Retraining
from pellucid.stories import retraining as story
from pellucid.stories.retraining import (
    Explaining,
    Kept,
    Trial,
    differentiable,
    maps_of,
    predicted,
    run,
    split_of,
)
from pellucid.testbed.truth import causal
from pellucid.trust.retraining import GradCamAt, input_gradient
from tests.stories.retraining_run import TRAININGS, measured

ROOT = Path(__file__).parents[2]
TINY = Trial(methods=("gradient",), pictures=16, held_out=8, steps=1, levels=(0.5,), workers=1)


def without_time(found: Retraining) -> Retraining:
    return replace(found, seconds=0.0)


def test_killed_at_any_moment_it_goes_on_without_repeating_finished_work(tmp_path: Path) -> None:
    notes = tmp_path / "trainings.jsonl"
    command = [sys.executable, "-m", "tests.stories.retraining_run", str(tmp_path)]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not (notes.exists() and notes.read_bytes().count(b"\n") >= 2) and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    finished = [line for line in notes.read_text().splitlines(keepends=True) if line.endswith("\n")]
    assert 2 <= len(finished) < TRAININGS
    found = measured(tmp_path, workers=1)
    lines = notes.read_text().splitlines(keepends=True)
    assert lines[: len(finished)] == finished
    keys = [json.loads(line)["key"] for line in lines if line.endswith("}\n")]
    assert len(keys) == len(set(keys)) == TRAININGS
    assert without_time(found) == without_time(measured(tmp_path, workers=1, notes=False))
    assert found.row(map="right", level=0.2)["accuracy"] < 0.8 < found.row(part="whole pictures")["accuracy"]


def test_finished_trainings_are_read_and_what_is_missing_is_done_in_a_process_of_its_own(tmp_path: Path) -> None:
    first, notes = measured(tmp_path, workers=1), tmp_path / "trainings.jsonl"
    own = tmp_path / f"process-{os.getpid()}"
    own.unlink()
    assert measured(tmp_path, workers=2) == first and not list(tmp_path.glob("process-*"))
    lines = notes.read_text().splitlines(keepends=True)
    assert len(lines) == TRAININGS == first.trainings
    notes.write_text("".join(lines[:-1]))
    assert without_time(measured(tmp_path, workers=2)) == without_time(first)
    assert not own.exists() and len(list(tmp_path.glob("process-*"))) == 1
    assert len(notes.read_text().splitlines()) == TRAININGS


def test_a_table_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    found = measured(tmp_path, workers=1, notes=False)
    assert pl.open(found.save(tmp_path / "found.json")) == found
    lines = found.save(tmp_path / "found.csv").read_text().splitlines()
    assert lines[0].startswith("map,area,low,high") and len(lines) == 3
    assert len(found.csv(details=True).splitlines()) == 1 + 2 * 5
    assert "best control" in found.save(tmp_path / "found.html").read_text()


def test_a_measure_runs_on_the_testbed_and_reads_its_notes_the_second_time(tmp_path: Path) -> None:
    trial = replace(TINY, folder=tmp_path)
    found = run("roar", trial)
    assert {row["map"] for row in found.rows} == {"gradient", "control random", "control centre", "control edge"}
    assert found.facts["model"] == "testbed:cnn" and found.facts["steps"] == 1
    notes = (tmp_path / "trainings.jsonl").read_bytes()
    assert run("roar", trial) == found and (tmp_path / "trainings.jsonl").read_bytes() == notes


def test_students_learn_what_the_model_says() -> None:
    found = run("simulatability", replace(TINY, methods=("gradient_x_input",)))
    assert found.trainings == 1 + 2 * 4 and {row["map"] for row in found.rows} > {"gradient_x_input", "control edge"}


def test_alignment_runs_on_the_testbed_and_leaves_the_net_alone() -> None:
    found = run("alignment", replace(TINY, methods=("gradient", "grad_cam")))
    assert len(found.rows) == 2 * 2 * 4 and len(found.details) == 6
    assert all(0 <= row["original"] <= 1 and abs(row["original"] - row["plain"]) < 0.2 for row in found.rows)


def test_counterfactual_students_read_twins_of_scenes(tmp_path: Path) -> None:
    found = run("counterfactual", replace(TINY, held_out=12, methods=("gradient",)))
    assert {row["map"] for row in found.rows} == {"gradient", "control random", "control centre", "control edge"}
    assert found.facts["pictures"] == 12 and 0 < found.facts["answers changed"] < 1


def test_nets_of_folds_are_compared_and_read_from_the_notes_the_second_time(tmp_path: Path) -> None:
    trial = replace(TINY, folder=tmp_path, folds=2)
    found = run("consistency", trial)
    assert found.trainings == 2 and {row["map"] for row in found.rows} == {
        "gradient", "control random", "control centre", "control edge",
    }  # fmt: skip
    assert (found.facts["folds"], found.facts["explained"]) == (2, 16)
    notes = (tmp_path / "trainings.jsonl").read_bytes()
    assert run("consistency", trial) == found and (tmp_path / "trainings.jsonl").read_bytes() == notes


def test_nets_from_seeds_are_compared_without_a_training(tmp_path: Path) -> None:
    """The same net twice: its maps are equal and its errors too, so that it agrees or counts for nothing."""
    net, card = pl.testbed.nets.load("cnn")
    for seed in (101, 102):
        pl.testbed.nets.save(net, card, tmp_path / f"seed-{seed}")
    found = run("consistency", replace(TINY, grown=tmp_path))
    assert found.trainings == 0 and [row["net"] for row in found.details] == ["seed 101", "seed 102"]
    assert found.row(map="gradient")["MeGe"] == 1.0 and found.facts["disagreeing pairs"] == 0
    with pytest.raises(RequestError, match="train-seeds"):
        run("consistency", replace(TINY, grown=tmp_path / "nowhere"))


def test_maps_are_asked_for_what_the_model_says_and_the_truth_is_that_of_the_scenes() -> None:
    model = pl.load("testbed:cnn")
    data, (learned, held) = split_of(TINY)
    assert data.pictures.shape == (16, 3, 64, 64) and held.shape == (8, 64, 64)
    scenes = pl.testbed.scenes(TINY.seed, TINY.pictures)
    assert torch.equal(learned, torch.from_numpy(causal(scenes)))
    said = predicted(model, data.pictures)
    assert torch.equal(said, model.predict(scenes.tensor()).argmax(dim=1))
    made = maps_of(model, data.pictures, said, ("gradient",), 3)
    wanted = pl.attribute(model, scenes.tensor(), "gradient", target=said.tolist(), seed=3).one_channel
    assert torch.allclose(made["gradient"], wanted, atol=1e-6)


def test_dear_maps_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "_DEAR", 1)
    model, shown = pl.load("testbed:cnn"), pl.testbed.scenes(5, 2).tensor()
    classes, asked = torch.tensor([1, 2]), ("gradient", "guided_backprop")
    made = maps_of(model, shown, classes, asked, 3, tmp_path)
    (file,) = (tmp_path / "maps").iterdir()
    before = file.stat().st_mtime_ns
    again = maps_of(model, shown, classes, asked, 3, tmp_path)
    assert list(again) == list(made) and all(torch.equal(again[name], made[name]) for name in made)
    assert file.stat().st_mtime_ns == before
    file.write_bytes(file.read_bytes()[:100])
    again = maps_of(model, shown, classes, asked, 3, tmp_path)
    assert torch.equal(again["guided_backprop"], made["guided_backprop"])
    maps_of(model, shown, classes, asked, 4, tmp_path)
    assert len(list((tmp_path / "maps").iterdir())) == 2


def test_under_another_net_only_maps_that_ignore_it_stay_and_the_random_one_is_drawn_anew() -> None:
    explain, shown, classes = Explaining("testbed:cnn", ("gradient",), 3), pl.testbed.scenes(5, 2).tensor(), [1, 2]
    net = pl.testbed.nets.load("cnn")[0]
    other = copy.deepcopy(net)
    with torch.no_grad():
        other.get_submodule("head").weight += 1  # type: ignore[operator]
    one, same, changed = (explain(net, shown, torch.tensor(classes)) for net in (net, net, other))
    assert all(torch.equal(one[name], same[name]) for name in one)
    stayed = {name for name in one if torch.equal(one[name], changed[name])}
    assert stayed == {"control centre", "control edge"}


def test_what_cannot_be_trained_is_refused_before_anything_is() -> None:
    with pytest.raises(RequestError, match="testbed:cnn"):
        Trial(model="timm:resnet18")
    with pytest.raises(RequestError, match="testbed:vit"):
        Trial(model="testbed:digits")
    with pytest.raises(UnknownMethod):
        Trial(methods=("gradiant",))
    with pytest.raises(RequestError, match="learned from"):
        Trial(seed=1)
    with pytest.raises(RequestError, match="steps=0"):
        Trial(steps=0)
    with pytest.raises(RequestError, match="measure='roarr'"):
        run("roarr", TINY)
    model = pl.load("testbed:cnn")
    assert differentiable(model, "gradient", (64, 64)) is input_gradient
    assert isinstance(differentiable(model, "grad_cam", (64, 64)), GradCamAt)
    with pytest.raises(RequestError, match="cannot be trained on rise"):
        differentiable(model, "rise", (64, 64))


def test_without_a_file_nothing_is_noted() -> None:
    calls: list[int] = []

    class Counting:
        def __call__(self, asked: object) -> dict[str, object]:
            calls.append(1)
            return {"seen": str(asked)}

        def facts(self, asked: object) -> list[object]:
            return []

    for _ in range(2):
        (record,) = Kept()(Counting(), [{"seed": 1}])
    assert record["seen"] == "{'seed': 1}" and len(calls) == 2
