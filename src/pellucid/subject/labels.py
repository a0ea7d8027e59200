"""The names of a model's classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import overload

from pellucid.errors import TargetError, UnknownClass


class Labels:
    """Class names in the order of the output; `labels["tabby cat"]` is the index, `labels.name(281)` the name.

    Case does not matter. A name that several classes share is refused with their indices.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(str(name) for name in names)
        self._indices: dict[str, list[int]] = {}
        for index, name in enumerate(self.names):
            self._indices.setdefault(name.casefold(), []).append(index)

    @classmethod
    def numbered(cls, count: int) -> Labels:
        """Names for a model that has none: "class 0", "class 1" and so on."""
        return cls(f"class {index}" for index in range(count))

    def name(self, index: int) -> str:
        """The name of class `index`. Raises UnknownClass unless 0 <= index < len(self)."""
        return self.names[self.index(index)]

    def index(self, asked: int | str) -> int:
        """The index of a class by index or name. Raises UnknownClass with the range or the nearest names."""
        if isinstance(asked, str):
            found = self._indices.get(asked.strip().casefold(), [])
            if len(found) > 1:
                listing = ", ".join(map(str, found))
                raise TargetError(f"{len(found)} classes are named {asked!r}: {listing}. Name one by its number.")
            if not found:
                raise UnknownClass(asked, self.names)
            return found[0]
        if not 0 <= asked < len(self.names):
            raise UnknownClass(asked, self.names)
        return asked

    @overload
    def __getitem__(self, asked: str) -> int: ...
    @overload
    def __getitem__(self, asked: int) -> str: ...
    def __getitem__(self, asked: int | str) -> int | str:
        return self.index(asked) if isinstance(asked, str) else self.name(asked)

    def __contains__(self, asked: object) -> bool:
        return isinstance(asked, str) and asked.strip().casefold() in self._indices

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"Labels({len(self)} classes: {', '.join(self.names[:3])}{', ...' if len(self) > 3 else ''})"
