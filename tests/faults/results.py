"""Results that cannot be written, read or looked into."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pellucid as pl
from pellucid import errors
from tests.faults.files import file, folder_called, named, picture
from tests.faults.row import DONE, SOME_FAILED, Nowhere, Refused, Row, Shown, Typed, explain, value
from tests.faults.subjects import bird, cnn, tensor, twin

NO_COMMAND = Nowhere("no command opens a result; one that is damaged is made again, as tests/cli shows")
IN_PYTHON = Nowhere("the command chooses names and endings itself")
QUICK = ("--methods", "gradient", "--budget", "3")


def refused(*words: str, error: type[errors.PellucidError] = errors.FileError) -> Refused:
    return Refused(error, words)


@cache
def story() -> pl.Explanation:
    return pl.explain(cnn(), bird(), methods=["gradient"], budget=3)


@cache
def heat() -> pl.Heatmaps:
    return pl.attribute(twin(), tensor(), "gradient")


def record(**changed: Any) -> Callable[[Path], Path]:
    """A saved explanation with something about it changed; None takes an entry away."""

    def make(folder: Path) -> Path:
        path = story().save(folder / "saved.json")
        content = {**json.loads(path.read_text()), **changed}
        path.write_text(json.dumps({key: entry for key, entry in content.items() if entry is not None}))
        return path

    return make


def saved_as(name: str, of: Callable[[], Any] = story) -> Callable[[Path], Any]:
    return lambda given: of().save(Path(given) / name)


def into(code: int = SOME_FAILED) -> Typed:
    return explain("BIRD", "--out", "GIVEN", *QUICK, code=code)


OPENED = [
    Row("a result that is not there", named("gone.json"), refused("gone.json", "cannot be read", "Look at the name"),
        pl.open, NO_COMMAND),
    Row("a result that is a folder", folder_called("saved.json"), refused("saved.json", "cannot be read"), pl.open,
        NO_COMMAND),
    Row("a number for a result", value(7), refused("7", "int is no path", "name of a file"), pl.open, NO_COMMAND),
    Row("a result cut short", file("saved.json", '{"format": '), refused("saved.json", "complete JSON", "again"),
        pl.open, NO_COMMAND),
    Row("an empty result", file("saved.json", ""), refused("saved.json", "complete JSON", "again"), pl.open,
        NO_COMMAND),
    Row("a picture opened as a result", file("bird.png", b"\x89PNG\r\n\x1a\n"), refused("bird.png", "complete JSON"),
        pl.open, NO_COMMAND),
    Row("a foreign JSON file", file("saved.json", '{"hello": 1}'), refused("saved.json", "not a result of pellucid"),
        pl.open, NO_COMMAND),
    Row("a list for a result", file("saved.json", "[]"), refused("saved.json", "not a result of pellucid"), pl.open,
        NO_COMMAND),
    Row("a result from the future", record(format=99), refused("saved.json", "format 99", "reads format 1"), pl.open,
        NO_COMMAND),
    Row("a result with a part missing", record(heatmaps=None), refused("saved.json", "damaged", "heatmaps"), pl.open,
        NO_COMMAND),
    Row("a result with a part of another kind", record(heatmaps=7), refused("saved.json", "damaged", "again"), pl.open,
        NO_COMMAND),
]  # fmt: skip

SAVED = [
    Row("an unknown kind of file", lambda folder: folder,
        refused("map.xyz", ".json or .html or .png", error=errors.RequestError), saved_as("map.xyz", heat), IN_PYTHON),
    Row("a file without an ending", lambda folder: folder,
        refused("story", "a file without suffix", error=errors.RequestError), saved_as("story"), IN_PYTHON),
    Row("a number for a place", value(7), refused("7", "int is no path"), lambda given: story().save(given),
        explain("BIRD", "--out", "GIVEN", *QUICK, code=SOME_FAILED, says=("letter", "folder")),
        typed=file("letter", "Dear model")),
    Row("a file as the folder", file("letter.png", "Dear model"), refused("letter.png", "Choose another"),
        saved_as("story.html"), into()),
    Row("a folder within a file", lambda folder: file("letter.png", "Dear")(folder) / "deep",
        refused("letter.png/deep", "Choose another"), saved_as("story.html"), into()),
    Row("a folder where the page belongs", folder_called("out", folder_called("bird.html")),
        refused("bird.html", "Is a directory", "Choose another"), saved_as("bird.html"), into()),
    Row("a folder where the record belongs", folder_called("out", folder_called("bird.json")),
        refused("bird.json", "Is a directory", "Choose another"), saved_as("bird.json"), into()),
    Row("a folder where the journal belongs", folder_called("out", folder_called("journal.jsonl")),
        refused("journal.jsonl", "Is a directory", "choose another folder"), Nowhere("Python keeps no journal"),
        into()),
    Row("sheets over the pictures", folder_called("album", picture("bird.png")),
        refused("bird.png", "Choose another folder", error=errors.RequestError),
        Nowhere("Python writes where it is told, one file at a time"), explain("GIVEN", "--out", "GIVEN")),
    Row("a journal of nonsense", folder_called("out", file("journal.jsonl", b'\xff\xfe[]\n[]\n7\nnull\n{"key": 1}\n')),
        Shown(lambda told: told.chosen.method == "gradient"), Nowhere("Python keeps no journal"), into(DONE)),
    Row("a folder deep in folders that are not there", lambda folder: folder / "a" / "b" / "c",
        Shown(lambda told: told.chosen.method == "gradient"),
        lambda given: pl.open(story().save(given / "told.json")), into(DONE)),
]  # fmt: skip

LOOKED_INTO = [
    Row("a picture past the last", value(9), refused("no picture 9", "1 pictures, 0 to 0", error=errors.UnknownPicture),
        lambda given: heat().on_frame(given), IN_PYTHON),
    Row("an index past the last", value(-2), refused("no picture -2", "0 to 0", error=errors.UnknownPicture),
        lambda given: heat()[given], IN_PYTHON),
    Row("an index by name", value("cat"), refused("no picture 'cat'", "0 to 0", error=errors.UnknownPicture),
        lambda given: heat()[given], IN_PYTHON),
]  # fmt: skip

RESULTS = [*OPENED, *SAVED, *LOOKED_INTO]
