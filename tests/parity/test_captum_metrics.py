"""The same infidelity as Captum, on the same changes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
import torch
from captum import metrics
from torch import Tensor
from torch.testing import assert_close

from pellucid.engine import Evidence, look
from pellucid.subject import wrap
from pellucid.trust.fidelity import gaussian_noise, hidden_square, infidelity
from pellucid.values import Class
from tests.oracles.nets import PooledConv, pictures

CLASS, SAMPLES = 2, 16
NETWORK = PooledConv().eval()
INPUTS = pictures(2, 12, 20, seed=4)
VALUES = torch.randn(2, 12, 20, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def _their_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def evidence() -> Evidence:
    return look(wrap(NETWORK, input_size=(12, 20), activation="none"), INPUTS, Class(CLASS))


@pytest.mark.parametrize("scaling", ["none", "optimal"])
@pytest.mark.parametrize("perturbation", ["gaussian", "square"])
def test_infidelity(perturbation: str, scaling: str) -> None:
    """Captum has a value per colour: a third of the map's, and ours sums colours, so both forecast the same.

    Of a square it is told that I is 1 where something is hidden, since the map is read as contributions.
    """
    asked = evidence()
    ours = infidelity(asked, {"map": VALUES}, perturbation=perturbation, scaling=scaling, samples=SAMPLES)
    seeds = [asked.seed.child(perturbation, index) for index in range(SAMPLES)]
    changes = [
        hidden_square(asked, seed, "mean") if perturbation == "square" else gaussian_noise(asked, seed, 0.2)
        for seed in seeds
    ]

    def perturbed(inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Captum repeats every picture for all samples before it goes on to the next."""
        assert len(inputs) == 2 * SAMPLES
        weights = torch.stack([change.weights().expand(2, -1, -1) for change in changes], dim=1)
        pictures = torch.empty(2, SAMPLES, 3, 12, 20)
        for index, change in enumerate(changes):
            out = torch.empty(2, 3, 12, 20)
            change.write(out)
            pictures[:, index] = out
        return weights.flatten(0, 1)[:, None].expand(-1, 3, -1, -1), pictures.flatten(0, 1)

    theirs = metrics.infidelity(
        NETWORK, perturbed, INPUTS, (VALUES / 3)[:, None].expand(-1, 3, -1, -1), target=CLASS,
        n_perturb_samples=SAMPLES, normalize=scaling == "optimal",
    )  # fmt: skip
    assert_close(ours.values["map"], theirs, rtol=1e-3, atol=1e-5)
