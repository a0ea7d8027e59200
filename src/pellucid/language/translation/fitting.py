"""Fitting a translator, and putting its words to the test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from pellucid.errors import ModelError
from pellucid.language.translation.bridges import Shape
from pellucid.language.translation.corpus import corpus_of
from pellucid.language.translation.counting import Histogram, merged, words_in
from pellucid.language.translation.decoders import opened
from pellucid.language.translation.learning import Lesson, divided, teach
from pellucid.language.translation.ports import Features, Port, read
from pellucid.language.translation.said import Trial
from pellucid.language.translation.translator import Record, Translator
from pellucid.language.translation.trial import tried
from pellucid.subject import VisionModel
from pellucid.values import Seed

_DRAWS = 8  # random choices of places per picture; each step of training meets another
_BLIND_SENTENCES = 1500  # of as many pictures: sentences of one picture resemble each other
_BLIND_EACH = 10  # of one picture, where there are few
_JUDGED, _JUDGED_EACH = 60, 60


def fit(
    model: VisionModel, captions: Any = None, lm: Any = "testbed:captioner", *, port: Port | str = "penultimate",
    lesson: Lesson | None = None, judged: int = _JUDGED, alike: Any = None, seed: int = 0,
) -> Translator:  # fmt: skip
    """A translator from features of `model` to the language model `lm`. Neither changes.

    captions: pairs of picture and sentence, a `Corpus`, scenes, or the path of a table; None is the testbed's own
    lm:       `testbed:captioner`, the name or folder of any causal language model of transformers, a pair of such a
              model and its tokenizer
    port:     what is read; a kind by its name, or a `Port` with layers. `layers` is DeViL, the others are TExplain
    judged:   on how many held-out pictures its words are compared with their controls; 0 leaves that out
    alike:    words -> embeddings of length 1, by which near-synonyms are told as one; None merges inflections only

    Raises RequestError, MethodUnavailable where the model has no such port, ModelError where a model has changed.
    """
    own, plan, corpus, decoder = Seed(seed), lesson or Lesson(), corpus_of(captions), opened(lm)
    settled = (port if isinstance(port, Port) else Port(port)).settled(model)
    before = (model.fingerprint, decoder.fingerprint)
    many = settled.kind == "layers"
    draws = _DRAWS if settled.spatial else 0
    features = read(model, settled, corpus.inputs(model), draws=draws, seed=own)
    shape = Shape.of(features.channels, decoder.width, decoder.scale, slots=many)
    bridge = shape.build(int(own.child("bridge")) % 2**31)
    rows, held_out = divided(len(corpus), plan.held_out, own)
    losses = teach(bridge, decoder, features, corpus.texts, rows, held_out, plan, own)
    if (model.fingerprint, decoder.fingerprint) != before:
        raise ModelError("Weights changed while a translator was fitted; both models should have stayed as they are.")
    record = Record(
        model.spec or model.name, before[0], decoder.spec, before[1], corpus.source, corpus.fingerprint, len(corpus),
        seed, losses, corpus.notes,
    )  # fmt: skip
    names = merged({word for text in corpus.texts for word in words_in(text)}, alike)
    longest = -(-decoder.numbers(corpus.texts).shape[1] * 5 // 4)
    made = Translator(
        model, decoder, settled, bridge, blind=Histogram({}, 0), record=record, longest=longest, merged=names
    )
    order = torch.randperm(len(rows), generator=own.child("blind").generator()).tolist()
    some = features.picked([rows[at] for at in order[:_BLIND_SENTENCES]])
    each = min(_BLIND_EACH, -(-_BLIND_SENTENCES // len(some[0])))
    spoken = made.drawn(made.prefix(some), each, own.child("blind"))
    made.blind = Histogram.of([text for texts in spoken for text in texts], names)
    if judged:
        made.controls = judge(made, features[held_out[:judged]], [corpus.texts[at] for at in held_out[:judged]],
                              corpus.texts, seed=seed)  # fmt: skip
    return made


def judge(
    translator: Translator, features: Features, texts: Sequence[str], corpus: Sequence[str], *,
    each: int = _JUDGED_EACH, seed: int = 0,
) -> Trial:  # fmt: skip
    """Whether the words of a translator beat those of shuffled features and random words.

    features: of pictures it did not learn from; texts: what is true of them
    corpus:   sentences that random words are drawn from
    """
    own = Seed(seed).child("judge")
    return tried(
        features.whole, texts, lambda vectors: translator.drawn(translator.prefix(vectors), each, own),
        lambda vectors: translator.uttered(translator.prefix(vectors)), translator.blind, corpus, translator.merged,
        seed=own,
    )  # fmt: skip
