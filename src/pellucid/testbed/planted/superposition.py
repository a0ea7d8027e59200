"""A layer with one channel for each of twelve features, and one with eight channels for all of them."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor, nn

from pellucid.testbed.planted import codes
from pellucid.testbed.planted.separation import Concept, Detectors, linear, pixelwise, told_apart
from pellucid.testbed.planted.unit import Planted, PlantedDictionary, PlantedUnit
from pellucid.testbed.scene import Scenes

CHANNELS = 8
CELL = 8  # pixels
SEED = 20  # of the dictionary: the best of the first forty


def mixed() -> Planted:
    """Twelve features of the bird, each in a channel of its own (`mono`) and then as sums in eight channels (`poly`).

    A feature's value in a cell of 8x8 pixels is the share of the cell that shows it: few are active in a cell, in
    varying amounts. `poly` is `atoms @ mono`, the atoms being unit vectors as near to orthogonal as twelve in eight
    dimensions can be found. Logits read each atom: atoms^T atoms times the mean of `mono`.
    """
    detected, atoms = features(), dictionary()
    names = tuple(concept.name for concept in detected.concepts)
    least = 0.5 / CELL**2  # half a pixel of a cell
    mono = tuple(
        PlantedUnit("mono", at, concept.name, concept.words, concept.fires, Cells(concept), least, least)
        for at, concept in enumerate(detected.concepts)
    )
    return Planted(
        "mixed",
        Mixed(detected, atoms),
        codes.coded_scenes,
        Scenes.tensor,
        names,
        "mono",
        units=mono,
        dictionaries=(PlantedDictionary("poly", "mono", atoms, names, coherence(atoms)),),
        notes=(
            "Pictures are coded. A unit of `mono` fires in a cell that shows any of its feature, be it one pixel; no "
            "unit of `poly` has a meaning of its own.",
            f"Its coherence is {coherence(atoms):.4f}; no twelve unit vectors in eight dimensions have less than "
            f"{welch_bound(len(names), CHANNELS):.4f} (Welch 1974).",
        ),
    )


class Mixed(nn.Module):
    """Detectors, their share of each cell, and the sums of atoms."""

    def __init__(self, features: Detectors, atoms: Float[np.ndarray, "channel feature"]) -> None:
        super().__init__()
        self.detect = features.layers()
        self.mono = nn.AvgPool2d(CELL)
        self.poly = pixelwise(atoms)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.read = linear(atoms.T)

    def forward(self, pictures: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch feature"]:
        return self.read(self.flatten(self.pool(self.poly(self.mono(self.detect(pictures))))))


class Cells:
    """The pixels of all cells that show a concept."""

    def __init__(self, concept: Concept) -> None:
        self.concept = concept

    def __call__(self, drawn: Scenes) -> Bool[np.ndarray, "scene height width"]:
        shown = self.concept.where(drawn)
        rows, columns = (side // CELL for side in shown.shape[1:])
        cells = shown[:, : rows * CELL, : columns * CELL].reshape(-1, rows, CELL, columns, CELL).any(axis=(2, 4))
        found = np.zeros_like(shown)
        found[:, : rows * CELL, : columns * CELL] = cells.repeat(CELL, axis=1).repeat(CELL, axis=2)
        return found


@cache
def features() -> Detectors:
    """Detectors of the twelve: six hues of the body, three patterns, two tails, the plume."""
    return told_apart([*codes.BODY, *codes.WING, *codes.TAIL, codes.PLUME], codes.code_palette())


# -- directions that are nearly orthogonal -----------------------------------------------------------------------------


@lru_cache(maxsize=4)
def dictionary(features: int = 12, channels: int = CHANNELS, seed: int = SEED) -> Float[np.ndarray, "channel feature"]:
    """Unit vectors whose largest absolute cosine is as small as a descent from this seed makes it.

    The p-norm of all cosines is lowered for growing p; its limit is the largest.
    """
    from scipy.optimize import minimize

    point = np.random.default_rng(seed).standard_normal((channels, features)).ravel()
    for power in (4, 8, 16, 32, 64, 128, 256, 512, 1024):
        answer: Any = minimize(
            _crowding, point, args=(channels, power), jac=True, method="L-BFGS-B", options={"maxiter": 500}
        )
        point = np.asarray(answer.x, dtype=np.float64)
    vectors = point.reshape(channels, features)
    atoms = vectors / np.linalg.norm(vectors, axis=0)
    atoms.flags.writeable = False
    return atoms


def coherence(atoms: Float[np.ndarray, "channel feature"]) -> float:
    """The largest absolute cosine between two atoms."""
    return float(np.abs(atoms.T @ atoms - np.eye(atoms.shape[1])).max())


def welch_bound(features: int, channels: int) -> float:
    """What the coherence of so many unit vectors cannot fall below."""
    return float(np.sqrt((features - channels) / (channels * (features - 1))))


def _crowding(point: np.ndarray, channels: int, power: int) -> tuple[float, np.ndarray]:
    """Logarithm of the p-norm of all cosines, and its gradient."""
    vectors = point.reshape(channels, -1)
    lengths = np.linalg.norm(vectors, axis=0)
    units = vectors / lengths
    cosines = units.T @ units
    np.fill_diagonal(cosines, 0)
    largest = np.abs(cosines).max()
    shares = np.abs(cosines) / largest
    total = (shares**power).sum()
    slope = shares ** (power - 1) * np.sign(cosines) / (largest * total)
    pull = 2 * units @ slope
    pull = (pull - units * (units * pull).sum(axis=0)) / lengths
    return float(np.log(largest) + np.log(total) / power), pull.ravel()
