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
from pellucid.images import Frame, find, masks, read
from pellucid.images.coco import open_folder
from pellucid.stories.cases import Part, SceneCases
from pellucid.stories.request import batches_of
from pellucid.subject import VisionModel
from pellucid.testbed.files import LINES, read_scenes
from pellucid.trust.ground import Ground, box_around
from pellucid.values import Class

Mask = Bool[np.ndarray, "height width"]
TOLERANCE = 15 / 224  # of the shorter side: how far beside the answer a map may point (Zhang et al. 2018)


@dataclass(frozen=True, eq=False)
class Marked:
    """One picture, read when it is needed, with the class it is explained for.

    answers: the masks of the things that show the class, on the original picture
    objects: the mask of every object
    crowded: whether anything but the answer is marked
    rival:   another class that is marked in the picture, and the mask of what shows it; None where there is none
    """

    name: str
    frame: Callable[[], Frame]
    target: int
    answers: Callable[[], Sequence[Mask]]
    objects: Callable[[], Mask]
    crowded: bool = False
    rival: tuple[int, Callable[[], Mask]] | None = None


class MarkedCases:
    """Pictures with masks. Frames, masks and inputs of a part live only as long as it is measured.

    Those on whose model input nothing of the answer is left (it is too small, or cut off) are left out, and the title
    counts them. What is marked beside the answer are distractors; maps may point as far beside it as is published.
    """

    def __init__(self, model: VisionModel, title: str, total: int, pictures: Sequence[Marked]) -> None:
        shown = [one for one in pictures if _shows(model, one)]
        unseen = len(pictures) - len(shown)
        self._model, self._pictures = model, shown
        self.title = title + (
            f" ({unseen} left out, of whose answer the model's input shows nothing)" if unseen else ""
        )
        self.total = total
        self.names = tuple(one.name for one in shown)

    def part(self, places: Sequence[int]) -> Part:
        chosen = [self._pictures[place] for place in places]
        batches = batches_of(self._model, [one.frame() for one in chosen])
        if len(batches) != 1:
            raise RequestError(
                f"The pictures of {self.title} become inputs of several sizes for {self._model.name}; give the model a "
                f"preprocess with a size."
            )
        (batch,) = batches
        things = [_on_input(frame, one.answers()) for frame, one in zip(batch.frames, chosen, strict=True)]
        exact = torch.stack([each.any(dim=0) for each in things])
        marked = [_on_input(frame, [one.objects()]) for frame, one in zip(batch.frames, chosen, strict=True)]
        objects = torch.cat(marked) | exact
        rival = torch.cat([
            _on_input(frame, [one.rival[1]() if one.rival else np.zeros(frame.pixels.shape[:2], dtype=bool)])
            for frame, one in zip(batch.frames, chosen, strict=True)
        ])  # fmt: skip
        reach = TOLERANCE * min(exact.shape[-2:])
        truth = Ground(
            mask=torch.from_numpy(np.stack([masks.near(mask, reach) for mask in exact])), exact=exact,
            background=~objects,
            distractors=objects & ~exact if any(one.crowded for one in self._pictures) else None,
            rival=rival if any(one.rival for one in self._pictures) else None,
            rivals=tuple(Class(one.rival[0]) if one.rival else None for one in chosen),
            boxes=tuple(tuple(box_around(thing) for thing in each if thing.any()) for each in things),
        )  # fmt: skip
        return Part(batch, tuple(Class(one.target) for one in chosen), truth)


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
            answers = lambda one=one, names=names: [instance.mask() for instance in one.of(*names)]
            others = [label for label in one.labels if classes.get(label, first) != first]
            rival = (classes[others[0]], lambda one=one, name=others[0]: one.mask(name)) if others else None
            marked.append(Marked(one.name, one.frame, first, answers, one.mask, len(one.labels) > len(names), rival))
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
    answers = {path.stem: path for path in find(str(folder / "masks"))}
    paths = [path for path in find(str(folder / "images")) if path.stem in answers][:count]
    marked: list[Marked] = []
    for path in paths:
        frame = read(path)
        answer = lambda path=path, size=frame.pixels.shape[:2]: _mask(answers[path.stem], size)
        marked.append(
            Marked(
                path.name, lambda path=path: read(path), _predicted(model, frame), lambda one=answer: [one()], answer
            )
        )
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


def _shows(model: VisionModel, picture: Marked) -> bool:
    """Whether anything of the answer is on the model's input."""
    (batch,) = batches_of(model, [picture.frame()])
    return bool(_on_input(batch.frames[0], picture.answers()).any())


def _on_input(frame: Frame, marked: Sequence[Mask]) -> Bool[Tensor, "mask height width"]:
    placed = [mask if frame.geometry is None else frame.geometry.mask_to_input(mask) for mask in marked]
    return torch.from_numpy(np.stack(placed)).bool()


def _some(cases: MarkedCases, folder: Path) -> MarkedCases:
    if not cases.names:
        raise RequestError(
            f"Of {cases.total} pictures in {folder} there is none that the model gets right and whose answer its input "
            f"shows: nothing to judge."
        )
    return cases
