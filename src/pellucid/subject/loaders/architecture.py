"""An architecture without its trained weights, and everything known of how it is used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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


def untrained(seed: int) -> str:
    """The note that every result of an untrained model carries."""
    return f"Its weights are random (seed {seed}): it was never trained."
