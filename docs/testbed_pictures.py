"""The pictures of docs/testbed.md, painted anew: python docs/testbed_pictures.py"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

import pellucid as pl
from pellucid.testbed import PART_IDS, Scenes, truth

SEED, SIZE, COLUMNS = 7, 112, 8
FOLDER = Path(__file__).parent / "images"
ID_COLOURS = np.array(
    [
        *[(0xEE, 0xEC, 0xE6), (0xCF, 0xD6, 0xC4), (0x4A, 0x4A, 0x55), (0x2C, 0x9A, 0x93), (0x91, 0x59, 0xA6)],
        *[(0xC9, 0xC2, 0xB6), (0xA9, 0xC4, 0xE0), (0xE2, 0x65, 0x4E), (0xD9, 0xB2, 0xA4), (0xF2, 0xAE, 0x3D)],
        *[(0x22, 0x22, 0x2B), (0x7B, 0xA6, 0x50), (0x4A, 0x77, 0xC9)],
    ],
    dtype=np.uint8,
)  # in the order of PART_IDS


def main() -> None:
    draw("testbed-world", pl.testbed.scenes(SEED, 16, size=SIZE))
    flocks = [pl.testbed.scenes(SEED, 4, size=SIZE, task=task, mode="flock") for task in ("species", "side")]
    modes = [
        *flocks,
        pl.testbed.scenes(SEED, 4, size=SIZE, mode="parts_missing", parts_missing=0.4),
        pl.testbed.scenes(SEED, 4, size=SIZE, flat=True),
    ]
    draw("testbed-modes", *modes)
    shortcuts = [pl.testbed.scenes(SEED, 2, size=SIZE, shortcut=name) for name in pl.testbed.SHORTCUTS]
    draw("testbed-shortcuts", *shortcuts)
    save("testbed-twins", [twins(pl.testbed.scenes(SEED, [at], size=SIZE, occlusion=0)) for at in (1, 4)])


def twins(scene: Scenes) -> list[np.ndarray]:
    """One scene, its three neighbours by one part, one without its wing, one on other land, ids, and a footprint."""
    changes = {name: truth.another(scene, name) for name in ("wing", "tail", "crest")}
    others = [truth.twin(scene, **{name: values}) for name, values in changes.items()]
    others += [truth.remove(scene, "wing"), truth.paste_land(scene, truth.another(scene, "land")[0])]
    reached = truth.footprint(scene, others[1])[0]
    ghost = scene.pixels[0] // 3 + 160
    shown = np.where(reached[..., None], scene.pixels[0], ghost)
    return [scene.pixels[0], *(other.pixels[0] for other in others), ID_COLOURS[scene.parts[0]], shown.astype(np.uint8)]


def draw(name: str, *several: Scenes) -> None:
    """All scenes in rows of eight."""
    tiles = [pixels for drawn in several for pixels in drawn.pixels]
    save(name, [tiles[start : start + COLUMNS] for start in range(0, len(tiles), COLUMNS)])


def save(name: str, rows: list[list[np.ndarray]]) -> None:
    """Tiles on paper, 6 pixels apart."""
    step = SIZE + 6
    sheet = np.full((len(rows) * step + 6, COLUMNS * step + 6, 3), pl.testbed.PAPER, dtype=np.uint8)
    for row, tiles in enumerate(rows):
        for column, tile in enumerate(tiles):
            top, left = 6 + row * step, 6 + column * step
            sheet[top : top + SIZE, left : left + SIZE] = tile
    Image.fromarray(sheet).save(FOLDER / f"{name}.jpg", quality=88)


if __name__ == "__main__":
    assert len(ID_COLOURS) == len(PART_IDS)
    main()
