"""The same numbers as Quantus 0.6, where it means the same.

Quantus takes every colour of a pixel for a feature of its own; a map here has one value per pixel. So these are grey
pictures, on which the two agree. Where its definitions differ, the metric's page says how.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from pellucid.engine import Evidence, look
from pellucid.images import baselines
from pellucid.subject import wrap
from pellucid.trust.axioms import non_sensitivity
from pellucid.trust.completeness import completeness
from pellucid.trust.faithfulness import deletion
from pellucid.trust.monotonicity import monotonicity_arya, monotonicity_nguyen
from pellucid.trust.regions import region_perturbation, selectivity
from pellucid.trust.road import road_morf
from pellucid.trust.subsets import faithfulness_correlation, faithfulness_estimate
from pellucid.values import Class
from tests.oracles.nets import seeded

with warnings.catch_warnings():  # an escape sequence in one of its docstrings, when first compiled
    warnings.simplefilter("ignore")
    import quantus

HEIGHT, WIDTH, CLASS = 8, 12, 2
SETTINGS: dict[str, Any] = {
    "normalise": False, "abs": False, "return_aggregate": False, "disable_warnings": True, "perturb_baseline": 0.0
}  # fmt: skip


class Grey(nn.Module):
    """A convolution, a rectifier and a linear head for grey pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, padding=1)
        self.head = nn.Linear(6 * HEIGHT * WIDTH, 4)
        seeded(self, 8)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(torch.relu(self.conv(inputs)).flatten(1))


class Masked(nn.Module):
    """Pictures of which only some pixels are left."""

    def __init__(self, left: Tensor) -> None:
        super().__init__()
        self.left = left

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.left


NETWORK = Grey()
INPUTS = torch.rand(3, 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1)) + 0.1
VALUES = torch.randn(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(2))
MAPS = {"map": VALUES}


@pytest.fixture(autouse=True)
def _their_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def evidence() -> Evidence:
    """The target is the logit, and so is what is followed: `none` means that outputs are no probabilities."""
    return look(wrap(NETWORK, input_size=(HEIGHT, WIDTH), activation="none"), INPUTS, Class(CLASS))


def theirs(metric: Any, values: Tensor = VALUES, network: nn.Module = NETWORK) -> Any:
    return metric(
        model=network, x_batch=INPUTS.numpy(), y_batch=np.full(3, CLASS), a_batch=values[:, None].numpy(),
        device="cpu", softmax=False, channel_first=True,
    )  # fmt: skip


def test_deletion_is_pixel_flipping() -> None:
    flipped = torch.tensor(np.array(theirs(quantus.PixelFlipping(features_in_step=8, **SETTINGS)))).float()
    ours = torch.tensor(deletion(evidence(), MAPS, step=8, fills=("zero",)).curves["map"]["deletion"])[0]
    assert_close(ours[:, 1:], flipped, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("side", [2, 4])
def test_region_perturbation(side: int) -> None:
    metric = quantus.RegionPerturbation(patch_size=side, regions_evaluation=5, order="morf", **SETTINGS)
    lost = torch.tensor(np.array(theirs(metric))).float()
    ours = region_perturbation(evidence(), MAPS, region=side, steps=5, fills=("zero",))
    assert_close(ours.values["map"], lost.mean(dim=1), rtol=1e-4, atol=1e-4)


def test_selectivity() -> None:
    left = torch.tensor(np.array(theirs(quantus.Selectivity(patch_size=4, **SETTINGS)))).float()
    ours = selectivity(evidence(), MAPS, region=4, fills=("zero",))
    assert_close(torch.tensor(ours.curves["map"]["score"])[0][:, 1:], left, rtol=1e-4, atol=1e-4)


def test_faithfulness_correlation_on_the_same_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quantus draws with `np.random.choice`, once per picture and run; here it draws what ours drew."""
    asked = evidence()
    ours = faithfulness_correlation(asked, MAPS, samples=12, subset=20, fill="zero").values["map"]
    generator = asked.seed.child("sets", HEIGHT * WIDTH, 20).generator()
    drawn = [torch.randperm(HEIGHT * WIDTH, generator=generator)[:20].numpy() for _ in range(12)]
    repeated = iter([one for one in drawn for _ in range(3)])
    monkeypatch.setattr(np.random, "choice", lambda *_args, **_kwargs: next(repeated))
    found = theirs(quantus.FaithfulnessCorrelation(nr_runs=12, subset_size=20, **SETTINGS))
    assert_close(ours, torch.tensor(np.array(found)).float(), rtol=1e-3, atol=1e-4)


def test_faithfulness_estimate_of_single_pixels() -> None:
    """With one feature in a step the order of the steps does not matter, so cells of one pixel are the same."""
    metric = quantus.FaithfulnessEstimate(features_in_step=1, **SETTINGS)
    ours = faithfulness_estimate(evidence(), MAPS, grid=max(HEIGHT, WIDTH), fill="zero").values["map"]
    found = torch.tensor(np.array(theirs(metric))).float()
    assert_close(ours, found, rtol=1e-3, atol=1e-4)


def test_non_sensitivity_counts_the_same_pixels() -> None:
    """The model looks at half of the pixels and the map names half of them, so that all four kinds occur."""
    looks = torch.rand(1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(3)) < 0.5
    values = VALUES * (torch.rand(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(4)) < 0.5)
    network = nn.Sequential(Masked(looks), NETWORK).eval()
    asked = look(wrap(network, input_size=(HEIGHT, WIDTH), activation="none"), INPUTS, Class(CLASS))
    ours = non_sensitivity(asked, {"map": values}, grid=max(HEIGHT, WIDTH), fill="zero", least=1e-5).values["map"]
    metric = quantus.NonSensitivity(features_in_step=1, **{**SETTINGS, "abs": True, "normalise": True})
    found = torch.tensor(np.array(theirs(metric, values, network))).float()
    assert_close(ours * HEIGHT * WIDTH, found)
    assert 0 < found.min() <= found.max() < HEIGHT * WIDTH


def test_monotonicity_is_theirs_where_no_step_falls() -> None:
    """As it ships, Quantus puts fill where fill is already, so every map passes; here its pixels come back."""

    def restored(arr: np.ndarray, indices: np.ndarray, **_: Any) -> np.ndarray:
        changed, rows = arr.copy(), np.arange(len(arr))[:, None]
        changed[rows, indices] = INPUTS.flatten(1).numpy()[rows, indices]
        return changed

    settings = {**SETTINGS, "abs": True}
    step = HEIGHT * WIDTH // 4
    found, ours = [], []
    for seed in range(8):
        values = torch.rand(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))
        metric = quantus.Monotonicity(features_in_step=step, perturb_func=restored, **settings)
        found += list(theirs(metric, values))
        curve = torch.tensor(
            monotonicity_arya(evidence(), {"map": values}, steps=5, fills=("zero",)).curves["map"]["score"]
        )
        ours += (curve[0][:, 1:].diff(dim=1) >= 0).all(dim=1).tolist()  # it does not look at the empty picture
    assert [bool(one) for one in found] == ours and len(set(ours)) == 2


def test_monotonicity_correlation_on_the_same_noise() -> None:
    asked = evidence()
    ours = monotonicity_nguyen(asked, MAPS, grid=max(HEIGHT, WIDTH), samples=3).values["map"]
    drawn = [
        baselines.fill(INPUTS, "noise", None, asked.seed.child("drawn", index)).flatten(1).numpy() for index in range(3)
    ]
    calls = iter(range(10**6))

    def redraw(arr: np.ndarray, indices: np.ndarray, **_: Any) -> np.ndarray:
        changed, noise, rows = arr.copy(), drawn[next(calls) % 3], np.arange(len(arr))[:, None]
        changed[rows, indices] = noise[rows, indices]
        return changed

    settings = {**SETTINGS, "abs": True}
    metric = quantus.MonotonicityCorrelation(nr_samples=3, features_in_step=1, perturb_func=redraw, **settings)
    assert_close(ours, torch.tensor(np.array(theirs(metric))).float(), rtol=1e-3, atol=1e-4)


def test_road_counts_the_same_decisions_and_imputes_the_same_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "_ROAD_NOISE", 0.0)
    with torch.no_grad():
        decided = NETWORK(INPUTS).argmax(dim=1)
    parts = (0.1, 0.3, 0.5, 0.7, 0.9)
    settings = {key: value for key, value in SETTINGS.items() if key != "perturb_baseline"}
    metric = quantus.ROAD(percentages=[100 * part for part in parts], noise=0.0, **settings)
    accuracy = metric(
        model=NETWORK, x_batch=INPUTS.numpy(), y_batch=decided.numpy(), a_batch=VALUES[:, None].numpy(), device="cpu",
        softmax=False, channel_first=True,
    )  # fmt: skip
    counts = [int(HEIGHT * WIDTH * part) / (HEIGHT * WIDTH) for part in parts]  # it rounds down
    ours = road_morf(evidence(), MAPS, parts=counts, read="decision").curves["map"]["left"]
    assert_close(torch.tensor(ours)[0].mean(dim=0), torch.tensor(list(accuracy.values())).float())
    top = VALUES.flatten(1).topk(counts_of(0.5)).indices
    mask = torch.zeros(3, HEIGHT * WIDTH, dtype=torch.bool).scatter_(1, top, True).view(3, HEIGHT, WIDTH)
    filled = baselines.fill(INPUTS, "road", mask=mask)
    for index in range(3):
        imputed = quantus.functions.perturb_func.noisy_linear_imputation(
            INPUTS[index].numpy(), top[index].numpy(), noise=0.0
        )
        assert_close(filled[index], torch.from_numpy(imputed).float(), rtol=1e-4, atol=1e-5)


def counts_of(part: float) -> int:
    return int(HEIGHT * WIDTH * part)


def test_completeness_is_theirs_where_nothing_is_missing() -> None:
    """Quantus says whether the sum is exact to the last bit; ours by how much it misses."""
    generator = torch.Generator().manual_seed(4)
    linear = nn.Sequential(nn.Conv2d(1, 4, (HEIGHT, WIDTH), bias=False), nn.Flatten()).eval()
    with torch.no_grad():  # whole numbers, so that sums are exact
        linear[0].weight.copy_(torch.randint(-3, 4, linear[0].weight.shape, generator=generator))
    inputs = torch.randint(0, 9, (3, 1, HEIGHT, WIDTH), generator=generator).float()
    whole = (inputs[:, 0] * linear[0].weight[CLASS, 0]).detach()
    for values, complete in ((whole, True), (whole + 1, False)):
        settings = {**SETTINGS, "perturb_baseline": 0.0}
        found = quantus.Completeness(output_func=lambda score: score, **settings)(
            model=linear, x_batch=inputs.numpy(), y_batch=np.full(3, CLASS), a_batch=values[:, None].numpy(),
            device="cpu", softmax=False, channel_first=True,
        )  # fmt: skip
        asked = look(wrap(linear, input_size=(HEIGHT, WIDTH), activation="none"), inputs, Class(CLASS))
        gap = completeness(asked, {"map": values}, {}, baseline="zero").values["map"]
        assert list(found) == [complete] * 3
        assert bool((gap < 1e-6).all()) is complete
