"""Masks by descent where the best one can be worked out or counted out."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from pellucid.images import superpixels
from pellucid.images.wavelets import Wavelets
from tests.oracles.asking import ask, evidence_of, values_of
from tests.oracles.nets import LinearPicture, PatchDetector, Pixels, pictures

SIX = (torch.arange(6) // 3)[:, None] * 3 + (torch.arange(12) // 4)[None, :]
ROWS, COLUMNS = slice(9, 23), slice(20, 34)


def first(output: Tensor) -> Tensor:
    return 10 * output[:, 0]


def detected() -> tuple[nn.Module, Tensor, Tensor]:
    """A detector, a picture with something in its window, and the window."""
    inputs = 0.2 * pictures(1, 48, 64).sigmoid()
    inputs[:, 1, ROWS, COLUMNS] += 0.8
    window = torch.zeros(48, 64, dtype=torch.bool)
    window[ROWS, COLUMNS] = True
    return PatchDetector(9, 20, 14), inputs, window


@pytest.mark.parametrize("goal", ["delete", "keep"])
def test_of_a_linear_model_those_pixels_are_taken_that_are_worth_their_price(goal: str) -> None:
    """Deleting pixel j lowers w.x by w_j (x_j - r_j); it pays where that is more than the price of a cell."""
    network, inputs = LinearPicture(12, 12), pictures(2, 12, 12)
    found = ask("meaningful_perturbation", network, inputs, lambda output: output[:, 2], goal=goal, grid=12,
                smoothing=0, jitter=0, roughness=0, sparsity=0.1, updates=60, baseline="zero")  # fmt: skip
    gain = (network.weight[2] * inputs).sum(dim=1).detach()
    price = 0.1 * 28**2 / 12**2
    sure = (gain - price).abs() > 0.02
    assert_close(found[sure], (gain > price)[sure].float(), atol=1e-5, rtol=0)


def test_what_costs_too_much_is_not_deleted() -> None:
    network, inputs, _ = detected()
    assert not ask("meaningful_perturbation", network, inputs, first, sparsity=1e3, updates=40, grid=12).any()


def test_the_part_whose_blurring_destroys_lies_in_the_window_of_a_detector() -> None:
    network, inputs, window = detected()
    found = ask("meaningful_perturbation", network, inputs, first, roughness=0, smoothing=0, grid=64, sparsity=3e-3,
                jitter=0, updates=80, baseline="zero")[0]  # fmt: skip
    assert found[window].sum() > 0.95 * found.sum() > 0
    # As published it is smooth: a bump over the window.
    smooth = ask("meaningful_perturbation", network, inputs, first, updates=80, baseline="zero")[0]
    assert smooth[window].mean() > 2 * smooth[~window].mean()


@pytest.mark.parametrize("goal", ["delete", "keep"])
def test_an_extremal_perturbation_has_the_area_asked_for_and_lies_where_it_counts(goal: str) -> None:
    """The window is 6.4 % of the picture; the mask is smooth, so that a little of it hangs over."""
    network, inputs, window = detected()
    evidence = evidence_of(network, inputs, first)
    found = values_of("extremal_perturbation", evidence, area=0.064, goal=goal, updates=120, baseline="zero")[0]
    assert float(found.mean()) == pytest.approx(0.064, abs=0.015)
    near = torch.nn.functional.max_pool2d(window[None].float(), 9, stride=1, padding=4)[0] > 0
    assert found[near].sum() > 0.9 * found.sum() and found.max() > 0.95
    assert "the target goes from" in evidence.notes[0]


def present(inputs: Tensor) -> Tensor:
    return torch.stack([inputs[:, 0, SIX == patch].mean(dim=1) for patch in range(6)], dim=1)


GAMES = {
    "and": lambda inputs: 6 * present(inputs)[:, 1] * present(inputs)[:, 3],
    "or": lambda inputs: 6 * torch.maximum(present(inputs)[:, 1], 0.9 * present(inputs)[:, 3]),
    "sum": lambda inputs: present(inputs) @ torch.tensor([0.1, 2.0, 0.2, 1.5, 0.4, 0.05]),
}


@pytest.mark.parametrize("goal", ["keep", "delete"])
@pytest.mark.parametrize("game", GAMES)
def test_the_subset_found_is_the_best_of_all_64(game: str, goal: str) -> None:
    network, whole = Pixels(GAMES[game]), torch.ones(1, 3, 6, 12)

    def cost(chosen: tuple[int, ...]) -> float:
        mask = torch.tensor(chosen)[SIX].float()
        told = float(GAMES[game](whole * (mask if goal == "keep" else 1 - mask))[0])
        return 3 * sum(chosen) / 6 + (-told if goal == "keep" else told)

    best = min(itertools.product((0, 1), repeat=6), key=cost)
    found = ask("fido", network, whole, lambda output: output[:, 0], goal=goal, segments=SIX, updates=300,
                baseline="zero")[0]  # fmt: skip
    chosen = tuple(int(found[SIX == patch].mean() > 0.5) for patch in range(6))
    assert cost(chosen) == pytest.approx(cost(best), abs=1e-5), f"{chosen} for {best}"


def test_pixels_kept_for_the_rate_distortion_are_those_the_detector_reads() -> None:
    """Each costs a share of the price; outside the window keeping one brings nothing."""
    network, inputs, window = detected()
    found = ask("pixel_rde", network, inputs, first, updates=60)[0]
    assert found[~window].max() < 1e-3 and found[window].mean() > 0.5


@pytest.mark.parametrize("name", ["pixel_rde", "cartoonx"])
def test_where_coefficients_are_free_all_are_kept(name: str) -> None:
    network, inputs, _ = detected()
    evidence = evidence_of(network, inputs, first)
    values_of(name, evidence, updates=5, sparsity=0)
    kept = float(evidence.notes[0].split("%")[0])
    assert kept > 99, "all but what rounding of the transform moves"


def test_of_a_model_that_compares_two_halves_the_cartoon_has_no_detail() -> None:
    """It reads the mean of the left half less that of the right, so that of noise on two colours none is needed."""
    network = Pixels(lambda inputs: 10 * (inputs[..., :32].mean(dim=(1, 2, 3)) - inputs[..., 32:].mean(dim=(1, 2, 3))))
    inputs = 0.3 * pictures(1, 64, 64).sigmoid()
    inputs[..., :32] += 0.6
    found = ask("cartoonx", network, inputs, lambda output: output[:, 0], updates=60, sparsity=0.5)[0]
    assert found[:, :28].mean() > found[:, 36:].mean() + 0.3
    wavelets = Wavelets.of((64, 64))
    fine = wavelets.scales >= 4
    kept, all_of_it = (wavelets.analysed(one[None, None])[0, 0][fine].norm() for one in (found, inputs[0].mean(dim=0)))
    assert kept < 0.2 * all_of_it


@pytest.mark.parametrize(("name", "share"), [("waveletx", 0.8), ("shearletx", 0.5)])
def test_the_light_that_is_kept_lies_where_the_detector_looks(name: str, share: float) -> None:
    """The window is 6 % of the picture, and both pay for light anywhere else."""
    network, inputs, window = detected()
    found = ask(name, network, inputs, first, updates=60, levels=3)[0]
    assert found[window].sum() > share * found.sum()


@pytest.mark.parametrize("name", ["pixel_rde", "cartoonx", "waveletx", "shearletx"])
def test_masks_are_found_for_each_picture_alone(name: str) -> None:
    network, inputs = LinearPicture(16, 16), pictures(2, 16, 16)
    together = ask(name, network, inputs, lambda output: output[:, 1], updates=5)
    alone = ask(name, network, inputs[1:], lambda output: output[:, 1], updates=5)
    assert_close(together[1:], alone, atol=1e-3, rtol=1e-3)


def test_regions_of_masks_need_no_more_than_the_segments_there_are() -> None:
    """Superpixels that are fewer than asked for are no mishap."""
    inputs = torch.full((1, 3, 16, 16), 0.3)
    count = superpixels.slic(inputs[0], 5).max() + 1
    found = ask("fido", LinearPicture(16, 16), inputs, lambda output: output[:, 1], segments=5, updates=4)
    assert len(found.unique()) <= count
