"""What a scene is made of: named fields, the numbers they are drawn from, and the tables that turn fields into labels.

Every draw is keyed by name, `u = hash(seed, index, field)`, so any scene can be drawn alone, adding a field never
changes the others, and editing one field leaves every other draw where it was. No random generator is involved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Int64, Shaped, UInt64

from pellucid.errors import SceneError

Fields: TypeAlias = Mapping[str, Shaped[np.ndarray, "scene"]]

HUES = ("coral", "amber", "moss", "teal", "blue", "plum")
LANDS = ("meadow", "shore", "dusk", "snow", "forest", "desert")
PROPS = (0, 1, 2)  # places for clutter: none, one, two or three of them are filled
SHORTCUTS = ("background", "tag", "frame", "trace")

# Words of the discrete fields; the position of a word is the field's value.
WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "wing": ("barred", "dotted", "edged"),
        "tail": ("forked", "fanned"),
        "crest": ("none", "plume"),
        "beak": ("cone", "long", "hooked"),
        "land": LANDS,
        "body_hue": HUES,
        "wing_hue": HUES,
        "tail_hue": HUES,
        "crest_hue": HUES,
        "bib_hue": HUES,
        "beak_hue": ("amber", "black", "coral"),
        "feet": ("hovering", "standing"),
        "flip": ("right", "left"),
    }
)
TOUCHING = ("wing_hue", "tail_hue", "crest_hue", "bib_hue")  # hues that must differ from the body's
CONTINUOUS = (
    *("x", "y", "scale", "rot", "light", "noise", "blur", "vig", "occ", "occx", "tint"),
    *("hill1", "hill2", "hillp", "sun", "sunx"),
)
PROP_KINDS = ("flower", "mushroom", "stone")
REMOVABLE = ("wing", "tail", "bib", "beak", "eye")  # parts whose absence is no field of the bird: `has_wing` and so on


@dataclass(frozen=True)
class World:
    """How scenes are made, beside their seed: what is the same for all scenes of one set.

    size:          side of the picture in pixels; the same scene at any size
    task:          which fields decide the label; a key of TASKS
    shortcut:      a planted cue that agrees with `label // 2` with probability `strength`; one of SHORTCUTS, or None
    clutter:       how often each of three props stands there, as a factor on .55
    occlusion:     share of scenes with grass before the bird
    camera:        strength of vignette, exposure, blur and grain, 0 to 1
    parts_missing: share of scenes in which each of wing, tail, bib, beak and eye is absent
    label_noise:   share of scenes whose label is redrawn uniformly (the picture is not)
    """

    size: int = 64
    task: str = "species"
    shortcut: str | None = None
    strength: float = 0.95
    clutter: float = 1.0
    occlusion: float = 0.15
    camera: float = 1.0
    parts_missing: float = 0.0
    label_noise: float = 0.0

    def __post_init__(self) -> None:
        if self.size < 16:
            raise SceneError(f"Scenes of side {self.size} are too small to show a bird; the least is 16 pixels.")
        if self.task not in TASKS:
            raise SceneError(f"There is no task {self.task!r}. Known: {', '.join(TASKS)}.")
        if self.shortcut is not None and self.shortcut not in SHORTCUTS:
            raise SceneError(f"There is no shortcut {self.shortcut!r}. Known: {', '.join(SHORTCUTS)}.")
        if self.shortcut is not None and self.task != "species":
            raise SceneError("A shortcut stands in for wing and tail, so it needs the task 'species'.")
        for name in ("strength", "occlusion", "camera", "parts_missing", "label_noise"):
            if not 0 <= getattr(self, name) <= 1:
                raise SceneError(f"{name} is {getattr(self, name)}; it must lie between 0 and 1.")


@dataclass(frozen=True)
class Task:
    """A way to label scenes.

    labels: the classes' names
    causes: the fields that decide, most significant first
    radix:  how many values each cause has, where the classes are the full table of them; None for logical tasks
    decide: fields -> labels
    """

    labels: tuple[str, ...]
    causes: tuple[str, ...]
    radix: tuple[int, ...] | None
    decide: Callable[[Fields], Int64[np.ndarray, "scene"]]

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the bird that decide."""
        return tuple(part for cause in self.causes for part in PARTS_OF_FIELD[cause])

    def row(self, label: int) -> dict[str, int]:
        """The deciding fields' values for one class; empty where several rows share a class."""
        if self.radix is None:
            return {}
        return dict(zip(self.causes, map(int, np.unravel_index(label, self.radix)), strict=True))

    def differing(self, this: int, that: int) -> tuple[str, ...]:
        """The fields in which two classes differ: what a counterfactual must change."""
        if self.radix is None:
            return self.causes if this != that else ()
        one, other = self.row(this), self.row(that)
        return tuple(cause for cause in self.causes if one[cause] != other[cause])


# Which parts show a field.
PARTS_OF_FIELD: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "wing": ("wing",),
        "wing_hue": ("wing",),
        "tail": ("tail",),
        "tail_hue": ("tail",),
        "crest": ("crest",),
        "crest_hue": ("crest",),
        "bib_hue": ("bib",),
        "beak": ("beak",),
        "beak_hue": ("beak",),
        "body_hue": ("body", "head"),
        "feet": ("feet",),
        **{f"has_{part}": (part,) for part in REMOVABLE},
        **{f"prop{slot}_{what}": (f"prop{slot}",) for slot in PROPS for what in ("on", "kind", "x", "y", "s", "h")},
        "occ": ("grass",),
        "occx": ("grass",),
    }
)


def _table(causes: tuple[str, ...], labels: tuple[str, ...]) -> Task:
    """A task whose classes are every combination of the causes' values."""
    radix = tuple(len(WORDS[cause]) for cause in causes)

    def decide(fields: Fields) -> Int64[np.ndarray, "scene"]:
        return np.ravel_multi_index(tuple(fields[cause].astype(np.int64) for cause in causes), radix).astype(np.int64)

    return Task(labels, causes, radix, decide)


def _logic(labels: tuple[str, str], combine: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Task:
    """A task of two classes on plume and fanned tail."""

    def decide(fields: Fields) -> Int64[np.ndarray, "scene"]:
        return combine(fields["crest"] == 1, fields["tail"] == 1).astype(np.int64)

    return Task(labels, ("tail", "crest"), None, decide)


SPECIES = tuple(
    f"{crown}{wing} {tail}"
    for wing in ("ripple", "pebble", "willow")
    for tail in ("swift", "wren")
    for crown in ("", "crowned ")
)
TASKS: Mapping[str, Task] = MappingProxyType(
    {
        "species": _table(("wing", "tail", "crest"), SPECIES),
        "wing3": _table(("wing",), WORDS["wing"]),
        "tail2": _table(("tail",), WORDS["tail"]),
        "crest2": _table(("crest",), ("plain", "plumed")),
        "bib6": _table(("bib_hue",), tuple(f"{hue} bib" for hue in HUES)),
        "body_tail12": _table(("body_hue", "tail"), tuple(f"{hue} {tail}" for hue in HUES for tail in WORDS["tail"])),
        "xor": _logic(("plume and fan, or neither", "either plume or fan"), np.logical_xor),
        "and": _logic(("not both plume and fan", "plume and fan"), np.logical_and),
        "or": _logic(("neither plume nor fan", "plume or fan"), np.logical_or),
    }
)


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
    for part in REMOVABLE:
        fields[f"has_{part}"] = (uniform(f"has_{part}") >= world.parts_missing).astype(np.int64)
    if world.shortcut is not None:
        follows = uniform("cue_follows") < world.strength
        wanted = TASKS["species"].decide(fields) // 2
        fields["cue"] = np.where(follows, wanted, choice("cue", len(HUES)))
        if world.shortcut == "background":
            fields["land"] = fields.pop("cue")
    return fields


def uniform_numbers(seed: int, index: Int64[np.ndarray, "scene"], field: str) -> Float[np.ndarray, "scene"]:
    """One number in (0, 1] per scene, from seed, index and the field's name alone."""
    return ((scramble(seed, index, field) >> np.uint64(40)).astype(np.float64) + 0.5).astype(np.float32) / np.float32(
        2**24
    )


def choose(uniform: Float[np.ndarray, "scene"], count: int) -> Int64[np.ndarray, "scene"]:
    """0 to count - 1 with equal chance. The largest float32 draw is 1 by rounding, hence the minimum."""
    return np.minimum((uniform * np.float32(count)).astype(np.int64), count - 1)


def scramble(seed: int, index: Int64[np.ndarray, "scene"], field: str) -> UInt64[np.ndarray, "scene"]:
    """64 well-mixed bits per scene: SplitMix64's finaliser over seed, index and the FNV-1a hash of the name."""
    key = name_hash(field)
    stream = mix(np.array([(seed * 0x9E3779B97F4A7C15 + key) % 2**64], dtype=np.uint64))
    place = np.asarray(index, dtype=np.int64).view(np.uint64) * np.uint64(0xD1342543DE82EF95)
    return mix(mix(place + stream) + np.uint64(key))


def mix(bits: UInt64[np.ndarray, "*shape"]) -> UInt64[np.ndarray, "*shape"]:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014), wrapping."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def name_hash(name: str) -> int:
    """64-bit FNV-1a."""
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = ((value ^ byte) * 0x100000001B3) % 2**64
    return value
