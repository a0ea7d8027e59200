"""Maps read as regions, where the regions are planted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pellucid as pl
from pellucid.errors import RequestError
from pellucid.images import masks, superpixels
from pellucid.images.contour import active_contour
from pellucid.images.ranked import ranked_regions
from pellucid.images.readings import READINGS, by_boxes, by_contour, by_rank, by_segments, by_superpixels
from pellucid.results import Heatmaps
from pellucid.values import Class

ROWS, COLUMNS = np.mgrid[:80, :100]
DISC = (ROWS - 40) ** 2 + (COLUMNS - 55) ** 2 < 20**2
SOFT = np.exp(-((ROWS - 40) ** 2 + (COLUMNS - 55) ** 2) / (2 * 14**2))
PIXELS = np.where(DISC[:, :, None], [230, 220, 90], [40, 60, 90]).astype(np.uint8)


def test_segments_are_ranked_by_their_mean_and_share_the_mass() -> None:
    labels = (COLUMNS // 50).astype(int)
    values = np.where(COLUMNS < 50, 1.0, 3.0)
    first, second = by_segments(values, labels)
    assert (first.mean, second.mean) == (3.0, 1.0)
    assert (first.mass, second.mass) == (0.75, 0.25)
    assert first.box == (50, 0, 100, 80) and "right" in first.words


def test_negative_places_hold_no_mass() -> None:
    first, second = by_segments(np.where(COLUMNS < 50, -5.0, 1.0), (COLUMNS // 50).astype(int))
    assert (first.mass, second.mass) == (1.0, 0.0)


def test_boxes_lie_tight_around_what_stands_out() -> None:
    values = np.zeros((80, 100))
    values[10:30, 20:50] = 2
    values[60:70, 80:95] = 1.5
    assert [one.box for one in by_boxes(values)] == [(20, 10, 50, 30), (80, 60, 95, 70)]
    (only,) = by_boxes(values, area=600 / 8000)
    assert only.box == (20, 10, 50, 30)


@pytest.mark.parametrize("centre", [None, (35, 50, 30), (40, 40, 12), (40, 55, 35)])
def test_the_contour_finds_a_disc_wherever_it_begins(centre: tuple[int, int, int] | None) -> None:
    """From Otsu's threshold, from a circle around it, beside it and inside it; the energy never rises."""
    start = None if centre is None else (ROWS - centre[0]) ** 2 + (COLUMNS - centre[1]) ** 2 < centre[2] ** 2
    found = active_contour(SOFT, PIXELS.mean(axis=2) / 255, start=start)
    assert masks.iou(found.mask, DISC) > 0.98
    assert np.diff(found.energy).max() <= 1e-6 * found.energy[0]


def test_every_reading_of_a_map_over_a_disc_begins_with_the_disc() -> None:
    for read, least in ((by_superpixels, 0.05), (by_rank, 0.8), (by_contour, 0.98)):
        first = read(SOFT, PIXELS, **({"area": 0.4} if read is by_rank else {}))[0]
        assert (first.mask & ~masks.dilate(DISC, 6)).sum() == 0, read.__name__
        assert masks.iou(first.mask, DISC) > least, read.__name__
    assert masks.iou(by_boxes(SOFT)[0].mask, DISC) > 0.5


def test_a_flat_map_has_no_threshold() -> None:
    for read in (by_boxes, by_contour):
        with pytest.raises(RequestError, match="flat map"):
            read(np.ones((80, 100)), PIXELS)


def test_ranking_begins_with_the_region_that_the_map_marks_and_keeps_the_sum() -> None:
    """Overlapping regions over a map that is 1 in one of them: that comes first with density 1."""
    regions = [(COLUMNS // 25 == band) for band in range(4)] + [ROWS < 40, ROWS >= 30]
    ranking = ranked_regions(torch.from_numpy(regions[2].astype(np.float32)), regions)
    assert ranking.taken[0].density == 1.0 and (ranking.taken[0].mask == regions[2]).all()
    assert float(ranking.values.sum()) == pytest.approx(regions[2].sum())
    assert (ranking.within(0.25) == regions[2]).all() and not ranking.within(0.2).any()
    covered = np.stack([one.mask for one in ranking.taken]).sum(axis=0)
    assert covered.max() == 1, "what is taken once is not taken again"
    densities = [one.density for one in ranking.taken]
    assert densities == sorted(densities, reverse=True)


def test_joined_superpixels_are_exactly_as_many_as_asked_and_connected() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (37, 53, 3), dtype=np.uint8)
    for count in (2, 5, 12, 60):
        labels = superpixels.merged(pixels, count)
        assert labels.max() + 1 == count == len(np.unique(labels))
        assert all(len(masks.connected(labels == number, diagonal=False)) == 1 for number in range(count))


def test_neighbours_of_like_colour_are_joined_first() -> None:
    """Two halves of one colour each: what is left of many patches is these two."""
    pixels = np.where(COLUMNS[:, :, None] < 50, [230, 220, 90], [40, 60, 90]).astype(np.uint8)
    labels = superpixels.merged(pixels, 2)
    assert max(masks.iou(labels == number, COLUMNS < 50) for number in range(2)) > 0.97


def test_heatmaps_can_be_read_on_the_picture_as_it_was() -> None:
    frame = pl.Frame(PIXELS, "disc")
    heat = Heatmaps(torch.from_numpy(SOFT)[None].float(), "made", (Class(0),), ("disc",), None, False, (frame,))
    for how in READINGS:
        found = heat.regions(how)
        assert found and all(one.mask.shape == (80, 100) for one in found), how
    assert len(heat.regions("superpixels", count=9)) <= 12
    with pytest.raises(RequestError, match="rank, boxes, contour"):
        heat.regions("eye")
