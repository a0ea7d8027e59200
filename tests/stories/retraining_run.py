"""A measure that trains, small enough to be killed on purpose: `python -m tests.stories.retraining_run NOTES`."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pellucid.results import Retraining
from pellucid.stories.retraining import Kept
from pellucid.trust.retraining import Split, roar
from pellucid.values import Seed

LEVELS = (0.2, 0.4, 0.6, 0.8)
TRAININGS = 1 + 2 * 2 * len(LEVELS)


@dataclass(frozen=True)
class NearestMean:
    """Learns the mean picture of each class, and leaves a file named after the process that did it.

    seconds: how long it dawdles
    """

    folder: Path
    seconds: float = 0.0

    @property
    def facts(self) -> str:
        return "nearest mean"

    def __call__(self, pictures: Tensor, labels: Tensor, *, seed: int) -> nn.Module:
        time.sleep(self.seconds)
        (self.folder / f"process-{os.getpid()}").touch()
        means = torch.stack([pictures[labels == one].flatten(1).mean(dim=0) for one in (0, 1)])
        layer = nn.Linear(means.shape[1], 2)
        layer.weight.data, layer.bias.data = means, -means.square().sum(dim=1) / 2
        return nn.Sequential(nn.Flatten(), layer)


def measured(folder: Path, *, workers: int, seconds: float = 0.0, notes: bool = True) -> Retraining:
    """Remove and retrain on pictures whose class is the sign of one pixel."""
    generator = Seed(1).generator()
    shown, labels = torch.randn(60, 1, 6, 6, generator=generator), torch.arange(60) % 2
    shown[:, 0, 2, 3] = 4.0 * labels - 2
    data = Split(shown[:40], labels[:40], shown[40:], labels[40:])
    right, lot = torch.zeros(60, 6, 6), torch.rand(60, 6, 6, generator=generator)
    right[:, 2, 3] = 1
    work = Kept(folder / "trainings.jsonl" if notes else None, workers)
    return roar(
        {"right": right[:40], "control random": lot[:40]}, {"right": right[40:], "control random": lot[40:]}, data,
        NearestMean(folder, seconds), levels=LEVELS, seeds=(0,), work=work,
    )  # fmt: skip


if __name__ == "__main__":
    measured(Path(sys.argv[1]), workers=1, seconds=0.15)
