"""What can be said of each picture: tags, by a dual encoder, a table, or anything that can be called."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.errors import RequestError, ShapeError
from pellucid.language.hypotheses import present
from pellucid.language.pools import Pool, bird_pool, likeness
from pellucid.subject import VisionModel
from pellucid.testbed.captions import PLACES
from pellucid.testbed.fields import WORDS
from pellucid.testbed.scene import Scenes
from pellucid.values import Seed

_CHUNK = 200  # pictures whose tags are read together


@dataclass(frozen=True, eq=False)
class Tags:
    """Which tags each picture has.

    names:  the words, each once
    there:  whether the picture has it
    source: who said so
    kinds:  what each is a case of ("land"), empty where unknown; of one kind a picture has at most one
    """

    names: tuple[str, ...]
    there: Bool[np.ndarray, "picture tag"]
    source: str
    kinds: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.there.ndim != 2 or self.there.shape[1] != len(self.names):
            raise ShapeError("Tags.there", got=self.there.shape, expected=f"[picture, {len(self.names)}]")
        if len(set(self.names)) != len(self.names):
            raise RequestError("Each tag has one name; two of these are the same.")
        if self.kinds and len(self.kinds) != len(self.names):
            raise ShapeError("Tags.kinds", got=(len(self.kinds),), expected=f"[{len(self.names)}], one per tag")

    def __len__(self) -> int:
        return len(self.there)

    def __getitem__(self, chosen: Sequence[int] | np.ndarray) -> Tags:
        """The tags of some of the pictures."""
        return Tags(self.names, self.there[chosen], self.source, self.kinds)

    def having(self, names: Iterable[str]) -> Bool[np.ndarray, "picture"]:
        """Which pictures have all of these. Raises RequestError for a tag that is not there."""
        wanted = list(names)
        unknown = [name for name in wanted if name not in self.names]
        if unknown:
            raise RequestError(f"There is no tag {unknown[0]!r} among the {len(self.names)} of {self.source}.")
        chosen = self.there[:, [self.names.index(name) for name in wanted]]
        return np.asarray(chosen.all(axis=1))

    def without(self, names: Iterable[str]) -> Tags:
        """All tags but these."""
        left = [at for at, name in enumerate(self.names) if name not in set(names)]
        kinds = tuple(self.kinds[at] for at in left) if self.kinds else ()
        return Tags(tuple(self.names[at] for at in left), self.there[:, left], self.source, kinds)

    def dealt(self, groups: np.ndarray, seed: Seed) -> Tags:
        """The rows of tags dealt anew within each group: as frequent and as joint, but of other pictures."""
        rng = np.random.default_rng(int(seed.child("dealt tags")))
        there = self.there.copy()
        for group in np.unique(groups):
            places = np.flatnonzero(groups == group)
            there[places] = there[rng.permutation(places)]
        return Tags(self.names, there, f"{self.source}, dealt to other pictures", self.kinds)


def by_encoder(encoder: VisionModel, inputs: Float[Tensor, "picture 3 height width"], pool: Pool) -> Tags:
    """Tags that a dual encoder gives: of each kind the likeliest, and of words without a kind those that stand out.

    encoder: as `pools.encoder_for(pool)` gives it; it should not be the model under study
    """
    return by_likeness(likened(encoder, inputs, pool), pool, encoder.spec or encoder.name)


def likened(
    encoder: VisionModel, inputs: Float[Tensor, "picture 3 height width"], pool: Pool
) -> Float[np.ndarray, "picture word"]:
    """The cosine of each picture with each word, read a few hundred pictures at a time."""
    return np.concatenate([likeness(encoder, part, pool) for part in inputs.split(_CHUNK)])


def by_likeness(like: Float[np.ndarray, "picture word"], pool: Pool, source: str) -> Tags:
    """The same from likenesses that are known. Words without a kind are there above the level that parts them best."""
    kinds = tuple(word.kind for word in pool.words)
    there = np.zeros(like.shape, dtype=bool)
    for kind in dict.fromkeys(kinds):
        columns = [at for at, own in enumerate(kinds) if own == kind]
        exclusive = kind and len(columns) > 1 and not any(pool.words[at].any for at in columns)
        if exclusive:
            there[np.arange(len(like)), np.asarray(columns)[like[:, columns].argmax(axis=1)]] = True
        else:
            for at in columns:
                there[:, at] = present(like[:, at])
    return Tags(pool.names, there, source, kinds)


def by_call(tagger: Callable[[Any], Iterable[str]], pictures: Iterable[Any], *, source: str = "given") -> Tags:
    """Tags that anything gives which takes a picture and names what is in it: a tagger, a detector's labels."""
    return of_lists([tuple(tagger(picture)) for picture in pictures], source=source)


def of_lists(said: Sequence[Iterable[str]], *, source: str = "given") -> Tags:
    """Tags listed for each picture."""
    rows = [set(one) for one in said]
    names = tuple(sorted(set[str]().union(*rows)))
    there = np.array([[name in row for name in names] for row in rows], dtype=bool).reshape(len(rows), len(names))
    return Tags(names, there, source)


def of_table(table: Sequence[Mapping[str, Any]], *, source: str = "a table of attributes") -> Tags:
    """Every value of every attribute of a table as a tag: "land: meadow", or the bare name for yes; no numbers."""

    def read(row: Mapping[str, Any]) -> dict[str, str]:
        told: dict[str, str] = {}
        for name, value in row.items():
            if isinstance(value, str) and value:
                told[f"{name}: {value}"] = name
            elif isinstance(value, (bool, np.bool_)) and value:
                told[name] = ""
        return told

    rows = [read(row) for row in table]
    kinds: dict[str, str] = {tag: kind for row in rows for tag, kind in row.items()}
    found = of_lists(rows, source=source)
    return Tags(found.names, found.there, source, tuple(kinds[name] for name in found.names))


def joined(several: Sequence[Tags]) -> Tags:
    """The tags of several sources for the same pictures; of a tag that two know, either may say it is there."""
    names = tuple(dict.fromkeys(name for one in several for name in one.names))
    columns = [
        np.any([one.there[:, one.names.index(name)] for one in several if name in one.names], axis=0) for name in names
    ]
    kinds = {name: kind for one in several for name, kind in zip(one.names, one.kinds, strict=bool(one.kinds))}
    source = ", ".join(one.source for one in several)
    return Tags(names, np.stack(columns, axis=1), source, tuple(kinds.get(name, "") for name in names))


def bird_tags() -> Pool:
    """What captions of the rendered birds state, without the species, which are classes: "at the shore"."""
    words = [
        replace(word, name=PLACES[WORDS["land"].index(word.name)]) if word.kind == "land" else word
        for word in bird_pool().words if word.kind not in ("species", "hue")
    ]  # fmt: skip
    return Pool(tuple(words), "the words of the testbed's captions")


def of_scenes(drawn: Scenes) -> Tags:
    """What the renderer knows of its scenes, in the words of `bird_tags`: tags without error."""
    words = bird_tags().words
    there = np.stack([_is_there(drawn, word.name, word.kind) for word in words], axis=1)
    return Tags(tuple(word.name for word in words), there, "the renderer", tuple(word.kind for word in words))


def _is_there(drawn: Scenes, name: str, kind: str) -> Bool[np.ndarray, "scene"]:
    fields = drawn.fields
    if kind == "land":
        return fields[kind] == PLACES.index(name)
    if kind == "crest":
        return fields[kind] == ("no plume", "a plume").index(name)
    value = next(at for at, word in enumerate(WORDS[kind]) if word in name.split())
    found = fields[kind] == value
    return found & (fields["crest"] > 0) if kind == "crest_hue" else found
