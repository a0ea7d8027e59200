"""What the traps have at hand: the command line, and pictures as files."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import pellucid as pl
from tests.faults.doors import Command, Ran, in_process


@pytest.fixture
def pellucid(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`pellucid WORDS` in this process; it never ends in a traceback."""

    def typed(*words: str | Path) -> Ran:
        ran = in_process([*map(str, words)], monkeypatch, capsys)
        assert "Traceback" not in ran.out + ran.err
        return ran

    return typed


@pytest.fixture
def scenes(tmp_path: Path) -> list[Path]:
    """Four birds as files."""
    (tmp_path / "birds").mkdir()
    paths = [tmp_path / "birds" / f"bird{index}.png" for index in range(4)]
    for path, pixels in zip(paths, pl.testbed.scenes(5, 4).pixels, strict=True):
        Image.fromarray(pixels).save(path)
    return paths
