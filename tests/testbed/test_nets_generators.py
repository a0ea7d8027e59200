"""Nets that paint: what they paint is read by a net that had no part in their training."""

from __future__ import annotations

import pytest
import torch

from pellucid.testbed import nets, scenes
from pellucid.testbed.nets import VAE, Generator
from pellucid.testbed.nets.generators import LATENT
from pellucid.testbed.train import PLANS, accuracies

FRESH_SEED = 4000
COUNT = 300


@pytest.mark.parametrize("name", ["vae", "gan"])
def test_a_painter_meets_its_card_on_fresh_scenes(name: str) -> None:
    net, card = nets.load(name)
    for word, share in accuracies(name, net, FRESH_SEED, COUNT).items():
        spread = 0.05 if word in ("variety",) else 3 * (max(share * (1 - share), 0) / COUNT) ** 0.5
        assert share == pytest.approx(card.accuracy[word], abs=max(0.01, spread)), word


def test_a_picture_becomes_numbers_on_a_grid_and_comes_back() -> None:
    net, card = nets.load("vae")
    assert isinstance(net, VAE)
    pictures = scenes(FRESH_SEED, 20, **PLANS["vae"].settings).tensor()
    with torch.no_grad():
        mean, log_variance = net.encode(pictures)
        back = net.decode(mean)
    assert mean.shape == log_variance.shape == (20, LATENT)
    assert back.shape == pictures.shape and 0 <= float(back.min()) <= float(back.max()) <= 1
    error, blind = (back - pictures).abs().mean(), (pictures.mean(dim=0) - pictures).abs().mean()
    assert float(error) < 0.4 * float(blind)
    torch.testing.assert_close(net(pictures), back)
    assert card.accuracy["error"] < 0.06


def test_the_latent_numbers_are_about_standard_normal_together() -> None:
    net, _ = nets.load("vae")
    assert isinstance(net, VAE)
    with torch.no_grad():
        mean, log_variance = net.encode(scenes(FRESH_SEED, 200, **PLANS["vae"].settings).tensor())
    whole = mean.var(dim=0) + log_variance.exp().mean(dim=0)
    assert float(mean.mean(dim=0).abs().median()) < 0.5  # a place of the sky keeps a mean of its own
    assert 0.5 < float(whole.median()) < 2


def test_the_generator_paints_the_same_from_the_same_seed() -> None:
    net, _ = nets.load("gan")
    assert isinstance(net, Generator)
    with torch.no_grad():
        one, again, other = (net.generate(4, 7, seed) for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert one.shape == (4, 3, 64, 64) and 0 <= float(one.min()) <= float(one.max()) <= 1
