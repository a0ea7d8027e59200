"""Where the pictures of a benchmark and their answers come from, by name."""

from __future__ import annotations

from pathlib import Path

from pellucid.errors import RequestError
from pellucid.stories.cases import FEATURE_TASKS, Cases, feature_scenes, fresh_scenes, paired_scenes
from pellucid.stories.folders import coco_cases, folder_cases
from pellucid.subject import VisionModel

_FOLDERS = {"coco": coco_cases, "folder": folder_cases}


def cases_of(model: VisionModel, truth: str | Cases, scenes: int, seed: int) -> Cases:
    """The pictures that `truth` names, or the Cases that it is.

    scenes: how many pictures are looked at
    seed:   which scenes of the testbed

    Raises RequestError for a truth that there is not, and whatever opening it raises.
    """
    if not isinstance(truth, str):
        return truth
    kind, _, named = truth.partition(":")
    if truth == "testbed" or (kind == "testbed" and named == "model"):
        return fresh_scenes(model, scenes, seed, named or "world")
    if kind == "testbed" and named == "pairs":
        return paired_scenes(model, scenes, seed)
    if kind == "testbed" and named in FEATURE_TASKS:
        return feature_scenes(model, scenes, seed, named)
    if kind not in _FOLDERS or not named:
        known = ", ".join(f"testbed:{word}" for word in ("model", "pairs", *FEATURE_TASKS))
        raise RequestError(f"truth={truth!r}; expected testbed, {known}, coco:DIR or folder:DIR.")
    return _FOLDERS[kind](model, Path(named).expanduser(), scenes)
