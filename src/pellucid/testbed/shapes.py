"""Shapes as signed distances, and the bird's parts in its own frame.

The bird's frame: x right, y down, facing right, in units of its size.
"""

from __future__ import annotations

import numpy as np

Plane = np.ndarray  # float32 [scene h w]
Capsule = tuple[float, float, float, float, float, float]  # ax ay bx by, radius at a, radius at b

FEET: tuple[Capsule, ...] = (
    (-0.08, 0.45, -0.10, 0.84, 0.035, 0.03),
    (0.14, 0.45, 0.14, 0.84, 0.035, 0.03),
    (-0.10, 0.84, 0.04, 0.86, 0.03, 0.03),
    (0.14, 0.84, 0.28, 0.86, 0.03, 0.03),
)
FORKED: tuple[Capsule, ...] = (
    (-0.5, 0.02, -1.28, -0.36, 0.12, 0.05),
    (-0.5, 0.10, -1.28, 0.44, 0.12, 0.05),
    (-0.5, 0.06, -0.62, 0.05, 0.15, 0.12),
)
FANNED: tuple[Capsule, ...] = (
    (-0.5, 0.02, -1.02, -0.40, 0.16, 0.19),
    (-0.5, 0.10, -1.02, 0.42, 0.16, 0.19),
    (-0.5, 0.06, -1.14, 0.01, 0.18, 0.20),
)
CREST: tuple[Capsule, ...] = (
    (0.42, -0.66, 0.62, -1.10, 0.10, 0.065),
    (0.36, -0.66, 0.36, -1.20, 0.10, 0.075),
    (0.30, -0.62, 0.10, -1.08, 0.10, 0.065),
)
BODY: Capsule = (0.10, 0.06, -0.42, 0.08, 0.50, 0.24)
BIB: Capsule = (0.44, 0.24, 0.44, 0.24, 0.40, 0.40)
HEAD: Capsule = (0.40, -0.42, 0.40, -0.42, 0.33, 0.33)
WING: Capsule = (0.02, 0.02, -0.62, 0.24, 0.33, 0.07)
BEAK_CONE: Capsule = (0.66, -0.42, 0.90, -0.39, 0.15, 0.02)
BEAK_LONG: Capsule = (0.66, -0.42, 1.12, -0.36, 0.10, 0.02)
BEAK_HOOKED: tuple[Capsule, ...] = ((0.66, -0.42, 0.86, -0.44, 0.13, 0.08), (0.84, -0.43, 0.93, -0.26, 0.09, 0.02))
EYE = (0.50, -0.48)
REACH_ASIDE, REACH_UP, REACH_DOWN = 1.32, 1.35, 0.95  # from the centre, tail, plume and feet included, however turned
SHIFT = 0.08  # puts the middle of the silhouette, not of the body, at the scene's x
WING_SHADOW = 0.05  # width of the soft shadow the wing throws on what lies below


def capsule(x: Plane, y: Plane, shape: Capsule) -> Plane:
    """Signed distance to a tapered capsule: to the nearest point of its axis, less the radius there."""
    ax, ay, bx, by, ra, rb = (np.float32(number) for number in shape)
    dx, dy = x - ax, y - ay
    if ax == bx and ay == by:
        return np.sqrt(dx * dx + dy * dy) - ra
    along = dx * (bx - ax)
    along += dy * (by - ay)
    along *= np.float32(1) / ((bx - ax) ** 2 + (by - ay) ** 2)
    np.clip(along, 0, 1, out=along)
    dx -= along * (bx - ax)
    dy -= along * (by - ay)
    dx *= dx
    dy *= dy
    dx += dy
    np.sqrt(dx, out=dx)
    along *= rb - ra
    dx -= along
    dx -= ra
    return dx


def nearest(x: Plane, y: Plane, shapes: tuple[Capsule, ...]) -> Plane:
    """Signed distance to the nearest of several capsules."""
    distance = capsule(x, y, shapes[0])
    for shape in shapes[1:]:
        np.minimum(distance, capsule(x, y, shape), out=distance)
    return distance


# Things of the landscape, in their own unit


def pillar(x: Plane, y: Plane) -> Plane:
    """A stem, of a flower or a mushroom."""
    return capsule(x, y, (0.0, -0.35, 0.0, 1.25, 0.15, 0.19))


def petals(x: Plane, y: Plane) -> Plane:
    """Five round petals about (0, -0.55)."""
    turns = 2 * np.pi * np.arange(5) / 5 - np.pi / 2
    discs = tuple(
        (0.52 * float(np.cos(turn)), -0.55 + 0.52 * float(np.sin(turn)), 0.0, -0.55, 0.31, 0.2) for turn in turns
    )
    return nearest(x, y, discs)


def cap(x: Plane, y: Plane) -> Plane:
    """The upper half of an ellipse."""
    round_part = np.sqrt(x**2 + ((y + 0.10) * 1.15) ** 2) - 1.0
    return np.maximum(round_part, y + 0.10)


def boulder(x: Plane, y: Plane) -> Plane:
    """A flattened disc on a level base."""
    return np.maximum(np.sqrt((x * 0.75) ** 2 + (y - 0.35) ** 2) - 0.72, y - 0.85)
