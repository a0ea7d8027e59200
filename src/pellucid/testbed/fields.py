"""What a scene is made of: named fields, their words, and the parts that show them.

A bird's own fields have plain names (`tail`); in a flock the second to fourth bird have theirs (`bird1_tail`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from jaxtyping import Shaped

from pellucid.testbed.palette import BIRD_PARTS

Fields: TypeAlias = Mapping[str, Shaped[np.ndarray, "scene"]]

HUES = ("coral", "amber", "moss", "teal", "blue", "plum")
LANDS = ("meadow", "shore", "dusk", "snow", "forest", "desert")
PROPS = (0, 1, 2)  # places for clutter: none, one, two or three of them are filled
PROP_KINDS = ("flower", "mushroom", "stone")
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
REMOVABLE = ("wing", "tail", "bib", "beak", "eye")  # parts whose absence is no field of the bird: `has_wing` and so on
LASTING = ("body", "head")  # parts that no mode leaves out, but that can be removed from a scene
PRESENCE = tuple(f"has_{part}" for part in (*REMOVABLE, *LASTING))

SPECIES = tuple(
    f"{crown}{wing} {tail}"
    for wing in ("ripple", "pebble", "willow")
    for tail in ("swift", "wren")
    for crown in ("", "crowned ")
)

# Flocks

BIRDS = 4  # the most there can be
BIRD_COUNTS = ("one", "two", "three", "four")  # words of the field `birds`
CELLS = ("upper left", "upper right", "lower left", "lower right")  # words of the field `cell`
OWN_WORDS = tuple(name for name in WORDS if name != "land")
OWN_NUMBERS = ("x", "y", "scale", "rot")
OWN = (*OWN_WORDS, *OWN_NUMBERS, *PRESENCE, "cell")  # what each bird has for itself


def of_bird(bird: int, name: str) -> str:
    """The field in which one bird keeps what the first keeps in `name`."""
    return f"bird{bird}_{name}" if bird else name


def whose(name: str) -> tuple[int, str]:
    """Which bird's field it is, and its plain name: `bird2_tail` is (2, "tail")."""
    if name.startswith("bird") and name[5:6] == "_" and name[4] in "123":
        return int(name[4]), name[6:]
    return 0, name


def fields_of_bird(fields: Fields, bird: int) -> dict[str, Shaped[np.ndarray, "scene"]]:
    """One bird's own fields under their plain names, and those all birds of the scene share."""
    shared = {name: values for name, values in fields.items() if whose(name)[0] == 0}
    return shared | {name: fields[of_bird(bird, name)] for name in OWN if of_bird(bird, name) in fields}


def words_of(name: str) -> tuple[str, ...]:
    """The words a field's values stand for; none where it holds numbers or yes and no."""
    plain = whose(name)[1]
    if plain in WORDS:
        return WORDS[plain]
    if plain == "cue" or (plain.startswith("prop") and plain.endswith("_h")):
        return HUES
    if plain.startswith("prop") and plain.endswith("_kind"):
        return PROP_KINDS
    return {"birds": BIRD_COUNTS, "cell": CELLS}.get(plain, ())


def is_yes_or_no(name: str) -> bool:
    """Whether the field says that something is there."""
    plain = whose(name)[1]
    return plain == "occ" or plain.startswith("has_") or (plain.startswith("prop") and plain.endswith("_on"))


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
        **{f"has_{part}": (part,) for part in (*REMOVABLE, *LASTING)},
        **{f"prop{slot}_{what}": (f"prop{slot}",) for slot in PROPS for what in ("on", "kind", "x", "y", "s", "h")},
        "occ": ("grass",),
        "occx": ("grass",),
        "birds": BIRD_PARTS,
    }
)

# Which fields say that a part is there; it is absent where all of them are 0.
PRESENCE_OF_PART: Mapping[str, str] = MappingProxyType(
    {
        "crest": "crest",
        "feet": "feet",
        "grass": "occ",
        **{part: f"has_{part}" for part in (*REMOVABLE, *LASTING)},
        **{f"prop{slot}": f"prop{slot}_on" for slot in PROPS},
    }
)
