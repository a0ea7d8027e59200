"""COMET where what tells the class is planted twice, in two patches apart."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

import pellucid as pl
from pellucid.attribution.comet import CometNet, _leakage, completeness
from pellucid.attribution.fitted import Explainer, Lesson, fit, fitting_of, unfitted
from pellucid.engine import look
from pellucid.errors import RequestError
from pellucid.registry import Learning
from pellucid.subject import VisionModel
from pellucid.values import Seed
from tests.oracles.asking import values_of

SIDE, PATCH = 32, 6
QUICK = Learning(updates=240, learning_rate=6e-3, batch=16, held_out=0.0)


def either_patch() -> VisionModel:
    """Tells two classes apart by red against green, by blue against its lack, or by both, where they are strong."""
    network = nn.Sequential(
        OrderedDict(
            colours=nn.Conv2d(3, 4, 1), relu=nn.ReLU(), pool=nn.AvgPool2d(2), mean=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(), head=nn.Linear(4, 2, bias=False),
        )
    )  # fmt: skip
    with torch.no_grad():
        network.colours.weight.copy_(
            torch.tensor([[0.5, -0.5, 0.0], [-0.5, 0.5, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])[:, :, None, None]
        )
        network.colours.bias.fill_(-0.45)
        network.head.weight.copy_(300 * torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]]))
    return pl.wrap(network.eval(), input_size=(SIDE, SIDE))


def pictures(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Faint noise with a red or green patch somewhere on the left and a blue or dark one on the right; both patches."""
    draw = torch.Generator().manual_seed(seed)
    shown = 0.05 * torch.randn(count, 3, SIDE, SIDE, generator=draw)
    patches = torch.zeros(2, count, SIDE, SIDE, dtype=torch.bool)
    for at in range(count):
        sign = 1.0 if at % 2 else -1.0
        for place, colour in enumerate(((sign, -sign, 0.0), (0.0, 0.0, 0.8 * sign))):
            row, column = torch.randint(1, 10 - 1, (2,), generator=draw).tolist()
            rows, columns = slice(2 * row, 2 * row + PATCH), slice(column + 16 * place, column + 16 * place + PATCH)
            shown[at, :, rows, columns] += torch.tensor(colour)[:, None, None]
            patches[place, at, rows, columns] = True
    return shown, patches[0], patches[1]


@pytest.fixture(scope="module")
def whole() -> Explainer:
    return fit("comet", either_patch(), pictures(200, seed=0)[0], learning=QUICK, width=4, area=0.1, sparsity=30.0)


def shown(explainer: Explainer) -> tuple[list[float], list[float]]:
    """Of each of the two patches, over fresh pictures: the share that is shown by more than half, and the mean."""
    inputs, *patches = pictures(40, seed=1)
    mask = values_of("comet", look(either_patch(), inputs), explainer=explainer)
    return [float((mask[patch] > 0.5).double().mean()) for patch in patches], [
        float(mask[one].mean()) for one in patches
    ]


def test_both_patches_are_shown(whole: Explainer) -> None:
    recall, _ = shown(whole)
    assert min(recall) > 0.9
    inputs, left, right = pictures(40, seed=1)
    mask = values_of("comet", look(either_patch(), inputs), explainer=whole)
    assert float(mask[~(left | right)].mean()) < 0.1


def test_a_plain_selector_shows_one_of_them() -> None:
    """It is small enough once its predictor can name the class, and the second patch adds nothing to that."""
    plain = fit("comet", either_patch(), pictures(200, seed=0)[0], learning=QUICK, width=4, area=0.04, sparsity=30.0,
                completeness=0.0)  # fmt: skip
    recall, mean = shown(plain)
    assert recall[1] == 0 and mean[1] < 0.05 < mean[0]
    evidence = look(either_patch(), pictures(40, seed=1)[0])
    values_of("comet", evidence, explainer=plain)
    assert any("in 40 of 40" in note for note in evidence.notes)


def test_what_is_left_outside_is_measured(whole: Explainer) -> None:
    found = completeness(whole, either_patch(), pictures(60, seed=2)[0])
    assert found.agreement == found.kept == 1 and found.left < 0.8
    assert found.area == pytest.approx(0.1, abs=0.02)
    assert "From it the predictor names the model's class in 100%" in found.text


def test_masks_that_give_the_class_away_by_their_shape_are_found_out() -> None:
    """One class is shown by its upper half, the other by its lower; then both by shapes that know no class."""
    answers = torch.arange(80) % 2
    told = torch.zeros(80, 16, 16)
    told[answers == 0, :8], told[answers == 1, 8:] = 1, 1
    leaked, chance = _leakage(told, answers, 2, Seed(0))
    assert leaked == 1 and chance < 0.65
    assert _leakage(torch.ones(80, 16, 16), answers, 2, Seed(0))[0] <= chance


def test_the_explained_model_gets_no_gradient_and_keeps_its_weights(whole: Explainer) -> None:
    model = either_patch()
    assert model.network is not None
    before = {name: weight.clone() for name, weight in model.network.state_dict().items()}
    explainer = unfitted("comet", model, (SIDE, SIDE), width=4)
    evidence = look(model, pictures(4, seed=3)[0])
    fitting_of("comet").loss(explainer.net, Lesson(evidence, torch.Generator())).backward()
    assert all(weight.grad is None for weight in model.network.parameters())
    assert all(weight.grad is not None for weight in explainer.net.parameters())
    assert whole.fingerprint == model.fingerprint
    assert all(torch.equal(weight, before[name]) for name, weight in model.network.state_dict().items())


def test_the_predictor_learns_from_its_own_loss_alone() -> None:
    """What is asked of the selector, however much, moves no weight of the predictor."""
    model, inputs = either_patch(), pictures(4, seed=3)[0]
    found = []
    for weight in (0.0, 50.0):
        net = unfitted("comet", model, (SIDE, SIDE), width=4, completeness=weight).net
        assert isinstance(net, CometNet)
        fitting_of("comet").loss(net, Lesson(look(model, inputs), torch.Generator())).backward()
        found.append([one.grad for one in net.predictor.parameters()])
    for plain, pressed in zip(*found, strict=True):
        torch.testing.assert_close(plain, pressed)


def test_what_cannot_be_is_refused(whole: Explainer) -> None:
    model = either_patch()
    with pytest.raises(RequestError, match="multiple of 4"):
        unfitted("comet", model, (SIDE, SIDE), width=6)
    with pytest.raises(RequestError, match="half of at least 4"):
        completeness(whole, model, pictures(2, seed=3)[0])
    with pytest.raises(RequestError, match="explainer of piq"):
        completeness(unfitted("piq", model, (SIDE, SIDE)), model, pictures(8, seed=3)[0])
