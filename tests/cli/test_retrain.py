"""`pellucid retrain`: six measures that train, one table each, in files that are whole."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import pellucid as pl
from pellucid.cli import main

Run = Callable[..., tuple[int, str, str]]
SMALL = ("--pictures", "16", "--held-out", "8", "--steps", "1", "--workers", "1", "--methods", "gradient")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def typed(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys, "argv", ["pellucid", "retrain", *map(str, arguments)])
        with pytest.raises(SystemExit) as leaving:
            main()
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return int(leaving.value.code or 0), said.out, said.err

    return typed


@pytest.mark.parametrize("measure", ["roar", "kar", "labels", "alignment", "simulatability", "consistency"])
def test_every_measure_explains_itself(measure: str, run: Run) -> None:
    code, out, _ = run(measure, "--help")
    assert code == 0 and f"Example: pellucid retrain {measure}" in " ".join(out.split())


def test_a_table_is_printed_and_written(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("kar", *SMALL, "--levels", "0.5", "--out", tmp_path)
    assert code == 0 and "control random" in out and "9 trainings" in out and str(tmp_path / "kar.json") in out
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "kar-details.csv", "kar.csv", "kar.json", "trainings.jsonl",
    ]  # fmt: skip
    assert pl.open(tmp_path / "kar.json").measure == "kar"
    assert (tmp_path / "kar-details.csv").read_text().startswith("map,part,level,accuracy")
    notes = (tmp_path / "trainings.jsonl").read_bytes()
    code, out, _ = run("kar", *SMALL, "--levels", "0.5", "--out", tmp_path, "--json")
    assert code == 0 and json.loads(out)["rows"][0]["map"]
    assert (tmp_path / "trainings.jsonl").read_bytes() == notes


def test_alignment_has_a_command_too(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("alignment", *SMALL, "--out", tmp_path)
    assert code == 0 and "pointing" in out and (tmp_path / "alignment.json").exists()


def test_consistency_has_a_command_too(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("consistency", *SMALL, "--folds", "2", "--out", tmp_path)
    assert code == 0 and "MeGe" in out and "2 trainings" in out and (tmp_path / "consistency.json").exists()


def test_a_net_that_does_not_know_its_pictures_is_refused_in_one_line(run: Run, tmp_path: Path) -> None:
    code, _, err = run("labels", *SMALL, "--out", tmp_path)
    assert code == 2 and "the measure needs more than 95%" in err and len(err.strip().splitlines()) == 1
    assert not (tmp_path / "labels.json").exists()


def test_what_cannot_be_is_refused(run: Run, tmp_path: Path) -> None:
    assert run("roar", "--levels", "half", "--out", tmp_path)[0] == 2
    code, _, err = run("kar", "--model", "demo:efficientnet_lite0", "--out", tmp_path)
    assert code == 2 and "pellucid.trust.retraining" in err
