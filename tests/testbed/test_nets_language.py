"""Nets that speak: what they say is read by the parser and compared with the scene."""

from __future__ import annotations

import pytest
import torch

from pellucid.testbed import captions, nets, scenes
from pellucid.testbed.nets import Captioner
from pellucid.testbed.nets.words import BEGIN
from pellucid.testbed.train import accuracies
from pellucid.testbed.train.telling import truthfulness

FRESH_SEED = 4000
COUNT = 200


@pytest.fixture(scope="module")
def captioner() -> Captioner:
    net, _ = nets.load("captioner")
    assert isinstance(net, Captioner)
    return net


def test_the_captioner_meets_its_card_on_fresh_scenes(captioner: Captioner) -> None:
    card = nets.load("captioner")[1]
    figures = accuracies("captioner", captioner, FRESH_SEED, COUNT)
    assert figures["stated"] == pytest.approx(card.accuracy["stated"], abs=0.01)
    assert figures["stated"] > 0.95


def test_every_caption_is_in_the_grammar(captioner: Captioner) -> None:
    for text in captioner.generate(scenes(FRESH_SEED, 50).tensor()):
        assert {"wing", "tail", "crest", "body_hue"} <= set(captions.parse(text))


def test_its_tower_is_that_of_the_dual_encoder(captioner: Captioner) -> None:
    dual, _ = nets.load("dual")
    theirs, own = dual.get_submodule("image").state_dict(), captioner.tower.state_dict()
    assert all(torch.equal(theirs[key], own[key]) for key in theirs)


def test_no_word_sees_those_after_it(captioner: Captioner) -> None:
    pictures, texts = scenes(FRESH_SEED, 2).tensor(), scenes(FRESH_SEED, 2).captions
    numbers = captioner.words.encode(texts)
    changed = numbers.clone()
    changed[:, 9] = 5
    with torch.no_grad():
        before, after = captioner(pictures, numbers), captioner(pictures, changed)
    torch.testing.assert_close(before[:, :9], after[:, :9], rtol=0, atol=1e-5)
    assert not torch.allclose(before[:, 9:], after[:, 9:])


def test_beams_find_sentences_that_are_no_less_likely(captioner: Captioner) -> None:
    pictures = scenes(FRESH_SEED, 12, occlusion=1.0).tensor()

    def likelihood(texts: tuple[str, ...]) -> torch.Tensor:
        numbers = captioner.words.encode(texts)
        with torch.no_grad():
            said = captioner(pictures, numbers[:, :-1]).log_softmax(dim=-1).gather(2, numbers[:, 1:, None])[..., 0]
        return (said * (numbers[:, 1:] != 0)).sum(dim=1)

    greedy, wide = (likelihood(captioner.generate(pictures, beams=beams)) for beams in (1, 4))
    assert (wide >= greedy - 1e-4).all()


def test_a_greedy_word_is_the_likeliest(captioner: Captioner) -> None:
    pictures = scenes(FRESH_SEED, 1).tensor()
    text = captioner.generate(pictures)[0]
    with torch.no_grad():
        first = captioner(pictures, torch.tensor([[BEGIN]]))[0, -1].argmax()
    assert captioner.words.decode([int(first)]) == text.split()[0]


def test_truthfulness_of_the_true_captions_is_one_and_of_another_scenes_less() -> None:
    drawn = scenes(FRESH_SEED, 30)
    true = truthfulness(drawn.captions, drawn)
    assert set(true.values()) == {1.0} and {"stated", "whole_captions", "wing", "flip"} <= set(true)
    shifted = truthfulness(drawn.captions[1:] + drawn.captions[:1], drawn)
    assert shifted["stated"] < 0.6
    assert truthfulness(("bird bird",) * 30, drawn)["stated"] == 0
