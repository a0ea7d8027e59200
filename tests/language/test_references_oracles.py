"""Descriptions that single out: closed forms of the criterion, twins, the listener, and fresh flocks."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from pellucid.errors import RequestError, ShapeError
from pellucid.language.reference_trial import alike_in_hue, trial
from pellucid.language.references import (
    bird_texts,
    captioner_judge,
    comprehend,
    dual_judge,
    meant,
    refer,
    shown,
    true_of,
    witness_judge,
)
from pellucid.testbed import captions, nets, scenes
from pellucid.testbed.fields import fields_of_bird
from pellucid.testbed.nets import Captioner, Dual
from pellucid.testbed.scene import Scenes

BOXES = torch.tensor([[0.0, 0, 10, 10], [40, 0, 50, 10], [20, 0, 30, 10]])
TEXTS = ("a bird", "a red bird", "a red bird with a tail")


@cache
def captioner() -> Captioner:
    net, _ = nets.load("captioner")
    assert isinstance(net, Captioner)
    return net


@cache
def dual() -> Dual:
    net, _ = nets.load("dual")
    assert isinstance(net, Dual)
    return net


@cache
def flocks() -> Scenes:
    return scenes(3100, 8, mode="flock", size=128)


def test_contrast_takes_the_text_that_tells_regions_apart_and_the_likeliest_caption_does_not() -> None:
    """All regions say "a bird" with .5; the second half goes to a text of their own."""
    scores = torch.tensor([[0.5, 0.4, 0.1], [0.5, 0.1, 0.4]]).log()
    assert [one.words for one in refer(scores, TEXTS, BOXES[:2], contrast=False)] == ["a bird", "a bird"]
    assert [one.words for one in refer(scores, TEXTS, BOXES[:2])] == ["a red bird", "a red bird with a tail"]
    found = refer(scores, TEXTS, BOXES[:2])[0]
    assert found.sure == pytest.approx(0.4 / 0.5) and found.fits == pytest.approx(torch.tensor(0.4).log().item())


def test_a_text_that_hardly_fits_is_not_taken_however_well_it_singles_out() -> None:
    """The paper's criterion alone would take the third text, which is false of the region by any likelihood."""
    scores = torch.tensor([[0.6, 0.399, 0.001], [0.6, 0.3999999, 1e-7]]).log()
    assert refer(scores, TEXTS, BOXES[:2])[0].words in TEXTS[:2]
    assert refer(scores, TEXTS, BOXES[:2], slack=100.0)[0].words == TEXTS[2]


def test_identical_twins_are_told_by_their_place() -> None:
    scores = torch.tensor([[0.5, 0.4, 0.1]] * 3).log()
    assert [one.place for one in refer(scores, TEXTS, BOXES)] == ["first from the left", "third from the left",
                                                                  "second from the left"]  # fmt: skip
    assert refer(scores, TEXTS, BOXES)[1].text.endswith("bird, the third from the left")


def test_a_region_alone_needs_no_place() -> None:
    assert refer(torch.zeros(1, 3), TEXTS, BOXES[:1])[0].place == ""


def test_a_place_leaves_one_region_and_a_place_that_is_none_is_refused() -> None:
    assert meant("a bird, the second from the left", torch.zeros(3), BOXES).tolist() == [0.0, 0.0, 1.0]
    with pytest.raises(RequestError, match="middle"):
        meant("a bird, the middle one", torch.zeros(3), BOXES)


def test_scores_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError):
        refer(torch.zeros(2, 3), TEXTS, BOXES)


def test_a_region_is_shown_in_its_own_square() -> None:
    picture = torch.zeros(3, 32, 32)
    picture[0, 8:16, 16:24] = 1.0
    square = shown(picture, torch.tensor([[16.0, 8, 24, 16]]), size=16, around=1.0)
    torch.testing.assert_close(
        square[0, 0], torch.ones(16, 16), atol=0.51, rtol=0
    )  # the rim is half of what lies beside
    assert float(square[0, 0, 2:-2, 2:-2].min()) == 1.0 and float(square[0, 1].max()) == 0.0


def test_every_text_is_in_the_grammar_and_no_two_are_equal() -> None:
    texts = bird_texts()
    assert len(set(texts)) == len(texts) == 318
    assert all("body_hue" in captions.parse(text) for text in texts)


def test_the_words_are_true_of_the_bird_that_has_what_they_state() -> None:
    own = fields_of_bird(flocks()[0].fields, 0)
    facts = captions.facts({name: values for name, values in own.items() if name != "birds"})[0]
    assert true_of(f"a {facts['body_hue']} bird, the second from the left", facts)
    assert not true_of(f"a {facts['body_hue']} bird with a {'forked' if facts['tail'] == 'fanned' else 'fanned'} "
                       f"{facts['tail_hue']} tail", facts)  # fmt: skip


def test_the_listener_finds_the_bird_that_the_true_caption_tells() -> None:
    scene = flocks()[0]
    boxes = torch.from_numpy(scene.bird_boxes()[0]).float()[: int(scene.counts[0])]
    squares = shown(scene.tensor()[0], boxes)
    for bird in range(len(boxes)):
        own = fields_of_bird(scene.fields, bird)
        facts = captions.facts({name: values for name, values in own.items() if name != "birds"})[0]
        text = f"a {facts['body_hue']} bird with a {facts['tail']} {facts['tail_hue']} tail"
        assert int(comprehend(text, witness_judge(), squares, boxes).argmax()) == bird


def test_contrast_is_understood_and_the_likeliest_caption_less_often_where_birds_are_alike() -> None:
    """Acceptance of the card: a listener that shares no weight with the speaker finds 95 % of the birds."""
    found = trial(alike_in_hue(flocks()), captioner_judge(captioner()), witness_judge(), names=("captioner", "witness"))
    assert found.contrastive.found.mean >= 0.95, str(found)
    assert found.contrastive.true >= 0.95 and found.helps, str(found)
    assert found.random.found.mean < 0.7 and "Gain over" in str(found) and found.to_dict()["helps"]


def test_the_dual_encoder_speaks_too() -> None:
    found = trial(flocks()[:3], dual_judge(dual()), witness_judge())
    assert found.contrastive.found.mean > found.chance


def test_single_birds_are_no_flock() -> None:
    with pytest.raises(RequestError, match="flock"):
        trial(scenes(3100, 2), dual_judge(dual()), witness_judge())
