"""Traits of a class from the command line, offline and on the testbed's transformer."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

import pellucid as pl
from pellucid.cli import app
from pellucid.errors import RequestError


def test_heads_are_ranked_for_a_class_and_a_rival(tmp_path: Path) -> None:
    out = tmp_path / "traits.json"
    done = CliRunner().invoke(app, ["traits", "scene:7", "--rival", "0", "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    told, found = json.loads(done.output), pl.open(out)
    assert sorted(row["head"] for row in told["heads"]) == [0, 1, 2, 3]
    assert told["class"] == found.asked.label != told["rival"] == found.rival.label
    assert told["agrees"] is found.agrees and len(told["needed"]) == found.asked.needed


def test_a_share_that_is_none_is_refused() -> None:
    done = CliRunner().invoke(app, ["traits", "scene:7", "--share", "1.5"])
    assert isinstance(done.exception, RequestError) and "between 0 and 1" in str(done.exception)
