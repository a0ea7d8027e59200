"""The two doors: a call in Python, and the command line as it is typed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from pellucid.cli import main
from tests.faults.row import Row, Typed
from tests.faults.subjects import bird


@dataclass(frozen=True)
class Ran:
    """One command that has ended."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """What it said on standard error, without the frame around it and in one line."""
        return " ".join(self.err.replace("│", " ").split())


Command = Callable[..., Ran]
"""`pellucid WORDS`, as the fixture `pellucid` runs it."""


def arguments(row: Row, command: Typed, folder: Path) -> list[str]:
    """What is typed, with the stand-ins replaced by files of `folder`."""
    (folder / "given").mkdir()
    bird().save(folder / "bird.png")
    given = (row.typed or row.given)(folder / "given")
    there = {"GIVEN": given, "BIRD": folder / "bird.png", "OUT": folder / "out"}
    return [str(there.get(word, word)) for word in command.words]


def in_process(words: Sequence[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ran:
    """`pellucid WORDS` in this process."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["pellucid", *words])
    capsys.readouterr()
    with pytest.raises(SystemExit) as leaving:
        main()
    said = capsys.readouterr()
    assert isinstance(leaving.value.code, int)
    return Ran(leaving.value.code, said.out, said.err)


def started(words: Sequence[str], **options: object) -> subprocess.Popen[str]:
    """`pellucid WORDS` as a process of its own, warnings as errors."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error", "COLUMNS": "200"}
    return subprocess.Popen(
        [sys.executable, "-m", "pellucid", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in background jobs
        **options,
    )  # fmt: skip


def of_its_own(words: Sequence[str]) -> Ran:
    """The same, run to its end."""
    with started(words) as process:
        out, err = process.communicate(timeout=120)
    return Ran(process.returncode, out, err)
