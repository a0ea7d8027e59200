"""Who does the work: this process, or many elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from typing import Protocol, TypeVar, runtime_checkable

from pellucid.compute.progress import track

Item = TypeVar("Item")
Result = TypeVar("Result")


@runtime_checkable
class Runner(Protocol):
    """Maps work over items and yields results in order, as they come."""

    def run(self, work: Callable[[Item], Result], items: Iterable[Item], *, label: str = "") -> Iterator[Result]: ...


class Here:
    """Runs in this process, one item after the other, with a progress bar on the terminal."""

    def run(self, work: Callable[[Item], Result], items: Iterable[Item], *, label: str = "") -> Iterator[Result]:
        for item in track(items, label=label):
            yield work(item)


def unfinished(items: Iterable[Item], key: Callable[[Item], str], finished: Set[str]) -> Iterator[Item]:
    """The items whose key is not among those finished."""
    return (item for item in items if key(item) not in finished)
