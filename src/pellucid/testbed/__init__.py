"""The testbed: a rendered world of little birds where the right answer is known, and nets trained on it."""

from pellucid.images import open_folder
from pellucid.testbed import attributes, captions, nets, planted, questions, truth
from pellucid.testbed.correspondence import correspond, local_coordinates
from pellucid.testbed.dataset import Dataset
from pellucid.testbed.fields import SHORTCUTS
from pellucid.testbed.files import export, read_scenes
from pellucid.testbed.nets import ARCHITECTURES, Card
from pellucid.testbed.palette import BIRD_PARTS, PAPER, PART_IDS
from pellucid.testbed.scene import Scenes, boxes_of, scenes
from pellucid.testbed.tasks import TASKS
from pellucid.testbed.world import MODES, World

__all__ = [
    "ARCHITECTURES",
    "BIRD_PARTS",
    "MODES",
    "PAPER",
    "PART_IDS",
    "SHORTCUTS",
    "TASKS",
    "Card",
    "Dataset",
    "Scenes",
    "World",
    "attributes",
    "boxes_of",
    "captions",
    "correspond",
    "export",
    "local_coordinates",
    "nets",
    "open_folder",
    "planted",
    "questions",
    "read_scenes",
    "scenes",
    "truth",
]
