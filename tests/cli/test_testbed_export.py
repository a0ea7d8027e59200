"""`pellucid testbed export`: one command, a folder that others can read, and clear refusals."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pellucid import testbed
from pellucid.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def typed(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pellucid", "testbed", "export", *map(str, arguments)])
        with pytest.raises(SystemExit) as leaving:
            main()
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return int(leaving.value.code or 0), said.out, said.err

    return typed


def test_an_export_is_written_and_continued(run: Run, tmp_path: Path) -> None:
    asked = ("--seed", 3, "--size", 32, "--mode", "flock", "--json")
    code, out, _ = run(tmp_path / "birds", "--n", 3, *asked)
    assert (code, json.loads(out)) == (0, {"folder": str(tmp_path / "birds"), "scenes": 3, "painted": 3})
    assert json.loads(run(tmp_path / "birds", "--n", 5, *asked)[1])["painted"] == 2
    assert testbed.read_scenes(tmp_path / "birds").world == testbed.World(size=32, mode="flock")
    assert len(testbed.open_folder(tmp_path / "birds")) == 5


def test_all_that_can_be_asked_for_arrives(run: Run, tmp_path: Path) -> None:
    code, out, _ = run(tmp_path / "b", "--n", 1, "--shortcut", "frame", "--strength", 0.25)
    assert code == 0 and out.split() == ["1", "scenes,", "1", "painted", "now", str(tmp_path / "b")]
    assert testbed.read_scenes(tmp_path / "b").world == testbed.World(shortcut="frame", strength=0.25)
    assert run(tmp_path / "c", "--n", 1, "--task", "side")[0] == 0
    assert testbed.read_scenes(tmp_path / "c").world.task == "side"


def test_what_cannot_be_is_refused_in_one_line(run: Run, tmp_path: Path) -> None:
    code, _, err = run(tmp_path / "b", "--mode", "crowd")
    assert code == 2 and "There is no mode 'crowd'. Known: solo, flock, parts_missing." in err
    run(tmp_path / "b", "--n", 2)
    code, _, err = run(tmp_path / "b", "--n", 2, "--seed", 9)
    assert code == 1 and "holds other scenes" in err
