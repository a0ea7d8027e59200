"""What units do for an answer, where the head is linear and so the gradient has a closed form."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import pellucid as pl
from pellucid.errors import RequestError
from pellucid.images import Frame
from pellucid.language.importance import Importance, important_units
from pellucid.language.templates import Topic
from pellucid.results import Claim
from pellucid.subject import VisionModel
from pellucid.testbed import planted
from pellucid.testbed.planted import Planted
from pellucid.values import Class
from tests.guests import unchanged

CELLS = 64  # of the layers that are read
TARGET = 3


@cache
def net() -> tuple[VisionModel, Planted]:
    return pl.load("testbed:planted_mixed"), planted.mixed()


def topic(scene: int = 1, target: int = TARGET) -> Topic:
    model, known = net()
    frame: Frame = known.stimuli(7, 4).frames()[scene]
    assert model.preprocess is not None
    return Topic(model, frame.fitted(model.preprocess), Class(target), 0)


def names() -> dict[int, str]:
    return {unit.index: unit.name for unit in net()[1].units}


@cache
def found() -> Importance:
    module = net()[0].module
    assert module is not None
    with unchanged(module):
        return important_units(topic(), "mono", names=names(), count=4, usual=np.full(12, 0.05))


def test_the_tendency_is_the_weight_of_the_head_over_the_cells() -> None:
    atoms = net()[1].dictionaries[0].atoms
    assert found().tendency == pytest.approx((atoms.T @ atoms)[TARGET] / CELLS, abs=1e-7)
    poly = important_units(topic(), "poly", count=2)
    assert poly.tendency == pytest.approx(atoms[:, TARGET] / CELLS, abs=1e-7)


def test_the_sentences_name_the_planted_concepts_by_the_sign_of_their_weight() -> None:
    atoms = net()[1].dictionaries[0].atoms
    weights = (atoms.T @ atoms)[TARGET]
    support, oppose = np.argsort(-weights)[:4], np.argsort(weights)[:4]
    assert [claim.measured["unit"] for claim in found().claims] == [*support, *oppose]
    for claim in found().claims:
        assert f"“{names()[claim.measured['unit']]}”" in claim.text
        assert claim.predicate == ("unit_supports" if claim.measured["unit"] in support else "unit_opposes")
        assert claim.verdict == "verified"


def test_ablation_takes_exactly_the_contribution() -> None:
    """The head is linear, so what a unit adds is its tendency times its activation over all cells."""
    active = [claim.measured for claim in found().claims if "without" in claim.measured]
    assert active
    for measured in active:
        fall = measured["before"] - measured["without"]
        assert fall == pytest.approx(CELLS * found().contribution[measured["unit"]], abs=1e-5)
        weight = CELLS * found().tendency[measured["unit"]]
        expected = measured["before"] - weight * (measured["active"] - measured["usual"])
        assert measured["as_usual"] == pytest.approx(expected, abs=1e-5)


def test_a_silent_unit_would_support() -> None:
    silent = [claim for claim in found().claims if "raised" in claim.measured]
    assert silent
    for claim in silent:
        measured = claim.measured
        weight = CELLS * found().tendency[measured["unit"]]
        assert measured["raised"] - measured["before"] == pytest.approx(weight * measured["amount"], abs=1e-5)
        assert "is silent here; it would " in claim.text and " supports " not in claim.text


def test_units_without_a_name_are_passed_over_and_counted() -> None:
    order = np.argsort(-found().tendency)
    kept = {unit: name for unit, name in names().items() if unit != order[0]}
    fewer = important_units(topic(), "mono", names=kept, count=1)
    assert fewer.claims[0].measured["unit"] == order[1] and fewer.unnamed == 1
    assert "1 units that count as much have no name" in fewer.text


def test_a_claim_is_checked_again_also_from_a_file_and_refuted_for_the_wrong_sign() -> None:
    claim = found().claims[0]
    again = Claim.from_dict(claim.to_dict()).recheck(net()[0])
    assert (again.verdict, again.text) == ("verified", claim.text)
    turned = Claim(claim.template, claim.predicate, claim.test, claim.measured, {**claim.arguments, "sign": -1},
                   "verified", claim.frame)  # fmt: skip
    assert turned.recheck(net()[0]).verdict == "refuted"


def test_no_units_are_refused() -> None:
    with pytest.raises(RequestError):
        important_units(topic(), "mono", count=0)
