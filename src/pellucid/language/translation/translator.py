"""A fitted translator: what it was fitted to, and what can be asked of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.errors import MethodUnavailable, RequestError
from pellucid.language.translation import speaking
from pellucid.language.translation.bridges import Bridge
from pellucid.language.translation.corpus import inputs_of
from pellucid.language.translation.counting import (
    STABLE_TOP,
    Histogram,
    collapsed,
    entropy,
    ranked,
    stable,
)
from pellucid.language.translation.decoders import Decoder
from pellucid.language.translation.learning import Losses
from pellucid.language.translation.ports import Features, Port, read
from pellucid.language.translation.said import Trial, Words
from pellucid.subject import VisionModel
from pellucid.values import Seed

MOST_SENTENCES = 500
_ROUND = 100  # sentences between two looks at whether the ranking has settled
_OF_A_GROUP = 20  # sentences of each picture of a group


@dataclass(frozen=True)
class Record:
    """What a translator was fitted to, kept in its file.

    model, decoder: what opens them again, and hashes of their weights, which were the same before and after
    corpus:         its source and its hash; notes are what a reader must know of the sentences
    """

    model: str
    model_hash: str
    decoder: str
    decoder_hash: str
    corpus: str
    corpus_hash: str
    pictures: int
    seed: int
    losses: Losses
    notes: tuple[str, ...] = ()


class Translator:
    """Puts features of one vision model into words of one language model. Both stay as they are.

    port:     what is read of the model, and what every result names
    blind:    how often each word is said for the features of any picture
    longest:  most tokens of a sentence, a quarter more than the longest it learnt from
    merged:   words that are told as another
    controls: whether its words beat those that know nothing of the picture; None where that was not measured
    """

    def __init__(
        self, model: VisionModel, decoder: Decoder, port: Port, bridge: Bridge, *, blind: Histogram, record: Record,
        longest: int, merged: Mapping[str, str] | None = None, controls: Trial | None = None,
    ) -> None:  # fmt: skip
        self.model, self.decoder, self.port, self.bridge = model, decoder, port, bridge
        self.blind, self.record, self.longest = blind, record, longest
        self.merged, self.controls = dict(merged or {}), controls

    def __repr__(self) -> str:
        return f"Translator({self.model.name}: {self.port} -> {self.decoder_name})"

    @property
    def decoder_name(self) -> str:
        return self.decoder.spec or type(self.decoder.network).__name__

    # -- prefixes ---------------------------------------------------------------------------------------------------

    def features(self, pictures: Any, *, target: int | None = None) -> Features:
        """What the port reads of these pictures: frames, files, scenes or model input."""
        return read(self.model, self.port, inputs_of(self.model, pictures), target=target)

    @torch.no_grad()
    def prefix(
        self, vectors: Sequence[Float[Tensor, "row channel"]], slots: Sequence[int | str] | None = None
    ) -> Float[Tensor, "row slot width"]:
        """Prefix vectors for one vector per slot; slots that are not among `slots` are hidden."""
        return self.bridge(list(vectors), self.there(len(vectors[0]), slots))

    def there(self, rows: int, slots: Sequence[int | str] | None) -> Bool[Tensor, "row slot"] | None:
        """Which slots are shown, by number or by the layer's name. Raises RequestError for one that is not there."""
        if slots is None:
            return None
        if self.port.kind != "layers":
            raise RequestError(f"The port reads {self.port}: there are no slots to choose from.")
        shown = torch.zeros(rows, self.port.slots, dtype=torch.bool)
        for slot in slots:
            at = self.port.layers.index(slot) if slot in self.port.layers else slot
            if not isinstance(at, int) or not 0 <= at < self.port.slots:
                raise RequestError(f"The translator has no slot {slot!r}. It has {', '.join(self.port.layers)}.")
            shown[:, at] = True
        return shown

    # -- sentences --------------------------------------------------------------------------------------------------

    def sentences(
        self, pictures: Any, count: int = MOST_SENTENCES, *, layers: Sequence[int | str] | None = None,
        target: int | None = None, top_p: float = 0.95, seed: int = 0,
    ) -> tuple[tuple[str, ...], ...]:  # fmt: skip
        """`count` drawn sentences of each picture.

        layers: of a translator with several, those that are shown
        target: of the port `evidence`, the class; None is each picture's answer
        """
        vectors = self.features(pictures, target=target).whole
        return self.drawn(self.prefix(vectors, layers), count, Seed(seed), top_p=top_p)

    def drawn(
        self, prefix: Float[Tensor, "picture slot width"], count: int, seed: Seed, *, top_p: float = 0.95
    ) -> tuple[tuple[str, ...], ...]:
        generator = seed.child("sentences").generator()
        return speaking.drawn(self.decoder, prefix, count, generator, top_p=top_p, longest=self.longest)

    def uttered(self, prefix: Float[Tensor, "picture slot width"]) -> tuple[str, ...]:
        """The likeliest sentence for each prefix."""
        return speaking.likeliest(self.decoder, prefix, longest=self.longest)

    def say(
        self, pictures: Any, *, layers: Sequence[int | str] | None = None, target: int | None = None
    ) -> tuple[str, ...]:
        """The likeliest sentence of each picture."""
        vectors = self.features(pictures, target=target).whole
        return self.uttered(self.prefix(vectors, layers))

    # -- words ------------------------------------------------------------------------------------------------------

    def words(
        self, picture: Any, *, most: int = MOST_SENTENCES, layers: Sequence[int | str] | None = None,
        target: int | None = None, top_p: float = 0.95, seed: int = 0,
    ) -> Words:  # fmt: skip
        """The words of one picture; sentences are drawn until both halves rank them alike, `most` at most."""
        features = self.features(picture, target=target)
        if len(features) != 1:
            raise RequestError(f"Words of one picture; got {len(features)}. `words_of_group` tells of several.")
        name = getattr(picture, "name", None) or "This picture"
        return self.words_of(self.prefix(features.picked([0]), layers), str(name), most=most, top_p=top_p, seed=seed)

    def words_of(
        self, prefix: Float[Tensor, "1 slot width"], about: str, *, most: int = MOST_SENTENCES, top_p: float = 0.95,
        seed: int = 0,
    ) -> Words:  # fmt: skip
        """The words of one prefix, whatever it was made of."""
        texts: list[str] = []
        for turn in range(max(1, -(-most // _ROUND))):
            texts += self.drawn(prefix, min(_ROUND, most - len(texts)), Seed(seed).child("round", turn), top_p=top_p)[0]
            if stable(texts) and len(texts) >= 2 * STABLE_TOP:
                break
        return self.told(about, Histogram.of(texts, self.merged), texts)

    def words_of_group(
        self, pictures: Any, about: str = "These pictures", *, each: int = _OF_A_GROUP, seed: int = 0,
        layers: Sequence[int | str] | None = None, target: int | None = None,
    ) -> Words:  # fmt: skip
        """The words of a class or any other group: the mean over its pictures, with intervals over pictures."""
        spoken = self.sentences(pictures, each, layers=layers, target=target, seed=seed)
        said = [Histogram.of(texts, self.merged) for texts in spoken]
        return self.group(about, said, [text for texts in spoken for text in texts])

    def group(self, about: str, said: Sequence[Histogram], texts: Sequence[str] = ()) -> Words:
        """The same from what was counted for each picture already."""
        whole = sum(said[1:], start=said[0])
        return self.told(about, whole, texts, worth=effective(said, whole))

    def told(
        self, about: str, said: Histogram, texts: Sequence[str], *, worth: Mapping[str, float] | None = None
    ) -> Words:
        """What was counted as a value; `worth` as `effective` gives it."""
        order = ranked(said, self.blind, effective=worth)
        shown = tuple(dict.fromkeys(texts))[:5]
        return Words(
            about, order, int(said.sentences), shown, entropy(texts), bool(texts) and collapsed(texts),
            not texts or stable(texts), str(self.port), self.decoder_name, self.merged, self.controls,
        )  # fmt: skip

    # -- places and units -------------------------------------------------------------------------------------------

    def need_places(self, what: str) -> None:
        """Raises MethodUnavailable where the port reads no single places."""
        if not self.port.spatial:
            raise MethodUnavailable(
                what, f"its translator reads {self.port}, and no single places.", ("a translator with port=layers",)
            )


def effective(said: Sequence[Histogram], whole: Histogram) -> dict[str, float]:
    """Of how many independent sentences each word's share is worth: those of one picture resemble each other."""
    pictures = len(said)
    found: dict[str, float] = {}
    for word in whole.counts:
        shares = torch.tensor([one.share(word) for one in said])
        mean = float(shares.mean())
        error = float(shares.var()) / pictures if pictures > 1 else 0.0
        # At least one sentence per picture: pictures are drawn independently whatever their shares.
        found[word] = max(float(pictures), mean * (1 - mean) / error) if error > 0 else float(pictures)
    return {word: min(count, whole.sentences) for word, count in found.items()}
