"""A page for every box that a detector finds in a picture, or for every region of a segmenter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from pellucid.errors import PellucidError
from pellucid.images import read
from pellucid.stories.folder import Failed, Item
from pellucid.subject import VisionModel
from pellucid.values import Box, Pixels

EVERY = "every"


def asks_for_every(model: VisionModel, target: str | int | None) -> bool:
    """Whether the word means every box or region; a class of that name comes first."""
    return target == EVERY and model.places is not None and EVERY not in model.labels


def items_of_places(model: VisionModel, items: Sequence[Item]) -> tuple[list[Item], list[Failed]]:
    """Of each picture one item per box or region, `flock-1-wren`, `flock-2-swift`; and pictures in which nothing is.

    A picture that cannot be read stays one item, and fails by its name when its turn comes.
    """
    found: list[Item] = []
    empty: list[Failed] = []
    for item in items:
        try:
            (targets,) = model.finds(item.frame or read(item.source))
        except PellucidError:
            found.append(item)
            continue
        for number, target in enumerate(targets, 1):
            assert isinstance(target, (Box, Pixels))
            name = re.sub(r"\W+", "-", model.labels.name(int(target.index)))
            found.append(replace(item, stem=f"{item.stem}-{number}-{name}", target=target))
        if not targets:
            empty.append(Failed(item.source, f"{model.name} finds nothing in it."))
    return found, empty
