"""One mistake a user can make, what is promised for it, and how it is made through each door."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pellucid as pl
from pellucid.errors import PellucidError

DONE, SOME_FAILED, WRONG_USAGE = 0, 1, 2


@dataclass(frozen=True)
class Refused:
    """An error of ours. words: the thing, what was expected, what to do; each stands in the message."""

    error: type[PellucidError]
    words: tuple[str, ...]


@dataclass(frozen=True)
class Shown:
    """An explanation, of which `holds` is true."""

    holds: Callable[[pl.Explanation], bool]


@dataclass(frozen=True)
class Typed:
    """What is typed after `pellucid`, the exit code, and the words of the message.

    words: "GIVEN" stands for what the row gives, "BIRD" for a picture that is fine, "OUT" for a folder of its own
    says:  None where the message is the library's
    usage: whether it comes with a line of usage, as for options that cannot be parsed
    """

    words: tuple[str, ...]
    code: int
    says: tuple[str, ...] | None = None
    usage: bool = False


@dataclass(frozen=True)
class Nowhere:
    """A door at which this mistake cannot be made, and why."""

    reason: str


@dataclass(frozen=True)
class Row:
    """One mistake.

    given:   makes what the user gives, in an empty folder: a file, a spec, a number
    library: what is done with it in Python
    typed:   what the command is given instead, where that cannot be the same thing
    """

    name: str
    given: Callable[[Path], Any]
    promise: Refused | Shown
    library: Callable[[Any], Any] | Nowhere
    command: Typed | Nowhere
    typed: Callable[[Path], Any] | None = None


def value(given: Any) -> Callable[[Path], Any]:
    """Something that needs no folder to be made in."""
    return lambda _: given


def explain(*words: str, code: int = WRONG_USAGE, says: tuple[str, ...] | None = None, usage: bool = False) -> Typed:
    """`pellucid explain`, with the testbed's CNN and a folder of its own unless the words say otherwise."""
    model = () if "--model" in words else ("--model", "testbed:cnn")
    out = () if "--out" in words else ("--out", "OUT")
    return Typed(("explain", *words, *model, *out), code, says, usage)


PICTURE = explain("GIVEN", "--methods", "gradient", "--budget", "3", code=SOME_FAILED)
"""A picture that cannot be explained: it failed, and the command was right."""
FINE = explain("GIVEN", "--methods", "gradient", "--budget", "3", code=DONE)
MODEL = explain("BIRD", "--model", "GIVEN", "--methods", "occlusion", "--budget", "60")
