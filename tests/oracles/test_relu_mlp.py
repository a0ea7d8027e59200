"""O2: networks that are linear piece by piece, where input and bias terms make up the logit exactly."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from pellucid.attribution.fullgrad import full_gradient_sum
from pellucid.registry import find_method
from tests.oracles.asking import ask, evidence_of, values_of
from tests.oracles.nets import Twin, pictures, relu_mlp, tiny_vit


@pytest.mark.parametrize(("network", "size"), [(relu_mlp(), (5, 7)), (Twin("module"), (37, 53))])
def test_full_gradients_sum_to_the_logit(network: nn.Module, size: tuple[int, int]) -> None:
    """With biases everywhere and batch statistics that are not zero and one."""
    inputs = pictures(3, *size)
    evidence = evidence_of(network, inputs, 2)
    gap = ((full_gradient_sum(evidence) - evidence.score()) / evidence.score()).abs().max()
    assert gap < 1e-4, f"gap {gap:.2e}"
    checks = find_method("fullgrad").promise(evidence, values_of("fullgrad", evidence), {})
    assert [check.passed for check in checks] == [True] * 3, checks[0].words


def test_full_gradients_promise_nothing_of_a_transformer() -> None:
    evidence = evidence_of(tiny_vit(), pictures(1, 32, 32), 2)
    (check,) = find_method("fullgrad").promise(evidence, values_of("fullgrad", evidence), {})
    assert check.passed is None and "not piecewise linear" in check.words


def test_fullgrad_stays_the_same_within_one_linear_region() -> None:
    """The bias terms do not feel a step that switches no ReLU; the input term scales with it."""
    network, inputs = relu_mlp(), pictures(1, 5, 7)
    step = 1e-5 * pictures(1, 5, 7, seed=9)
    near, far = (
        [term.off_grid for term in evidence_of(network, here, 2).bias_terms()] for here in (inputs, inputs + step)
    )
    assert len(near) == len(far) == 2
    for term, same in zip(near, far, strict=True):
        assert_close(term, same)


def test_fullgrad_matches_its_equation() -> None:
    """psi by hand: magnitude, stretched to 0..1 per channel, upsampled, summed."""
    network, inputs = Twin("module"), pictures(2, 37, 53)
    evidence = evidence_of(network, inputs, 1)

    def psi(terms: torch.Tensor) -> torch.Tensor:
        flat = terms.abs().flatten(2)
        low, high = flat.amin(dim=2)[..., None, None], flat.amax(dim=2)[..., None, None]
        scaled = torch.nan_to_num((terms.abs() - low) / (high - low))
        return nn.functional.interpolate(scaled, (37, 53), mode="bilinear", align_corners=False).sum(dim=1)

    expected = psi(evidence.input_gradient() * inputs)
    leaf = inputs.clone().requires_grad_()
    one = network.conv1(leaf)
    two = network.norm1(one)
    three = network.conv2(two.relu())
    four = network.norm2(three)
    score = network.head(four.relu().mean(dim=(2, 3)))[:, 1].sum()
    slopes = torch.autograd.grad(score, [one, two, three, four])
    for slope, module in zip(slopes, (network.conv1, network.norm1, network.conv2, network.norm2), strict=True):
        bias = module.bias
        if isinstance(module, nn.BatchNorm2d):
            bias = bias - module.weight * module.running_mean / (module.running_var + module.eps).sqrt()
        expected = expected + psi(slope * bias.detach()[:, None, None])
    assert_close(values_of("fullgrad", evidence), expected, rtol=1e-4, atol=1e-4)


def test_integrated_gradients_come_closer_to_completeness_with_more_steps() -> None:
    network, inputs = relu_mlp(), pictures(4, 5, 7)
    evidence = evidence_of(network, inputs, 2)
    (start,) = evidence.scores_at([torch.zeros_like(inputs)])
    gaps = []
    for steps in (4, 16, 256):
        total = ask("integrated_gradients", network, inputs, 2, steps=steps, most_steps=steps).flatten(1).sum(dim=1)
        gaps.append(float((total - (evidence.score() - start)).abs().mean()))
    assert gaps[2] < 0.3 * gaps[0] and gaps[2] < 0.02, gaps


def test_integrated_gradients_take_more_steps_where_they_miss_and_say_so_when_that_is_not_enough() -> None:
    network, inputs = relu_mlp(), pictures(4, 5, 7)
    coarse = evidence_of(network, inputs, 2)
    values_of("integrated_gradients", coarse, steps=1, most_steps=1)
    assert any("miss completeness" in note for note in coarse.notes)
    finer = evidence_of(network, inputs, 2)
    values = values_of("integrated_gradients", finer, steps=1, most_steps=512)
    assert not finer.notes
    checks = find_method("integrated_gradients").promise(finer, values, {"baseline": "black"})
    assert all(check.passed is not False and check.value <= 0.05 for check in checks), [check.words for check in checks]


def test_a_map_that_misses_completeness_fails_its_check() -> None:
    evidence = evidence_of(relu_mlp(), pictures(1, 5, 7), 2)
    values = values_of("integrated_gradients", evidence)
    (check,) = find_method("integrated_gradients").promise(evidence, 2 * values, {})
    assert check.passed is False and check.value > 0.9, check.words


class Clipped(nn.Module):
    """Batch norm and an activation with a ceiling, as mobile networks have them."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(4)
        self.conv, self.norm = nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6)
        self.act, self.head = nn.ReLU6(inplace=True), nn.Linear(6, 3)
        with torch.no_grad():
            self.norm.running_mean.copy_(torch.randn(6, generator=generator))  # type: ignore[union-attr]
            self.norm.weight.mul_(9)  # so that much of it lies above the ceiling

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.act(self.norm(self.conv(x))).mean((2, 3)))


def test_what_lies_above_a_ceiling_counts_as_a_constant() -> None:
    evidence = evidence_of(Clipped(), pictures(2, 21, 27), 1)
    assert_close(full_gradient_sum(evidence).float(), evidence.score(), rtol=1e-4, atol=1e-5)
