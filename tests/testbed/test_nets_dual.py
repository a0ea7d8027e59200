"""Pictures and sentences in one space: what is true of a bird lies near it."""

from __future__ import annotations

import pytest
import torch

import pellucid as pl
from pellucid.errors import LoadError, SceneError
from pellucid.testbed import nets, scenes, truth
from pellucid.testbed.nets import Dual, Words
from pellucid.testbed.train import accuracies
from pellucid.testbed.train.dual import zero_shot
from pellucid.testbed.twins import another, twin

FRESH_SEED = 4000
COUNT = 256


@pytest.fixture(scope="module")
def dual() -> Dual:
    net, _ = nets.load("dual")
    assert isinstance(net, Dual)
    return net


@pytest.mark.parametrize("name", ["dual", "dual_background"])
def test_a_dual_encoder_meets_its_card_on_fresh_scenes(name: str) -> None:
    net, card = nets.load(name)
    for word, share in accuracies(name, net, FRESH_SEED, COUNT).items():
        slack = max(0.01, 3 * (share * (1 - share) / COUNT) ** 0.5)
        assert share == pytest.approx(card.accuracy[word], abs=slack), word


def test_a_picture_prefers_its_own_caption_to_that_of_its_twin(dual: Dual) -> None:
    drawn = scenes(FRESH_SEED, 100)
    for field, least in (("wing", 0.98), ("tail", 0.98), ("crest", 0.98), ("land", 0.98), ("body_hue", 0.95)):
        other = twin(drawn, **{field: another(drawn, field)})
        with torch.no_grad():
            seen = dual.encode_images(drawn.tensor())
            own, twins = (
                (seen * dual.encode_texts(captions)).sum(dim=1) for captions in (drawn.captions, other.captions)
            )
        assert float((own > twins).float().mean()) >= least, field


def test_the_clean_encoder_reads_parts_and_the_biased_one_the_landscape(dual: Dual) -> None:
    clean = truth.effect(zero_shot(dual), scenes(FRESH_SEED, 40))
    assert abs(clean.mean("land")) < 0.05 * clean.mean("wing")
    twin_net, _ = nets.load("dual_background")
    drawn = scenes(FRESH_SEED, 40, shortcut="background", strength=0.0)
    biased = truth.effect(zero_shot(twin_net), drawn)
    assert biased.mean("land") > biased.mean("wing") + biased.mean("tail")


def test_a_text_means_the_same_alone_and_beside_a_longer_one(dual: Dual) -> None:
    short, long = "a ripple swift", scenes(FRESH_SEED, 1).captions[0]
    with torch.no_grad():
        alone, beside = dual.encode_texts([short]), dual.encode_texts([short, long])
    torch.testing.assert_close(alone[0], beside[0], rtol=0, atol=2e-6)
    torch.testing.assert_close(beside.norm(dim=1), torch.ones(2))


def test_logits_are_scaled_cosines(dual: Dual) -> None:
    pictures, texts = scenes(FRESH_SEED, 3).tensor(), ["a ripple swift", "a willow wren"]
    with torch.no_grad():
        expected = dual.encode_images(pictures) @ dual.encode_texts(texts).T * dual.scale
        torch.testing.assert_close(dual(pictures, dual.words.encode(texts)), expected)
    assert 1 < float(dual.scale.detach()) <= 50


def test_loaded_by_name_it_knows_the_species_and_takes_texts_as_targets() -> None:
    model = pl.load("testbed:dual")
    drawn = scenes(FRESH_SEED, 6)
    assert model.texts and next(iter(model.labels)) == "a ripple swift"
    outputs = model.predict(drawn.tensor())
    assert outputs.argmax(dim=1).tolist() == drawn.labels.tolist()
    frame = drawn.frames()[0]
    for text in (list(model.labels)[3], "a blue bird with barred wings"):
        heat = pl.attribute(model, frame, "grad_cam", target=pl.Text(text))
        assert heat.values.shape[-2:] == (64, 64)
        assert float(heat.values.max()) > 0


def test_its_classes_can_be_any_sentences_of_the_grammar() -> None:
    model = pl.load("testbed:dual", texts=["a bird with barred wings", "a bird with dotted wings"])
    assert list(model.labels) == ["a bird with barred wings", "a bird with dotted wings"]
    assert model.predict(scenes(1, 2).tensor()).shape == (2, 2)


def test_words_it_was_never_told_are_refused_by_name() -> None:
    with pytest.raises(LoadError, match="'cat'"):
        pl.load("testbed:dual", texts=["a cat", "a bird"])
    with pytest.raises(LoadError, match="Leave texts out"):
        pl.load("testbed:cnn", texts=["a bird", "a wren"])


def test_words_become_numbers_and_words_again() -> None:
    words = Words(["a", "bird", ",", "?"])
    assert words.encode(["a bird", "a"]).tolist() == [[1, 3, 4, 2], [1, 3, 2, 0]]
    assert words.decode([1, 3, 4, 2, 3]) == "a bird"
    assert words.numbers("A bird?") == [3, 4, 6]
    with pytest.raises(SceneError, match="'cat'"):
        words.numbers("a cat")
    with pytest.raises(SceneError, match="too long"):
        words.encode(["a " * 100])


def test_a_net_reads_every_word_of_the_captions(dual: Dual) -> None:
    drawn = scenes(FRESH_SEED, 300)
    for style in ("full", "short", "name"):
        for text in drawn.told(style):
            assert dual.words.decode(dual.words.numbers(text)) == text
