"""An architecture without its trained weights, and everything known of how it is used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from pellucid.subject.labels import Labels
from pellucid.values import Preprocess


@dataclass(frozen=True, eq=False)
class Architecture:
    """A freshly drawn module, with the preprocessing and class names its trained weights usually come with.

    labels: None where the number of classes is not the usual one
    """

    module: nn.Module
    preprocess: Preprocess | None
    labels: Sequence[str] | Labels | None


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random weights drawn inside depend on `seed` alone; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def untrained(seed: int) -> str:
    """The note that every result of an untrained model carries."""
    return f"Its weights are random (seed {seed}): it was never trained."
