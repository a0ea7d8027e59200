"""Colours: even to the eye, apart for the colour-blind, one meaning each."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.canvas.scales import GLOW, TUG, Scale, oklab_from_srgb, scale, srgb_from_oklab

# Machado, Oliveira, Fernandes 2009: what full protanopia and deuteranopia make of linear RGB
BLIND = {
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


def seen_by(colours: np.ndarray, matrix: list[list[float]]) -> np.ndarray:
    scaled = colours / 255
    linear = np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)
    changed = np.clip(linear @ np.array(matrix).T, 0, 1)
    gamma = np.where(changed <= 0.0031308, changed * 12.92, 1.055 * changed ** (1 / 2.4) - 0.055)
    return np.rint(gamma * 255).astype(np.uint8)


def test_oklab_knows_its_published_values() -> None:
    """White is lightness 1 without colour; pure red stands in Ottosson's table."""
    lab = oklab_from_srgb(np.array([[255, 255, 255], [255, 0, 0]], dtype=np.uint8))
    assert np.allclose(lab[0], [1, 0, 0], atol=1e-3)
    assert np.allclose(lab[1], [0.628, 0.225, 0.126], atol=1e-3)


def test_oklab_comes_back() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (200, 3)).astype(np.uint8)
    assert np.abs(srgb_from_oklab(oklab_from_srgb(colours)).astype(int) - colours).max() <= 1


def test_stronger_is_lighter_on_the_glow() -> None:
    lightness = oklab_from_srgb(GLOW.colours(np.linspace(0, 1, 65)))[:, 0]
    assert (np.diff(lightness) > 0).all()


def test_both_sides_of_the_tug_are_equally_light() -> None:
    strength = np.linspace(0, 1, 33)
    up, down = (oklab_from_srgb(TUG.colours(sign * strength))[:, 0] for sign in (1, -1))
    assert np.abs(up - down).max() < 0.03


@pytest.mark.parametrize("kind", BLIND)
def test_the_ends_of_the_tug_stay_apart_for_the_colour_blind(kind: str) -> None:
    ends = seen_by(TUG.colours(np.array([-1.0, 1.0])), BLIND[kind])
    distance = float(np.linalg.norm(np.subtract(*oklab_from_srgb(ends))))
    assert distance > 0.15, distance


@pytest.mark.parametrize("kind", BLIND)
def test_the_glow_keeps_its_order_for_the_colour_blind(kind: str) -> None:
    lightness = oklab_from_srgb(seen_by(GLOW.colours(np.linspace(0, 1, 17)), BLIND[kind]))[:, 0]
    assert (np.diff(lightness) > 0).all()


def test_each_kind_of_map_has_its_one_scale() -> None:
    assert scale(True) is TUG and scale(False) is GLOW


@pytest.mark.parametrize("one", [GLOW, TUG], ids=lambda one: one.name)
def test_what_lies_beyond_the_ends_gets_the_colour_of_the_end(one: Scale) -> None:
    assert (one.colours(np.array([7.0])) == one.colours(np.array([1.0]))).all()
    assert (one.colours(np.array([-7.0])) == one.colours(np.array([-1.0 if one.signed else 0.0]))).all()
