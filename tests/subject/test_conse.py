"""A classifier against texts, and the sentence encoder between."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import pellucid as pl
from pellucid.errors import LoadError, MissingExtra
from pellucid.stories.demo import photographs
from pellucid.subject import sentences
from pellucid.subject.loaders.conse import SCALE, Conse
from pellucid.subject.outputs import Outputs
from pellucid.subject.sentences import SentenceEncoder

REAL = "conse:demo:efficientnet_lite0"
TEXTS = ("a cat", "a cup of coffee", "a rocket launch", "a temple in China", "a flower in a garden")


@pytest.fixture(scope="module")
def encode() -> SentenceEncoder:
    return SentenceEncoder()


def test_sentences_get_the_embeddings_of_the_library_that_published_them(encode: SentenceEncoder) -> None:
    from sentence_transformers import SentenceTransformer

    texts = ["a cat", "A tabby cat, asleep on a sofa beside the window.", "Raumschiff", "a"]
    theirs = torch.from_numpy(SentenceTransformer(str(encode.folder), device="cpu").encode(texts))
    torch.testing.assert_close(encode(texts), theirs, atol=1e-6, rtol=0)


def test_what_stands_beside_a_text_changes_nothing(encode: SentenceEncoder) -> None:
    alone, together = SentenceEncoder()(["a cat"]), encode(["a very long text about something else", "a cat", "a cat"])
    torch.testing.assert_close(together[1:], alone.expand(2, -1), atol=1e-6, rtol=0)
    assert float(alone.norm()) == pytest.approx(1)


def test_nearer_in_meaning_is_a_higher_cosine(encode: SentenceEncoder) -> None:
    cat, kitten, rocket = encode(["a cat", "a kitten", "a rocket"])
    assert cat @ kitten > 0.6 > 0.4 > cat @ rocket


def test_a_folder_without_an_encoder_says_so(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="holds no sentence encoder"):
        SentenceEncoder(tmp_path)(["a cat"])


def test_without_the_extra_its_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentences, "_PACKAGE", "no_such_package")
    with pytest.raises(MissingExtra, match=r"pellucid\[words\]"):
        SentenceEncoder()


class Fixed(nn.Module):
    """Answers every picture with the same logits."""

    def __init__(self, logits: Sequence[float]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.logits.expand(len(pictures), -1)


def test_the_meaning_of_a_picture_is_the_weighed_mean_of_the_likeliest_classes() -> None:
    chances = torch.tensor([0.1, 0.5, 0.3, 0.1])
    meanings = torch.eye(4, 6)
    net = Conse(Fixed(chances.log().tolist()), Outputs(), meanings, top=2)
    torch.testing.assert_close(net(torch.zeros(3, 3, 8, 8))[1], torch.tensor([0, 0.5 / 0.8, 0.3 / 0.8, 0, 0, 0]))
    first = Conse(Fixed(chances.log().tolist()), Outputs(), meanings, top=1)
    torch.testing.assert_close(first(torch.zeros(1, 3, 8, 8))[0], meanings[1])
    assert Conse(Fixed([0.0] * 4), Outputs(), meanings, top=99).top == 4


def test_the_score_is_the_cosine_with_the_text_and_gradients_reach_the_picture(encode: SentenceEncoder) -> None:
    model = pl.load(REAL, texts=TEXTS)
    inputs = model.prepare(photographs()[:1]).requires_grad_()
    assert model.module is not None
    logits = model.module(inputs)
    meaning = nn.functional.normalize(model.module.get_submodule("image")(inputs), dim=-1)
    torch.testing.assert_close(logits, SCALE * meaning @ encode(TEXTS).T)
    logits[0, 0].backward()
    assert inputs.grad is not None and float(inputs.grad.abs().sum()) > 0


def test_photographs_find_their_texts_and_words_that_are_no_class() -> None:
    model = pl.load(REAL, texts=TEXTS)
    inputs = model.prepare(photographs())
    assert model.predict(inputs).argmax(dim=1).tolist() == [0, 1, 2, 3, 4]
    words = pl.load(REAL, texts=["fur", "a drink", "smoke and fire", "a roof", "petals"])
    assert [int(words.predict(inputs)[at].argmax()) for at in (0, 1, 2, 4)] == [0, 1, 2, 4]


def test_every_map_works_on_it() -> None:
    model = pl.load(REAL, texts=TEXTS)
    inputs = model.prepare(photographs()[:2])
    for method in ("grad_cam", "gradient"):
        assert bool(pl.attribute(model, inputs, method, target="a cat").values.isfinite().all())


def test_an_encoder_of_your_own_will_do() -> None:
    def letters(texts: Sequence[str]) -> Tensor:
        return nn.functional.normalize(
            torch.tensor([[float(text.count(chr(97 + at))) + 0.1 for at in range(26)] for text in texts]), dim=-1
        )

    model = pl.load("conse:testbed:cnn", texts=["ripple", "pebble"], sentences=letters)
    assert model.predict(torch.rand(2, 3, 64, 64)).shape == (2, 2)
    assert "12 classes" in model.notes[0]


@pytest.mark.parametrize(
    ("spec", "options", "said"),
    [
        ("conse:testbed:cnn", {}, "no texts are given"),
        ("conse:testbed:dual", {"texts": TEXTS}, "reads texts itself"),
        ("conse:testbed:cnn", {"texts": TEXTS, "top": 0}, "top=0"),
        ("conse:nothing:here", {"texts": TEXTS}, "no source 'nothing'"),
        ("conse:testbed:cnn", {"texts": ["a cat"]}, "compared with nothing"),
    ],
)
def test_what_cannot_be_compared_is_refused(spec: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(LoadError, match=said):
        pl.load(spec, **options)
