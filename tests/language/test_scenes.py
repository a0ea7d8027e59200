"""Sentences about scenes are checked by a witness that did not write them: truth and lie are known to the renderer."""

from __future__ import annotations

import json
from functools import cache

import pytest

import pellucid as pl
from pellucid.compute.bootstrap import Z
from pellucid.errors import SceneError
from pellucid.language.scenes import stated, stated_all, swapped
from pellucid.results import Claim
from pellucid.stories.telling import lying, telling, tried
from pellucid.testbed import Scenes, captions, nets
from pellucid.testbed.twins import twin
from pellucid.testbed.witness import FIELDS, witness


@cache
def drawn() -> Scenes:
    return pl.testbed.scenes(3500, 60)


@cache
def model() -> pl.VisionModel:
    return pl.load("testbed:cnn")


def test_the_witness_reads_every_field_of_a_scene() -> None:
    facts, read = captions.facts(drawn().fields), witness().read(drawn().tensor())
    right = {
        name: [max(seen[name], key=lambda word, seen=seen: seen[name][word]) == known[name]
               for seen, known in zip(read, facts, strict=True) if name in known]
        for name in FIELDS
    }  # fmt: skip
    shares = {name: sum(hits) / len(hits) for name, hits in right.items()}
    assert min(shares.values()) >= 0.9 and sum(shares.values()) / len(shares) >= 0.98, shares


def test_the_witness_shares_no_weight_with_those_it_judges() -> None:
    own = {value.data_ptr() for value in witness().state_dict().values()}
    captioner, _ = nets.load("captioner")
    assert not own & {value.data_ptr() for value in captioner.state_dict().values()}
    assert not any("tower" in name for name, _ in witness().named_parameters())


def test_the_witness_refuses_pictures_of_another_size() -> None:
    with pytest.raises(SceneError, match="64 x 64"):
        witness().read(pl.testbed.scenes(3, 1, size=128).tensor())


def test_a_true_sentence_is_verified_and_its_twin_is_refuted() -> None:
    scene = drawn()[[4]]
    word = "fanned" if captions.facts(scene.fields)[0]["tail"] == "forked" else "forked"
    (true,), (lie,) = scene.told("full"), twin(scene, tail=word).told("full")
    assert stated(true, scene, writer="someone").verdict == "verified"
    refuted = stated(lie, scene, writer="someone")
    assert refuted.verdict == "refuted" and refuted.measured["least_sure_of"] == "tail"
    assert refuted.measured["stated"] == word != refuted.measured["seen"]


def test_a_claim_from_disk_is_read_again_with_the_same_figures() -> None:
    claims = stated_all(drawn()[[0, 1, 2]].captions, drawn()[[0, 1, 2]], writers=["someone"] * 3)
    for claim in claims:
        again = Claim.from_dict(json.loads(json.dumps(claim.to_dict()))).recheck(model())
        assert (again.verdict, again.text) == (claim.verdict, claim.text)
        assert again.measured == pytest.approx(claim.measured, abs=1e-5)


@pytest.mark.parametrize(
    ("sentence", "writer", "why"),
    [
        ("a coral bird", "witness", "its writer is the only witness"),
        ("the bird sings", "someone", "stops making sense"),
        ("two birds in the snow", "someone", "single birds only"),
    ],
)
def test_what_cannot_be_witnessed_is_unverifiable(sentence: str, writer: str, why: str) -> None:
    claim = stated(sentence, drawn()[[0]], writer=writer)
    assert claim.verdict == "unverifiable" and why in claim.measured["why"]


def test_a_third_of_the_liars_sentences_are_false_and_in_one_field_only() -> None:
    told = tried(lying(drawn(), 0.3), drawn(), writer="liar")
    assert 0.15 < sum(not one.true for one in told) / len(told) < 0.45
    assert all(one.true for one in tried(lying(drawn(), 0.0), drawn(), writer="liar"))
    facts = captions.facts(drawn().fields)
    for said, known in zip(lying(drawn(), 1.0), facts, strict=True):
        wrong = [name for name, word in captions.parse(said).items() if known.get(name) != word]
        assert len(wrong) == 1 or set(wrong) == {"crest", "crest_hue"}, (said, wrong)


def test_lies_are_caught_and_what_is_verified_is_true() -> None:
    result = telling(count=60, seed=3500, lies=0.5)
    assert result.lies_caught.mean >= 0.95 and result.true_rejected.mean <= 0.05, result
    assert result.verified_true.mean >= 0.97 and result.verified_share.mean >= 0.6, result


def test_a_swapped_plume_turns_the_answer_and_a_swapped_bib_does_not() -> None:
    scene = drawn()[[6]]
    known = captions.facts(scene.fields)[0]
    plume = swapped(model(), scene, "crest", "none" if known["crest"] == "plume" else "plume")
    assert plume.predicate == "flips_if_swapped" and plume.verdict == "verified"
    hue = next(one for one in ("coral", "teal", "plum") if one not in (known["bib_hue"], known["body_hue"]))
    bib = swapped(model(), scene, "bib_hue", hue)
    assert bib.predicate == "not_flips_if_swapped" and bib.verdict == "verified"
    again = Claim.from_dict(json.loads(json.dumps(plume.to_dict()))).recheck(model())
    assert again.verdict == "verified" and again.measured == plume.measured


def test_a_share_comes_with_wilsons_interval() -> None:
    """For k of n with z = 1.96 the bounds are the roots of (p - k/n)² = z² p (1 - p) / n."""
    result = telling(count=12, seed=3500, lies=0.5).lies_caught
    for bound in (result.low, result.high):
        assert (bound - result.mean) ** 2 == pytest.approx(Z**2 * bound * (1 - bound) / result.count, abs=1e-9)
