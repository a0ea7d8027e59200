"""The same figures as the metrics of pytorch-grad-cam, where it means the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_grad_cam.metrics import arcc as their_arcc
from pytorch_grad_cam.metrics import cam_mult_image
from pytorch_grad_cam.metrics import road as their_road
from torch import Tensor
from torch.testing import assert_close

from pellucid.engine import Evidence, look
from pellucid.images import baselines
from pellucid.subject import wrap
from pellucid.trust import coherency
from pellucid.trust.masking import average_drop, increase_in_confidence
from pellucid.trust.road import road, road_lerf, road_morf
from pellucid.values import Class
from tests.oracles.nets import PooledConv, pictures

CLASS = 2
NETWORK = PooledConv().eval()
INPUTS = pictures(3, 12, 20, seed=4).abs()
PERCENTILES = [20, 40, 60, 80]
PARTS = (0.2, 0.4, 0.6, 0.8)


def distinct(seed: int = 3) -> Tensor:
    """Maps from 0 to 1 without equal values: pixels go by rank here and by a percentile there."""
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randperm(240, generator=generator).view(12, 20) for _ in range(3)]) / 239


MAPS = distinct()


def evidence() -> Evidence:
    return look(wrap(NETWORK, input_size=(12, 20), activation="none"), INPUTS, Class(CLASS))


def target(output: Tensor) -> Tensor:
    return output[CLASS]


@pytest.fixture(autouse=True)
def _their_warnings() -> Iterator[None]:
    """NumPy warns of how tensors go through its functions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture
def _without_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "_ROAD_NOISE", 0.0)
    monkeypatch.setattr(their_road.NoisyLinearImputer.__init__, "__defaults__", (0.0, their_road.neighbors_weights))


def scored(metric: Callable[..., Any]) -> Tensor:
    return torch.from_numpy(np.asarray(metric(INPUTS, MAPS.numpy(), [target] * 3, NETWORK))).float()


@pytest.mark.usefixtures("_without_noise")
def test_road_in_both_orders_and_combined() -> None:
    """Its two averages are changes of the score, ours what is left of it."""
    asked = evidence()
    whole = asked.score()
    for metric, ours in (
        (their_road.ROADMostRelevantFirstAverage(PERCENTILES), road_morf),
        (their_road.ROADLeastRelevantFirstAverage(PERCENTILES), road_lerf),
    ):
        left = ours(asked, {"map": MAPS}, parts=PARTS).values["map"]
        assert_close(left - whole, scored(metric), rtol=1e-3, atol=1e-4)
    both = road(asked, {"map": MAPS}, parts=PARTS).values["map"]
    assert_close(both, scored(their_road.ROADCombined(PERCENTILES)), rtol=1e-3, atol=1e-4)


def test_the_imputed_pictures_are_the_same() -> None:
    mask = MAPS > 0.6
    imputer = their_road.NoisyLinearImputer(noise=0.0)
    filled = baselines.fill(INPUTS, "road", mask=mask)
    for picture, gone, ours in zip(INPUTS, mask, filled, strict=True):
        theirs = imputer(picture, (~gone).float())
        assert float((ours - theirs)[:, gone].std()) < 0.02, "more than noise of 0.01"
        assert torch.equal(ours[:, ~gone], picture[:, ~gone])


def test_drop_and_increase_of_confidence() -> None:
    """Its drop is the difference of scores, ours the part of the score before; both multiply the input as it is."""
    asked = evidence()
    whole = asked.score()
    keep = whole > 0
    assert keep.sum() >= 2
    seen = {"areas": (1.0,), "fill": "zero"}
    lost = average_drop(asked, {"map": MAPS}, **seen).values["map"]  # type: ignore[arg-type]
    rose = increase_in_confidence(asked, {"map": MAPS}, **seen).values["map"]  # type: ignore[arg-type]
    assert_close((lost * whole)[keep], scored(cam_mult_image.DropInConfidence())[keep], rtol=1e-4, atol=1e-5)
    assert_close(rose[keep], scored(cam_mult_image.IncreaseInConfidence())[keep])


def again(inputs: Tensor) -> Tensor:
    """A method by hand: brightness, scaled for each picture."""
    bright = inputs.mean(dim=1)
    least, most = bright.amin((1, 2), True), bright.amax((1, 2), True)
    return (bright - least) / (most - least)


@pytest.mark.usefixtures("_without_noise")
def test_arcc_and_its_parts() -> None:
    def method(input_tensor: Tensor, targets: object) -> np.ndarray:
        return again(input_tensor).numpy()

    def remake(*, inputs: Tensor, names: Collection[str], **_: object) -> dict[str, Tensor]:
        return dict.fromkeys(names, again(inputs))

    asked = evidence()
    found = coherency.arcc(asked, {"map": MAPS}, remake, parts=PARTS)  # type: ignore[arg-type]
    parts = {name: torch.tensor(row) for name, row in found.curves["map"].items()}
    coherent = their_arcc.Coherency()(INPUTS, MAPS.numpy(), [target] * 3, NETWORK, method)  # type: ignore[arg-type]
    assert_close(parts["coherency"], torch.from_numpy(coherent).float(), rtol=1e-3, atol=1e-4)
    assert_close(1 - parts["brevity"], torch.from_numpy(their_arcc.Complexity()(MAPS.numpy())).float())
    theirs = scored(their_arcc.ARCC(method, PERCENTILES))  # type: ignore[arg-type]
    assert_close(found.values["map"], theirs, rtol=1e-3, atol=1e-4)
