"""A second pair of eyes, as it comes along: it checks what the nets that speak say of a scene."""

from __future__ import annotations

from functools import cache

from pellucid.testbed.nets import loaded
from pellucid.testbed.nets.witness import FIELDS, SIZE, Witness, looked_at, segmenter

__all__ = ["FIELDS", "NAME", "SIZE", "Witness", "looked_at", "segmenter", "witness"]

NAME = "witness"


@cache
def witness() -> Witness:
    """The one that comes along."""
    return loaded(NAME, Witness)
