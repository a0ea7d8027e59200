"""Scenes as files: pictures, one line of JSON each, and annotations that COCO's tools read.

`scenes.jsonl` is the journal: a picture is done when its line is written, and an export that was stopped goes on there.
"""

from __future__ import annotations

import io
import json
import os
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from pellucid.compute.progress import track
from pellucid.errors import FileError, SceneError
from pellucid.testbed.palette import BIRD_PARTS, PART_IDS
from pellucid.testbed.records import from_records, to_records
from pellucid.testbed.scene import Scenes, scenes, world_of
from pellucid.testbed.world import World

BATCH = 48  # pictures held at once
IMAGES, LINES, INSTANCES, CAPTIONS, README = "images", "scenes.jsonl", "annotations.json", "captions.json", "README.md"
BIRD = 1  # number of the category; its parts have the numbers of the id map, 2 to 10


@dataclass(frozen=True)
class Exported:
    """What lies in a folder: how many scenes in all, and how many of them were painted now."""

    path: Path
    count: int
    painted: int


def export(folder: str | Path, *, count: int, seed: int = 2, **settings: Any) -> Exported:
    """Write the first `count` scenes of a seed with everything that is known of them.

    folder:   new, or that of an export of the same scenes, which is continued
    settings: as for `scenes`

    `images/000000.png` and on; `scenes.jsonl`, from which each can be painted again to the byte; `annotations.json`
    (birds and their parts) and `captions.json` in COCO's format; `README.md`. Holds one batch of pictures at a time.
    Raises FileError for a folder that holds something else, SceneError for a setting that cannot be.
    """
    if count < 1:
        raise SceneError(f"{count} scenes cannot be exported; the least is 1.")
    world = world_of(settings)
    root = Path(folder).expanduser()
    finished = _finished(root, seed, world)
    if finished > count:
        raise FileError(root, f"it holds {finished} scenes already.", f"Ask for as many or more, not for {count}.")
    (root / IMAGES).mkdir(parents=True, exist_ok=True)
    _mend_pictures(root, finished)
    for name in (INSTANCES, CAPTIONS, README) if finished < count else ():
        (root / name).unlink(missing_ok=True)  # of a shorter export; what is there is always of all scenes
    with (root / LINES).open("a", encoding="utf-8") as journal:
        starts = range(finished, count, BATCH)
        for start in track(starts, total=len(starts), label=f"Writing scenes to {root.name}"):
            _write_batch(root, journal, scenes(seed, range(start, min(start + BATCH, count)), **settings))
    if not all((root / name).is_file() for name in (INSTANCES, CAPTIONS, README)):
        _replace(root / INSTANCES, lambda file: _write_instances(file, root))
        _replace(root / CAPTIONS, lambda file: _write_captions(file, root))
        _replace(root / README, lambda file: file.write(_readme(count, seed, world)))
    return Exported(root, count, count - finished)


def read_scenes(folder: str | Path) -> Scenes:
    """The scenes of an export, to be painted again. Raises FileError where there are none, or a line is damaged."""
    path = Path(folder).expanduser() / LINES
    try:
        return from_records(list(_records(path)))
    except (SceneError, KeyError, ValueError, TypeError) as error:
        raise FileError(path, f"it cannot be read ({error}).", "Export the scenes again.") from error


def to_png(pixels: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """The bytes of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG")
    return file.getvalue()


def _finished(root: Path, seed: int, world: World) -> int:
    """How many scenes are done. A line that was cut off is taken out; anything but the same export is refused."""
    path = root / LINES
    if not path.exists():
        taken = [name for name in (IMAGES, INSTANCES, CAPTIONS, README) if (root / name).exists()]
        if taken:
            raise FileError(root, f"it holds {taken[0]}, and no {LINES}.", "Name an empty folder.")
        return 0
    done, end = 0, 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            record = _parsed(line, path)
            if record.get("seed") != seed or record.get("world") != asdict(world) or record.get("index") != done:
                raise FileError(root, "it holds other scenes.", f"Name an empty folder, or see {README} there.")
            done, end = done + 1, end + len(line)
    os.truncate(path, end)
    return done


def _mend_pictures(root: Path, finished: int) -> None:
    """Paint again what has a line and no file."""
    lost = [index for index in range(finished) if not (root / IMAGES / f"{index:06d}.png").is_file()]
    if not lost:
        return
    drawn = read_scenes(root)
    for start in range(0, len(lost), BATCH):
        _write_pictures(root, drawn[lost[start : start + BATCH]])


def _write_batch(root: Path, journal: TextIO, drawn: Scenes) -> None:
    """Pictures first: what has a line is done."""
    _write_pictures(root, drawn)
    journal.writelines(json.dumps(record, separators=(",", ":")) + "\n" for record in to_records(drawn))
    journal.flush()


def _write_pictures(root: Path, drawn: Scenes) -> None:
    for index, pixels in zip(drawn.index.tolist(), drawn.pixels, strict=True):
        (root / IMAGES / f"{index:06d}.png").write_bytes(to_png(pixels))


def _records(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        raise FileError(path, "there is no such file.", "Name a folder that `pellucid testbed export` wrote.")
    with path.open("rb") as file:
        for line in file:
            yield _parsed(line, path)


def _parsed(line: bytes, path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except (ValueError, TypeError) as error:
        raise FileError(path, f"a line is damaged ({error}).", "Take that line and all after it out.") from error


def _replace(path: Path, write: Callable[[TextIO], object]) -> None:
    """Write a file that is either whole or not there."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        write(file)
    part.replace(path)


# -- COCO's format -----------------------------------------------------------------------------------------------------


def _write_instances(file: TextIO, root: Path) -> None:
    """Birds and their parts: entry by entry, so that a long export needs no memory."""
    categories = [{"id": BIRD, "name": "bird", "supercategory": ""}]
    categories += [{"id": PART_IDS[part], "name": f"bird/{part}", "supercategory": "bird"} for part in BIRD_PARTS]
    file.write('{"info":' + json.dumps({"description": "Little birds of the pellucid testbed"}))
    file.write(',"categories":' + json.dumps(categories))
    _write_list(file, "images", (_image(record) for record in _records(root / LINES)))
    _write_list(file, "annotations", _numbered(entry for record in _records(root / LINES) for entry in _marks(record)))
    file.write("}\n")


def _write_captions(file: TextIO, root: Path) -> None:
    file.write('{"info":' + json.dumps({"description": "Captions of little birds of the pellucid testbed"}))
    _write_list(file, "images", (_image(record) for record in _records(root / LINES)))
    said = (
        {"image_id": record["index"], "caption": text, "style": style}
        for record in _records(root / LINES)
        for style, text in record["captions"].items()
    )
    _write_list(file, "annotations", _numbered(said))
    file.write("}\n")


def _write_list(file: TextIO, name: str, entries: Iterable[dict[str, Any]]) -> None:
    file.write(f',"{name}":[')
    for at, entry in enumerate(entries):
        file.write(("," if at else "") + "\n" + json.dumps(entry, separators=(",", ":")))
    file.write("]")


def _numbered(entries: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """From 1: COCO's evaluation takes the number 0 for "none"."""
    return ({"id": number, **entry} for number, entry in enumerate(entries, start=1))


def _image(record: dict[str, Any]) -> dict[str, Any]:
    size = record["world"]["size"]
    known = {"id": record["index"], "file_name": Path(record["file"]).name, "width": size, "height": size}
    return known | ({} if record["label"] is None else {"label": record["label"], "label_name": record["name"]})


def _marks(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One entry for each bird that shows, and one for each of its parts."""
    for number, bird in enumerate(record["birds"]):
        shown = [(BIRD, bird["mask"]), *((PART_IDS[part], runs) for part, runs in bird["parts"].items())]
        for category, runs in shown:
            area = sum(runs["counts"][1::2])
            if area:
                yield {
                    "image_id": record["index"],
                    "category_id": category,
                    "bbox": _box(runs),
                    "area": area,
                    "segmentation": runs,
                    "iscrowd": 0,
                    "bird": number,
                    "label": bird["label"],
                }


def _box(runs: dict[str, Any]) -> list[int]:
    """Left, top, width and height of a mask, from its run lengths."""
    height = runs["size"][0]
    ends = np.cumsum(runs["counts"])
    starts, stops = ends[0::2][: len(ends) // 2], ends[1::2]
    left, right = int(starts[0]) // height, int(stops[-1] - 1) // height
    tall = (stops - 1) // height > starts // height  # runs on into the next column: then it touches both rims
    top = 0 if tall.any() else int((starts % height).min())
    bottom = height - 1 if tall.any() else int(((stops - 1) % height).max())
    return [left, top, right - left + 1, bottom - top + 1]


def _readme(count: int, seed: int, world: World) -> str:
    said = {"task": world.task} if world.labelling.flock else {"task": world.task, "mode": world.mode}
    implied = asdict(world_of(said)) | {name: getattr(World(), name) for name in said}
    changed = {name: value for name, value in asdict(world).items() if value != implied[name]}
    spoken = {"size", "task", "mode", "shortcut", "strength"}
    command = ["pellucid", "testbed", "export", "DIR", "--n", str(count), "--seed", str(seed)]
    for name in changed:
        command += [f"--{name}", str(changed[name])]
    python = ", ".join([f"count={count}", f"seed={seed}", *(f"{name}={value!r}" for name, value in changed.items())])
    by_hand = f"    {shlex.join(command)}\n\nor " if set(changed) <= spoken else ""
    return f"""# {count} scenes of the pellucid testbed

Made by

{by_hand}in Python

    import pellucid as pl
    pl.testbed.export("DIR", {python})

- `{IMAGES}/`: the pictures, {world.size} x {world.size} pixels.
- `{LINES}`: one scene a line: what was drawn, class, captions, boxes, masks of every part, and the changes that lead to
  another class. `pl.testbed.read_scenes("DIR")` paints them again, to the byte.
- `{INSTANCES}`: birds and their parts in COCO's format (boxes, run lengths). `{CAPTIONS}`: captions in COCO's format.
  `pl.testbed.open_folder("DIR")`, pycocotools and other readers of COCO's format take them.
"""
