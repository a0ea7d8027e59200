"""A transformer in the space of its classes: where they can be told, and whether the patches that speak for them do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import MethodUnavailable, RequestError
from pellucid.images import find, read_many
from pellucid.language.class_space import ClassSpace, class_space
from pellucid.language.class_tokens import Kept, kept
from pellucid.subject import VisionModel
from pellucid.testbed import scenes

_TESTBED = "testbed:"


@dataclass(frozen=True)
class BlocksInClasses:
    """What blocks do for the classes of some pictures, and the class's probability with some patches left alone.

    kept: empty where patches cannot be taken out of the sequence; a note says why
    """

    space: ClassSpace
    kept: tuple[Kept, ...]
    notes: tuple[str, ...]

    @property
    def beats_controls(self) -> bool:
        """Whether the class can be told after the last block, and the patches ranked first keep it better than any."""
        return self.space.beats_controls and all(one.beats for one in self.kept)

    def to_dict(self) -> dict[str, Any]:
        return {
            **self.space.to_dict(), "kept": [one.to_dict() for one in self.kept], "notes": list(self.notes),
            "beats_controls": self.beats_controls,
        }  # fmt: skip

    def __str__(self) -> str:
        return "\n".join([str(self.space), *map(str, self.kept), *self.notes])


def describe_blocks(
    model: VisionModel, images: Sequence[str] = (), *, scenes_drawn: int = 100, seed: int = 0
) -> BlocksInClasses:
    """What each block does for the classes of the pictures given; of rendered scenes for the testbed's nets.

    images: pictures in folders that are named like classes are of these; the others of the class the model puts first

    Raises RequestError where pictures are missing, TowerUnsupported where the model's parts are not known here.
    """
    inputs, labels, objects, notes = _pictures(model, images, scenes_drawn, seed)
    space = class_space(model, inputs, labels, objects=objects, seed=seed)
    try:
        alone = kept(model, inputs, labels, seed=seed)
    except MethodUnavailable as error:
        alone, notes = (), (*notes, f"No patches were taken out: {error.reason}")
    return BlocksInClasses(space, alone, notes)


def _pictures(
    model: VisionModel, images: Sequence[str], count: int, seed: int
) -> tuple[Tensor, Tensor, Tensor | None, tuple[str, ...]]:
    """Model input, classes, where objects are if known, and what has to be said of them."""
    if images:
        paths = find(list(images))
        inputs, known = model.prepare(read_many(paths)), list(model.labels)
        first = model.predict(inputs).argmax(dim=1).tolist()
        named = [path.parent.name in known for path in paths]
        labels = [known.index(path.parent.name) if has else own
                  for path, has, own in zip(paths, named, first, strict=True)]  # fmt: skip
        guessed = named.count(False)
        notes = (f"{guessed} of {len(paths)} pictures are of the class that the model puts first.",) if guessed else ()
        return inputs, torch.tensor(labels), None, notes
    if not (model.spec or "").startswith(_TESTBED):
        raise RequestError("Give pictures: files, folders or globs.")
    drawn = scenes(seed + 4000, count)
    labels = torch.from_numpy(drawn.labels.copy()).long()
    if int(labels.max()) >= len(model.labels):
        raise RequestError(f"{model.name} does not tell the species of birds. Give pictures: files, folders or globs.")
    return torch.as_tensor(drawn.tensor()), labels, torch.from_numpy(drawn.objects.copy()), ()
