"""The whole picture invents nothing and costs what it is; boxes and single wavelets can be counted."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from pellucid.engine import Evidence, look
from pellucid.errors import RequestError
from pellucid.images.shearlets import edge_strength
from pellucid.images.wavelets import Wavelets
from pellucid.subject import wrap
from pellucid.trust.artefacts import conciseness, hallucination
from tests.nets import TinyViT, Twin
from tests.oracles.nets import pictures

HEIGHT, WIDTH, EDGE = 31, 44, 12
BOX = (slice(8, 22), slice(20, 38))  # 14 x 18, right of the true edge
WAYS = [(basis, information) for basis in ("pixels", "wavelets", "shearlets") for information in ("l1", "entropy")]


class Settled(nn.Module):
    """Always the same answer, whatever it is shown: all of the probability is retained."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = nn.Parameter(torch.tensor([1.0, 0.0]))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.answer + 0 * inputs.mean(dim=(1, 2, 3))[:, None]


def seen(inputs: Tensor, network: nn.Module | None = None) -> Evidence:
    return look(wrap(network or Settled(), input_size=tuple(inputs.shape[-2:])), inputs, 0)


def halves() -> Tensor:
    """Black on the left, white on the right: one upright edge, two pixels wide."""
    inputs = torch.zeros(1, 3, HEIGHT, WIDTH)
    inputs[..., EDGE:] = 1
    return inputs


def box() -> Tensor:
    mask = torch.zeros(1, HEIGHT, WIDTH)
    mask[:, *BOX] = 1
    return mask


@pytest.mark.parametrize("edges", ["sobel", "shearlets"])
@pytest.mark.parametrize("network", [Twin, TinyViT])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_whole_picture_invents_no_edges_and_keeps_exactly_what_it_shows(
    edges: str, network: type[nn.Module], dtype: torch.dtype
) -> None:
    size = (12, 16) if network is TinyViT else (15, 22)
    evidence = seen(pictures(2, *size), network().to(dtype))
    whole = {"map": 7 * torch.ones(2, *size)}
    assert hallucination(evidence, whole, edges=edges).values["map"].tolist() == [0.0, 0.0]
    for basis, information in WAYS:
        found = conciseness(evidence, whole, basis=basis, information=information).values["map"]
        assert found.tolist() == pytest.approx([1.0, 1.0], abs=1e-5)


def test_the_outline_of_a_hard_box_is_counted() -> None:
    """Sobel sees a box two pixels wide, corners included: (a + 2)(b + 2) - (a - 2)(b - 2) = 4 (a + b) pixels."""
    found = hallucination(seen(halves()), {"box": box()}).values["box"]
    assert found.tolist() == pytest.approx([4 * (14 + 18) / (2 * HEIGHT)])


def test_a_threshold_above_the_box_s_contrast_does_not_see_it() -> None:
    evidence, faint = seen(halves()), {"box": 0.3 * box() + 0.7}
    assert float(hallucination(evidence, faint, threshold=0.35).values["box"]) == 0
    assert float(hallucination(evidence, faint, threshold=0.05).values["box"]) > 1


def test_shearlets_see_steps_in_every_direction_and_no_border() -> None:
    side = 48
    down, across = torch.meshgrid(torch.arange(side) - 23.5, torch.arange(side) - 23.5, indexing="ij")
    for degrees in (0, 20, 45, 70, 90, 135):
        angle = math.radians(degrees)
        distance = down * math.cos(angle) - across * math.sin(angle)
        strength = edge_strength((distance > 0).float()[None])[0]
        inner = (distance.abs() < 1) & (down.abs() < 16) & (across.abs() < 16)
        assert 0.4 < strength[inner].min() and strength[inner].max() < 1.3, degrees
        assert strength[(distance.abs() > 6) & (down.abs() < 16) & (across.abs() < 16)].max() < 0.2
    assert edge_strength(torch.full((1, 15, 22), 0.7)).max() < 1e-5
    ramp = torch.linspace(0, 1, 40).expand(1, 30, 40)
    assert edge_strength(ramp).max() < 0.1


def test_a_box_is_invented_and_scattered_pixels_still_more_so_by_shearlets_too() -> None:
    scattered = (torch.rand(1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1)) < 0.5).float()
    evidence, maps = seen(halves()), {"box": box(), "scattered": scattered, "whole": torch.ones(1, HEIGHT, WIDTH)}
    for edges in ("sobel", "shearlets"):
        found = {name: float(one) for name, one in hallucination(evidence, maps, edges=edges).values.items()}
        assert found["whole"] == 0 < 1 < found["box"] < found["scattered"]


def test_an_even_picture_s_box_has_its_share_of_the_magnitude_and_of_the_entropy() -> None:
    evidence, maps = seen(torch.full((1, 3, HEIGHT, WIDTH), 0.6)), {"box": box()}
    whole, kept = 3 * HEIGHT * WIDTH, 3 * 14 * 18
    assert float(conciseness(evidence, maps).values["box"]) == pytest.approx(whole / kept, rel=1e-5)
    found = conciseness(evidence, maps, information="entropy").values["box"]
    assert float(found) == pytest.approx(math.log(whole) / math.log(kept), rel=1e-3)  # 1e-7 under the logarithm
    assert hallucination(evidence, maps).skipped == {0: "it has no edges"}


def test_of_three_wavelets_two_are_kept() -> None:
    wavelets = Wavelets.of((32, 32))
    coefficients = torch.zeros(1, 3, *wavelets.scales.shape)
    for row, column in ((20, 20), (20, 27), (27, 20)):  # of the finest details, far apart
        coefficients[:, :, row, column] = 1
    inputs, single = wavelets.synthesised(coefficients), coefficients.clone()
    single[:, :, 27, 20] = 0
    mask = (wavelets.synthesised(single)[:, 0].abs() > 1e-6).float()
    evidence, maps = seen(inputs), {"two": mask}
    found = conciseness(evidence, maps, basis="wavelets").values["two"]
    assert float(found) == pytest.approx(3 / 2, rel=1e-4)
    found = conciseness(evidence, maps, basis="wavelets", information="entropy").values["two"]
    assert float(found) == pytest.approx(math.log(9) / math.log(6), rel=1e-4)


def test_less_is_retained_of_the_answer() -> None:
    """All classes but the first have logit 0, and the first that of the mean: what is kept is a ratio of sigmoids."""

    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(4.0))

        def forward(self, inputs: Tensor) -> Tensor:
            mean = self.scale * inputs.mean(dim=(1, 2, 3))
            return torch.stack([mean, torch.zeros_like(mean)], dim=1)

    part = 14 * 18 / (HEIGHT * WIDTH)
    evidence = seen(torch.ones(1, 3, HEIGHT, WIDTH), Mean())
    chance = torch.tensor([4.0, 4.0 * part]).sigmoid()
    expected = float(chance[1] / chance[0]) / part
    assert float(conciseness(evidence, {"box": box()}).values["box"]) == pytest.approx(expected, rel=1e-4)


def test_what_does_not_exist_is_refused() -> None:
    evidence, maps = seen(halves()), {"box": box()}
    for measure, wrong in (
        (hallucination, {"edges": "canny"}), (hallucination, {"threshold": 0.0}), (conciseness, {"basis": "curvelets"}),
        (conciseness, {"information": "rumour"}),
    ):  # fmt: skip
        with pytest.raises(RequestError, match="expected"):
            measure(evidence, maps, **wrong)
