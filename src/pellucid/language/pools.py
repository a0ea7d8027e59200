"""What units may be called: names, each with the sentences by which a dual encoder recognises it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from pellucid.errors import RequestError
from pellucid.subject import VisionModel, load
from pellucid.testbed.captions import PLACES
from pellucid.testbed.fields import HUES, SPECIES, WORDS


@dataclass(frozen=True)
class Word:
    """One name.

    name:      as it is told
    sentences: what the encoder is asked; the mean over them counts, or the best where any one of them is enough
    kind:      what it is a case of ("wing"); the others of its kind are its siblings
    synonyms:  other names that mean the same
    """

    name: str
    sentences: tuple[str, ...]
    kind: str = ""
    synonyms: tuple[str, ...] = ()
    any: bool = False


@dataclass(frozen=True)
class Pool:
    """All names that may be given, and who made them."""

    words: tuple[Word, ...]
    source: str

    def __post_init__(self) -> None:
        names = [word.name for word in self.words]
        if len(set(names)) != len(names) or len(names) < 2:
            raise RequestError(
                f"A pool needs 2 or more names, each once; got {len(names)}, {len(set(names))} different."
            )

    def __len__(self) -> int:
        return len(self.words)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(word.name for word in self.words)

    @property
    def sentences(self) -> tuple[str, ...]:
        """All that the encoder is asked, each once."""
        return tuple(dict.fromkeys(sentence for word in self.words for sentence in word.sentences))

    def siblings(self, at: int) -> tuple[int, ...]:
        """The other names of its kind; all others where it has none."""
        kind = self.words[at].kind
        return tuple(other for other, word in enumerate(self.words) if other != at and (not kind or word.kind == kind))

    @classmethod
    def of(cls, names: Sequence[str], *, template: str = "{}", source: str = "given") -> Pool:
        """Names as they are, each asked by one sentence."""
        return cls(tuple(Word(name, (template.format(name),)) for name in names), source)


def bird_pool() -> Pool:
    """What captions of the rendered world speak of: every value of every field, each hue anywhere, and the species."""
    anywhere = [Word(hue, _anywhere(hue), "hue", (f"{hue} paint",), any=True) for hue in HUES]
    words = [Word(name, _sentences(field, value), field, _also(field, value)) for name, field, value in _values()]
    named = [Word(name, (f"a {name}", *(f"a {name} {place}" for place in PLACES)), "species") for name in SPECIES]
    return Pool((*anywhere, *words, *named), "the words of the testbed's captions")


def encoder_for(pool: Pool, spec: str = "testbed:dual") -> VisionModel:
    """A dual encoder loaded with all sentences of a pool."""
    return load(spec, texts=list(pool.sentences))


def likeness(
    encoder: VisionModel, inputs: Float[Tensor, "picture 3 height width"], pool: Pool
) -> Float[np.ndarray, "picture word"]:
    """How like each picture is to each name: the mean cosine over its sentences, -1 to 1.

    encoder: as `encoder_for` gives it. Raises RequestError where its texts are others.
    """
    known = {sentence: at for at, sentence in enumerate(encoder.labels.names)}
    if not encoder.texts or not known.keys() >= set(pool.sentences):
        raise RequestError(f"{encoder.name} was loaded with other texts than the pool's; use pools.encoder_for(pool).")
    scale = float(getattr(encoder.module, "logit_scale", 1.0))
    bias = float(getattr(encoder.module, "logit_bias", 0.0))
    cosines = (encoder.predict(inputs).float().cpu().numpy() - bias) / scale
    asked = [(word, cosines[:, [known[sentence] for sentence in word.sentences]]) for word in pool.words]
    return np.stack([of.max(axis=1) if word.any else of.mean(axis=1) for word, of in asked], axis=1)


def _values() -> list[tuple[str, str, int]]:
    fields = ("body_hue", "wing", "tail", "crest", "beak", "feet", "flip", "land")
    fields += ("wing_hue", "tail_hue", "crest_hue", "bib_hue", "beak_hue")
    return [(_name(field, value), field, value) for field in fields for value in range(len(WORDS[field]))]


def _name(field: str, value: int) -> str:
    word = WORDS[field][value]
    part = field.removesuffix("_hue").replace("crest", "plume")
    plain = {
        "body_hue": f"{word} body", "wing": f"{word} wings", "tail": f"a {word} tail", "beak": f"a {word} beak",
        "crest": "a plume" if word == "plume" else "no plume", "feet": word, "flip": f"facing {word}", "land": word,
    }  # fmt: skip
    return plain.get(field, f"{word} wings" if part == "wing" else f"a {word} {part}")


def _also(field: str, value: int) -> tuple[str, ...]:
    word = WORDS[field][value]
    return (f"a {word} bird",) if field == "body_hue" else (PLACES[value],) if field == "land" else ()


def _sentences(field: str, value: int) -> tuple[str, ...]:
    """Captions that state this value, and otherwise differ."""
    word = WORDS[field][value]
    if field == "crest":
        return _each(HUES, "a bird with a {} plume") if word == "plume" else ("a bird with no plume",)
    if field == "land":
        return _each(SPECIES, f"a {{}} {PLACES[value]}")
    if field == "feet":
        return tuple(f"a {hue} bird , {word} {place}" for hue in HUES for place in PLACES)
    if field in ("wing", "tail"):
        said = "{} {} wings" if field == "wing" else "a {} {} tail"
        return tuple(f"a {hue} bird with {said.format(word, own)}" for hue in HUES for own in HUES if own != hue)
    if field == "beak":
        return _each(WORDS["beak_hue"], f"a bird with a {word} {{}} beak")
    plain = {
        "body_hue": f"a {word} bird", "crest_hue": f"a bird with a {word} plume",
        "bib_hue": f"a bird with a {word} bib",
    }  # fmt: skip
    if field in plain:
        return (plain[field],)
    if field == "flip":
        return _each(HUES, f"a {{}} bird , facing {word}")
    said = {"wing_hue": "{} X wings", "tail_hue": "a {} X tail", "beak_hue": "a {} X beak"}[field].replace("X", word)
    return _each(WORDS[field.removesuffix("_hue")], f"a bird with {said}")


def _anywhere(hue: str) -> tuple[str, ...]:
    """Captions that tell this hue of one part or another."""
    fields = ("body_hue", "wing_hue", "tail_hue", "crest_hue", "bib_hue")
    return tuple(sentence for field in fields for sentence in _sentences(field, HUES.index(hue)))


def _each(words: Sequence[str], sentence: str) -> tuple[str, ...]:
    return tuple(sentence.format(word) for word in words)
