"""More importance, more effect: where every pixel is worth something, the right order only rises."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from pellucid.engine import Evidence, look
from pellucid.engine.perturb import cells
from pellucid.errors import RequestError
from pellucid.subject import wrap
from pellucid.trust.faithfulness import deletion
from pellucid.trust.monotonicity import monotonicity_arya, monotonicity_nguyen
from pellucid.values import Class
from tests.oracles.nets import Pixels, pictures
from tests.trust.linear import looked, noise, worth


class Weighted(nn.Module):
    """A sum of pixels with given weights, and nothing."""

    def __init__(self, weights: torch.Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        score = (inputs.mean(dim=1) * self.weights).sum(dim=(1, 2))
        return torch.stack([score, 0 * score], dim=1)


def bright(weights: torch.Tensor) -> Evidence:
    model = wrap(Weighted(weights), input_size=(6, 8), activation="none")
    return look(model, torch.rand(2, 3, 6, 8, generator=torch.Generator().manual_seed(3)) + 0.1, Class(0))


def test_pixels_that_are_all_worth_something_only_raise_the_prediction() -> None:
    evidence = bright(torch.rand(6, 8, generator=torch.Generator().manual_seed(4)))
    found = monotonicity_arya(evidence, {"map": noise(evidence)})
    assert_close(found.values["map"], torch.ones(2))


def test_a_map_that_brings_harm_in_first_falls_at_every_step_that_brings_it() -> None:
    weights = torch.ones(6, 8)
    weights[:3] = -1  # the upper half harms
    evidence = bright(weights)
    upper_first, upper_last = torch.zeros(2, 6, 8), torch.zeros(2, 6, 8)
    upper_first[:, 3:], upper_last[:, :3] = 1, 1  # the least important come in first
    found = monotonicity_arya(evidence, {"first": upper_first, "last": upper_last}, steps=13)
    for values in found.values.values():
        assert_close(values, torch.full((2,), 0.5))


def test_it_reads_the_pictures_of_deletion_backwards() -> None:
    evidence = looked()
    maps = {"map": noise(evidence).abs()}
    deletion(evidence, maps, steps=11, fills=("black",))
    asked = evidence.passes.forwards
    monotonicity_arya(evidence, maps, steps=11)
    assert evidence.passes.forwards == asked


def test_cells_on_which_more_depends_are_ranked_higher() -> None:
    """Weights grow manifold from cell to cell, so the mean squared change does too, whatever the draw."""
    labels = cells(6, 8, 2)
    weights = 32.0 ** labels.float()
    evidence = bright(weights)
    right = weights.expand(2, -1, -1)
    found = monotonicity_nguyen(evidence, {"right": right, "signless": -right, "back": 1 / right}, grid=2)
    assert_close(found.values["right"], torch.ones(2))
    assert_close(found.values["signless"], torch.ones(2))
    assert_close(found.values["back"], -torch.ones(2))
    assert evidence.passes.forwards == 1 + 4 * 8


def test_a_prediction_that_never_moves_cannot_be_measured() -> None:
    model = wrap(Pixels(lambda inputs: inputs[:, 0, 0, 0] * 0 + 3), input_size=(6, 8), activation="none")
    evidence = look(model, pictures(2, 6, 8), Class(0))
    found = monotonicity_nguyen(evidence, {"map": noise(evidence)}, grid=2)
    assert found.values["map"].isnan().all() and set(found.skipped) == {0, 1}


def test_settings_out_of_range_are_refused() -> None:
    evidence = looked()
    maps = {"map": worth(evidence)}
    for refused in (
        lambda: monotonicity_arya(evidence, maps, steps=1),
        lambda: monotonicity_nguyen(evidence, maps, samples=0),
        lambda: monotonicity_nguyen(evidence, maps, grid=0),
    ):
        with pytest.raises(RequestError):
            refused()
