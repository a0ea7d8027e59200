"""Goals that the shipped models have to meet, on few scenes; `pellucid testbed evaluate` measures them on 200."""

from __future__ import annotations

import pytest
import torch

import pellucid as pl
from pellucid.stories.pointing import pointing


def test_fullgrad_and_integrated_gradients_are_complete_on_the_shipped_cnn() -> None:
    model = pl.load("testbed:cnn")
    pictures = pl.testbed.scenes(77, 2).tensor()
    full = pl.attribute(model, pictures, "fullgrad")
    exact = pl.attribute(model, pictures, "integrated_gradients", steps=800, tolerance=1e-3, most_steps=6400)
    for heat in (full, exact):
        for checks in heat.checks:
            gap = next(check for check in checks if check.name == "completeness")
            assert gap.value is not None and gap.value <= 1e-3, (heat.method, gap.words)


def test_methods_of_the_natural_gradient_cost_one_forward_and_one_backward_together() -> None:
    model = pl.load("testbed:cnn")
    names = ["gradient", "gradient_x_input", "grad_cam", "grad_cam_pp", "layer_cam", "hires_cam", "xgrad_cam",
             "eigen_cam", "fullgrad"]  # fmt: skip
    maps = pl.attribute(model, torch.rand(3, 3, 64, 64), names)
    spent = [(heat.cost["forwards"], heat.cost["backwards"]) for heat in maps.values()]
    assert (sum(forwards for forwards, _ in spent), sum(backwards for _, backwards in spent)) == (1, 1)


def test_maps_of_gradients_under_noise_share_the_noisy_copies() -> None:
    model, pictures = pl.load("testbed:cnn"), torch.rand(2, 3, 64, 64)
    names = ["smoothgrad", "smoothgrad_squared", "vargrad"]
    together = pl.attribute(model, pictures, names, samples=4, target=0)
    alone = {name: pl.attribute(model, pictures, name, samples=4, target=0) for name in names}
    assert sum(heat.cost["backwards"] for heat in together.values()) == alone["vargrad"].cost["backwards"]
    assert all(torch.equal(together[name].values, alone[name].values) for name in names)


@pytest.mark.parametrize("spec", ["testbed:cnn", "testbed:vit"])
def test_the_first_shown_map_points_at_what_decides(spec: str) -> None:
    found = pointing(pl.load(spec), count=24, seed=3000)
    # With 24 scenes a rate of .9 comes below .7 once in a thousand; the goal itself is measured on 200.
    assert found.first["grown"] >= 0.7, found
    assert found.first["grown"] > found.rows["centre"]["grown"]
