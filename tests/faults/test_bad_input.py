"""Every row of the table of bad input through both doors: in Python and on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from torch import nn

import pellucid as pl
from pellucid.errors import PellucidError
from tests.faults.doors import Ran, arguments, in_process, of_its_own
from tests.faults.row import DONE, Nowhere, Row, Shown, Typed
from tests.faults.subjects import twin
from tests.faults.table import TABLE
from tests.guests import unchanged

BY_NAME = {row.name: row for row in TABLE}
IN_PYTHON = [row for row in TABLE if not isinstance(row.library, Nowhere)]
TYPED = [row for row in TABLE if not isinstance(row.command, Nowhere)]
AS_PROCESSES = (
    "text named .jpg",
    "a class past the last",
    "a budget in words",
    "one pixel",
)


def test_the_table_is_long_and_no_name_stands_twice() -> None:
    assert len(BY_NAME) == len(TABLE) >= 150
    assert all(isinstance(row.promise, Shown) or row.promise.words for row in IN_PYTHON), "an error that says nothing"


def test_most_mistakes_are_made_through_both_doors_and_the_others_say_why_not() -> None:
    both = [row for row in IN_PYTHON if not isinstance(row.command, Nowhere)]
    assert len(both) >= 60, f"{len(both)} of {len(TABLE)}"
    closed = [door for row in TABLE for door in (row.library, row.command) if isinstance(door, Nowhere)]
    assert all(len(door.reason) > 20 for door in closed)
    assert all(not isinstance(row.command, Nowhere) for row in TABLE if isinstance(row.library, Nowhere))


@pytest.mark.parametrize("row", IN_PYTHON, ids=lambda row: row.name)
def test_in_python_it_gives_what_is_promised(row: Row, tmp_path: Path) -> None:
    assert not isinstance(row.library, Nowhere)
    given, module = row.given(tmp_path), twin().module
    assert isinstance(module, nn.Module)
    with unchanged(module):
        if isinstance(row.promise, Shown):
            story = row.library(given)
            assert isinstance(story, pl.Explanation)
            assert row.promise.holds(story)
            return
        with pytest.raises(row.promise.error) as caught:
            row.library(given)
    assert isinstance(caught.value, PellucidError)
    check_words(str(caught.value), row.promise.words)


@pytest.mark.parametrize("row", TYPED, ids=lambda row: row.name)
def test_on_the_command_line_it_gives_what_is_promised(
    row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert isinstance(row.command, Typed)
    check_ran(row, row.command, in_process(arguments(row, row.command, tmp_path), monkeypatch, capsys), tmp_path)


@pytest.mark.parametrize("name", AS_PROCESSES)
def test_as_a_process_of_its_own_it_ends_the_same(name: str, tmp_path: Path) -> None:
    row = BY_NAME[name]
    assert isinstance(row.command, Typed)
    check_ran(row, row.command, of_its_own(arguments(row, row.command, tmp_path)), tmp_path)


def check_ran(row: Row, command: Typed, ran: Ran, folder: Path) -> None:
    """The exit code, one clear message, no traceback; and an explanation where one is promised, none elsewhere."""
    assert ran.code == command.code, ran.message
    assert "Traceback" not in ran.out + ran.err
    records = [path for path in folder.rglob("*.json") if path.is_file() and path.with_suffix(".html").is_file()]
    if isinstance(row.promise, Shown):
        assert ran.code == DONE
        assert ran.err == ""
        (record,) = records
        assert row.promise.holds(pl.open(record))
        return
    assert not records, "an explanation was made all the same"
    if command.usage:
        assert "Usage: pellucid" in ran.err or "─ Error ─" in ran.err
    else:
        (line,) = ran.err.splitlines()
        assert line.startswith("error ")
    check_words(ran.message, row.promise.words if command.says is None else command.says)


def check_words(message: str, words: Sequence[str]) -> None:
    """The thing, what was expected and what to do all stand in the message, and no other language's words for them."""
    missing = [word for word in words if word not in message]
    assert not missing, f"{missing} missing in: {message}"
    assert len(message) > 20
    assert "Traceback" not in message
