"""Texts are about the model: with random weights in it they are other texts, or say that they mean nothing."""

from __future__ import annotations

from functools import cache

import pytest

import pellucid as pl
from pellucid.images.superpixels import slic
from pellucid.language import verbalise
from pellucid.language.describing import Described, describe_units
from pellucid.language.probes import Probe
from pellucid.language.templates import Topic
from pellucid.subject import VisionModel
from pellucid.trust.sanity import randomised
from pellucid.values import Class, Seed


@cache
def forgetful(spec: str) -> VisionModel:
    """The model with every layer made random."""
    model = pl.load(spec)
    assert model.module is not None
    *_, (_, network) = randomised(model.module, 1, Seed(5))
    return model.with_module(network)


def units_in_words(model: VisionModel) -> Described:
    return describe_units(model, "detect.units", units=range(6), probe=Probe("scenes", 3120, 200, "flat"))


def test_units_of_random_weights_have_other_names_or_none() -> None:
    learned, random = (
        [unit.name for unit in units_in_words(one).naming.units]
        for one in (pl.load("testbed:planted_hues"), forgetful("testbed:planted_hues"))
    )
    assert sum(name is not None for name in learned) >= 3
    assert not any(one == other for one, other in zip(learned, random, strict=True) if one is not None)


@pytest.mark.parametrize("spec", ["testbed:cnn", "testbed:vit"])
def test_the_words_of_a_map_are_others_with_random_weights(spec: str) -> None:
    (frame,) = pl.testbed.scenes(3121, 1).frames()
    learned = pl.load(spec)
    assert learned.preprocess is not None
    fitted = frame.fitted(learned.preprocess)
    patches = slic(learned.prepare([fitted])[0], 60, preprocess=learned.preprocess)
    target = Class(int(learned.predict(learned.prepare([fitted]))[0].argmax()))
    told = [verbalise.picture(Topic(one, fitted, target, 0), "grad_cam", patches) for one in (learned, forgetful(spec))]
    own, other = ({claim.text for claim in one.claims} for one in told)
    assert not own & other
    assert any(claim.recheck(forgetful(spec)).verdict == "refuted" for claim in told[0].claims)
