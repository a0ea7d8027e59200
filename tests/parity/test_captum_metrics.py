"""The same infidelity and sensitivity as Captum, on the same changes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
import torch
from captum import metrics
from torch import Tensor
from torch.testing import assert_close

import pellucid as pl
from pellucid.engine import Evidence, look
from pellucid.subject import wrap
from pellucid.trust.fidelity import gaussian_noise, hidden_square, hidden_superpixels, infidelity, noisy_baseline
from pellucid.values import Class, Seed
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
@pytest.mark.parametrize("perturbation", ["gaussian", "noisy_baseline", "square", "superpixels"])
def test_infidelity(perturbation: str, scaling: str) -> None:
    """Captum has a value per colour: a third of the map's, and ours sums colours, so both forecast the same.

    Of what is hidden it is told that I is 1 there, since the map is read as contributions.
    """
    asked = evidence()
    ours = infidelity(asked, {"map": VALUES}, perturbation=perturbation, scaling=scaling, samples=SAMPLES, segments=8)
    draw = {
        "square": lambda seed: hidden_square(asked, seed, "mean"),
        "superpixels": hidden_superpixels(asked, 8, "mean"),
        "gaussian": lambda seed: gaussian_noise(asked, seed, 0.2),
        "noisy_baseline": lambda seed: noisy_baseline(asked, seed, 0.2, "mean"),
    }[perturbation]
    changes = [draw(asked.seed.child(perturbation, index)) for index in range(SAMPLES)]

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


@pytest.mark.parametrize("method", ["gradient_x_input", "gradient"])
def test_max_sensitivity_of_the_same_changes(method: str) -> None:
    """Captum takes the largest relative change over what is drawn; it is handed what ours draws."""
    model = wrap(NETWORK, input_size=(12, 20), activation="none")
    heat = pl.attribute(model, INPUTS, method, target=CLASS)
    ours = pl.evaluate(model, INPUTS, heat, "max_sensitivity", samples=5, radius=0.05)[0].values
    drawn = [torch.rand(INPUTS.shape, generator=Seed(0).child("change", at).generator()) for at in range(5)]
    moved = torch.stack([INPUTS + 0.05 * (2 * one - 1) for one in drawn], dim=1)

    def perturbed(inputs: Tensor) -> Tensor:
        assert len(inputs) == 2 * 5
        return moved.flatten(0, 1)

    def explained(inputs: Tensor | tuple[Tensor]) -> tuple[Tensor]:
        """Captum hands over a tuple first and a tensor then."""
        shown = inputs if isinstance(inputs, Tensor) else inputs[0]
        return (pl.attribute(model, shown, method, target=CLASS).one_channel,)

    theirs = metrics.sensitivity_max(explained, INPUTS, perturb_func=perturbed, n_perturb_samples=5)
    assert_close(torch.tensor(ours), theirs, rtol=1e-3, atol=1e-5)
