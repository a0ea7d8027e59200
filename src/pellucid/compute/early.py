"""When a training stops before its last step: once what was held out gets no better."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Early:
    """Judges the net now and then on what it does not learn from, and keeps the best one.

    judge:    -> one number to be made small, asked of the net in evaluation mode and without gradients
    every:    how many updates lie between two judgements
    patience: how many judgements in a row may be no better than the best
    """

    def __init__(self, judge: Callable[[], float], *, every: int, patience: int) -> None:
        self.judge, self.every, self.patience = judge, every, patience
        self.judged: list[float] = []
        self._best: dict[str, Tensor] = {}

    @property
    def best(self) -> int:
        """Which judgement was the best, counted from 0."""
        return min(range(len(self.judged)), key=self.judged.__getitem__)

    def stops(self, step: int, net: nn.Module) -> bool:
        """Whether the training is to stop after `step` updates; judges the net where one is due."""
        if step % self.every == 0:
            net.eval()
            with torch.no_grad():
                self.judged.append(self.judge())
            net.train()
            if self.best == len(self.judged) - 1:
                self._best = {key: value.clone() for key, value in net.state_dict().items()}
        return bool(self.judged) and len(self.judged) - 1 - self.best >= self.patience

    def settle(self, net: nn.Module) -> None:
        """Puts the best net's weights back; the last one's stay where none was judged."""
        if self._best:
            net.load_state_dict(self._best)

    def facts(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"judged": self.judged, "best": self._best}

    def resume(self, facts: Mapping[str, Any]) -> None:
        """Goes on from what a checkpoint kept."""
        self.judged, self._best = list(facts["judged"]), dict(facts["best"])
