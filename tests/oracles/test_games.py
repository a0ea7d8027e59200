"""O4, O5, O6: small games between pixels or patches whose fair shares are known."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from pellucid.registry import find_method
from tests.oracles.asking import ask, evidence_of, values_of
from tests.oracles.nets import PatchDetector, Pixels, pictures

LEFT = torch.zeros(4, 6, dtype=torch.long)
LEFT[:, 3:] = 1
QUARTERS = torch.arange(2).repeat_interleave(2)[:, None] * 2 + torch.arange(2).repeat_interleave(3)[None, :]


def halves(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return inputs[:, 0, 1, 1], inputs[:, 0, 2, 4]


PRODUCT = Pixels(lambda inputs: halves(inputs)[0] * halves(inputs)[1])
LARGER = Pixels(lambda inputs: torch.maximum(*halves(inputs)))


def quarter_means(inputs: torch.Tensor) -> torch.Tensor:
    return torch.stack([inputs[:, 0, QUARTERS == patch].mean(dim=1) for patch in range(4)], dim=1)


def test_a_product_is_shared_in_halves_by_integrated_gradients_and_doubled_by_gradient_times_input() -> None:
    inputs = pictures(3, 4, 6)
    first, second = halves(inputs)
    shares = ask("integrated_gradients", PRODUCT, inputs, 0, steps=4)
    assert_close(torch.stack(halves(shares)), torch.stack([first * second / 2] * 2), rtol=1e-4, atol=1e-6)
    slopes = ask("gradient_x_input", PRODUCT, inputs, 0)
    assert_close(torch.stack(halves(slopes)), torch.stack([first * second] * 2))


def test_shapley_values_of_a_product_are_equal() -> None:
    inputs = pictures(3, 4, 6)
    shares = ask("kernel_shap", PRODUCT, inputs, 0, segments=LEFT, baseline="zero")
    expected = (halves(inputs)[0] * halves(inputs)[1] / 2)[:, None].expand(-1, 2)
    assert_close(torch.stack([shares[:, LEFT == side].sum(dim=1) for side in (0, 1)], dim=1), expected,
                 rtol=1e-4, atol=1e-6)  # fmt: skip


def test_shapley_values_of_the_larger_of_two() -> None:
    """v({1}) = a, v({2}) = b, v({1,2}) = a for a > b > 0: shares a - b/2 and b/2."""
    inputs = torch.zeros(1, 3, 4, 6)
    inputs[0, 0, 1, 1], inputs[0, 0, 2, 4] = 5.0, 3.0
    shares = ask("kernel_shap", LARGER, inputs, 0, segments=LEFT, baseline="zero")
    assert_close(torch.tensor([float(shares[:, LEFT == side].sum()) for side in (0, 1)]), torch.tensor([3.5, 1.5]))


def test_and_over_four_patches_is_shared_alike_and_or_too() -> None:
    """All four needed, or any one enough: by symmetry a quarter each; occlusion sees all of AND and nothing of OR."""
    whole = torch.ones(1, 3, 4, 6)
    both = {
        "and": Pixels(lambda inputs: quarter_means(inputs).prod(dim=1)),
        "or": Pixels(lambda inputs: 1 - (1 - quarter_means(inputs)).prod(dim=1)),
    }
    for word, network in both.items():
        shares = ask("kernel_shap", network, whole, 0, segments=QUARTERS, baseline="zero")
        assert_close(
            torch.tensor([float(shares[0, QUARTERS == patch].sum()) for patch in range(4)]), torch.full((4,), 0.25)
        )
        falls = ask("occlusion", network, whole, 0, window=(2, 3), stride=(2, 3), baseline="zero")
        assert_close(falls, torch.full_like(falls, 1.0 if word == "and" else 0.0))


def test_kernel_shap_keeps_its_promise_and_a_broken_map_fails_it() -> None:
    inputs = pictures(2, 4, 6)
    evidence = evidence_of(LARGER, inputs, 0)
    values = values_of("kernel_shap", evidence, segments=QUARTERS, baseline="blur")
    promise = find_method("kernel_shap").promise
    assert all(check.passed for check in promise(evidence, values, {"baseline": "blur"}))
    assert not any(check.passed for check in promise(evidence, values + 1, {"baseline": "blur"}))


def test_the_planted_window_is_found_by_every_pixel_method() -> None:
    """The window is rows 9 to 15, columns 20 to 26 of 37 x 53; the map's largest value lies inside."""
    network = PatchDetector(top=9, left=20, side=7)
    inputs = 0.2 * pictures(2, 37, 53)
    inputs[:, 1, 9:16, 20:27] += 2
    cases = {
        "gradient": {}, "gradient_x_input": {}, "smoothgrad": {"samples": 3}, "integrated_gradients": {"steps": 4},
        "occlusion": {"window": 7, "stride": 2}, "refined_occlusion": {"window": 5, "baseline": "blur"},
        "rise": {"masks": 400, "keep": 0.4},
        "kernel_shap": {"samples": 300, "segments": 40}, "lime": {"samples": 300, "segments": 40},
    }  # fmt: skip
    for name, parameters in cases.items():
        values = ask(name, network, inputs, 0, **parameters)
        flat = (values.abs().amax(dim=1) if values.ndim == 4 else values).flatten(1).argmax(dim=1)
        rows, columns = flat // 53, flat % 53
        inside = (rows >= 9) & (rows < 16) & (columns >= 20) & (columns < 27)
        assert inside.all(), f"{name} points at {rows.tolist()}, {columns.tolist()}"


def test_the_support_of_the_gradient_is_exactly_the_window() -> None:
    network = PatchDetector(top=9, left=20, side=7)
    slope = ask("gradient", network, pictures(1, 37, 53), 0)
    expected = torch.zeros(1, 3, 37, 53)
    expected[:, 1, 9:16, 20:27] = 1 / 49
    assert_close(slope, expected)
