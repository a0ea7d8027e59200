"""Which point is which: checked on birds that are moved, turned, mirrored and scaled on purpose."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.errors import SceneError
from pellucid.testbed import correspond, local_coordinates, scenes, truth
from pellucid.testbed.scene import Scenes
from pellucid.testbed.shapes import EYE, HEAD


@pytest.fixture(scope="module")
def some() -> Scenes:
    return scenes(81, 12, occlusion=0, size=128)


def middles(drawn: Scenes) -> np.ndarray:
    """Column and row of every pixel's middle."""
    rows, columns = np.mgrid[0:128, 0:128] + 0.5
    return np.broadcast_to(np.stack([columns, rows], axis=-1), (*drawn.parts.shape, 2))


def test_a_bird_corresponds_to_itself_pixel_by_pixel(some: Scenes) -> None:
    itself = correspond(some, some)
    assert np.array_equal(itself.valid, some.objects)
    np.testing.assert_allclose(itself.points[some.objects], middles(some)[some.objects], atol=2e-3)


def test_a_mirrored_bird_corresponds_to_its_mirror_image() -> None:
    """An upright bird in the picture's middle: column c becomes 128 - c."""
    drawn = truth.twin(scenes(81, 6, occlusion=0, size=128), x=0.5, rot=0.5)
    other = truth.twin(drawn, flip=1 - drawn.fields["flip"])
    found = correspond(drawn, other)
    mirrored = np.array([128, 0]) + np.array([-1, 1]) * middles(drawn)
    np.testing.assert_allclose(found.points[drawn.objects], mirrored[drawn.objects], atol=2e-3)
    assert found.valid[drawn.objects].mean() > 0.97


def test_a_moved_bird_corresponds_by_the_way_it_moved() -> None:
    drawn = truth.twin(scenes(81, 6, occlusion=0, size=128), scale=0.3, x=0.2, y=0.3)
    other = truth.twin(drawn, x=0.8, y=0.6)
    shift = correspond(drawn, other).points - correspond(drawn, drawn).points
    for at in range(6):
        moved = shift[at][drawn.objects[at]]
        np.testing.assert_allclose(moved, np.broadcast_to(moved[0], moved.shape), atol=3e-3)
        assert moved[0, 0] > 10 and moved[0, 1] > 5


def test_counterparts_have_the_same_colour(some: Scenes) -> None:
    """On flat paper a wing is a copy of the same wing elsewhere; only pixels on an edge may fall on its other side."""
    drawn = truth.twin(some.with_world(flat=True), wing="edged")
    moved = truth.twin(drawn, x=1 - drawn.fields["x"], scale=1 - drawn.fields["scale"], rot=1 - drawn.fields["rot"])
    found = correspond(drawn, moved)
    which, rows, columns = np.nonzero(found.valid)
    there = np.floor(found.points[found.valid]).astype(int)
    here, counterpart = drawn.pixels[which, rows, columns], moved.pixels[which, there[:, 1], there[:, 0]]
    assert found.valid.sum() > 0.9 * drawn.objects.sum()
    assert (here == counterpart).all(axis=1).mean() > 0.95


def test_local_coordinates_name_places_of_the_plan(some: Scenes) -> None:
    """The eye lies about its middle, the head within its radius, on every bird."""
    local = local_coordinates(some)
    assert np.array_equal(np.isnan(local).any(axis=-1), ~some.objects)
    for at in range(len(some)):
        np.testing.assert_allclose(local[at][some.mask("eye")[at]].mean(axis=0), EYE, atol=0.03)
        head = local[at][some.mask("head")[at]] - np.array(HEAD[:2])
        assert np.hypot(*head.T).max() <= HEAD[4] + 0.03


def test_birds_of_a_flock_correspond_one_by_one() -> None:
    drawn = scenes(82, 8, mode="flock", occlusion=0, size=128)
    found = correspond(drawn, drawn, bird=0, other_bird=1)
    which, rows, columns = np.nonzero(found.valid)
    there = np.floor(found.points[found.valid]).astype(int)
    assert (drawn.birds[which, rows, columns] == 1).all()
    assert (drawn.birds[which, there[:, 1], there[:, 0]] == 2).all()
    assert np.array_equal(drawn.parts[which, rows, columns], drawn.parts[which, there[:, 1], there[:, 0]])
    assert found.valid.any(axis=(1, 2)).all()


def test_unequal_sides_are_refused(some: Scenes) -> None:
    with pytest.raises(SceneError, match="as many"):
        correspond(some, some[:3])
    with pytest.raises(SceneError, match="no bird"):
        local_coordinates(some, bird=1)
