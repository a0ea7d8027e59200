"""Captions with the places looked at: identities of the attention, a planted captioner, and the penalty's gradient."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pellucid.compute.bootstrap import Interval
from pellucid.errors import RequestError, SceneError, ShapeError
from pellucid.language import attend
from pellucid.language.attention_trial import Needed, Pointing, Trial
from pellucid.testbed import nets, scenes
from pellucid.testbed.nets import Attender, Captioner
from pellucid.testbed.nets.attending import GRID
from pellucid.testbed.nets.words import caption_words
from pellucid.testbed.train.attending import unevenness
from pellucid.testbed.word_parts import part_words


@cache
def captioner() -> Captioner:
    net, _ = nets.load("captioner")
    assert isinstance(net, Captioner)
    return net


@cache
def untaught() -> Attender:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Attender(caption_words()).eval()


@cache
def pictures() -> Tensor:
    return scenes(3500, 2).tensor()


def test_words_that_speak_of_parts_are_found_with_what_they_tell() -> None:
    found = part_words("a teal bird with a forked amber tail , no plume and a cone black beak")
    assert [(one.word, one.part, one.kind) for one in found] == [
        ("teal", "body", "hue"), ("bird", "body", "noun"), ("forked", "tail", "shape"), ("amber", "tail", "hue"),
        ("tail", "tail", "noun"), ("cone", "beak", "shape"), ("black", "beak", "hue"), ("beak", "beak", "noun"),
    ]  # fmt: skip


@pytest.mark.parametrize("which", ["captioner", "attender"])
def test_the_looks_of_every_word_sum_to_one_and_the_words_are_those_said(which: str) -> None:
    net = captioner() if which == "captioner" else untaught()
    texts = scenes(3500, 2).captions
    for told, text in zip(attend.captions(net, pictures(), texts), texts, strict=True):
        assert told.text == text and (told.likelihood <= 0).all() and (told.through <= 1).all()
        torch.testing.assert_close(told.maps.sum(dim=(1, 2)), torch.ones(len(told.words)), atol=1e-5, rtol=0)


def test_reading_the_attention_changes_nothing_of_what_is_said() -> None:
    net, texts = captioner(), scenes(3500, 2).captions
    numbers = net.words.encode(texts)
    with torch.no_grad():
        plain = net(pictures(), numbers[:, :-1]).log_softmax(-1).gather(2, numbers[:, 1:, None])[..., 0]
    told = attend.captions(net, pictures(), texts)
    for at, one in enumerate(told):
        torch.testing.assert_close(one.likelihood, plain[at, : len(one.words)], atol=1e-5, rtol=0)


def test_a_word_spoken_step_by_step_is_the_likeliest_of_the_whole_pass() -> None:
    net = untaught()
    (text,) = net.generate(pictures()[:1], longest=6)
    numbers = net.words.encode([text])
    with torch.no_grad():
        said = net(pictures()[:1], numbers[:, :-1]).argmax(dim=-1)
    assert net.words.decode(said[0]).split()[: len(text.split())] == text.split()


def test_one_hot_attention_gives_what_lies_at_that_place() -> None:
    """With all weight on one place, soft attention is hard attention: the rest of the picture does not count."""
    net = untaught()
    seen = net.look(pictures()[:1])
    state = net._begun(seen)  # pyright: ignore[reportPrivateUsage]
    with torch.no_grad():
        net.energy.weight.mul_(1e4)
        found = net.attend(seen, torch.tensor([[1]]))
        net.energy.weight.div_(1e4)
    place = int(found.looks[0, 0].argmax())
    assert float(found.looks[0, 0, place]) == pytest.approx(1.0)
    with torch.no_grad():
        soft = found.looks[0, 0] @ state.places[0]
    torch.testing.assert_close(soft, state.places[0, place].detach(), atol=1e-4, rtol=1e-4)


def test_the_penalty_is_least_for_even_looks_and_its_gradient_is_that_of_its_formula() -> None:
    wanted = torch.tensor([[5, 6, 2, 0]])  # three words, the last place is filling
    even = torch.full((1, 4, 3), 1 / 3)
    one_place = functional.one_hot(torch.zeros(1, 4, dtype=torch.long), 3).float()
    assert float(unevenness(even, wanted)) == pytest.approx(0.0)
    assert float(unevenness(one_place, wanted)) == pytest.approx((4 + 1 + 1) / 3)
    looks = torch.rand(1, 4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    unevenness(looks, wanted).backward()
    over_all = looks.detach()[:, :3].sum(dim=1)
    expected = (-2 * (1 - over_all) / 3)[:, None].expand(1, 3, 3)
    assert looks.grad is not None
    torch.testing.assert_close(looks.grad[:, :3], expected)
    assert float(looks.grad[:, 3].abs().sum()) == 0


def test_the_place_looked_at_most_is_as_large_as_asked() -> None:
    heat = torch.zeros(10, 10)
    heat[2:4, 2:4] = 1
    mask = attend.most_looked_at(heat, 0.04)
    assert mask.sum() == 4 and mask[2:4, 2:4].all()
    with pytest.raises(RequestError, match="share"):
        attend.most_looked_at(heat, 1.5)


def test_nothing_changes_where_nothing_is_painted_over() -> None:
    (told,) = attend.captions(captioner(), pictures()[:1])
    nothing = np.zeros((64, 64), dtype=bool)
    after = attend.likelihood_without(captioner(), pictures()[:1], told, [nothing, ~nothing])
    torch.testing.assert_close(after[0], told.likelihood, atol=1e-4, rtol=0)
    assert float((told.likelihood - after[1]).sum()) > 1


def test_a_claim_about_a_look_gives_the_same_when_it_is_checked_again() -> None:
    frame = scenes(7, [7]).frames()[0]
    (told,) = attend.captions(captioner(), frame.tensor())
    word = next(one for one in part_words(told.text) if one.kind == "hue" and one.part == "tail")
    claim = attend.claim(frame, told.text, word.at, captioner="captioner")
    assert claim.verdict == "verified" and f"“{word.word}”" in claim.text
    assert claim.recheck(None).measured == claim.measured and claim.recheck(None).verdict == claim.verdict


def test_only_captioners_attend_and_texts_go_with_pictures() -> None:
    with pytest.raises(RequestError, match="no captioner"):
        attend.opened("cnn")
    with pytest.raises(ShapeError):
        attend.captions(captioner(), pictures(), ["a coral bird"])
    with pytest.raises(SceneError):
        attend.captions(captioner(), pictures(), ["a zebra", "a zebra"])


def test_attention_is_no_explanation_by_itself() -> None:
    """The verdict needs both tests: pointing alone, or falling alone, is not enough."""
    sure, zero = Interval(0.9, 0.85, 0.95, 100), Interval(0.0, -0.1, 0.1, 100)
    points = tuple(Pointing(kind, sure, 0.1, 0.05, 0.1, {}) for kind in ("hue", "shape", "noun"))
    astray = tuple(Pointing(kind, Interval(0.3, 0.25, 0.35, 100), 0.1, 0.05, 0.1, {}) for kind in ("hue", "shape"))
    needed, idle = Needed(sure, zero, zero, sure, sure, zero), Needed(zero, zero, zero, zero, zero, zero)
    assert Trial("a", 10, 0, points, needed).explains
    assert not Trial("a", 10, 0, astray, needed).explains
    assert "explain nothing" in Trial("a", 10, 0, points, idle).verdict


def test_the_grid_has_sixteen_places_on_a_side() -> None:
    assert untaught().look(pictures()).shape[:2] == (2, GRID**2)
