"""Parts taken away or left alone: on a linear model every figure is a sum of what the pixels are worth."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from pellucid.engine import look
from pellucid.errors import RequestError
from pellucid.subject import wrap
from pellucid.trust.erasure import (
    PARTS,
    comprehensiveness,
    negative_perturbation,
    pixel_perturbation,
    positive_perturbation,
    sufficiency,
)
from pellucid.values import Class
from tests.oracles.nets import pictures
from tests.trust.linear import ends, first, looked, noise, worth

COUNTS = [0, 2, 5, 10, 24]  # of 48 pixels, at 1, 5, 10, 20 and 50 %


def test_comprehensiveness_is_the_mean_worth_of_the_first_parts() -> None:
    evidence = looked()
    values, value = noise(evidence), worth(evidence)
    found = comprehensiveness(evidence, {"map": values}, fills=("mean",))
    assert_close(found.values["map"], first(values, COUNTS, value).mean(dim=1), rtol=1e-4, atol=1e-4)
    assert found.curves["map"]["fractions"] == list(PARTS)


def test_what_is_missing_from_a_part_and_what_goes_with_it_make_the_whole() -> None:
    evidence = looked()
    maps = {"map": noise(evidence)}
    whole, empty = ends(evidence)
    lost = comprehensiveness(evidence, maps, fills=("mean",)).values["map"]
    missing = sufficiency(evidence, maps, fills=("mean",)).values["map"]
    assert_close(lost + missing, whole - empty, rtol=1e-4, atol=1e-4)


def test_the_order_of_worth_is_the_most_comprehensive_and_the_most_sufficient() -> None:
    evidence = looked()
    maps = {"worth": worth(evidence), "backwards": -worth(evidence), "noise": noise(evidence)}
    lost = comprehensiveness(evidence, maps, fills=("mean",)).values
    missing = sufficiency(evidence, maps, fills=("mean",)).values
    assert (lost["worth"] > lost["noise"]).all() and (lost["noise"] > lost["backwards"]).all()
    assert (missing["worth"] < missing["noise"]).all() and (missing["noise"] < missing["backwards"]).all()


def test_both_share_their_pictures_with_whoever_asked_before() -> None:
    evidence = looked()
    maps = {"map": noise(evidence)}
    comprehensiveness(evidence, maps, parts=(0.25, 0.5), fills=("mean",))
    asked = evidence.passes.forwards
    assert asked == 3
    positive_perturbation(evidence, maps, parts=(0, 0.25, 0.5), fills=("mean",))
    assert evidence.passes.forwards == asked


def test_pixel_perturbation_is_the_worth_of_the_least_salient_in_parts_of_the_prediction() -> None:
    evidence = looked()
    values, value = noise(evidence), worth(evidence)
    whole, _ = ends(evidence)
    found = pixel_perturbation(evidence, {"map": values}, parts=(0.25, 0.5), fills=("mean",)).values["map"]
    least = first(-values.abs(), [12, 24], value)
    assert_close(found, (least.abs() / whole.abs()[:, None]).mean(dim=1), rtol=1e-3, atol=1e-4)


class Switch(nn.Module):
    """Class 1 while the pixel at row 1, column 2 is bright, else class 0."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, inputs: Tensor) -> Tensor:
        lead = (inputs[:, 0, 1, 2] - 0.5) * self.scale
        return torch.stack([-lead, lead], dim=1)


def test_the_decision_falls_with_its_pixel_and_stands_without_all_others() -> None:
    inputs = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(0)) * 0.4
    inputs[:, :, 1, 2] = 0.9
    evidence = look(wrap(Switch(), input_size=(5, 5)), inputs, Class(1))
    oracle = torch.zeros(2, 5, 5)
    oracle[:, 1, 2] = 1
    maps = {"oracle": oracle, "backwards": -oracle}
    first_out, last_out = positive_perturbation(evidence, maps), negative_perturbation(evidence, maps)
    gone_at_once = 0.05 / 0.9  # the first step of ten: from 1 to 0, of a picture of which 0.9 goes
    assert_close(first_out.values["oracle"], torch.full((2,), gone_at_once))
    assert_close(first_out.values["backwards"], torch.ones(2))
    assert_close(last_out.values["oracle"], torch.ones(2))
    assert_close(last_out.values["backwards"], torch.full((2,), gone_at_once))


def test_a_prediction_of_nothing_is_left_out_with_the_reason() -> None:
    from tests.oracles.nets import Pixels

    model = wrap(Pixels(lambda inputs: inputs.mean(dim=(1, 2, 3)) * 0), input_size=(6, 8), activation="none")
    evidence = look(model, pictures(2, 6, 8), Class(0))
    found = pixel_perturbation(evidence, {"map": noise(evidence)})
    assert found.values["map"].isnan().all() and set(found.skipped) == {0, 1}
    assert "is 0" in found.skipped[0]


def test_parts_that_are_none_are_refused() -> None:
    evidence = looked()
    maps = {"map": noise(evidence)}
    for refused in (
        lambda: comprehensiveness(evidence, maps, parts=()),
        lambda: comprehensiveness(evidence, maps, parts=(0.5, 1.2)),
        lambda: comprehensiveness(evidence, maps, fills=()),
        lambda: positive_perturbation(evidence, maps, parts=(0.1, 0.5)),
        lambda: positive_perturbation(evidence, maps, parts=(0, 0.5, 0.4)),
        lambda: sufficiency(evidence, maps, order="largest"),
    ):
        with pytest.raises(RequestError):
            refused()
