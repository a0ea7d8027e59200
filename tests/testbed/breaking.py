"""A training that somebody breaks off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pellucid.compute import train as training
from pellucid.compute.train import keep


@contextmanager
def broken_off_at_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Breaks off what is trained inside right after its first checkpoint was written, as Ctrl-C would."""

    def breaking(*arguments: Any, **options: Any) -> None:
        keep(*arguments, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "keep", breaking)
        yield
