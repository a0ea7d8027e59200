"""TExplain and DeViL against what is known: closed forms of counting, hues planted in cells, frozen models, files."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

import pellucid as pl
from pellucid.errors import FileError, MethodUnavailable, ModelError, RequestError
from pellucid.images import Frame
from pellucid.language import translate
from pellucid.language.translation.bridges import Shape
from pellucid.language.translation.counting import Histogram, merged, ranked, words_in
from pellucid.language.translation.decoders import CaptionerDecoder, opened
from pellucid.language.translation.learning import hidden
from pellucid.language.translation.ports import random_places
from pellucid.language.translation.speaking import likeliest, likelihood, nucleus
from pellucid.language.translation.trial import paired_p
from pellucid.testbed.fields import HUES
from pellucid.trust.sanity import randomised
from pellucid.values import Seed

SIDE, CELL = 4, 4
SHORT = translate.Lesson(steps=50, batch=32, rate=3e-3)
LONGER = translate.Lesson(steps=100, batch=32, rate=3e-3)


class Cells(nn.Module):
    """A grid whose cells say which hue they are of, and a head on their mean: what each place holds is known."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.Conv2d(3, 8, CELL, stride=CELL, bias=False)
        self.pool, self.flatten, self.head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, len(HUES))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.head(self.flatten(self.pool(self.cells(pictures))))


COLOURS = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [1.0, 1, 0], [1.0, 0, 1], [0, 1.0, 1]])


def painted(*hues: int) -> torch.Tensor:
    """A picture of columns of cells, as many as there are hues."""
    columns = torch.tensor([hues[at * len(hues) // SIDE] for at in range(SIDE)])
    grid = COLOURS[columns].T[:, None, :].expand(3, SIDE, SIDE)
    return grid.repeat_interleave(CELL, 1).repeat_interleave(CELL, 2)[None]


@pytest.fixture(scope="module")
def cells() -> pl.VisionModel:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = Cells().eval()
    return pl.wrap(net, labels=HUES, input_size=(SIDE * CELL,) * 2, preprocess=pl.Preprocess(size=(SIDE * CELL,) * 2))


@pytest.fixture(scope="module")
def corpus() -> translate.Corpus:
    """Pictures of one hue each, with noise, told in the testbed's words."""
    generator = torch.Generator().manual_seed(1)
    frames, texts = [], []
    for at in range(120):
        hue = at % len(HUES)
        noisy = (painted(hue)[0] + 0.05 * torch.randn(3, 1, 1, generator=generator)).clamp(0, 1)
        frames.append(Frame((noisy.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy(), f"{at}"))
        texts.append(f"a {HUES[hue]} bird")
    return translate.Corpus(tuple(frames), tuple(texts), "columns")


@pytest.fixture(scope="module")
def places(cells: pl.VisionModel, corpus: translate.Corpus) -> translate.Translator:
    return translate.fit(cells, corpus, port=translate.Port("layers", ("cells", "pool")), lesson=LONGER, judged=12)


@pytest.fixture(scope="module")
def vector(cells: pl.VisionModel, corpus: translate.Corpus) -> translate.Translator:
    return translate.fit(cells, corpus, lesson=SHORT, judged=12)


# -- DeViL: slots, places, maps


def test_a_place_is_told_by_its_own_hue_whatever_stands_beside_it(places: translate.Translator) -> None:
    """The oracle of the card: in at least 95 % of the sentences."""
    for left, right in ((0, 2), (3, 1), (4, 5)):
        picture = painted(left, right)
        for column, hue in ((0, left), (SIDE - 1, right)):
            told = translate.describe_place(places, picture, 1, column, layer="cells", around=1, most=100)
            share = {one.word: one.share for one in told.ranked}[HUES[hue]]
            assert share >= 0.95, f"{HUES[hue]} in {share:.0%} of the sentences"


def test_the_map_of_a_hue_points_at_its_columns(places: translate.Translator) -> None:
    hits = 0
    for left, right in ((0, 2), (3, 1), (4, 5), (2, 4), (1, 0)):
        for hue, at_left in ((left, True), (right, False)):
            found = translate.phrase_map(places, painted(left, right), HUES[hue], layer="cells", after="a")
            hits += (found.peak[1] < SIDE * CELL / 2) == at_left
    assert hits >= 9, f"{hits} of 10"


def test_the_map_of_places_that_all_hold_the_mean_is_constant_and_nothing(places: translate.Translator) -> None:
    mean = places.bridge.get_buffer("mean0")
    from pellucid.language.translation.places import alone

    scores = likelihood(places.decoder, alone(places, 0, mean.expand(SIDE * SIDE, -1)), "coral", after="a")
    assert torch.equal(scores, scores[:1].expand_as(scores))


def test_what_hidden_slots_hold_does_not_change_a_bit(places: translate.Translator) -> None:
    rows = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    one = places.prefix([rows, torch.full((5, 8), 1e30)], ["cells"])
    other = places.prefix([rows, -torch.full((5, 8), torch.inf)], ["cells"])
    assert torch.equal(one, other)
    assert bool(one.isfinite().all())


def test_a_unit_is_told_by_the_places_that_drive_it(places: translate.Translator, cells: pl.VisionModel) -> None:
    assert cells.network is not None
    weight = cells.network.get_parameter("cells.weight").detach().sum(dim=(2, 3))
    driven = int((weight @ COLOURS.T)[0].argmax())
    pictures = torch.cat([painted(hue) for hue in range(len(HUES))])
    told = translate.describe_unit(places, 0, pictures, layer="cells", exemplars=1)
    assert told.first(1) == (HUES[driven],)


def test_hidden_slots_leave_one_and_places_leave_one() -> None:
    generator = torch.Generator().manual_seed(0)
    there = hidden(500, 4, 0.9, generator)
    assert bool(there.any(dim=1).all())
    assert bool(random_places(50, 6, 9, 0.01, generator).any(dim=2).all())


# -- TExplain: words


def test_the_hue_of_a_picture_is_its_first_word(vector: translate.Translator) -> None:
    for hue, name in enumerate(HUES):
        assert vector.words(painted(hue), most=100).first(1) == (name,)


def test_words_beat_shuffled_features_and_random_words(vector: translate.Translator) -> None:
    assert vector.controls is not None
    assert vector.controls.beats_controls, str(vector.controls)
    assert "come from the features" in str(vector.words(painted(0), most=40))


def test_words_of_features_without_meaning_say_that_they_lose(
    vector: translate.Translator, corpus: translate.Corpus
) -> None:
    features = vector.features(torch.cat([painted(at % 6) for at in range(24)]))
    wrong = [f"a {HUES[(at * at + 3) % 6]} bird" for at in range(24)]
    found = translate.judge(vector, features, wrong, corpus.texts, each=20)
    assert not found.beats_controls
    assert "no evidence" in str(found)


def test_the_words_of_random_weights_are_not_true(
    cells: pl.VisionModel, vector: translate.Translator, corpus: translate.Corpus
) -> None:
    assert cells.module is not None
    *_, (_, network) = randomised(cells.module, 1, Seed(5))
    other = translate.Translator(cells.with_module(network), vector.decoder, vector.port, vector.bridge,
                                 blind=vector.blind, record=vector.record, longest=vector.longest)  # fmt: skip
    pictures = torch.cat([painted(at % 6) for at in range(24)])
    truth = [f"a {HUES[at % 6]} bird" for at in range(24)]
    own, random = (
        translate.judge(one, one.features(pictures), truth, corpus.texts, each=20) for one in (vector, other)
    )
    assert own.beats_controls and not random.beats_controls and random.own < own.own / 2


def test_neither_model_changes(cells: pl.VisionModel, vector: translate.Translator) -> None:
    assert cells.fingerprint == vector.record.model_hash
    assert opened("testbed:captioner").fingerprint == vector.record.decoder_hash
    assert vector.record.decoder == "testbed:captioner"
    assert all(one.requires_grad for one in cells.network.parameters())  # type: ignore[union-attr]


def test_the_evidence_of_a_class_is_the_feature_times_its_weights(cells: pl.VisionModel) -> None:
    from pellucid.language.translation.ports import read

    picture, network = painted(0, 3), cells.network
    assert network is not None
    plain = read(cells, translate.Port().settled(cells), picture)
    evidence = read(cells, translate.Port("evidence").settled(cells), picture, target=2)
    expected = plain.slots[0] * network.get_parameter("head.weight")[2]
    torch.testing.assert_close(evidence.slots[0], expected)
    bias = network.get_parameter("head.bias")[2]
    torch.testing.assert_close(evidence.slots[0].sum() + bias, cells.predict(picture)[0, 2])


def test_ports_that_a_model_lacks_are_refused_with_what_it_has(cells: pl.VisionModel) -> None:
    with pytest.raises(MethodUnavailable, match="class token"):
        translate.Port("class_token").settled(cells)
    with pytest.raises(RequestError, match="Known"):
        translate.Port("nowhere")
    vit = pl.load("testbed:vit")
    assert translate.Port("class_token").settled(vit).layers == ("blocks.3",)
    assert len(translate.Port("layers").settled(vit).layers) == 4


def test_places_cannot_be_asked_of_a_single_vector(vector: translate.Translator) -> None:
    with pytest.raises(MethodUnavailable, match="places"):
        translate.phrase_map(vector, painted(0), "coral")
    hidden_parts = translate.hiding_map(vector, painted(0), "coral", after="a", cells=SIDE)
    assert hidden_parts.values.shape == (SIDE, SIDE)


# -- Files


def test_a_translator_in_a_file_says_the_same(
    vector: translate.Translator, cells: pl.VisionModel, tmp_path: Path
) -> None:
    path = translate.save(vector, tmp_path / "cells.translator")
    again = translate.reopened(path, cells)
    assert again.words(painted(1), most=40).to_dict() == vector.words(painted(1), most=40).to_dict()
    assert (again.port, again.record, again.blind, again.controls) == (
        vector.port, vector.record, vector.blind, vector.controls)  # fmt: skip


def test_a_file_is_refused_for_other_weights_and_for_what_is_no_translator(
    vector: translate.Translator, tmp_path: Path
) -> None:
    path = translate.save(vector, tmp_path / "cells.translator")
    with pytest.raises(ModelError, match="other weights"):
        translate.reopened(path, pl.load("testbed:cnn"))
    (tmp_path / "none").write_bytes(b"nothing")
    with pytest.raises(FileError):
        translate.reopened(tmp_path / "none")


# -- Closed forms


def test_word_by_word_gives_what_the_captioner_gives_at_once() -> None:
    decoder = CaptionerDecoder.shipped()
    prefix = torch.randn(3, 4, decoder.width, generator=torch.Generator().manual_seed(2)) * 1.5
    numbers = decoder.numbers(["a coral bird with no plume"] * 3)
    with torch.no_grad():
        whole = decoder.logits(prefix, numbers)
        logits, state = decoder.begin(prefix)
        for at in range(numbers.shape[1]):
            torch.testing.assert_close(logits, whole[:, at], rtol=1e-4, atol=1e-4)
            logits, state = decoder.step(numbers[:, at], state)


def test_likelihood_is_the_mean_of_the_words_own_logarithms() -> None:
    decoder = CaptionerDecoder.shipped()
    prefix = torch.randn(2, 4, decoder.width, generator=torch.Generator().manual_seed(4))
    numbers = decoder.numbers(["a coral bird with no plume"] * 2)
    with torch.no_grad():
        chances = decoder.logits(prefix, numbers).log_softmax(dim=-1)
    expected = torch.stack([chances[:, at].gather(1, numbers[:, at, None])[:, 0] for at in (4, 5)]).mean(dim=0)
    torch.testing.assert_close(likelihood(decoder, prefix, "no plume", after="a coral bird with"), expected)


def test_the_nucleus_is_the_fewest_words_with_enough_chance() -> None:
    chances = torch.tensor([[0.5, 0.3, 0.15, 0.05]])
    torch.testing.assert_close(nucleus(chances, 0.7), torch.tensor([[0.625, 0.375, 0, 0]]))
    torch.testing.assert_close(nucleus(chances, 0.1), torch.tensor([[1.0, 0, 0, 0]]))


def test_lift_is_the_logarithm_of_shares_and_is_believed_beyond_chance_alone() -> None:
    said, blind = Histogram({"snow": 90, "bird": 100}, 100), Histogram({"snow": 100, "bird": 600}, 600)
    first, second = ranked(said, blind)
    assert (first.word, first.believed) == ("snow", True)
    assert math.isclose(first.lift, math.log((0.9 + 0.01) / (100 / 600 + 0.01)))
    assert (second.word, second.believed) == ("bird", False)


def test_a_word_counts_once_in_a_sentence_and_inflections_are_one() -> None:
    assert words_in("A wing, and the wings of a bird") == {"wing", "wings", "bird"}
    names = merged({"wing", "wings", "bird", "grass", "standing"})
    assert names == {"wings": "wing"}
    assert Histogram.of(["wing wings wing"], names).counts == {"wing": 1}


def test_words_that_mean_the_same_are_one_where_an_encoder_says_so() -> None:
    vectors = {"bird": [1.0, 0], "avian": [0.98, 0.199], "snow": [0, 1.0]}
    alike = lambda words: nn.functional.normalize(torch.tensor([vectors[word] for word in words]), dim=1)
    assert merged(vectors, alike) == {"avian": "bird"}


def test_paired_p_of_differences_that_all_agree_is_as_small_as_signs_allow() -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    assert paired_p(np.full(30, 0.2), rng) == pytest.approx(1e-4)
    assert paired_p(np.array([1.0, -1.0] * 15), rng) > 0.3


def test_the_sizes_of_the_papers_come_back_at_their_width() -> None:
    assert Shape.of((512,), 768, 1.0, slots=True).depth == 12
    assert Shape.of((72,), 96, 1.0, slots=True).depth == 2
    assert Shape.of((72,), 96, 1.0, slots=False).prefix == 4


def test_a_prefix_vector_has_the_length_that_the_language_model_is_used_to() -> None:
    bridge = Shape.of((6,), 96, 14.0, slots=False).build(0)
    given_ = bridge([torch.randn(9, 6, generator=torch.Generator().manual_seed(0))])
    torch.testing.assert_close(given_.norm(dim=2), torch.full((9, 4), 14.0), rtol=5e-3, atol=1e-2)


def test_the_same_seed_gives_the_same_translator(cells: pl.VisionModel, corpus: translate.Corpus) -> None:
    lesson = translate.Lesson(steps=3, batch=8)
    one, other = (translate.fit(cells, corpus, lesson=lesson, judged=0) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.bridge.parameters(), other.bridge.parameters(), strict=True))
    prefix = one.prefix([torch.zeros(1, 8)])
    assert likeliest(one.decoder, prefix, longest=4) == likeliest(other.decoder, prefix, longest=4)
    assert one.drawn(prefix, 5, Seed(1)) == other.drawn(prefix, 5, Seed(1))
