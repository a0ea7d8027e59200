"""COCO's format of annotations, read from a folder of one's own and checked by name."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PureWindowsPath
from typing import Any, NoReturn, TypeGuard

import numpy as np

from pellucid.errors import AnnotationError
from pellucid.images.annotated import (
    LIMIT_MEGAPIXELS,
    WRITE_AGAIN,
    AnnotatedFolder,
    AnnotatedPicture,
    Category,
    Instance,
    check_lengths,
)
from pellucid.images.frame import Box


def open_folder(
    folder: str | Path,
    *,
    annotations: str | Path | None = None,
    captions: str | Path | None = None,
    limit_megapixels: float = LIMIT_MEGAPIXELS,
) -> AnnotatedFolder:
    """A folder of pictures with annotations in COCO's format, as COCO has it, or as labelling tools export it.

    folder:      holds the pictures, in itself, in `images/`, or in the folder the annotation file is named after
                 (`instances_val2017.json`: `val2017/`)
    annotations: the file of instances; None looks for the one there is, in the folder and in `annotations/`
    captions:    the file of captions; None takes `captions.json`, or `captions_val2017.json` beside
                 `instances_val2017.json`, if there is one
    limit_megapixels: pictures that are marked as larger are refused

    Everything that can be checked without opening pictures is checked here. Raises AnnotationError, which names the
    entry, what is wrong with it and what to do.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise AnnotationError(
            root, "", "there is no such folder.", "Name the folder that holds pictures and annotations."
        )
    file = _the_one(root, Path(annotations).expanduser() if annotations is not None else None)
    reader = _Reader(file, root, limit_megapixels)
    said = Path(captions).expanduser() if captions is not None else _captions_beside(file)
    return reader.folder(_captions(said, reader) if said is not None else {})


def _the_one(root: Path, asked: Path | None) -> Path:
    """The file of instances."""
    if asked is not None:
        for place in (asked, root / asked, root / "annotations" / asked):
            if place.is_file():
                return place
        raise AnnotationError(asked, "", "there is no such file.", f"Name a file of {root} or a path to one.")
    places = [root, root / "annotations"]
    found = sorted(path for place in places if place.is_dir() for path in place.glob("*.json") if path.is_file())
    instances = [
        path for path in found if not path.name.startswith(("captions", "person_keypoints", "image_info", "."))
    ]
    for preferred in ("annotations.json", "_annotations.coco.json", "instances.json"):
        chosen = [path for path in instances if path.name == preferred]
        if chosen:
            return chosen[0]
    named = [path for path in instances if path.name.startswith("instances")]
    for few in (instances, named):
        if len(few) == 1:
            return few[0]
    if not instances:
        raise AnnotationError(root, "", "it holds no annotation file.", "Put one in it, or name it: annotations=.")
    listing = ", ".join(str(path.relative_to(root)) for path in instances[:5])
    raise AnnotationError(root, "", f"it holds several annotation files: {listing}.", "Name one: annotations=.")


def _captions_beside(file: Path) -> Path | None:
    names = ["captions.json", file.name.replace("instances", "captions", 1)]
    return next((file.parent / name for name in names if name != file.name and (file.parent / name).is_file()), None)


def _captions(file: Path, reader: _Reader) -> dict[int | str, tuple[str, ...]]:
    """The captions of each picture, by its number."""
    content = _loaded(file)
    said: dict[int | str, list[str]] = {}
    for entry in _entries(content, "annotations", file):
        where = f"annotation {entry.get('id', '?')}"
        text = entry.get("caption")
        if not isinstance(text, str):
            raise AnnotationError(file, where, "it has no caption.", "Every entry needs a text `caption`.")
        number = entry.get("image_id")
        if number not in reader.sizes:
            raise AnnotationError(
                file, where, f"there is no picture {number!r}.", f"Its pictures are in {reader.file}."
            )
        said.setdefault(number, []).append(text.strip())
    return {number: tuple(texts) for number, texts in said.items()}


class _Reader:
    """One annotation file, read and checked entry by entry."""

    def __init__(self, file: Path, root: Path, limit_megapixels: float) -> None:
        self.file, self.root, self.limit = file, root, limit_megapixels * 1e6
        self.content = _loaded(file)
        self.categories = self._categories()
        self.places = self._places()
        self.sizes: dict[int | str, tuple[int, int]] = {}
        self.paths: dict[int | str, tuple[str, Path]] = {}
        self._read_pictures()

    def folder(self, captions: Mapping[int | str, tuple[str, ...]]) -> AnnotatedFolder:
        marked: dict[int | str, list[Instance]] = {number: [] for number in self.sizes}
        for entry in _entries(self.content, "annotations", self.file, needed=False):
            number, instance = self._instance(entry)
            marked[number].append(instance)
        pictures = tuple(
            AnnotatedPicture(
                name, number, path, self.sizes[number], tuple(marked[number]), captions.get(number, ()), self.file
            )
            for number, (name, path) in self.paths.items()
        )
        return AnnotatedFolder(self.root, tuple(self.categories.values()), pictures)

    def fail(self, where: str, problem: str, remedy: str = WRITE_AGAIN) -> NoReturn:
        raise AnnotationError(self.file, where, problem, remedy)

    def _categories(self) -> dict[Any, Category]:
        known: dict[Any, Category] = {}
        for entry in _entries(self.content, "categories", self.file, needed=False):
            number, name = entry.get("id"), entry.get("name")
            where = f"category {number!r}"
            if not _is_key(number) or not isinstance(name, str) or not name:
                self.fail(where, "a category needs an `id` and a `name`.")
            if number in known:
                self.fail(where, f"two categories have that id: {known[number].name!r} and {name!r}.")
            known[number] = Category(number, name, str(entry.get("supercategory") or ""))
        return known

    def _places(self) -> tuple[Path, ...]:
        """The folders in which pictures are looked for."""
        named_after = self.file.stem.partition("_")[2]
        places = [self.root / "images", *([self.root / named_after] if named_after else []), self.root]
        return tuple(place.resolve() for place in places if place.is_dir())

    def _read_pictures(self) -> None:
        missing: list[str] = []
        for entry in _entries(self.content, "images", self.file):
            number, name = entry.get("id"), entry.get("file_name")
            where = f"picture {name if isinstance(name, str) else number!r}"
            if not _is_key(number) or not isinstance(name, str) or not name:
                self.fail(where, "a picture needs an `id` and a `file_name`.")
            if number in self.sizes:
                self.fail(where, f"two pictures have the id {number!r}.")
            self.sizes[number] = self._size(entry, where)
            found = self._found(name, where)
            if found is None:
                missing.append(name)
            else:
                self.paths[number] = (name, found)
        if missing:
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            where = f"picture {', '.join(missing[:3])}{more}"
            looked = ", ".join(str(place) for place in self.places)
            self.fail(where, f"there is no such file in {looked}.", "Put it there, or take its entry out.")
        for number, count in Counter(str(path) for _, path in self.paths.values()).items():
            if count > 1:
                self.fail(f"picture {number}", f"{count} entries name this file.")

    def _size(self, entry: Mapping[str, Any], where: str) -> tuple[int, int]:
        sides = entry.get("height"), entry.get("width")
        if not all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in sides):
            self.fail(where, f"its height and width are {sides[0]!r} and {sides[1]!r}; expected whole numbers above 0.")
        height, width = (int(side or 0) for side in sides)
        if height * width > self.limit:
            self.fail(
                where,
                f"{width} x {height} pixels are {height * width / 1e6:.0f} million; the limit is {self.limit / 1e6:g}.",
                "Scale it down, or raise the limit: open_folder(..., limit_megapixels=...).",
            )
        return height, width

    def _found(self, name: str, where: str) -> Path | None:
        """Where the picture lies; None if nowhere. A name may not lead out of the folder."""
        parts = Path(name).parts
        if Path(name).is_absolute() or PureWindowsPath(name).drive or ".." in parts or "\0" in name:
            self.fail(where, "its name leads out of the folder.", "Give names relative to the folder of pictures.")
        for place in self.places:
            path = place / name
            if path.is_file():
                if not path.resolve().is_relative_to(place):
                    self.fail(where, "it is a link that leads out of the folder.", "Copy the picture into the folder.")
                return path
        return None

    def _instance(self, entry: Mapping[str, Any]) -> tuple[int | str, Instance]:
        number, picture, category = entry.get("id"), entry.get("image_id"), entry.get("category_id")
        where = f"annotation {number!r}"
        if not _is_key(number):
            self.fail(where, "an annotation needs an `id`.")
        if not _is_key(picture) or picture not in self.sizes:
            self.fail(where, f"there is no picture {picture!r}.", "Its `image_id` must be the `id` of a picture.")
        if not _is_key(category) or category not in self.categories:
            known = ", ".join(repr(one) for one in list(self.categories)[:8])
            self.fail(where, f"there is no category {category!r}.", f"Known are {known or 'none'}.")
        size = self.sizes[picture]
        outline = self._outline(entry.get("segmentation"), size, where)
        box = self._box(entry.get("bbox"), where)
        if box is None and outline is None:
            self.fail(where, "it has neither a `bbox` nor a `segmentation`.")
        crowd = bool(entry.get("iscrowd", 0))
        instance = Instance(number, self.categories[category], box or (0, 0, 0, 0), crowd, outline, size, self.file)
        return picture, instance if box is not None else _boxed(instance)

    def _box(self, box: Any, where: str) -> Box | None:
        if box is None or box == []:
            return None
        if not isinstance(box, list) or len(box) != 4 or not _are_numbers(box):
            self.fail(where, f"its bbox is {_short(box)}; expected four numbers: left, top, width, height.")
        left, top, width, height = (float(number) for number in box)
        if width < 0 or height < 0:
            self.fail(where, f"its bbox has the width {width:g} and the height {height:g}.")
        return left, top, left + width, top + height

    def _outline(self, outline: Any, size: tuple[int, int], where: str) -> list[list[float]] | dict[str, Any] | None:
        if outline is None or outline == []:
            return None
        if isinstance(outline, dict):
            return self._runs(outline, size, where)
        if not isinstance(outline, list):
            self.fail(where, f"its segmentation is {_short(outline)}; expected polygons or run lengths.")
        for polygon in outline:
            if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2 or not _are_numbers(polygon):
                self.fail(
                    where, f"a polygon is {_short(polygon)}; expected [x, y, x, y, ...] with three corners or more."
                )
            reach = 2 * max(size)  # traced in fine steps, so corners far off would take all memory
            if min(polygon) < -reach or max(polygon) > reach:
                self.fail(where, f"a corner of its polygon lies far outside the {size[1]} x {size[0]} picture.")
        return outline

    def _runs(self, runs: dict[str, Any], size: tuple[int, int], where: str) -> dict[str, Any]:
        if runs.get("size") != list(size):
            expected = f"the picture has [height, width] = {list(size)}."
            self.fail(where, f"its run lengths are of a picture of size {_short(runs.get('size'))}; {expected}")
        counts = runs.get("counts")
        if isinstance(counts, list):
            if not all(isinstance(count, int) and not isinstance(count, bool) for count in counts):
                self.fail(where, "its run lengths are not whole numbers.")
            check_lengths(counts, size, self.file, where)
        elif not isinstance(counts, str):
            self.fail(where, f"its run lengths are {_short(counts)}; expected a list of counts or a text.")
        return runs


def _boxed(instance: Instance) -> Instance:
    """The instance with the box that its mask fills."""
    rows, columns = (np.flatnonzero(instance.mask().any(axis=axis)) for axis in (1, 0))
    box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) if len(rows) else (0, 0, 0, 0)
    left, top, right, bottom = (float(edge) for edge in box)
    return replace(instance, box=(left, top, right, bottom))


def _loaded(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise AnnotationError(
            file, "", f"it cannot be opened: {error.strerror or error}.", "Check the path."
        ) from error
    except (ValueError, RecursionError) as error:
        raise AnnotationError(file, "", f"it is not JSON ({error}).", WRITE_AGAIN) from error
    if not isinstance(content, dict):
        raise AnnotationError(file, "", f"it holds a {type(content).__name__}.", "COCO's format is one JSON object.")
    return content


def _entries(content: Mapping[str, Any], name: str, file: Path, *, needed: bool = True) -> list[dict[str, Any]]:
    """The entries of one list of the file."""
    entries = content.get(name, None if needed else [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        known = ", ".join(content) or "nothing"
        raise AnnotationError(file, "", f"it has no list {name!r}.", f"COCO's format has one; here are {known}.")
    return entries


def _is_key(value: object) -> TypeGuard[int | str]:
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def _are_numbers(values: list[Any]) -> bool:
    return all(isinstance(one, (int, float)) and not isinstance(one, bool) and abs(one) < 1e9 for one in values)


def _short(value: object, most: int = 60) -> str:
    words = repr(value)
    return words if len(words) <= most else f"{words[:most]}..."
