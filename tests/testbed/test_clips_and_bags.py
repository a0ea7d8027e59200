"""Films and bags of birds: what decides is known, and the nets that learned from them are what their cards say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pellucid.errors import SceneError
from pellucid.testbed import nets
from pellucid.testbed.bags import LARGEST_BAG, SMALLEST_BAG, bags
from pellucid.testbed.clips import DIRECTIONS, FRAMES, MOVING, clips
from pellucid.testbed.train import accuracies

FRESH_SEED = 4000


def test_a_film_is_the_same_alone_and_in_any_batch() -> None:
    many, one = clips(7, 5), clips(7, [3])
    assert np.array_equal(many.pixels[3], one.pixels[0])
    assert np.array_equal(many[3].pixels, one.pixels) and many[3].directions == one.directions


def test_the_bird_flies_its_way_in_the_frames_of_the_flight_and_in_no_others() -> None:
    drawn = clips(8, 40)
    rows, columns = np.mgrid[:64, :64]
    for film, direction, moving in zip(drawn.objects, drawn.directions, drawn.moving, strict=True):
        middles = np.array([[rows[mask].mean(), columns[mask].mean()] for mask in film])
        steps = np.diff(middles, axis=0)
        flying = moving[1:] & moving[:-1]
        assert flying.sum() == MOVING
        axis, sign = {"left": (1, -1), "right": (1, 1), "up": (0, -1), "down": (0, 1)}[DIRECTIONS[direction]]
        assert (sign * steps[flying, axis] > 2).all()
        assert np.abs(steps[~flying]).max() < 0.3
        assert np.abs(steps[:, 1 - axis]).max() < 0.5


def test_only_frames_of_the_flight_hold_the_cause_and_the_bird_lies_in_it() -> None:
    drawn = clips(8, 6)
    assert not drawn.cause[~drawn.moving].any()
    assert (drawn.cause[drawn.moving] >= drawn.objects[drawn.moving]).all()


def test_the_direction_is_told_neither_by_the_way_the_bird_faces_nor_by_its_first_place() -> None:
    drawn = clips(9, 2000)
    first = drawn.drawn.fields["flip"].reshape(-1, FRAMES)[:, 0]
    sideways = drawn.directions < 2
    assert abs((first[sideways] == drawn.directions[sideways]).mean() - 0.5) < 0.05


def test_a_bag_is_the_same_alone_and_in_any_batch() -> None:
    many, one = bags(7, 5), bags(7, [3])
    assert torch.equal(many.pictures(3), one.pictures(0))
    assert np.array_equal(many.deciding[3], one.deciding[0])
    with pytest.raises(SceneError, match="There is no bag 5"):
        many.rows(5)


def test_a_bag_has_a_plume_exactly_where_a_bird_in_it_wears_one() -> None:
    drawn = bags(8, 60)
    assert set(drawn.labels) == {0, 1}
    assert drawn.sizes.min() >= SMALLEST_BAG and drawn.sizes.max() <= LARGEST_BAG
    for at in range(len(drawn)):
        wearing = drawn.scenes(at).fields["crest"] == 1
        assert np.array_equal(wearing, drawn.deciding[at])
        assert wearing.any() == drawn.labels[at] and wearing.sum() <= 3


@pytest.mark.parametrize("name", ["bags", "clips"])
def test_the_net_meets_its_card_on_fresh_ones(name: str) -> None:
    net, card = nets.load(name)
    for word, share in accuracies(name, net, FRESH_SEED, 400).items():
        assert share == pytest.approx(card.accuracy[word], abs=max(0.03, 3 * np.sqrt(share * (1 - share) / 100))), word


@pytest.mark.parametrize("name", ["bags", "clips"])
def test_the_weights_are_small(name: str) -> None:
    assert nets.path_of(name).stat().st_size < 300_000


def test_the_net_for_bags_takes_any_number_in_any_order() -> None:
    net = nets.loaded("bags", nets.BagNet)
    pictures = bags(9, [0]).pictures(0)
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(net(pictures), net(pictures[order]), rtol=1e-4, atol=1e-4)
        assert net(pictures[:1]).shape == (2,)
