"""O1: on a linear model every attribution has a closed form."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from pellucid.images import superpixels
from tests.oracles.asking import ask, evidence_of
from tests.oracles.nets import LinearPicture, pictures

HEIGHT, WIDTH, CLASS = 12, 14, 2
NETWORK = LinearPicture(HEIGHT, WIDTH)
INPUTS = pictures(3, HEIGHT, WIDTH)
WEIGHT = NETWORK.weight.detach()[CLASS]
PATCHES = torch.as_tensor(superpixels.grid(HEIGHT, WIDTH, 3, 3))


def test_the_gradient_is_the_weight() -> None:
    assert_close(ask("gradient", NETWORK, INPUTS, CLASS), WEIGHT.expand(3, -1, -1, -1))
    assert_close(ask("saliency", NETWORK, INPUTS, CLASS), WEIGHT.expand(3, -1, -1, -1))


def test_gradient_times_input_is_each_pixels_summand() -> None:
    assert_close(ask("gradient_x_input", NETWORK, INPUTS, CLASS), WEIGHT * INPUTS)


@pytest.mark.parametrize("baseline", ["black", "white", "mean", "blur"])
@pytest.mark.parametrize("steps", [1, 5])
def test_integrated_gradients_give_weight_times_way_from_any_baseline_in_any_steps(baseline: str, steps: int) -> None:
    evidence = evidence_of(NETWORK, INPUTS, CLASS)
    start = evidence.fill(baseline)
    found = ask("integrated_gradients", NETWORK, INPUTS, CLASS, baseline=baseline, steps=steps)
    assert_close(found, WEIGHT * (INPUTS - start), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("noise", [0.0, 0.15, 2.0])
def test_noise_changes_nothing_of_a_constant_gradient(noise: float) -> None:
    given = {"noise": noise, "samples": 7}
    weight = WEIGHT.expand(3, -1, -1, -1)
    assert_close(ask("smoothgrad", NETWORK, INPUTS, CLASS, **given), weight)
    assert_close(ask("smoothgrad_squared", NETWORK, INPUTS, CLASS, **given), weight**2)
    assert_close(ask("vargrad", NETWORK, INPUTS, CLASS, **given), torch.zeros_like(weight))


@pytest.mark.parametrize("baseline", ["black", "blur"])
def test_an_occluded_window_is_worth_the_sum_of_its_summands(baseline: str) -> None:
    window = (4, 7)
    start = evidence_of(NETWORK, INPUTS, CLASS).fill(baseline)
    summands = (WEIGHT * (INPUTS - start)).sum(dim=1)
    blocks = summands.unfold(1, 4, 4).unfold(2, 7, 7).sum(dim=(3, 4))
    expected = blocks.repeat_interleave(4, dim=1).repeat_interleave(7, dim=2)
    found = ask("occlusion", NETWORK, INPUTS, CLASS, window=window, stride=window, baseline=baseline)
    assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_overlapping_windows_are_averaged_up_to_the_border() -> None:
    """Window 5 with stride 3 does not divide 12 x 14: the last window of each row ends at the border."""
    summands = (WEIGHT * INPUTS).sum(dim=1)
    total, count = torch.zeros_like(summands), torch.zeros(HEIGHT, WIDTH)
    for top in (0, 3, 6, 7):
        for left in (0, 3, 6, 9):
            here = (slice(top, top + 5), slice(left, left + 5))
            total[:, *here] += summands[:, *here].sum(dim=(1, 2), keepdim=True)
            count[here] += 1
    found = ask("occlusion", NETWORK, INPUTS, CLASS, window=5, stride=3, baseline="zero")
    assert_close(found, total / count, rtol=1e-4, atol=1e-4)


def test_kernel_shap_gives_each_patch_its_summands() -> None:
    """Nine patches: every coalition is tried, the Shapley values are exact."""
    start = evidence_of(NETWORK, INPUTS, CLASS).fill("blur")
    summands = (WEIGHT * (INPUTS - start)).sum(dim=1)
    found = ask("kernel_shap", NETWORK, INPUTS, CLASS, segments=PATCHES, baseline="blur")
    for patch in range(9):
        inside = PATCHES == patch
        assert_close(found[:, inside].sum(dim=1), summands[:, inside].sum(dim=1), rtol=1e-4, atol=1e-4)
        assert_close(found[:, inside], found[:, inside][:, :1].expand(-1, int(inside.sum())))


def test_sampled_kernel_shap_is_exact_on_a_linear_model() -> None:
    patches = torch.as_tensor(superpixels.grid(HEIGHT, WIDTH, 4, 4))
    summands = (WEIGHT * INPUTS).sum(dim=1)
    found = ask("kernel_shap", NETWORK, INPUTS, CLASS, segments=patches, baseline="black", samples=200)
    for patch in range(16):
        inside = patches == patch
        assert_close(found[:, inside].sum(dim=1), summands[:, inside].sum(dim=1), rtol=1e-3, atol=1e-3)


def test_unregularised_lime_recovers_what_each_patch_adds() -> None:
    start = evidence_of(NETWORK, INPUTS, CLASS).fill("blur")
    summands = (WEIGHT * (INPUTS - start)).sum(dim=1)
    found = ask("lime", NETWORK, INPUTS, CLASS, segments=PATCHES, ridge=0.0, samples=60)
    for patch in range(9):
        inside = PATCHES == patch
        expected = summands[:, inside].sum(dim=1, keepdim=True).expand(-1, int(inside.sum()))
        assert_close(found[:, inside], expected, rtol=1e-3, atol=1e-3)


def test_lime_says_how_well_its_linear_model_fits() -> None:
    evidence = evidence_of(NETWORK, INPUTS[:1], CLASS)
    from tests.oracles.asking import values_of

    values_of("lime", evidence, segments=PATCHES, ridge=0.0, samples=60)
    assert any("explains 1.00" in note for note in evidence.notes), evidence.notes


def test_rise_separates_pixels_by_their_summands_when_every_mask_is_tried() -> None:
    """The masks' mean of score x mask / keep, taken over random masks, must equal its closed form in those masks.

    For a linear score S = b + sum_v m_v s_v the estimator is b E[m_u]/p + sum_v E[m_v m_u] s_v / p, with the moments of
    the very masks that were drawn.
    """
    from pellucid.attribution.perturbation import rise_masks
    from pellucid.values import Call, Seed

    count, keep = 300, 0.4
    target = Call(lambda output: output[:, CLASS], name="logit")  # no probability: the score itself is linear
    found = ask("rise", NETWORK, INPUTS, target, masks=count, grid=4, keep=keep)
    masks = torch.cat(list(rise_masks(count, 4, keep, (HEIGHT, WIDTH), Seed(0)))).flatten(1).double()
    summands = (WEIGHT * INPUTS).sum(dim=1).flatten(1).double()
    bias = NETWORK.bias.detach()[CLASS].double()
    second = masks.T @ masks / count
    expected = (bias * masks.mean(dim=0) + summands @ second) / keep
    assert_close(found.flatten(1).double(), expected, rtol=1e-3, atol=1e-3)


def test_rise_masks_show_the_asked_part_and_come_in_any_number() -> None:
    from pellucid.attribution.perturbation import rise_masks
    from pellucid.values import Seed

    many = torch.cat(list(rise_masks(700, 7, 0.3, (37, 53), Seed(3))))
    few = torch.cat(list(rise_masks(70, 7, 0.3, (37, 53), Seed(3))))
    assert many.shape == (700, 37, 53) and torch.equal(many[:70], few)
    assert many.min() >= 0 and many.max() <= 1 + 1e-6
    assert abs(float(many.mean()) - 0.3) < 0.02, f"{float(many.mean()):.3f} of the pixels are shown"
