"""Everything one can type wrong, in one table: each row ends with its exit code, one clear message and no traceback."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

import pellucid as pl
from pellucid.cli import main

SOME_FAILED, WRONG_USAGE = 1, 2


@dataclass(frozen=True)
class Row:
    """What is typed after `pellucid`, the exit code, and words the message must hold.

    typed: "BIRD" stands for a picture that is fine, "TEXT" for a text called .png, "NOWHERE" for no file at all, and
           "EMPTY" for an empty folder; `--model testbed:cnn` and `--out` are added to `explain` unless they are there
    usage: whether the message comes with a line of usage, as for options that cannot be parsed
    """

    what: str
    typed: tuple[str, ...]
    code: int
    words: tuple[str, ...]
    usage: bool = False


def explain(what: str, typed: Sequence[str], *words: str, code: int = WRONG_USAGE, usage: bool = False) -> Row:
    return Row(what, ("explain", *typed), code, words, usage)


TABLE = [
    explain("no picture", (), "Missing argument", usage=True),
    explain("an unknown option", ("BIRD", "--wrong"), "No such option", usage=True),
    explain("a budget of nothing", ("BIRD", "--budget", "0"), "--budget", "greater than or equal to 1", usage=True),
    explain("a budget in words", ("BIRD", "--budget", "many"), "--budget", "integer", usage=True),
    explain("a budget too small for a look", ("BIRD", "--budget", "1"), "1 passes", "takes 3"),
    explain("a negative seed", ("BIRD", "--seed", "-3"), "--seed", usage=True),
    explain("negative memory", ("BIRD", "--memory", "-1"), "--memory -1", "above 0"),
    explain("no memory", ("BIRD", "--memory", "0"), "--memory 0", "above 0"),
    explain("memory that is no number", ("BIRD", "--memory", "nan"), "--memory nan", "above 0"),
    explain("an unknown net", ("BIRD", "--model", "testbed:cnnn"), "testbed:cnnn", "Nearest: cnn", "digits"),
    explain("an unknown source", ("BIRD", "--model", "foo:bar"), "no source 'foo'", "torchvision"),
    explain("a model without a source", ("BIRD", "--model", "nonsense"), "nonsense", "prefix:name"),
    explain("a model file that is not there", ("BIRD", "--model", "NOWHERE.pt"), "no such file"),
    explain("a picture as the model", ("BIRD", "--model", "BIRD"), "bird.png", ".safetensors"),
    explain("an unknown class", ("BIRD", "--target", "ripple swif"), "'ripple swif'", "Nearest: ripple swift"),
    explain("a class number too high", ("BIRD", "--target", "99"), "Class 99", "0 to 11"),
    explain("a negative class number", ("BIRD", "--target", "-1"), "Class -1", "0 to 11"),
    explain("an unknown method", ("BIRD", "--methods", "gradcam"), "'gradcam'", "Nearest: grad_cam"),
    explain("a bad method after a good one", ("BIRD", "--methods", "grad_cam,glad_cam"), "'glad_cam'", "grad_cam"),
    explain("only commas for methods", ("BIRD", "--methods", ","), "--methods", "pellucid methods"),
    explain("a method the model has no part for", ("BIRD", "--methods", "chefer"), "chefer", "no attention", "instead"),
    explain("an unknown layer", ("BIRD", "--layer", "features.99"), "'features.99'", "pellucid layers"),
    explain("an unknown device", ("BIRD", "--device", "abacus"), "'abacus'", "cpu"),
    explain("a picture that is not there", ("NOWHERE.png",), "NOWHERE.png", "no such file", code=SOME_FAILED),
    explain("a glob that matches nothing", ("NOWHERE*.png",), "NOWHERE*.png", "no file matches", code=SOME_FAILED),
    explain("an empty folder", ("EMPTY",), "EMPTY", "holds no picture", code=SOME_FAILED),
    explain("a text called .png", ("TEXT",), "letter.png", "not a picture but a text", code=SOME_FAILED),
    explain("a file as the folder", ("BIRD", "--out", "TEXT"), "letter.png", "folder", code=SOME_FAILED),
    Row("an unknown command", ("frobnicate",), WRONG_USAGE, ("No such command",), usage=True),
    Row("layers of an unknown net", ("layers", "-m", "testbed:nope"), WRONG_USAGE, ("testbed:nope", "digits")),
    Row("training an unknown net", ("testbed", "train", "nope"), WRONG_USAGE, ("'nope'", "digits")),
    Row("no scenes", ("testbed", "evaluate", "--scenes", "0"), WRONG_USAGE, ("--scenes",), usage=True),
    Row("scenes the net does not know", ("testbed", "evaluate", "-m", "testbed:digits"), WRONG_USAGE,
        ("digits", "testbed:cnn")),
]  # fmt: skip


def arguments(row: Row, folder: Path) -> list[str]:
    """What is typed, with the stand-ins replaced by files of `folder`."""
    Image.fromarray(pl.testbed.scenes(5, 1).pixels[0]).save(folder / "bird.png")
    (folder / "letter.png").write_text("Dear model, what do you see?")
    (folder / "EMPTY").mkdir()
    there = {"BIRD": "bird.png", "TEXT": "letter.png", "EMPTY": "EMPTY"}
    typed = [
        str(folder / there.get(word, word)) if word in there or word.startswith("NOWHERE") else word
        for word in row.typed
    ]
    if row.typed[0] == "explain":
        typed += [] if "--model" in typed else ["--model", "testbed:cnn"]
        typed += [] if "--out" in typed else ["--out", str(folder / "out")]
    return typed


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.what)
def test_a_wrong_command_ends_with_one_clear_message(
    row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["pellucid", *arguments(row, tmp_path)])
    capsys.readouterr()
    with pytest.raises(SystemExit) as leaving:
        main()
    said = capsys.readouterr()
    assert leaving.value.code == row.code, said.err
    assert "Traceback" not in said.out + said.err
    message = " ".join(said.err.replace("│", " ").split())
    missing = [word for word in row.words if word not in message]
    assert not missing, f"{message!r} lacks {missing}"
    if row.usage:
        assert said.err.startswith("Usage: pellucid")
    else:
        (line,) = said.err.splitlines()
        assert line.startswith("error ")
    assert not list(tmp_path.glob("out/*.html")), "nothing is made"


def test_the_table_is_long_enough() -> None:
    assert len(TABLE) >= 12
    assert len({row.what for row in TABLE}) == len(TABLE)
