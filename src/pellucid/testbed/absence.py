"""Scenes with things left out: any parts of any scenes in one batch, and what a net's target loses by it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np
from jaxtyping import Bool, Float

from pellucid.testbed.fields import LASTING, PARTS_OF_FIELD, REMOVABLE
from pellucid.testbed.scene import Scenes
from pellucid.testbed.twins import PROP_NAMES, presence

MISSABLE = (*REMOVABLE, "crest", "feet")  # parts that training with missing parts leaves out too
WHOLE = (*MISSABLE, *LASTING)  # every part of a bird
_SHARE = 0.05  # of the largest effect; less counts as none


def without(scenes: Scenes, at: Sequence[int], gone: Sequence[Collection[str]]) -> Scenes:
    """For every entry the scene at that place without those things, painted as one batch when it is asked for.

    gone: parts of the bird, grass, prop0 to prop2; what is not there anyway makes no difference
    """
    twins = scenes[np.asarray(at, dtype=np.int64)]
    changes: dict[str, np.ndarray] = {}
    for thing in sorted({thing for things in gone for thing in things}):
        field = presence(scenes, thing)
        leaves = np.array([thing in things for things in gone], dtype=bool)
        changes[field] = np.where(leaves, 0, twins.fields[field])
    return twins.with_fields(**changes)


def there(scenes: Scenes, thing: str) -> Bool[np.ndarray, "scene"]:
    """Whether the scene has that part or prop, seen or not."""
    return scenes.fields[presence(scenes, thing)] == 1


def place_of_thing(scenes: Scenes, thing: str) -> Bool[np.ndarray, "scene height width"]:
    """Where a part of the bird, or one of the props, shows."""
    if thing in PROP_NAMES:
        return scenes.mask("prop") & (scenes.amodal(thing) > 0.5)
    return scenes.mask(thing)


def removal_effects(
    score: Callable[[Scenes, Sequence[int]], Float[np.ndarray, "twin"]], scenes: Scenes, things: Sequence[str] = WHOLE
) -> dict[str, Float[np.ndarray, "scene"]]:
    """By how much the target falls when a thing is left out, per thing and scene; NaN where it is not there.

    score: scenes and the place of the scene that each was made from -> the target's value. Asked once, for all
    """
    has = {thing: there(scenes, thing) for thing in things}
    asked = [(at, thing) for thing in things for at in np.flatnonzero(has[thing]).tolist()]
    places = [*range(len(scenes)), *(at for at, _ in asked)]
    twins = without(scenes, places, [*[()] * len(scenes), *((thing,) for _, thing in asked)])
    values = np.asarray(score(twins, places), dtype=np.float64)
    whole, found = values[: len(scenes)], values[len(scenes) :]
    effects = {thing: np.full(len(scenes), np.nan) for thing in things}
    for (at, thing), value in zip(asked, found, strict=True):
        effects[thing][at] = whole[at] - value
    return effects


def deciding_parts(scenes: Scenes) -> tuple[str, ...]:
    """The parts of the bird that show the fields by which the task labels scenes."""
    return tuple(dict.fromkeys(part for cause in scenes.task.causes for part in PARTS_OF_FIELD[cause]))


def distracting(
    scenes: Scenes, effects: dict[str, Float[np.ndarray, "scene"]] | None = None
) -> Bool[np.ndarray, "scene height width"]:
    """Where things show that look like a cause and are none: parts of the bird, and props.

    effects: of leaving things out; those below 5 % of the scene's largest are what a net does not read. None takes the
             world's word: everything by which the task does not label
    """
    things = (*WHOLE, *PROP_NAMES)
    idle = {thing: np.full(len(scenes), thing not in deciding_parts(scenes)) for thing in things}
    if effects is not None:
        size = {thing: np.abs(np.nan_to_num(values)) for thing, values in effects.items()}
        largest = np.max(list(size.values()), axis=0)
        idle = {thing: size[thing] < _SHARE * largest for thing in effects}
    mask = np.zeros(scenes.parts.shape, dtype=bool)
    for thing, where in idle.items():
        mask |= place_of_thing(scenes, thing) & (where & there(scenes, thing))[:, None, None]
    return mask


def sufficient_sets(scenes: Scenes) -> tuple[tuple[frozenset[str], ...], ...]:
    """Per scene the smallest sets of its parts that tell its class when every other part that may be missing is.

    From the task's table alone. A set of no parts means that the class needs none of them.
    """
    deciding = [part for part in deciding_parts(scenes) if part in MISSABLE]
    has = {part: there(scenes, part) for part in deciding}
    found: list[tuple[frozenset[str], ...]] = []
    for at in range(len(scenes)):
        parts = [part for part in deciding if has[part][at]]
        sets = [frozenset(chosen) for size in range(len(parts) + 1) for chosen in combinations(parts, size)]
        left = without(scenes, [at] * len(sets), [set(parts) - one for one in sets])
        fits = scenes.task.fitting(left.fields)
        tells = (fits.sum(axis=1) == 1) & fits[:, scenes.true_labels[at]]
        enough = [one for one, told in zip(sets, tells, strict=True) if told]
        found.append(tuple(one for one in enough if not any(other < one for other in enough)))
    return tuple(found)


@dataclass(frozen=True)
class Pair:
    """Two classes that each share parts with a scene, as many, and none of them the same."""

    first: int
    second: int
    shared_by_first: frozenset[str]
    shared_by_second: frozenset[str]


def rival_pairs(scenes: Scenes) -> tuple[tuple[Pair, ...], ...]:
    """Per scene all pairs of other classes that share disjoint sets of its parts, the largest there are.

    Only parts that are there and may be missing count; a class that also shares an absence takes no part. Nothing for
    tasks whose classes are no full table.
    """
    task, labels = scenes.task, scenes.true_labels
    parts_of = {cause: [part for part in PARTS_OF_FIELD[cause] if part in MISSABLE] for cause in task.causes}
    found: list[tuple[Pair, ...]] = []
    for at in range(len(scenes)):
        own = task.row(int(labels[at]))
        usable = {
            cause for cause, parts in parts_of.items() if parts and all(there(scenes[[at]], part)[0] for part in parts)
        }
        shares: dict[int, frozenset[str]] = {}
        for other in range(len(task.labels)) if own else ():
            same = {cause for cause, value in task.row(other).items() if own[cause] == value}
            if other != labels[at] and same and same <= usable:
                shares[other] = frozenset(part for cause in same for part in parts_of[cause])
        pairs = [
            Pair(one, other, shares[one], shares[other])
            for one, other in permutations(shares, 2)
            if len(shares[one]) == len(shares[other]) and not shares[one] & shares[other]
        ]
        most = max((len(pair.shared_by_first) for pair in pairs), default=0)
        found.append(tuple(pair for pair in pairs if len(pair.shared_by_first) == most))
    return tuple(found)
