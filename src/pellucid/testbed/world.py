"""How scenes are made, beside their seed, and the drawing of their fields."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64, Shaped

from pellucid.errors import SceneError
from pellucid.testbed.chance import choose, uniform_numbers
from pellucid.testbed.fields import (
    BIRDS,
    CONTINUOUS,
    HUES,
    LASTING,
    OWN_NUMBERS,
    OWN_WORDS,
    PROP_KINDS,
    PROPS,
    REMOVABLE,
    SHORTCUTS,
    TOUCHING,
    WORDS,
    of_bird,
)
from pellucid.testbed.tasks import TASKS, Task

MODES = ("solo", "flock", "parts_missing")
MISSING = 0.15  # how often each part is absent in the mode `parts_missing`


@dataclass(frozen=True)
class World:
    """How scenes are made, beside their seed: what is the same for all scenes of one set.

    size:          side of the picture in pixels; the same scene at any size
    task:          which fields decide the label; a key of TASKS
    mode:          one bird (`solo`), two to four smaller ones (`flock`), or one whose parts may be absent
                   (`parts_missing`, which sets that share to .15). The tasks `count` and `side` are about flocks
    shortcut:      a planted cue that agrees with `label // 2` with probability `strength`; one of SHORTCUTS, or None
    clutter:       how often each of three props stands there, as a factor on .55
    occlusion:     share of scenes with grass before the bird
    camera:        strength of vignette, exposure, blur and grain, 0 to 1
    jpeg:          quality at which the picture was once saved as JPEG, 1 to 100; None is never
    parts_missing: share of scenes in which each of wing, tail, bib, beak and eye is absent
    label_noise:   share of scenes whose label is redrawn uniformly (the picture is not)
    flat:          paper without light: hard edges, every paint in one colour, no camera. Masks stay what they are
    """

    size: int = 64
    task: str = "species"
    mode: str = "solo"
    shortcut: str | None = None
    strength: float = 0.95
    clutter: float = 1.0
    occlusion: float = 0.15
    camera: float = 1.0
    jpeg: int | None = None
    parts_missing: float = 0.0
    label_noise: float = 0.0
    flat: bool = False

    def __post_init__(self) -> None:
        if self.size < 16:
            raise SceneError(f"Scenes of side {self.size} are too small to show a bird; the least is 16 pixels.")
        _one_of("task", self.task, tuple(TASKS))
        _one_of("mode", self.mode, MODES)
        if TASKS[self.task].flock:
            object.__setattr__(self, "mode", "flock")
        if self.mode == "parts_missing" and self.parts_missing == 0:
            object.__setattr__(self, "parts_missing", MISSING)
        if self.shortcut is not None:
            _one_of("shortcut", self.shortcut, SHORTCUTS)
            if self.task != "species" or self.flock:
                raise SceneError("A shortcut stands in for wing and tail, so it needs the task 'species' and one bird.")
        if self.parts_missing > 0 and self.task == "side":
            raise SceneError("The task 'side' tells birds by their tails, so no part may be missing.")
        if self.jpeg is not None and not 1 <= self.jpeg <= 100:
            raise SceneError(f"jpeg is {self.jpeg}; a quality lies between 1 and 100.")
        if self.clutter < 0:
            raise SceneError(f"clutter is {self.clutter}; it must not lie below 0.")
        for name in ("strength", "occlusion", "camera", "parts_missing", "label_noise"):
            if not 0 <= getattr(self, name) <= 1:
                raise SceneError(f"{name} is {getattr(self, name)}; it must lie between 0 and 1.")

    @property
    def flock(self) -> bool:
        return self.mode == "flock"

    @property
    def labelling(self) -> Task:
        """The task by which scenes are labelled."""
        return TASKS[self.task]


def draw(seed: int, index: Int64[np.ndarray, "scene"], world: World) -> dict[str, Shaped[np.ndarray, "scene"]]:
    """Every field of the scenes `index` of a seed: int64 for words, float32 in (0, 1] for the rest."""

    def uniform(field: str) -> Float[np.ndarray, "scene"]:
        return uniform_numbers(seed, index, field)

    def choice(field: str, count: int) -> Int64[np.ndarray, "scene"]:
        return choose(uniform(field), count)

    fields: dict[str, np.ndarray] = {
        name: choice(name, len(words)) for name, words in WORDS.items() if name not in TOUCHING
    }
    for name in TOUCHING:  # one of the five hues that are not the body's, so that every part has an edge
        fields[name] = (fields["body_hue"] + 1 + choice(name, len(HUES) - 1)) % len(HUES)
    fields |= {name: uniform(name) for name in CONTINUOUS}
    fields["occ"] = (fields["occ"] < world.occlusion).astype(np.int64)
    for slot in PROPS:
        fields[f"prop{slot}_on"] = (uniform(f"prop{slot}_on") < 0.55 * world.clutter).astype(np.int64)
        fields[f"prop{slot}_kind"] = choice(f"prop{slot}_kind", len(PROP_KINDS))
        fields[f"prop{slot}_h"] = choice(f"prop{slot}_h", len(HUES))
        fields |= {f"prop{slot}_{name}": uniform(f"prop{slot}_{name}") for name in ("x", "y", "s")}
    fields |= _presence(seed, index, 0, world.parts_missing)
    if world.flock:
        fields |= _flock(seed, index, world, fields)
    if world.shortcut is not None:
        follows = uniform("cue_follows") < world.strength
        wanted = TASKS["species"].decide(fields) // 2
        fields["cue"] = np.where(follows, wanted, choice("cue", len(HUES)))
        if world.shortcut == "background":
            fields["land"] = fields.pop("cue")
    return fields


def _presence(seed: int, index: np.ndarray, bird: int, missing: float) -> dict[str, np.ndarray]:
    fields = {name: uniform_numbers(seed, index, name) for name in (of_bird(bird, f"has_{part}") for part in REMOVABLE)}
    drawn = {name: (numbers >= missing).astype(np.int64) for name, numbers in fields.items()}
    return drawn | {of_bird(bird, f"has_{part}"): np.ones(len(index), dtype=np.int64) for part in LASTING}


def _flock(seed: int, index: np.ndarray, world: World, first: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The other birds, drawn whether or not they are there, how many there are, and who sits where."""
    fields: dict[str, np.ndarray] = {}
    for bird in range(1, BIRDS):
        drawn = {
            name: choose(uniform_numbers(seed, index, of_bird(bird, name)), len(WORDS[name]))
            for name in OWN_WORDS
            if name not in TOUCHING
        }
        for name in TOUCHING:
            step = choose(uniform_numbers(seed, index, of_bird(bird, name)), len(HUES) - 1)
            drawn[name] = (drawn["body_hue"] + 1 + step) % len(HUES)
        drawn |= {name: uniform_numbers(seed, index, of_bird(bird, name)) for name in OWN_NUMBERS}
        fields |= {of_bird(bird, name): values for name, values in drawn.items()}
        fields |= _presence(seed, index, bird, world.parts_missing)
    lots = [uniform_numbers(seed, index, of_bird(bird, "cell")) for bird in range(BIRDS)]
    cells = np.argsort(np.argsort(np.stack(lots, axis=1), axis=1, kind="stable"), axis=1).astype(np.int64)
    birds = uniform_numbers(seed, index, "birds")
    if world.task == "count":
        fields["birds"] = choose(birds, BIRDS)
    elif world.task == "side":
        fields["birds"] = np.ones(len(index), dtype=np.int64)
        fields["bird1_tail"] = 1 - first["tail"]
        cells = _across(cells)
    else:
        fields["birds"] = 1 + choose(birds, BIRDS - 1)
    return fields | {of_bird(bird, "cell"): cells[:, bird] for bird in range(BIRDS)}


def _across(cells: Int64[np.ndarray, "scene bird"]) -> Int64[np.ndarray, "scene bird"]:
    """The second bird never above or below the first, so that it is plain which is further left."""
    stacked = cells[:, 0] % 2 == cells[:, 1] % 2
    swapped = cells.copy()
    swapped[stacked, 1], swapped[stacked, 2] = cells[stacked, 2], cells[stacked, 1]
    return swapped


def _one_of(what: str, asked: str, known: tuple[str, ...]) -> None:
    if asked not in known:
        raise SceneError(f"There is no {what} {asked!r}. Known: {', '.join(known)}.")
