"""The names of a model's classes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from pellucid.errors import AmbiguousClass, UnknownClass


class Labels:
    """Class names in the order of the output; `labels["tabby cat"]` is the index, `labels.name(281)` the name.

    A class is found by its name and by each of its synonyms; case and surplus space do not matter. The whole name comes
    first: where "cardigan" is one class, another that is also called so is not asked. A name that several classes
    share is refused with all of them, one that none has with those that come near.

    synonyms: for every class, other names of it; None takes what stands between the commas of its name
    """

    def __init__(self, names: Iterable[str], synonyms: Iterable[Sequence[str]] | None = None) -> None:
        self.names = tuple(str(name) for name in names)
        self.synonyms = tuple(map(tuple, synonyms)) if synonyms is not None else tuple(map(_between_commas, self.names))
        assert len(self.synonyms) == len(self.names), "each class has its own synonyms"
        self._by_name = _indices((name,) for name in self.names)
        self._by_synonym = _indices(self.synonyms)

    @classmethod
    def numbered(cls, count: int) -> Labels:
        """Names for a model that has none: "class 0", "class 1" and so on."""
        return cls(f"class {index}" for index in range(count))

    def name(self, index: int) -> str:
        """The name of class `index`. Raises UnknownClass unless 0 <= index < len(self)."""
        return self.names[self.index(index)]

    def index(self, asked: int | str) -> int:
        """The index of a class by index, name or synonym.

        Raises UnknownClass with the range or the nearest names, AmbiguousClass with the classes that share the name.
        """
        if not isinstance(asked, str):
            if not 0 <= asked < len(self.names):
                raise UnknownClass(asked, self.names)
            return asked
        found = self.named(asked)
        if not found:
            raise UnknownClass(asked, self.names, self.like(asked))
        if len(found) > 1:
            raise AmbiguousClass(asked, {index: self.names[index] for index in found})
        return found[0]

    def named(self, name: str) -> list[int]:
        """The classes that bear this name, or else this synonym; none, one or several."""
        key = _key(name)
        return list(self._by_name.get(key) or self._by_synonym.get(key, ()))

    def like(self, asked: str) -> tuple[str, ...]:
        """Names of classes in whose name or synonyms `asked` occurs: as whole words, else as the beginnings of words.

        Those that begin with it come first, short ones before long ones.
        """
        words = [re.escape(word) for word in re.findall(r"\w+", asked.casefold())]
        if not words:
            return ()
        for pattern in (r"\W+".join(words) + r"\b", r"\w*\W+".join(words)):
            ranks = {name: rank for name, all_names in self._every_name() if (rank := _rank(pattern, all_names)) < 2}
            if ranks:
                return tuple(sorted(ranks, key=lambda name: (ranks[name], len(name))))
        return ()

    def _every_name(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        return ((name, (name, *synonyms)) for name, synonyms in zip(self.names, self.synonyms, strict=True))

    @overload
    def __getitem__(self, asked: str) -> int: ...
    @overload
    def __getitem__(self, asked: int) -> str: ...
    def __getitem__(self, asked: int | str) -> int | str:
        return self.index(asked) if isinstance(asked, str) else self.name(asked)

    def __contains__(self, asked: object) -> bool:
        return isinstance(asked, str) and bool(self.named(asked))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"Labels({len(self)} classes: {', '.join(self.names[:3])}{', ...' if len(self) > 3 else ''})"


def _between_commas(name: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in name.split(","))
    return tuple(part for part in parts if part) if len(parts) > 1 else ()


def _indices(names: Iterable[Sequence[str]]) -> dict[str, list[int]]:
    """Which classes bear each name, in order."""
    found: dict[str, list[int]] = {}
    for index, own in enumerate(names):
        for key in dict.fromkeys(map(_key, own)):
            found.setdefault(key, []).append(index)
    return found


def _key(name: str) -> str:
    return " ".join(name.casefold().split())


def _rank(pattern: str, names: Sequence[str]) -> int:
    """0 where a name begins with the words, 1 where one has them further on, 2 where none has them."""
    places = [found.start() for name in names if (found := re.search(rf"\b{pattern}", name.casefold()))]
    return 2 if not places else int(min(places) > 0)
