"""The maps that know nothing of the model."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from tests.oracles.asking import ask
from tests.oracles.nets import LinearPicture, pictures

HEIGHT, WIDTH = 37, 53
NETWORK = LinearPicture(HEIGHT, WIDTH)


def test_the_random_map_is_even_noise_of_its_own_for_every_picture() -> None:
    maps = ask("random", NETWORK, pictures(3, HEIGHT, WIDTH))
    assert maps.shape == (3, HEIGHT, WIDTH) and maps.min() >= 0 and maps.max() <= 1
    assert abs(float(maps.mean()) - 0.5) < 0.02 and abs(float(maps.var()) - 1 / 12) < 0.01
    assert abs(float(torch.corrcoef(maps.flatten(1))[0, 1])) < 0.1


def test_a_coarse_random_map_is_smooth() -> None:
    coarse = ask("random", NETWORK, pictures(1, HEIGHT, WIDTH), grid=4)[0]
    assert coarse.shape == (HEIGHT, WIDTH)
    assert coarse.diff(dim=0).abs().max() < 0.2 < float(coarse.max() - coarse.min())


def test_the_centre_is_a_bell_as_wide_as_asked() -> None:
    bell = ask("centre", NETWORK, pictures(2, HEIGHT, WIDTH))[0]
    assert int(bell.argmax()) == (HEIGHT // 2) * WIDTH + WIDTH // 2 and float(bell.max()) == 1.0
    assert_close(bell, bell.flip(0, 1))
    assert_close(bell[0, WIDTH // 2], torch.tensor(-2.0).exp())  # half the height is two standard deviations
    assert ask("centre", NETWORK, pictures(1, HEIGHT, WIDTH), width=0.1).mean() < bell.mean()


def test_the_edge_map_measures_slopes() -> None:
    """A ramp of slope s has s everywhere inside; a step of 1 has a half on both sides of it."""
    ramp = torch.zeros(1, 3, HEIGHT, WIDTH) + torch.arange(float(WIDTH)) * 0.25
    assert_close(ask("edge", NETWORK, ramp)[0, :, 1:-1], torch.full((HEIGHT, WIDTH - 2), 0.25))
    step = torch.zeros(1, 3, HEIGHT, WIDTH)
    step[..., 20:, :] = 1
    found = ask("edge", NETWORK, step)[0]
    assert_close(found[19:21], torch.full((2, WIDTH), 0.5))
    assert float(found[:19].max()) == float(found[21:].max()) == 0.0
