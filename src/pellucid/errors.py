"""Every error pellucid raises on purpose, one class per cause.

PellucidError
├── ImageError            a picture cannot be read
├── ShapeError            a tensor or map has the wrong shape
├── TargetError           what is to be explained does not exist in this model
│   ├── UnknownClass      no class of that name or number
│   └── AmbiguousClass    several classes of that name
├── UnknownLayer          no layer of that name
├── UnknownMethod         no method or metric of that name
├── MethodUnavailable     the method is not defined for this model, with the reason and what to use instead
├── AmbiguousOutput       the model returns several things that could be its answer
├── ModelError            the model cannot be run as asked
│   ├── LoadError         the model cannot be loaded
│   │   └── UnknownModel  a source has no model of that name
│   └── RemoteError       a model behind a URL does not answer as agreed
├── NotLearned            a net that a measure trained has not learned what the measure needs
├── MissingExtra          an optional library is needed
├── PreprocessError       pictures were given to a model of unknown preprocessing
├── MemoryBudgetError     one single picture does not fit the memory allowed
├── MapError              a map cannot be drawn
├── UnknownPicture        a result has no picture of that number
├── FileError             a file of results cannot be read or written
├── AnnotationError       what is marked in a folder of pictures contradicts itself or the pictures
├── TowerUnsupported      the embedding of a picture tower is no sum of its parts, or not of a known kind
├── DescriptorError       a list of descriptions per class cannot be used
├── SceneError            a testbed scene is asked for that cannot be
├── BudgetSpent           an experiment would take more forward passes than are left
└── RequestError          an option has a value it cannot have
    └── ParameterError    a parameter of a method has a value it cannot have
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches


def nearest(name: str, known: Sequence[str]) -> tuple[str, ...]:
    """Up to three names one may have meant, upper and lower case alike."""
    folded = {entry.lower(): entry for entry in known}
    return tuple(folded[match] for match in get_close_matches(str(name).lower(), list(folded), n=3, cutoff=0.5))


def _hint(names: Sequence[str]) -> str:
    return f" Nearest: {', '.join(names)}." if names else ""


class PellucidError(Exception):
    """Something went wrong that the message explains."""


class ImageError(PellucidError, ValueError):
    """A picture cannot be read."""

    def __init__(self, name: str, problem: str, remedy: str) -> None:
        self.name, self.problem, self.remedy = name, problem, remedy
        super().__init__(f"{name}: {problem} {remedy}")


class ShapeError(PellucidError, ValueError):
    """A tensor or map has the wrong shape."""

    def __init__(self, name: str, *, got: object, expected: str, remedy: str = "") -> None:
        self.name, self.got, self.expected = name, got, expected
        super().__init__(f"{name} has shape {_shape(got)}; expected {expected}.{' ' + remedy if remedy else ''}")


def _shape(got: object) -> str:
    return str(list(got)) if isinstance(got, (tuple, list)) else str(got)


class TargetError(PellucidError, ValueError):
    """What is to be explained does not exist in this model, or does not fit the pictures."""


class UnknownClass(TargetError):
    """No class of that name or number."""

    def __init__(self, asked: object, labels: Sequence[str], like: Sequence[str] = ()) -> None:
        """`like` are classes in whose name the one asked for occurs; without any, spelling decides what is near."""
        self.asked, self.count = asked, len(labels)
        last = len(labels) - 1
        if isinstance(asked, str):
            self.nearest = tuple(like) or nearest(asked, labels)
            guess = f" Did you mean {like[0]!r}?" if len(like) == 1 else _hint(_few(self.nearest))
            super().__init__(f"The model has no class {asked!r}.{guess} It has {len(labels)} classes, 0 to {last}.")
        else:
            self.nearest = (labels[last],) if labels else ()
            super().__init__(
                f"Class {asked} does not exist: the model has {len(labels)} classes, 0 to {last} (the last is "
                f"{labels[last]!r})."
            )


class AmbiguousClass(TargetError):
    """Several classes bear that name."""

    def __init__(self, asked: str, found: Mapping[int, str]) -> None:
        """`found` are their indices and full names."""
        self.asked, self.found = asked, dict(found)
        listing = ", ".join(_few([f"{index} ({name})" for index, name in found.items()]))
        super().__init__(f"{len(found)} classes are named {asked!r}: {listing}. Name one by its number.")


def _few(entries: Sequence[str], most: int = 5) -> tuple[str, ...]:
    more = len(entries) - most
    return (*entries[:most], f"and {more} more") if more > 0 else tuple(entries)


class UnknownLayer(PellucidError, LookupError):
    """The model has no layer of that name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name, self.nearest = name, nearest(name, known)
        super().__init__(
            f"The model has no layer {name!r}.{_hint(self.nearest)} `pellucid layers` lists all {len(known)}."
        )


class UnknownMethod(PellucidError, LookupError):
    """There is no method (or metric) of that name."""

    def __init__(self, name: str, known: Sequence[str], kind: str = "method") -> None:
        self.name, self.nearest = name, nearest(name, known)
        listing = "`pellucid methods`" if kind == "method" else f"pl.{kind}s()"
        super().__init__(f"There is no {kind} {name!r}.{_hint(self.nearest)} {listing} lists all {len(known)}.")


class MethodUnavailable(PellucidError, ValueError):
    """The method is not defined for this model."""

    def __init__(self, method: str, reason: str, instead: Sequence[str] = ()) -> None:
        self.method, self.reason, self.instead = method, reason, tuple(instead)
        advice = f" Use {' or '.join(instead)} instead." if instead else ""
        super().__init__(f"{method} cannot explain this model: {reason}{advice}")


class AmbiguousOutput(PellucidError, ValueError):
    """The model returns several things that could be its answer."""

    def __init__(self, found: dict[str, str]) -> None:
        self.found = found
        listing = "; ".join(f"{key}: {shape}" for key, shape in found.items()) or "nothing that is a tensor"
        super().__init__(
            f"The model's answer is not clear. It returns {listing}. Name the part to explain: "
            f"pl.wrap(model, output=KEY), or a callable that picks it."
        )


class ModelError(PellucidError, RuntimeError):
    """The model cannot be run as asked."""


class LoadError(ModelError):
    """The model cannot be loaded."""

    def __init__(self, spec: str, problem: str, remedy: str = "") -> None:
        self.spec, self.problem, self.remedy = spec, problem, remedy
        super().__init__(f"{spec}: {problem}{' ' + remedy if remedy else ''}")


class UnknownModel(LoadError):
    """A source has no model, weights or architecture of that name."""

    def __init__(self, spec: str, problem: str, *, asked: str, known: Sequence[str], remedy: str) -> None:
        self.asked, self.nearest = asked, nearest(asked, known)
        super().__init__(spec, f"{problem}{_hint(self.nearest)}", remedy)


class MissingExtra(PellucidError, ImportError):
    """An optional library is needed."""

    def __init__(self, library: str, extra: str, purpose: str) -> None:
        self.library, self.extra = library, extra
        super().__init__(
            f"{purpose} needs the library {library!r}, which is not installed. "
            f"Install it with: pip install 'pellucid[{extra}]'"
        )


class PreprocessError(PellucidError, ValueError):
    """Pictures were given to a model whose preprocessing is unknown."""

    def __init__(self, model: str) -> None:
        self.model = model
        super().__init__(
            f"{model} does not say how a picture becomes its input. Say it: pl.wrap(model, preprocess=pl.Preprocess("
            f"size=(224, 224), resize=256, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))), "
            f"or give a float tensor [batch 3 height width] that is model input already."
        )


class MemoryBudgetError(PellucidError, MemoryError):
    """One single picture does not fit the memory allowed, or the memory there is."""

    def __init__(
        self, budget: int | None = None, needed: int | None = None, without_gradients: int | None = None
    ) -> None:
        """Bytes: what is allowed, what one picture takes at least, and what it would take without gradients."""
        self.budget, self.needed = budget, needed
        if budget is None or needed is None:
            super().__init__(
                "Not even one picture fits into memory. Use smaller pictures, a smaller model or another device."
            )
            return
        outside = without_gradients is not None and without_gradients <= budget
        instead = ", or methods that need no gradients (occlusion, rise)" if outside else ""
        super().__init__(
            f"The memory budget is {_bytes(budget)}, and one picture takes at least {_bytes(needed)} here. Allow "
            f"{_gib(needed)} GiB or more (memory=, --memory); or take smaller pictures, a smaller model{instead}."
        )


def _bytes(count: int) -> str:
    units = [(2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")]
    size, unit = next(((size, unit) for size, unit in units if count >= size), (1, "bytes"))
    return f"{count / size:.3g} {unit}"


def _gib(count: int) -> str:
    """Two digits, rounded up, so that what is advised is enough."""
    step = 10.0 ** (math.floor(math.log10(count / 2**30)) - 1)
    return f"{math.ceil(count / 2**30 / step) * step:.2g}"


class RequestError(PellucidError, ValueError):
    """An option has a value it cannot have."""


class ParameterError(RequestError):
    """A parameter of a method has a value it cannot have."""

    def __init__(self, method: str, name: str, value: object, expected: str, near: Sequence[str] = ()) -> None:
        self.method, self.name, self.value, self.expected, self.nearest = method, name, value, expected, tuple(near)
        super().__init__(f"{method}: {name}={_shown(value)}; expected {expected}.{_hint(self.nearest)}")


def _shown(value: object, most: int = 60) -> str:
    shape = getattr(value, "shape", None)  # a tensor or an array is told by its shape, not by its numbers
    words = f"<{_shape(tuple(shape))} of {getattr(value, 'dtype', '')}>" if shape else repr(value)
    return words if len(words) <= most else f"{words[:most]}..."


class SceneError(PellucidError, ValueError):
    """A testbed scene is asked for that cannot be: an unknown field, value, task or shipped net."""


class MapError(PellucidError, ValueError):
    """A map cannot be drawn."""


class UnknownPicture(PellucidError, IndexError):
    """A result has no picture of that number."""

    def __init__(self, asked: object, count: int) -> None:
        self.asked, self.count = asked, count
        known = f"{count} pictures, 0 to {count - 1}" if count else "no picture"
        super().__init__(f"There is no picture {asked!r}: this result is of {known}.")


class FileError(PellucidError, OSError):
    """A file of results cannot be read or written."""

    def __init__(self, path: object, problem: str, remedy: str) -> None:
        self.path, self.problem, self.remedy = str(path), problem, remedy
        super().__init__(f"{path}: {problem} {remedy}")

    def __str__(self) -> str:  # OSError would print its arguments
        return f"{self.path}: {self.problem} {self.remedy}"


class RemoteError(ModelError):
    """A model behind a URL does not answer as agreed."""

    def __init__(self, url: str, problem: str, remedy: str) -> None:
        self.url, self.problem, self.remedy = url, problem, remedy
        super().__init__(f"{url}: {problem} {remedy}")


class AnnotationError(PellucidError, ValueError):
    """What is marked in a folder of pictures contradicts itself, or the pictures."""

    def __init__(self, path: object, where: str, problem: str, remedy: str) -> None:
        """`where` names the entry: "picture 17", "annotation 4"; empty where it is the file as a whole."""
        self.path, self.where, self.problem, self.remedy = str(path), where, problem, remedy
        super().__init__(f"{path}: {where + ': ' if where else ''}{problem} {remedy}")


class NotLearned(PellucidError):
    """A net that was trained for a measure has not learned what the measure needs, so there is nothing to measure."""

    def __init__(self, what: str, reached: float, needed: float) -> None:
        self.what, self.reached, self.needed = what, reached, needed
        super().__init__(
            f"{what} knows {reached:.1%} of the pictures it learned from; the measure needs more than {needed:.0%}. "
            f"Train longer, on fewer pictures or with a higher learning rate."
        )


class TowerUnsupported(PellucidError, TypeError):
    """The embedding of a picture tower is no sum of what its heads and layers write, or not of a known kind."""

    def __init__(self, kind: str, reason: str) -> None:
        self.kind, self.reason = kind, reason
        super().__init__(f"{kind} cannot be decomposed: {reason}")


class DescriptorError(PellucidError, ValueError):
    """A list of descriptions per class cannot be used."""

    def __init__(self, where: str, problem: str, remedy: str) -> None:
        self.where, self.problem, self.remedy = where, problem, remedy
        super().__init__(f"{where}: {problem} {remedy}")


class BudgetSpent(PellucidError):
    """An experiment would take more forward passes than are left."""

    def __init__(self, wanted: int, left: int) -> None:
        self.wanted, self.left = wanted, left
        super().__init__(
            f"This takes {wanted} forward passes, and {left} are left. Ask for fewer pictures, or conclude."
        )
