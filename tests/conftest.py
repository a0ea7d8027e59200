"""What holds for all tests."""

from __future__ import annotations

import pytest

from tests.annotations import CHECKED, check_from_here_on

if CHECKED:
    check_from_here_on()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where annotations are checked, what they forbid does not come as far as the refusal that a test waits for."""
    if CHECKED:
        items[:] = [item for item in items if item.get_closest_marker("untyped") is None]
