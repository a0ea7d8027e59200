"""Linear models, where the right map foretells everything and a small change has a known effect."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import pellucid as pl
from pellucid.errors import RequestError
from pellucid.subject import VisionModel, wrap
from tests.guests import unchanged
from tests.nets import Twin
from tests.oracles.nets import LinearPicture, pictures

HEIGHT, WIDTH, CLASS = 14, 21, 2
INPUTS = pictures(2, HEIGHT, WIDTH)


def linear() -> VisionModel:
    return wrap(LinearPicture(HEIGHT, WIDTH), input_size=(HEIGHT, WIDTH), activation="none")


def score(model: VisionModel, method: str, metric: str, **parameters: object) -> tuple[float, ...]:
    heat = pl.attribute(model, INPUTS, method, target=CLASS)
    return pl.evaluate(model, INPUTS, heat, metric, **parameters)[0].values


@pytest.mark.parametrize("metric", ["foretells_regions", "foretells_single_regions"])
def test_the_exact_contributions_foretell_a_linear_model(metric: str) -> None:
    # With black as fill, what a region takes with it is its part of gradient x input.
    assert score(linear(), "gradient_x_input", metric, fill="black") == pytest.approx((1.0, 1.0), abs=1e-5)
    assert max(score(linear(), "random", metric, fill="black")) < 0.7


def test_the_summed_gradient_foretells_a_linear_model_under_noise() -> None:
    class Grey(nn.Module):
        """All colours weigh the same, so that a map without channels says everything."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(3)).abs())

        def forward(self, inputs: Tensor) -> Tensor:
            total = (inputs.sum(dim=1) * self.weight).sum(dim=(-2, -1))
            return torch.stack([total, -total, 3 * total], dim=1)

    model = wrap(Grey(), input_size=(HEIGHT, WIDTH), activation="none")
    assert score(model, "gradient", "foretells_noise") == pytest.approx((1.0, 1.0), abs=1e-4)
    assert max(score(model, "centre", "foretells_noise")) < 0.9


def test_the_gradient_of_a_linear_model_cannot_be_moved_and_that_of_a_curved_one_can() -> None:
    assert score(linear(), "gradient", "max_sensitivity", samples=4) == pytest.approx((0.0, 0.0), abs=1e-6)
    curved = wrap(Twin(), input_size=(HEIGHT, WIDTH))
    moved = score(curved, "gradient_x_input", "max_sensitivity", samples=4)
    assert min(moved) > 1e-3


def test_gradient_x_input_of_a_linear_model_moves_by_what_is_worked_out_by_hand() -> None:
    model = linear()
    radius = 0.1
    heat = pl.attribute(model, INPUTS, "gradient_x_input", target=CLASS)
    found = pl.evaluate(model, INPUTS, heat, "max_sensitivity", samples=6, radius=radius)[0]
    assert isinstance(model.module, LinearPicture)
    weight = model.module.weight[CLASS].detach()
    # Each pixel's value moves by at most the radius times the magnitudes of its three weights.
    most = radius * weight.abs().sum(dim=0).norm() / heat.one_channel.flatten(1).norm(dim=1)
    typical = radius * weight.norm() / 3**0.5 / heat.one_channel.flatten(1).norm(dim=1)
    for value, bound, usual in zip(found.values, most.tolist(), typical.tolist(), strict=True):
        assert 0.7 * usual < value < bound
    lipschitz = pl.evaluate(model, INPUTS, heat, "local_lipschitz", samples=6, radius=radius)[0]
    ratio = torch.tensor(lipschitz.values) / torch.tensor(found.values)
    size = INPUTS.flatten(1).norm(dim=1) / (radius * (INPUTS[0].numel() / 3) ** 0.5)
    assert torch.allclose(ratio, size, rtol=0.1)


def test_more_samples_can_only_raise_the_sensitivity() -> None:
    model = wrap(Twin(), input_size=(HEIGHT, WIDTH))
    few, many = (score(model, "gradient_x_input", "max_sensitivity", samples=count) for count in (2, 6))
    assert all(less <= more for less, more in zip(few, many, strict=True))


def test_maps_of_another_class_are_other_maps_unless_they_are_blind_to_it() -> None:
    model = linear()
    (edge,) = {round(value, 6) for value in score(model, "edge", "class_sensitivity")}
    assert edge == 1.0
    assert max(abs(value) for value in score(model, "gradient", "class_sensitivity")) < 0.5


def test_what_is_remade_leaves_the_model_as_it_was() -> None:
    network = Twin("in-place functional").train()
    with unchanged(network):
        model = wrap(network, input_size=(HEIGHT, WIDTH))
        heat = pl.attribute(model, INPUTS, "gradient", target=1)
        pl.evaluate(
            model, INPUTS, heat, ("max_sensitivity", "output_stability", "class_sensitivity", "foretells_noise"),
            samples=8,
        )  # fmt: skip


def test_samples_that_say_nothing_are_refused() -> None:
    model = linear()
    heat = pl.attribute(model, INPUTS, "gradient", target=CLASS)
    for metric, wrong in (("max_sensitivity", {"samples": 0}), ("local_lipschitz", {"radius": 0.0}),
                          ("foretells_regions", {"samples": 3})):  # fmt: skip
        with pytest.raises(RequestError, match="expected"):
            pl.evaluate(model, INPUTS, heat, metric, **wrong)
