"""A bar for whatever takes longer than a second."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
_PATIENCE_SECONDS = 1.0


def track(items: Iterable[Item], total: int | None = None, label: str = "") -> Iterator[Item]:
    """The items, one by one; past one second a bar appears on the terminal (standard error), and leaves at the end."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    task = progress.add_task(label, total=total if total is not None else _length(items))
    started, shown = time.monotonic(), False
    try:
        for item in items:
            yield item
            progress.advance(task)
            if not shown and time.monotonic() - started > _PATIENCE_SECONDS:
                progress.start()
                shown = True
    finally:
        if shown:
            progress.stop()


def _length(items: object) -> int | None:
    try:
        return len(items)  # type: ignore[arg-type]  # what has no length raises
    except TypeError:
        return None
