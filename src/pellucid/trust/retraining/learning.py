"""Training a net from nothing, as often as a measure asks for it: what is learned from, how, and who does the work."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from pellucid.compute import train as training
from pellucid.compute.train import Recipe, seeded
from pellucid.engine.perturb import digest
from pellucid.errors import RequestError, ShapeError
from pellucid.trust.measured import Maps
from pellucid.values.seed import Seed

HeldMaps = Mapping[str, Float[Tensor, "held height width"]]
"""Maps of held-out pictures, of which there may be another number."""
Facts = Mapping[str, Any]
Record = dict[str, Any]
_BATCH = 250  # pictures answered at once


@dataclass(frozen=True, eq=False)
class Split:
    """Pictures to learn from with their classes, and others to be tried on.

    pictures, held_out: floats as the net takes them, or whole numbers 0..255 that stand for 0..1
    """

    pictures: Tensor
    labels: Int64[Tensor, "picture"]
    held_out: Tensor
    held_labels: Int64[Tensor, "held"]

    def __post_init__(self) -> None:
        for name, pictures, labels in (("pictures", self.pictures, self.labels),
                                       ("held_out", self.held_out, self.held_labels)):  # fmt: skip
            if pictures.ndim != 4 or len(pictures) == 0 or len(pictures) != len(labels):
                raise ShapeError(
                    f"Split.{name}", got=tuple(pictures.shape),
                    expected=f"[picture channel height width], one picture for each of {len(labels)} classes",
                )  # fmt: skip

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pictures."""
        return int(self.pictures.shape[-2]), int(self.pictures.shape[-1])

    @property
    def chance(self) -> float:
        """What always saying the commonest class gets right on the held-out pictures."""
        return float(self.held_labels.bincount().max()) / len(self.held_labels)

    @cached_property
    def name(self) -> str:
        """Equal splits have one, whoever made them."""
        parts = (self.pictures, self.labels, self.held_out, self.held_labels)
        return hashlib.blake2b("".join(digest(part.float()) for part in parts).encode(), digest_size=8).hexdigest()

    def labelled(self, labels: Tensor, held_labels: Tensor) -> Split:
        """The same pictures with other classes."""
        return replace(self, labels=labels, held_labels=held_labels)


@runtime_checkable
class Learn(Protocol):
    """A training recipe: from pictures and classes to a trained net, from nothing, all chance from the seed."""

    def __call__(self, pictures: Tensor, labels: Int64[Tensor, "picture"], *, seed: int) -> nn.Module: ...


@dataclass(frozen=True)
class FromScratch:
    """The usual recipe: fresh weights, cross entropy over shuffled batches.

    build: makes the untrained net; a function at the top of a module, where several processes are to train
    name:  of the architecture in notes of finished work; the function's own where it is empty
    quick: bfloat16 and channels last, where the processor has them: a quarter of the time, other bits
    """

    build: Callable[[], nn.Module]
    recipe: Recipe
    name: str = ""
    quick: bool = False

    def __call__(self, pictures: Tensor, labels: Int64[Tensor, "picture"], *, seed: int) -> nn.Module:
        with seeded(int(Seed(seed).child("weights"))):
            net = self.build()
        layout = torch.channels_last if self.quick else torch.contiguous_format
        net.to(memory_format=layout)

        def batch(step: int) -> training.Batch:
            chosen = drawn(len(pictures), self.recipe.batch, step, seed)
            return as_input(pictures[chosen]).contiguous(memory_format=layout), labels[chosen]

        # What the net itself draws while it learns (dropout) comes from the seed too, and the caller's state stays.
        with seeded(int(Seed(seed).child("training"))):
            training.fit(net, batch, self.recipe, quick=self.quick)
        return net.to(memory_format=torch.contiguous_format)

    @property
    def facts(self) -> list[Any]:
        """What tells this recipe from another."""
        return [self.name or name_of(self.build), self.recipe.to_dict(), self.quick]


def drawn(count: int, batch: int, step: int, seed: int) -> Int64[Tensor, "sample"]:
    """The pictures of one update, by seed and step alone: each once before any comes twice."""
    size = min(batch, count)
    turn, at = divmod(step, count // size)
    order = torch.randperm(count, generator=Seed(seed).child("order", turn).generator())
    return order[at * size : (at + 1) * size]


def as_input(pictures: Tensor) -> Float[Tensor, "picture channel h w"]:
    """Pictures as the net takes them: whole numbers become 0..1."""
    return pictures if pictures.is_floating_point() else pictures.float() / 255


def answers(net: nn.Module, pictures: Tensor) -> Int64[Tensor, "picture"]:
    """The class that the net gives each picture."""
    with torch.no_grad(), training.one_thread():
        return torch.cat([net(as_input(part)).argmax(dim=1) for part in pictures.split(_BATCH)])


def accuracy(net: nn.Module, pictures: Tensor, labels: Int64[Tensor, "picture"]) -> float:
    """Share of the pictures that the net gives their class."""
    return float((answers(net, pictures) == labels).float().mean())


# -- pieces of work -------------------------------------------------------------------------------------------------


@runtime_checkable
class Job(Protocol):
    """Trainings of one kind: `job(asked)` does one, and gives what is to be remembered of it as JSON's own kinds.

    facts: everything that decides the record of one training, so that notes of it can be trusted
    """

    def __call__(self, asked: Facts) -> Record: ...

    def facts(self, asked: Facts) -> list[Any]: ...


@runtime_checkable
class Work(Protocol):
    """Does trainings and gives their records in the order asked; may remember, and may do several at a time."""

    def __call__(self, job: Job, asked: Sequence[Facts]) -> list[Record]: ...


def here(job: Job, asked: Sequence[Facts]) -> list[Record]:
    """One training after the other in this process; nothing is remembered."""
    return [job(one) for one in asked]


def key_of(job: Job, asked: Facts) -> str:
    """Sixteen hex digits, the same exactly when the same training would give the same record."""
    facts = json.dumps([type(job).__name__, job.facts(asked), dict(asked)], sort_keys=True, default=str)
    return hashlib.blake2b(facts.encode(), digest_size=8).hexdigest()


def facts_of(thing: Any) -> Any:
    """What tells one recipe or explainer from another: what it says of itself, its fields, or else its name."""
    told = getattr(thing, "facts", None)
    return told if told is not None else repr(thing) if is_dataclass(thing) else name_of(thing)


def name_of(thing: Any) -> str:
    """Where a function, or the class of an object, was defined."""
    known = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{known.__module__}.{known.__qualname__}"


def packed(yes: Bool[Tensor, "picture"]) -> str:
    """Yes and no, one character a picture."""
    return "".join("1" if one else "0" for one in yes.tolist())


def unpacked(text: str) -> Float[Tensor, "picture"]:
    """What `packed` wrote, as ones and zeros."""
    return torch.tensor([float(one) for one in text])


# -- doors ----------------------------------------------------------------------------------------------------------


def check_maps(name: str, maps: Maps, pictures: Tensor) -> None:
    """Raises ShapeError unless every map is of these pictures, RequestError for one that holds what is no number."""
    for one, values in maps.items():
        expected = (len(pictures), *pictures.shape[-2:])
        if tuple(values.shape) != expected:
            raise ShapeError(f"{name}[{one!r}]", got=tuple(values.shape), expected=f"{list(expected)}: one per picture")
        if bool(values.isnan().any()):
            raise RequestError(f"{name}[{one!r}] holds values that are no numbers, so its pixels have no order.")


def check_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    """The seeds, each once. Raises RequestError where there is none."""
    if not seeds or len(set(seeds)) != len(seeds):
        raise RequestError(f"seeds={list(seeds)}; expected at least one, each once.")
    return tuple(int(Seed(seed)) for seed in seeds)
