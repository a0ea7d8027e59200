"""Nets whose weights are set by hand, so that what each unit, head, path or layer does is known exactly.

planted = testbed.planted.hues()
scenes = planted.stimuli(7, 100)
activations = planted.module.detect(planted.pictures(scenes))
planted.units[0].name, planted.units[0].fires(scenes), planted.units[0].where(scenes)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from pellucid.testbed.planted import codes
from pellucid.testbed.planted.additive import PartScores, linear_picture, part_scores, parts, spurious
from pellucid.testbed.planted.channels import path
from pellucid.testbed.planted.colours import hues
from pellucid.testbed.planted.gabor import Gratings, edges
from pellucid.testbed.planted.gates import logic, twoface, twoface_answers
from pellucid.testbed.planted.heads import Tiles, head, head_decoy, head_two_hops
from pellucid.testbed.planted.superposition import mixed
from pellucid.testbed.planted.unit import Planted, PlantedDictionary, PlantedHead, PlantedPath, PlantedUnit

# What `testbed:planted_NAME` builds.
BUILDERS: Mapping[str, Callable[[], Planted]] = MappingProxyType(
    {
        "hues": hues,
        "edges": edges,
        "logic": logic,
        "mixed": mixed,
        "path": path,
        "head": head,
        "head_decoy": head_decoy,
        "head_two_hops": head_two_hops,
        "parts": parts,
        "linear": linear_picture,
        "twoface": twoface,
        "spurious": spurious,
    }
)

__all__ = [
    "BUILDERS",
    "Gratings",
    "PartScores",
    "Planted",
    "PlantedDictionary",
    "PlantedHead",
    "PlantedPath",
    "PlantedUnit",
    "Tiles",
    "codes",
    "edges",
    "head",
    "head_decoy",
    "head_two_hops",
    "hues",
    "linear_picture",
    "logic",
    "mixed",
    "part_scores",
    "parts",
    "path",
    "spurious",
    "twoface",
    "twoface_answers",
]
