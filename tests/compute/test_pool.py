"""Work in several processes comes back whole, and nobody works on for a caller who is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pellucid.compute.pool import spread
from pellucid.errors import RequestError
from tests.compute.pool_run import Square

ROOT = Path(__file__).parents[2]


def test_every_item_is_done_once_in_another_process(tmp_path: Path) -> None:
    assert sorted(spread(Square(tmp_path), [3, 1, 2], 2)) == [(0, 9), (1, 1), (2, 4)]
    done_by = {int(path.name) for path in tmp_path.iterdir()}
    assert done_by and os.getpid() not in done_by


def test_an_error_in_a_process_reaches_the_caller(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        list(spread(Square(tmp_path), ["no number"], 1))


def test_what_cannot_be_sent_to_another_process_is_refused() -> None:
    with pytest.raises(RequestError, match="top of a module"):
        list(spread(lambda item: item, [1], 2))


def test_processes_leave_when_who_started_them_is_killed(tmp_path: Path) -> None:
    running = subprocess.Popen([sys.executable, "-m", "tests.compute.pool_run", str(tmp_path)], cwd=ROOT)
    deadline = time.monotonic() + 120
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    workers = [int(path.name) for path in tmp_path.iterdir()]
    assert len(workers) == 2
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, workers))


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended and that nobody asked about does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
