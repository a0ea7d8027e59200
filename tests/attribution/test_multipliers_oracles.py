"""Differences shared out by multipliers: closed forms, completeness through every kind of layer, Captum."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from captum import attr
from torch import Tensor, nn
from torch.nn import functional

from pellucid.errors import MethodUnavailable
from tests.oracles.asking import ask, evidence_of, relative
from tests.oracles.nets import LinearPicture, Pixels, Twin, pictures, seeded, tiny_vit


def missing(network: nn.Module, inputs: Tensor, start: Tensor) -> float:
    """How far the shares are from the difference of the target, in parts of it."""
    evidence = evidence_of(network, inputs)
    shared = ((inputs - start) * evidence.multipliers(start)).flatten(1).sum(dim=1)
    (before,) = evidence.scores_at([start.expand_as(inputs)])
    whole = evidence.score() - before
    return float(((shared - whole).abs() / whole.abs().clamp(min=1e-3)).max())


def test_a_linear_model_shares_out_weight_times_difference() -> None:
    network, inputs = LinearPicture(), pictures(2)
    start = evidence_of(network, inputs).fill("mean")
    expected = network.weight[2].detach() * (inputs - start)
    assert relative(ask("deep_lift", network, inputs, baseline="mean"), expected) < 1e-5


def test_a_rectifier_hands_back_rise_over_run() -> None:
    """f = relu(x - 1): from 0 to 3 it rises by 2, a third of which no slope would show."""
    network = Pixels(lambda inputs: functional.relu(inputs.sum(dim=(1, 2, 3)) - 1))
    inputs = torch.full((1, 3, 1, 1), 1.0)
    found = evidence_of(network, inputs, 0).multipliers(torch.zeros_like(inputs))
    torch.testing.assert_close(found, torch.full_like(inputs, 2 / 3))


def test_a_product_is_shared_half_and_half() -> None:
    """O4: x1 x2 from 0 gives x1 x2 / 2 to each, as Shapley does."""
    network = Pixels(lambda inputs: inputs[:, 0, 0, 0] * inputs[:, 1, 0, 0])
    inputs = torch.tensor([3.0, 5.0, 7.0]).view(1, 3, 1, 1)
    found = evidence_of(network, inputs, 0).multipliers(torch.zeros_like(inputs)) * inputs
    torch.testing.assert_close(found.flatten(), torch.tensor([7.5, 7.5, 0.0]))


def test_a_saturated_sum_is_not_lost() -> None:
    """1 - relu(1 - x1 - x2) at (1, 1) has no slope left, and rises by 1 from 0."""
    network = Pixels(lambda inputs: 1 - functional.relu(1 - inputs[:, 0, 0, 0] - inputs[:, 1, 0, 0]))
    inputs = torch.tensor([1.0, 1.0, 0.0]).view(1, 3, 1, 1)
    evidence = evidence_of(network, inputs, 0)
    assert evidence.input_gradient().abs().max() == 0
    shares = evidence.multipliers(torch.zeros_like(inputs)) * inputs
    torch.testing.assert_close(shares.flatten(), torch.tensor([0.5, 0.5, 0.0]))


class Norms(nn.Module):
    """Group norm, root-mean-square norm, unit length, a gate, softmax weights, pools."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.group = nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8)
        self.gate, self.values, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4)
        self.scale = nn.RMSNorm(8)
        seeded(self, 7)

    def forward(self, inputs: Tensor) -> Tensor:
        grid = functional.max_pool2d(functional.silu(self.group(self.conv(inputs))), 2)
        tokens = self.scale(grid.flatten(2).transpose(1, 2))
        tokens = tokens * torch.sigmoid(self.gate(tokens)) / (1 + tokens.square().mean(dim=-1, keepdim=True))
        weights = (functional.normalize(tokens, dim=-1) @ self.values(tokens).transpose(1, 2)).softmax(dim=-1)
        return self.head((weights @ tokens).amax(dim=1))


@pytest.mark.parametrize("network", [Twin("in place"), Twin("function"), tiny_vit(32, 32), Norms()], ids=str)
def test_the_shares_add_up_through_every_kind_of_layer(network: nn.Module) -> None:
    inputs, start = pictures(3, 32, 32, seed=3).double(), pictures(1, 32, 32, seed=4).double() * 0.5
    assert missing(network.double(), inputs, start) < 1e-5
    network.float()


def test_captum_says_the_same_where_it_says_anything() -> None:
    """Rectifiers, pools and softmax as modules used once; through other layers Captum's shares do not add up.

    A linear layer stands between rectifier and pool: of two neighbours Captum's rule for the later one does not reach
    the earlier one, which goes on with the plain slope. From a blank baseline a pool's winner is a tie, whose place is
    anyone's choice.
    """
    network = seeded(nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.MaxPool2d(2), nn.Conv2d(8, 10, 3, stride=2),
        nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(10, 6), nn.Sigmoid(), nn.Linear(6, 4),
    ), 9)  # fmt: skip
    inputs = pictures(2, 16, 16)
    start = pictures(1, 16, 16, seed=4).expand_as(inputs).contiguous()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = attr.DeepLift(network).attribute(inputs.clone(), start, target=2).detach()
        references = pictures(4, 16, 16, seed=5)
        shapley = torch.cat([
            attr.DeepLiftShap(network).attribute(one[None].clone(), references, target=2).detach() for one in inputs
        ])  # fmt: skip
    assert relative(evidence_of(network, inputs).multipliers(start) * (inputs - start), theirs) < 1e-3
    assert relative(ask("deep_shap", network, inputs, references=references), shapley) < 1e-3


def test_a_picture_alone_has_the_map_that_it_has_among_others() -> None:
    inputs = pictures(3, 32, 32)
    together = ask("deep_lift", tiny_vit(32, 32), inputs)
    alone = torch.cat([ask("deep_lift", tiny_vit(32, 32), one[None]) for one in inputs])
    assert relative(together, alone) < 1e-4


def test_an_operation_without_multiplier_is_named() -> None:
    def odd(inputs: Tensor) -> Any:
        return torch.fft.rfft(inputs.flatten(1)).real[:, 0]

    with pytest.raises(MethodUnavailable, match="fft_rfft"):
        ask("deep_lift", Pixels(odd), pictures(1, 2, 2), 0)
