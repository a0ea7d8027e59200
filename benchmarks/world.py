"""The figures of docs/testbed.md, measured: how fast the world is painted, and how its masks, flocks and twins behave.

    python benchmarks/world.py

Rates are pictures a second of processor time with all masks, the best of eight runs, since other work on the machine
shares its caches. Everything else is exact for its seeds and takes no luck.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator
from time import process_time

import numpy as np
from PIL import Image

from pellucid.images import masks
from pellucid.testbed import BIRD_PARTS, Scenes, scenes, truth

SPEED_SEED, POINTING_SEED, TWIN_SEED, SIZE_SEED, FLOCK_SEED = 3, 901, 902, 24, 9
FLOCKS = 2000


def main() -> int:
    for measure in (speed, second_core, visible_sizes, pointing_by_chance, agreement_of_sizes, overlap, footprints):
        print(f"\n{measure.__doc__}")
        for line in measure():
            print(f"  {line}")
    return 0


def speed() -> Iterator[str]:
    """Pictures a second"""
    for count, settings in (
        (240, {}), (96, {"size": 128}), (48, {"size": 224}), (240, {"mode": "flock"}), (240, {"jpeg": 75}),
    ):  # fmt: skip
        yield f"{settings or 'size 64'}: {max(count / _painting(turn, count, **settings) for turn in range(8)):.0f}"


def second_core() -> Iterator[str]:
    """Processor seconds of 960 pictures: alone, and in each of two processes at a time"""
    yield f"alone: {min(_work(0) for _ in range(3)):.2f}"
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        both = [pool.map(_work, (1, 2)) for _ in range(3)]
    yield f"each of two: {min(map(max, both)):.2f}"


def visible_sizes() -> Iterator[str]:
    """Pixels that show of each part at 64 px, where it is there: mean and least of 1000 scenes"""
    drawn = scenes(POINTING_SEED, 1000)
    for part in BIRD_PARTS:
        shown = drawn.mask(part).sum(axis=(1, 2))
        yield f"{part}: {shown[shown > 0].mean():.0f} ({shown[shown > 0].min()})"


def pointing_by_chance() -> Iterator[str]:
    """How often the deciding parts are hit without looking: exact mask, and grown by one pixel (1000 scenes, 64 px)"""
    exact = truth.causal(scenes(POINTING_SEED, 1000))
    wide = truth.grown(exact)
    for name, hit in {
        "a random pixel": lambda mask: mask.mean(),
        "the centre": lambda mask: mask[:, 31:33, 31:33].mean(),
        "the best fixed pixel": lambda mask: mask.mean(axis=0).max(),
    }.items():
        yield f"{name}: {hit(exact):.3f}, grown {hit(wide):.3f}"


def agreement_of_sizes() -> Iterator[str]:
    """Overlap (IoU) of masks at 64 px with those at 224 px averaged to 64: least and mean, of parts from 30 px on"""
    small, large = scenes(SIZE_SEED, 200), scenes(SIZE_SEED, 200, size=224)
    for part in ("wing", "head", "tail", "bib", "crest", "body"):
        pairs = zip(small.mask(part), large.mask(part), strict=True)
        found = [masks.iou(one, _averaged(other)) for one, other in pairs if one.sum() >= 30]
        yield f"{part}: {min(found):.2f}, {np.mean(found):.2f} ({len(found)} scenes)"


def overlap() -> Iterator[str]:
    """Flocks: the largest share of the smaller box that another box covers"""
    drawn = scenes(FLOCK_SEED, FLOCKS, mode="flock")
    boxes = drawn.bird_boxes(whole=True)
    areas = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    largest = 0.0
    for one in range(4):
        for other in range(one):
            low, high = np.maximum(boxes[:, one], boxes[:, other]), np.minimum(boxes[:, one], boxes[:, other])
            shared = np.clip(high[:, 2] - low[:, 0], 0, None) * np.clip(high[:, 3] - low[:, 1], 0, None)
            smaller = np.minimum(areas[:, one], areas[:, other])
            largest = max(largest, float((shared / np.maximum(1, smaller))[drawn.counts > one].max()))
    yield f"{largest:.3f} of {FLOCKS} flocks"


def footprints() -> Iterator[str]:
    """Twins at 64 px: pixels that change, those of the footprint, and those that change outside smaller masks"""
    drawn = scenes(TWIN_SEED, 300)
    for name in ("wing", "tail", "crest"):
        other = truth.twin(drawn, **{name: truth.another(drawn, name)})
        changed, reached = _changed(drawn, other), truth.footprint(drawn, other)
        either = drawn.mask(name) | other.mask(name)
        strays = int((changed & ~reached).sum())
        yield (
            f"{name}: {_mean(changed):.0f} change, footprint {_mean(reached):.0f}, outside it {strays}, "
            f"outside the two id masks {_mean(changed & ~either):.0f}"
        )
    other = truth.remove(drawn, "tail")
    strays = _changed(drawn, other) & ~(drawn.amodal("tail") > 0)
    blurred = drawn.fields["blur"] < 0.3
    soft, sharp = _mean(strays[blurred]), _mean(strays[~blurred])
    yield f"blur: outside the coverage {soft:.0f} change where blurred, {sharp:.0f} elsewhere"
    for quality in (30, 60, 90):
        saved = scenes(TWIN_SEED, 200, jpeg=quality)
        changed = _changed(saved, truth.remove(saved, "tail"))
        blocks = truth.grown(saved.amodal("tail") > 0).reshape(-1, 4, 16, 4, 16).any(axis=(2, 4))
        whole = np.repeat(np.repeat(blocks, 16, axis=1), 16, axis=2)
        rim = truth.grown(whole) & ~whole
        yield (
            f"jpeg={quality}: {_mean(changed):.0f} change, of them {_mean(changed & rim):.0f} in the pixel about whole "
            f"blocks, {int((changed & ~whole & ~rim).sum())} further out"
        )


def _painting(turn: int, count: int, **settings: object) -> float:
    """Processor seconds of so many pictures with their masks."""
    begun = process_time()
    drawn = scenes(SPEED_SEED, range(turn * count, (turn + 1) * count), **settings)
    assert len(drawn.parts) == count
    return process_time() - begun


def _work(turn: int) -> float:
    return _painting(turn, 960)


def _changed(one: Scenes, other: Scenes) -> np.ndarray:
    return (one.pixels != other.pixels).any(axis=-1)


def _mean(mask: np.ndarray) -> float:
    return float(mask.sum(axis=(1, 2)).mean())


def _averaged(mask: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize((64, 64), Image.Resampling.BOX)) > 127.5


if __name__ == "__main__":
    sys.exit(main())
