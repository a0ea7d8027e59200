"""Classification by description: a class is what can be seen of it, and its score is a sum that can be read.

Menon and Vondrick, Visual classification via description from large language models, ICLR 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import torch
import yaml
from jaxtyping import Float, Int64
from torch import Tensor

from pellucid.compute.ranking import auroc
from pellucid.errors import DescriptorError

Encode = Callable[[Sequence[str]], Float[Tensor, "text dim"]]

_SPEAKS_ITSELF = ("is", "are", "has", "have", "can", "may", "often", "usually", "typically", "lives", "looks", "comes")
_STATES = ("used", "made", "found", "kept", "able", "known", "seen", "worn", "built", "covered")
_HEADER = "# One class per key, one description per line. Add, reword or delete lines, and classify again.\n"


@dataclass(frozen=True)
class Wording:
    """How descriptions become sentences. `{verb}` is is, has or nothing, as the description asks.

    name:  of a class alone
    named: of a class with a description
    alone: of a description without the class's name
    """

    name: str = "a photo of a {name}"
    named: str = "{name}, which {verb}{description}"
    alone: str = "something which {verb}{description}"

    def of_name(self, name: str) -> str:
        return self.name.format(name=name)

    def of_both(self, name: str, description: str) -> str:
        return self.named.format(name=name, verb=_verb(description), description=description)

    def of_description(self, description: str) -> str:
        return self.alone.format(verb=_verb(description), description=description)


PLAIN = Wording()
TESTBED = Wording("a {name}", "a {name} with {description}", "a bird with {description}")


def _verb(description: str) -> str:
    first = description.split()[0].lower()
    if first in _SPEAKS_ITSELF:
        return ""
    return "is " if first in _STATES or (first.endswith("ing") and len(first) > 5) else "has "


@dataclass(frozen=True)
class Descriptors:
    """What can be seen of each class, in a list that a person can read and edit. Twice the same counts once."""

    classes: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        tidy = {
            name.strip(): tuple(dict.fromkeys(" ".join(text.split()) for text in texts if text.strip()))
            for name, texts in self.classes.items()
        }
        if len(tidy) < 2:
            raise DescriptorError("Descriptors", f"{len(tidy)} class cannot be told from another.", "Describe two.")
        object.__setattr__(self, "classes", MappingProxyType(tidy))

    def __getitem__(self, name: str) -> tuple[str, ...]:
        try:
            return self.classes[name]
        except KeyError:
            raise DescriptorError("Descriptors", f"there is no class {name!r}.", f"Known: {', '.join(self)}.") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.classes)

    def __len__(self) -> int:
        return len(self.classes)

    @classmethod
    def read(cls, path: str | Path) -> Descriptors:
        """From a YAML file of class names, each with a list of descriptions. Raises DescriptorError."""
        path = Path(path)
        try:
            held: object = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise DescriptorError(str(path), f"it cannot be read: {error.strerror}.", "Check the path.") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            first = str(error).replace("\n", " ")
            raise DescriptorError(str(path), f"it is no YAML: {first}.", "See docs/dual-encoders.md.") from error
        if not isinstance(held, dict):
            raise DescriptorError(str(path), "it holds no classes.", "Write `class name:` and lines with `  - text`.")
        listed: dict[str, tuple[str, ...]] = {}
        for name, texts in cast("dict[Any, Any]", held).items():
            texts = [] if texts is None else [texts] if isinstance(texts, str) else texts
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in cast("list[Any]", texts)):
                raise DescriptorError(
                    str(path), f"{name!r} has no list of texts.", "Put a text with a colon in quotes."
                )
            listed[str(name)] = tuple(cast("list[str]", texts))
        return cls(listed)

    def write(self, path: str | Path) -> None:
        """As YAML, in the order given, so that an edit is one line."""
        written = yaml.safe_dump(
            {name: list(texts) for name, texts in self.classes.items()}, sort_keys=False, allow_unicode=True
        )
        Path(path).write_text(_HEADER + written, encoding="utf-8")

    def edited(self, name: str, *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> Descriptors:
        """With descriptions of one class added and removed. Raises DescriptorError for one that is not there."""
        missing = [text for text in remove if text not in self[name]]
        if missing:
            raise DescriptorError(
                "Descriptors", f"{name!r} has no {missing[0]!r}.", f"It has: {'; '.join(self[name])}."
            )
        kept = tuple(text for text in self[name] if text not in remove)
        return replace(self, classes={**self.classes, name: (*kept, *add)})

    def naming_others(self) -> dict[str, tuple[str, ...]]:
        """Descriptions that hold the name of another class, which then scores by name and not by what is seen."""
        found: dict[str, tuple[str, ...]] = {}
        for name, texts in self.classes.items():
            others = [other.lower() for other in self.classes if other != name]
            caught = tuple(text for text in texts if any(f" {other} " in f" {text.lower()} " for other in others))
            if caught:
                found[name] = caught
        return found


@dataclass(frozen=True, eq=False)
class Part:
    """One description's part in a class's score: its cosine, and its share of the mean."""

    text: str
    cosine: float
    share: float


@dataclass(frozen=True, eq=False)
class Account:
    """Why one picture got its class: the parts add up to the score.

    missing: descriptions of the runner-up, the least present first
    """

    winner: str
    runner_up: str
    score: float
    runner_up_score: float
    parts: tuple[Part, ...]
    missing: tuple[Part, ...]

    @property
    def margin(self) -> float:
        return self.score - self.runner_up_score

    def __str__(self) -> str:
        said = "; ".join(f"{part.text} {part.cosine:+.3f}" for part in self.parts)
        lacks = "; ".join(f"{part.text} {part.cosine:+.3f}" for part in self.missing)
        return (
            f"{self.winner} {self.score:+.3f}: {said}. Ahead of {self.runner_up} by {self.margin:.3f}, which lacks: "
            f"{lacks}."
        )


@dataclass(frozen=True, eq=False)
class Described:
    """A classifier made of descriptions; the score of a class is the mean cosine with its sentences.

    sentences:  per class; the name alone where there is no description
    embeddings: one [sentence dim] per class
    """

    names: tuple[str, ...]
    descriptions: tuple[tuple[str, ...], ...]
    sentences: tuple[tuple[str, ...], ...]
    embeddings: tuple[Float[Tensor, "sentence dim"], ...]
    known: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor], repr=False)

    def cosines(self, pictures: Float[Tensor, "picture dim"]) -> tuple[Float[Tensor, "picture sentence"], ...]:
        """Per class, each sentence's cosine with each picture; embeddings of length 1 come in."""
        return tuple(pictures @ texts.T for texts in self.embeddings)

    def scores(self, pictures: Float[Tensor, "picture dim"]) -> Float[Tensor, "picture class"]:
        """The mean of cosines, not the cosine of means: only the former adds up."""
        return torch.stack([cosines.mean(dim=1) for cosines in self.cosines(pictures)], dim=1)

    def predict(self, pictures: Float[Tensor, "picture dim"]) -> Int64[Tensor, "picture"]:
        return self.scores(pictures).argmax(dim=1)

    def account(self, picture: Float[Tensor, "dim"]) -> Account:
        """The winner's parts, the strongest first, and what the runner-up lacks."""
        order = self.scores(picture[None])[0].argsort(descending=True)
        first, second = (self._parts(int(number), picture) for number in order[:2])
        names = [self.names[int(number)] for number in order[:2]]
        return Account(
            names[0], names[1], sum(part.share for part in first), sum(part.share for part in second), first,
            second[::-1],
        )  # fmt: skip

    def _parts(self, number: int, picture: Tensor) -> tuple[Part, ...]:
        cosines = (self.embeddings[number] @ picture).tolist()
        told = self.descriptions[number] or self.sentences[number]
        parts = [Part(text, value, value / len(cosines)) for text, value in zip(told, cosines, strict=True)]
        return tuple(sorted(parts, key=lambda part: -part.cosine))


def by_description(
    descriptors: Descriptors,
    encode: Encode,
    *,
    wording: Wording = PLAIN,
    named: bool = True,
    known: Described | None = None,
) -> Described:
    """The classifier that these descriptions make.

    encode: texts to embeddings of length 1
    named:  False leaves the class's name out of the sentences, so that only what is described counts
    known:  a classifier made before, whose texts need not be encoded again
    """
    told: list[tuple[str, ...]] = []
    for name in descriptors:
        said = (wording.of_both(name, text) if named else wording.of_description(text) for text in descriptors[name])
        told.append(tuple(said) or (wording.of_name(name),))
    return from_sentences(tuple(descriptors), tuple(descriptors[name] for name in descriptors), told, encode, known)


def from_sentences(
    names: Sequence[str],
    descriptions: Sequence[tuple[str, ...]],
    sentences: Sequence[tuple[str, ...]],
    encode: Encode,
    known: Described | None = None,
) -> Described:
    """The same from finished sentences, each of which is encoded once."""
    cache = dict(known.known) if known is not None else {}
    new = [text for text in dict.fromkeys(text for told in sentences for text in told) if text not in cache]
    if new:
        cache.update(zip(new, encode(new), strict=True))
    embeddings = tuple(torch.stack([cache[text] for text in told]) for told in sentences)
    return Described(tuple(names), tuple(descriptions), tuple(sentences), embeddings, cache)


@dataclass(frozen=True)
class Flips:
    """What an edit changed on labelled pictures: predictions changed, mended and broken."""

    changed: int
    mended: int
    broken: int
    before: float
    after: float


def flips(
    before: Described, after: Described, pictures: Float[Tensor, "picture dim"], labels: Int64[Tensor, "picture"]
) -> Flips:
    """How predictions changed from one list of descriptions to another; accuracies 0 to 1."""
    first, then = before.predict(pictures), after.predict(pictures)
    right, still = first == labels, then == labels
    return Flips(
        int((first != then).sum()), int((~right & still).sum()), int((right & ~still).sum()),
        float(right.float().mean()), float(still.float().mean()),
    )  # fmt: skip


def visibility(
    described: Described, pictures: Float[Tensor, "picture dim"], labels: Int64[Tensor, "picture"]
) -> dict[str, tuple[tuple[str, float], ...]]:
    """Per class and description, how well its cosine alone tells the class from the rest: AUROC, 0.5 is chance.

    NaN for a class that no picture, or every picture, belongs to.
    """
    found: dict[str, tuple[tuple[str, float], ...]] = {}
    for number, cosines in enumerate(described.cosines(pictures)):
        told = described.descriptions[number] or described.sentences[number]
        mine = labels == number
        found[described.names[number]] = tuple(
            (text, auroc(mine.numpy(), cosines[:, at].numpy())) for at, text in enumerate(told)
        )
    return found
