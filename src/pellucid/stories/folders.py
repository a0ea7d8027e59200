"""A user's own pictures with marked answers, for the benchmark: COCO annotations, or a folder of masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from pellucid.errors import FileError, RequestError
from pellucid.images import Frame, find, read
from pellucid.images.coco import open_folder
from pellucid.stories.cases import Part, SceneCases
from pellucid.stories.request import Batch, batches_of
from pellucid.subject import VisionModel
from pellucid.testbed.files import LINES, read_scenes
from pellucid.trust.ground import Ground
from pellucid.values import Class

Mask = Bool[np.ndarray, "height width"]


@dataclass(frozen=True, eq=False)
class Marked:
    """One picture, read when it is needed, with the class it is explained for.

    answer, objects: the mask of what shows the class, and of every object, on the original picture
    """

    name: str
    frame: Callable[[], Frame]
    target: int
    answer: Callable[[], Mask]
    objects: Callable[[], Mask]


class MarkedCases:
    """Pictures with masks. Frames, masks and inputs of a part live only as long as it is measured."""

    def __init__(self, model: VisionModel, title: str, total: int, pictures: Sequence[Marked]) -> None:
        self._model, self._pictures = model, pictures
        self.title, self.total = title, total
        self.names = tuple(one.name for one in pictures)

    def part(self, places: Sequence[int]) -> Part:
        chosen = [self._pictures[place] for place in places]
        batches = batches_of(self._model, [one.frame() for one in chosen])
        if len(batches) != 1:
            raise RequestError(
                f"The pictures of {self.title} become inputs of several sizes for {self._model.name}; give the model a "
                f"preprocess with a size."
            )
        (batch,) = batches
        exact = _on_input(batch, [one.answer() for one in chosen])
        beside = ~_on_input(batch, [one.objects() for one in chosen])
        for one, mask in zip(chosen, exact, strict=True):
            if not bool(mask.any()):
                raise RequestError(
                    f"The answer in {one.name} is too small, or lies where the model does not look: nothing of it is "
                    f"left on its input."
                )
        return Part(batch, tuple(Class(one.target) for one in chosen), Ground(exact, exact, background=beside))


def coco_cases(model: VisionModel, folder: Path, count: int) -> MarkedCases:
    """Pictures of a COCO-style folder on which the model's first class is among what is marked.

    A category is a class where its name is one of the class's names. Raises AnnotationError, ImageError, RequestError.
    """
    annotated = open_folder(folder)
    classes = {one.name: model.labels.index(one.name) for one in annotated.categories if one.name in model.labels}
    if not classes:
        names = ", ".join(one.name for one in annotated.categories[:5])
        raise RequestError(
            f"No category of {folder} ({names}, ...) is a class of {model.name}; rename the categories as the model's "
            f"labels have them."
        )
    looked_at = [one for one in annotated if any(label in classes for label in one.labels)][:count]
    marked: list[Marked] = []
    for one in looked_at:
        first = _predicted(model, one.frame())
        names = [label for label in one.labels if classes.get(label) == first]
        if names:
            marked.append(Marked(one.name, one.frame, first, lambda one=one, names=names: one.mask(*names), one.mask))
    return _some(MarkedCases(model, f"COCO folder {folder.name}", len(looked_at), marked), folder)


def folder_cases(model: VisionModel, folder: Path, count: int) -> MarkedCases | SceneCases:
    """A folder that `pellucid testbed export` wrote, or one with `images/` and masks of the same names in `masks/`.

    Where nothing says what a picture shows, the class the model predicts is explained. Raises FileError, ImageError,
    RequestError.
    """
    if (folder / LINES).is_file():
        scenes = read_scenes(folder)
        return SceneCases(model, scenes[np.arange(min(count, len(scenes)))], f"exported scenes {folder.name}")
    if not (folder / "images").is_dir() or not (folder / "masks").is_dir():
        raise FileError(
            folder, "it has neither scenes.jsonl nor the folders images and masks.",
            "Export scenes there, or put a mask of the answer (white on black) beside every picture.",
        )  # fmt: skip
    masks = {path.stem: path for path in find(str(folder / "masks"))}
    paths = [path for path in find(str(folder / "images")) if path.stem in masks][:count]
    marked: list[Marked] = []
    for path in paths:
        frame = read(path)
        answer = lambda path=path, size=frame.pixels.shape[:2]: _mask(masks[path.stem], size)
        marked.append(Marked(path.name, lambda path=path: read(path), _predicted(model, frame), answer, answer))
    return _some(MarkedCases(model, f"folder {folder.name}", len(paths), marked), folder)


def _predicted(model: VisionModel, frame: Frame) -> int:
    return int(model.predict(model.prepare([frame])).argmax())


def _mask(path: Path, size: tuple[int, ...]) -> Mask:
    mask = read(path).pixels.max(axis=2) > 127
    if mask.shape != tuple(size):
        raise FileError(
            path, f"it has {mask.shape[1]} x {mask.shape[0]} pixels, its picture {size[1]} x {size[0]}.",
            "Save the mask at the size of the picture.",
        )  # fmt: skip
    return mask


def _on_input(batch: Batch, masks: Sequence[Mask]) -> Bool[Tensor, "batch height width"]:
    placed = [
        mask if frame.geometry is None else frame.geometry.mask_to_input(mask)
        for mask, frame in zip(masks, batch.frames, strict=True)
    ]
    return torch.from_numpy(np.stack(placed)).bool()


def _some(cases: MarkedCases, folder: Path) -> MarkedCases:
    if not cases.names:
        raise RequestError(f"The model gets none of the {cases.total} pictures in {folder} right: nothing to judge.")
    return cases
