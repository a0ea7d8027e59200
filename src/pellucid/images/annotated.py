"""Pictures with what is marked in them: boxes, masks and captions per category. Pictures are read when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from pellucid.errors import AnnotationError, RequestError, nearest
from pellucid.images import masks
from pellucid.images.frame import Box, Frame
from pellucid.images.outlines import fill, run_lengths
from pellucid.images.reading import read

LIMIT_MEGAPIXELS = 100.0
WRITE_AGAIN = "Export the annotations again."


@dataclass(frozen=True)
class Category:
    """A kind of thing that is marked. `group` is its supercategory, empty where there is none."""

    number: int | str
    name: str
    group: str = ""


@dataclass(frozen=True, eq=False)
class Instance:
    """One thing marked in one picture.

    box:     left, top, right, bottom in pixels
    crowd:   whether it is several things marked as one
    outline: as the file has it: a list of polygons, run lengths, or None where there is only the box
    """

    number: int | str
    category: Category
    box: Box
    crowd: bool
    outline: list[list[float]] | Mapping[str, Any] | None
    size: tuple[int, int]
    source: Path

    def mask(self) -> Bool[np.ndarray, "height width"]:
        """Its pixels; those whose middle lies in the box where only that is marked.

        Raises AnnotationError for run lengths that do not make up the picture.
        """
        if isinstance(self.outline, list):
            return fill(self.outline, *self.size)
        if self.outline is not None:
            return self._from_runs(self.outline)
        rows, columns = (np.arange(side) + 0.5 for side in self.size)
        left, top, right, bottom = self.box
        return ((rows >= top) & (rows < bottom))[:, None] & ((columns >= left) & (columns < right))[None, :]

    def _from_runs(self, runs: Mapping[str, Any]) -> Bool[np.ndarray, "height width"]:
        counts = runs["counts"]
        try:
            lengths = counts if isinstance(counts, list) else run_lengths(counts)
        except RequestError as error:
            raise AnnotationError(self.source, f"annotation {self.number}", str(error), WRITE_AGAIN) from error
        check_lengths(lengths, self.size, self.source, f"annotation {self.number}")
        return masks.decode({"size": self.size, "counts": lengths})


@dataclass(frozen=True, eq=False)
class AnnotatedPicture:
    """One picture with all that is marked in it. The picture itself is read when asked for.

    name:     as the annotation file has it; path: where it lies
    size:     height and width in pixels
    captions: what is said of it
    """

    name: str
    number: int | str
    path: Path
    size: tuple[int, int]
    instances: tuple[Instance, ...]
    captions: tuple[str, ...]
    source: Path

    def frame(self) -> Frame:
        """The picture. Raises ImageError where it cannot be read, AnnotationError where it is of another size."""
        frame = read(
            self.path, name=self.name, limit_megapixels=max(LIMIT_MEGAPIXELS, self.size[0] * self.size[1] / 1e6)
        )
        found = frame.pixels.shape[:2]
        if found != self.size:
            raise AnnotationError(
                self.source,
                f"picture {self.name!r}",
                f"it is marked as {self.size[1]} x {self.size[0]} pixels, and has {found[1]} x {found[0]}.",
                "Scale the picture back, or the annotations with it; mind its EXIF orientation.",
            )
        return frame

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of what is marked, each once, in the order of the file."""
        return tuple(dict.fromkeys(instance.category.name for instance in self.instances))

    def of(self, *names: str) -> tuple[Instance, ...]:
        """What is marked as one of these categories; everything if none is named."""
        return tuple(one for one in self.instances if not names or one.category.name in names)

    def boxes(self, *names: str) -> tuple[Box, ...]:
        """The boxes of these categories: left, top, right, bottom in pixels."""
        return tuple(instance.box for instance in self.of(*names))

    def mask(self, *names: str) -> Bool[np.ndarray, "height width"]:
        """The pixels of these categories, of all instances together."""
        mask = np.zeros(self.size, dtype=bool)
        for instance in self.of(*names):
            mask |= instance.mask()
        return mask


@dataclass(frozen=True, eq=False)
class AnnotatedFolder:
    """A folder of annotated pictures, in the order of its annotation file."""

    path: Path
    categories: tuple[Category, ...]
    pictures: tuple[AnnotatedPicture, ...]

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, at: int) -> AnnotatedPicture:
        return self.pictures[at]

    def __iter__(self) -> Iterator[AnnotatedPicture]:
        return iter(self.pictures)

    def showing(self, *names: str) -> tuple[AnnotatedPicture, ...]:
        """The pictures in which one of these categories is marked. Raises RequestError for a name that is none."""
        known = [category.name for category in self.categories]
        for name in names:
            if name not in known:
                near = nearest(name, known)
                hint = f" Nearest: {', '.join(near)}." if near else ""
                raise RequestError(
                    f"Nothing in {self.path} is marked as {name!r}.{hint} It has {len(known)} categories."
                )
        return tuple(picture for picture in self.pictures if picture.of(*names))


def check_lengths(lengths: list[int], size: tuple[int, int], file: Path, where: str) -> None:
    """Whether run lengths make up the picture. Raises AnnotationError where they do not."""
    if any(length < 0 for length in lengths):
        raise AnnotationError(file, where, "its run lengths fall below 0.", WRITE_AGAIN)
    if sum(lengths) != size[0] * size[1]:
        problem = f"its run lengths add up to {sum(lengths)} pixels; the picture has {size[0] * size[1]}."
        raise AnnotationError(file, where, problem, WRITE_AGAIN)
