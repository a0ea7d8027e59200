"""Attacks on a linear model: the smallest change that turns the decision has a closed form."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from pellucid.engine import look
from pellucid.errors import MethodUnavailable, RequestError
from pellucid.subject import wrap
from pellucid.trust.attack import robustness_sr, robustness_sr_complement
from tests.guests import unchanged
from tests.nets import Twin
from tests.oracles.nets import LinearPicture, pictures
from tests.trust.linear import noise


@pytest.mark.parametrize(("norm", "dual"), [("l2", 2), ("linf", 1)])
def test_the_smallest_radius_is_the_margin_over_the_dual_norm_of_the_slopes(norm: str, dual: int) -> None:
    """Two classes: the lead is linear, and on a set S of pixels the best attack runs along its slope there."""
    network = LinearPicture(6, 8, classes=2)
    model, inputs = wrap(network, input_size=(6, 8)), pictures(3, 6, 8)
    evidence = look(model, inputs, None)
    values = noise(evidence)
    found = robustness_sr(evidence, model, {"map": values}, parts=(0.25, 0.5), norm=norm, searches=13, steps=3)
    with torch.no_grad():
        outputs = network(inputs)
    lead, slope = (outputs[:, 0] - outputs[:, 1]).abs(), (network.weight[0] - network.weight[1]).detach()
    radii = []
    for count in (12, 24):
        chosen = torch.zeros(3, 48).scatter_(1, values.flatten(1).topk(count).indices, 1).view(3, 1, 6, 8)
        radii.append(lead / (slope * chosen).flatten(1).norm(p=dual, dim=1))
    expected = torch.stack(radii, dim=-1)
    assert_close(torch.tensor(found.curves["map"]["radius"])[0], expected, rtol=5e-3, atol=0)
    assert_close(found.values["map"], expected.mean(dim=-1), rtol=5e-3, atol=0)


def test_the_complement_attacks_all_but_the_pixels_named() -> None:
    """Of a linear model by the closed form of the rest, and of any as what the reversed order names."""
    network = LinearPicture(6, 8, classes=2)
    model, inputs = wrap(network, input_size=(6, 8)), pictures(3, 6, 8)
    evidence = look(model, inputs, None)
    values = noise(evidence)
    found = robustness_sr_complement(evidence, model, {"map": values}, parts=(0.25,), searches=13, steps=3)
    with torch.no_grad():
        outputs = network(inputs)
    slope = (network.weight[0] - network.weight[1]).detach()
    rest = torch.ones(3, 48).scatter_(1, values.flatten(1).topk(12).indices, 0).view(3, 1, 6, 8)
    expected = (outputs[:, 0] - outputs[:, 1]).abs() / (slope * rest).flatten(1).norm(dim=1)
    assert_close(found.values["map"], expected, rtol=5e-3, atol=0)
    model = wrap(Twin(), input_size=(6, 8))
    evidence = look(model, inputs, None)
    rest_of = robustness_sr_complement(evidence, model, {"map": values}, parts=(0.25, 0.5))
    reversed_order = robustness_sr(evidence, model, {"map": -values}, parts=(0.75, 0.5))
    assert_close(rest_of.values["map"], reversed_order.values["map"])


def test_pixels_that_decide_are_easier_to_attack_than_pixels_that_do_not() -> None:
    network = LinearPicture(6, 8, classes=2)
    model = wrap(network, input_size=(6, 8))
    evidence = look(model, pictures(3, 6, 8), None)
    slope = (network.weight[0] - network.weight[1]).detach().square().sum(dim=0).expand(3, -1, -1)
    found = robustness_sr(evidence, model, {"right": slope, "wrong": -slope, "noise": noise(evidence)})
    assert (found.values["right"] < found.values["noise"]).all()
    assert (found.values["noise"] < found.values["wrong"]).all()


def test_pixels_on_which_nothing_depends_withstand_everything() -> None:
    network = LinearPicture(6, 8, classes=2)
    with torch.no_grad():
        network.weight[:, :, :3] = 0
    model = wrap(network, input_size=(6, 8))
    evidence = look(model, pictures(2, 6, 8), None)
    dead = torch.zeros(2, 6, 8)
    dead[:, :3] = 1
    found = robustness_sr(evidence, model, {"dead": dead}, parts=(0.25, 0.5), norm="linf", largest=2.5)
    assert_close(found.values["dead"], torch.full((2,), 2.5))
    assert "4 of 4 decisions withstood" in found.notes[0]


def test_maps_are_attacked_together_or_apart_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    model = wrap(LinearPicture(6, 8), input_size=(6, 8))
    evidence = look(model, pictures(2, 6, 8), None)
    maps = {str(index): noise(evidence, index) for index in range(3)}
    together = robustness_sr(evidence, model, maps).values
    monkeypatch.setattr("pellucid.trust.attack._HELD", 1)
    apart = robustness_sr(evidence, model, maps).values
    for name in maps:
        assert_close(together[name], apart[name])


def test_the_model_comes_back_as_it_was() -> None:
    network = LinearPicture(6, 8).train()
    with unchanged(network):
        model = wrap(network, input_size=(6, 8))
        evidence = look(model, pictures(1, 6, 8), None)
        robustness_sr(evidence, model, {"map": noise(evidence)}, searches=2, steps=1)


def test_what_cannot_be_attacked_is_refused() -> None:
    model = wrap(LinearPicture(6, 8), input_size=(6, 8))
    evidence = look(model, pictures(1, 6, 8), None)
    maps = {"map": noise(evidence)}
    for asked in ({"norm": "l1"}, {"searches": 0}, {"steps": 0}, {"largest": -1.0}, {"parts": ()}):
        with pytest.raises(RequestError):
            robustness_sr(evidence, model, maps, **asked)  # type: ignore[arg-type]
    box = wrap(lambda inputs: inputs.mean(dim=(2, 3)), input_size=(6, 8))
    with pytest.raises(MethodUnavailable, match="black box"):
        robustness_sr(look(box, pictures(1, 6, 8), 0), box, maps)
    with pytest.raises(MethodUnavailable, match="robustness_sr_complement"):
        robustness_sr_complement(look(box, pictures(1, 6, 8), 0), box, maps)
