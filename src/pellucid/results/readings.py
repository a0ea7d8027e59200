"""What a model's answer rests on in pictures that can be made again with one thing changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pellucid.canvas.words import listed
from pellucid.compute.bootstrap import Interval

_LITTLE = 0.05  # of the largest fall: less is as good as not read


@dataclass(frozen=True)
class Reading:
    """What changing one thing does to a model's answer.

    name:    what is changed, in words
    decides: whether it decides the label in the world
    read:    whether it is among the fewest things that hold 90 % of all the answer owes to things
    fall:    by how much the log probability of the label falls, mean over pictures and other values of the thing
    changed: share of the changed pictures in which the class ranked first is another
    """

    name: str
    decides: bool
    read: bool
    fall: Interval
    changed: float

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Reading:
        values: dict[str, Any] = {**record, "fall": Interval(**record["fall"])}
        return cls(**values)


def in_words(readings: Sequence[Reading]) -> str:
    """Whether the world and the model agree on what decides, in two sentences."""
    strongest = sorted(readings, key=lambda one: -one.fall.mean)
    world = [one.name for one in readings if one.decides]
    read = [one.name for one in strongest if one.read]
    first = f"In the world {listed(world)} decide{'s' if len(world) == 1 else ''} the label."
    if set(world) == set(read):
        return f"{first} That is also what this model's answer rests on."
    return (
        f"{first} This model's answer rests on {listed(read)}: a map that is true of the model need not lie where the "
        f"world decides."
    )


def telling(readings: Sequence[Reading]) -> tuple[Reading, ...]:
    """Those that decide in the world or move the answer by more than a little, the strongest first."""
    largest = max((abs(one.fall.mean) for one in readings), default=0.0)
    kept = [one for one in readings if one.decides or one.read or abs(one.fall.mean) >= _LITTLE * largest]
    return tuple(sorted(kept, key=lambda one: -one.fall.mean))
