"""Checks at the door for what callers set."""

from __future__ import annotations

from pellucid.errors import RequestError


def at_least_one(**counts: int | None) -> None:
    """Raises RequestError for a count below one; None, which leaves it open, passes."""
    for name, count in counts.items():
        if count is not None and count < 1:
            raise RequestError(f"{name}={count}; expected at least 1.")


def at_least_zero(**amounts: float) -> None:
    """Raises RequestError for a negative amount."""
    for name, amount in amounts.items():
        if not amount >= 0:
            raise RequestError(f"{name}={amount}; expected 0 or more.")
