"""The testbed: a rendered world of little birds where the right answer is known, and nets trained on it."""

from pellucid.testbed import captions, nets, truth
from pellucid.testbed.fields import SHORTCUTS, TASKS, World
from pellucid.testbed.nets import ARCHITECTURES, Card
from pellucid.testbed.render import BIRD_PARTS, PART_IDS
from pellucid.testbed.scene import Scenes, boxes_of, scenes

__all__ = [
    "ARCHITECTURES",
    "BIRD_PARTS",
    "PART_IDS",
    "SHORTCUTS",
    "TASKS",
    "Card",
    "Scenes",
    "World",
    "boxes_of",
    "captions",
    "nets",
    "scenes",
    "truth",
]
