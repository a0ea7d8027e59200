"""What the right answer is: the parts that decide, in the world or in a net.

A mask of the deciding parts is the truth of the world. What a net truly reads may be less or other; `effect` measures
it with twins, so every figure that compares a map with a mask can stand beside it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool

from pellucid.errors import SceneError
from pellucid.images import masks
from pellucid.results import Truth
from pellucid.testbed.effects import EFFECT_FIELDS, Effects, TargetLike, effect, label_of, tried
from pellucid.testbed.fields import (
    BIRD_COUNTS,
    BIRDS,
    HUES,
    PARTS_OF_FIELD,
    PRESENCE_OF_PART,
    WORDS,
    of_bird,
    whose,
)
from pellucid.testbed.scene import Scenes, boxes_of
from pellucid.testbed.twins import LANDSCAPE, add, another, footprint, paste_land, remove, twin
from pellucid.values import Class, Contrast

__all__ = [
    "EFFECT_FIELDS",
    "Effects",
    "add",
    "another",
    "causal",
    "causes_of",
    "effect",
    "footprint",
    "grown",
    "in_words",
    "known",
    "paste_land",
    "place_of",
    "remove",
    "tolerance",
    "tried",
    "twin",
]


def causal(
    scenes: Scenes,
    target: TargetLike | None = None,
    *,
    ghosts: bool = True,
    bird: int | None = None,
    truth: str = "world",
    effects: Effects | None = None,
) -> Bool[np.ndarray, "scene height width"]:
    """Where the parts lie that decide the class, or that tell the two classes of a contrast apart.

    target:  a class or None gives all deciding parts of the task; a Contrast those in which its two classes differ
    ghosts:  also the place where a deciding part would be, where its absence decides
    bird:    of one bird of a flock only, 0 to 3
    truth:   "world" is what decides the label; "model" what a net's answer rests on in each scene, the fewest fields
             that hold 90 % of the positive effect in `effects`, which `effect` measured on these scenes

    Grass before a part is not the part.
    """
    if truth not in ("world", "model"):
        raise SceneError(f"There is no truth {truth!r}. Known: world, model.")
    if truth == "world":
        return _united(scenes, _fields_of(scenes, target, bird), target, ghosts)
    if effects is None:
        raise SceneError("The truth of a model needs its effects: effects=truth.effect(net, scenes, target).")
    read = [effects.causes(at=at) for at in range(len(scenes))]
    mask = np.zeros(scenes.parts.shape, dtype=bool)
    for name in sorted({name for names in read for name in names}):
        where = np.array([name in names for names in read])
        mask[where] |= place_of(scenes[where], name, ghosts=ghosts)
    return mask


def causes_of(scenes: Scenes, target: TargetLike | None = None) -> tuple[str, ...]:
    """The fields that decide the class, or in which the two classes of a contrast differ."""
    task = scenes.task
    if isinstance(target, Contrast):
        return task.differing(label_of(scenes, target.this), label_of(scenes, target.that))
    if target is not None:
        label_of(scenes, target.index if isinstance(target, Class) else target)
    return task.causes


def place_of(
    scenes: Scenes, name: str, *, ghosts: bool = True, most: int = BIRDS
) -> Bool[np.ndarray, "scene height width"]:
    """Where one field shows.

    ghosts: also where the part that shows it would be, where it is absent
    most:   for the number of birds: how many of them have a ghost if they are absent
    """
    bird, plain = whose(name)
    if plain == "cue":
        return scenes.cue_mask
    if plain in LANDSCAPE:
        return scenes.mask("background")
    if plain.startswith("prop"):
        slot = plain.split("_")[0]
        return scenes.mask("prop") & (scenes.amodal(slot) > 0.5)
    if plain == "birds":
        return scenes.objects | (_ghosts_of_birds(scenes, most) if ghosts else False)
    if plain not in PARTS_OF_FIELD:
        raise SceneError(f"The field {name!r} shows in no one place. Known: {', '.join(PARTS_OF_FIELD)}, land, cue.")
    parts = PARTS_OF_FIELD[plain]
    mask = scenes.mask(*parts, bird=bird if scenes.world.flock and plain not in ("occ", "occx") else None)
    for part in parts if ghosts else ():
        mask = mask | _ghost(scenes, part, bird)
    return mask


def grown(mask: Bool[np.ndarray, "scene height width"], pixels: int = 1) -> Bool[np.ndarray, "scene height width"]:
    """Each mask widened on all sides by so many pixels."""
    return np.stack([masks.dilate(one, pixels) for one in mask]) if len(mask) else mask


def tolerance(size: int) -> int:
    """By how many pixels a pointing hand may miss in pictures of that side: 1 at 64, 3 at 224."""
    return max(1, size // 64)


def known(scenes: Scenes, target: TargetLike | None = None) -> tuple[Truth, ...]:
    """The true answer for each scene, ready to be shown beside an explanation.

    The mask is the causal one with ghosts, grown by the tolerance of the pointing game; boxes are per part.
    """
    ungrown = causal(scenes, target)
    wide = grown(ungrown, tolerance(scenes.world.size))
    pieces = [_united(scenes, (name,), target, ghosts=True) for name in _fields_of(scenes, target, None)]
    truths = []
    for at in range(len(scenes)):
        boxes = boxes_of(np.stack([piece[at] for piece in pieces])) if pieces else np.zeros((0, 4), dtype=np.int64)
        shown = tuple(tuple(float(edge) for edge in box) for box in boxes if box.any())
        truths.append(Truth(wide[at], ungrown[at], in_words(scenes[at], target), shown))
    return tuple(truths)


def in_words(scene: Scenes, target: TargetLike | None = None) -> str:
    """The deciding parts of one scene: "the dotted wing, the forked tail, the plume"."""
    causes = causes_of(scene, target)
    if causes and scene.world.task == "count":
        count = int(scene.fields["birds"][0])
        return f"the {BIRD_COUNTS[count]} bird{'s' * (count > 0)}"
    if causes and scene.world.task == "side":
        left, right = (WORDS["tail"][value] for value in _tails_from_left(scene))
        return f"the {left} tail on the left, the {right} tail on the right"
    if not scene.world.flock:
        return ", ".join(_phrase(scene, cause) for cause in causes)
    birds = range(int(scene.counts[0]))
    return "; ".join(", ".join(_phrase(scene, of_bird(bird, cause)) for cause in causes) for bird in birds)


def _united(
    scenes: Scenes, names: tuple[str, ...], target: TargetLike | None, ghosts: bool
) -> Bool[np.ndarray, "scene height width"]:
    """Where any of these fields shows."""
    mask = np.zeros(scenes.parts.shape, dtype=bool)
    most = BIRDS
    if isinstance(target, Contrast) and scenes.world.task == "count":
        most = 1 + max(label_of(scenes, target.this), label_of(scenes, target.that))
    for name in names:
        mask |= place_of(scenes, name, ghosts=ghosts, most=most)
    return mask


def _fields_of(scenes: Scenes, target: TargetLike | None, bird: int | None) -> tuple[str, ...]:
    """The deciding fields; of each bird, where the task is about one and there are several."""
    causes = causes_of(scenes, target)
    if bird is not None and not 0 <= bird < scenes.most:
        raise SceneError(f"There is no bird {bird}: these scenes have at most {scenes.most}, counted from 0.")
    if not scenes.world.flock or scenes.world.task == "count":
        return causes
    if scenes.task.flock:
        return tuple(cause for cause in causes if bird is None or whose(cause)[0] == bird)
    return tuple(of_bird(one, cause) for one in (range(BIRDS) if bird is None else (bird,)) for cause in causes)


def _ghost(scenes: Scenes, part: str, bird: int) -> Bool[np.ndarray, "scene height width"]:
    """What would show of a part that is absent; nothing where it is there."""
    mask = np.zeros(scenes.parts.shape, dtype=bool)
    absent = scenes.fields[of_bird(bird, PRESENCE_OF_PART[part])] == 0
    if absent.any():
        with_it = add(scenes[absent], part, bird=bird)
        mask[absent] = with_it.mask(part, bird=bird if scenes.world.flock and part != "grass" else None)
    return mask


def _ghosts_of_birds(scenes: Scenes, most: int) -> Bool[np.ndarray, "scene height width"]:
    """What would show of the birds that would make them `most`."""
    fuller = twin(scenes, birds=np.maximum(scenes.fields["birds"], most - 1))
    return fuller.birds > scenes.counts[:, None, None]


def _tails_from_left(scene: Scenes) -> tuple[int, int]:
    first, second = int(scene.fields["tail"][0]), int(scene.fields["bird1_tail"][0])
    return (first, second) if scene.fields["cell"][0] % 2 == 0 else (second, first)


def _phrase(scene: Scenes, name: str) -> str:
    bird, plain = whose(name)
    value = int(scene.fields[name][0])
    gone = scene.fields.get(of_bird(bird, f"has_{PARTS_OF_FIELD[plain][0]}"))
    if gone is not None and not gone[0]:
        return f"the missing {PARTS_OF_FIELD[plain][0]}"
    phrases: dict[str, Callable[[], str]] = {
        "wing": lambda: f"the {WORDS['wing'][value]} wing",
        "tail": lambda: f"the {WORDS['tail'][value]} tail",
        "crest": lambda: "the plume" if value else "the bare head, which has no plume",
        "bib_hue": lambda: f"the {HUES[value]} bib",
        "body_hue": lambda: f"the {HUES[value]} body",
    }
    return phrases[plain]()
