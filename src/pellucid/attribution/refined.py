"""Occlusion that looks twice: everywhere with a large window, then closer where that pointed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import avg_pool2d

from pellucid.engine import Evidence
from pellucid.images.baselines import blur
from pellucid.registry import method
from pellucid.values import Class, Scores, Text

LEAST = 1e-6  # probabilities below are rounding
COARSE = 2  # the first look's window, in windows of the second


def _passes(*, window: int | None = None, closer: int = 64, size: tuple[int, int] = (224, 224), **_: Any) -> float:
    """`size` may be given by a planner that knows the model's input size."""
    side = _side(size, window)
    places = _Places(size, COARSE * side, side)
    fine = _Places(size, side, max(1, side // 2))
    return 1 + len(places) + min(closer, len(fine))


@method("refined_occlusion", needs=[Scores], paper="Zeiler & Fergus 2014, coarse to fine", signed=True, cost=_passes)
def refined_occlusion(
    evidence: Evidence, *, window: int | None = None, closer: int = 64, baseline: str = "mean"
) -> Float[Tensor, "batch height width"]:
    """How far the prediction falls when a small window over the pixel is covered, looked up only where it matters.

    First windows of twice the side cover the whole picture in steps of half their length. Then `closer` small windows
    go where those fell furthest. Where no small window came, the large ones' fall counts by its share of their area.
    The whole is smoothed by a quarter of the small window.

    window:   side of the small window in pixels; None is an eighth of the shorter side
    closer:   how many small windows; every one costs a pass
    baseline: what covers the window
    returns:  fall of the log probability where the target is a class, else of the target itself. On the testbed's CNN
              the maximum hits the deciding part in 98 % of scenes (80 scenes of seed 950); with the logit and blur,
              which is what `occlusion` does, in 83 %
    """
    side = _side(evidence.size, window)
    coarse = _Places(evidence.size, COARSE * side, side)
    fine = _Places(evidence.size, side, max(1, side // 2))
    cover = evidence.fill(baseline)
    (clean,) = _read(evidence, [evidence.inputs])
    everywhere = torch.arange(len(coarse)).expand(len(evidence), -1)
    fallen = clean[:, None] - _scores(evidence, cover, coarse, everywhere)
    first = coarse.spread(fallen, everywhere) / COARSE**2
    if closer == 0:
        return _smoothed(first, side)
    chosen = fine.mean_of(first).topk(min(closer, len(fine)), dim=1).indices
    fallen = clean[:, None] - _scores(evidence, cover, fine, chosen)
    covered = fine.counts(chosen) > 0
    return _smoothed(torch.where(covered.to(first.device), fine.spread(fallen, chosen), first), side)


def _smoothed(values: Float[Tensor, "batch height width"], side: int) -> Float[Tensor, "batch height width"]:
    """Without the windows' own edges, which are no finding: a quarter of a window is finer than it can see."""
    return blur(values[:, None], side / 4)[:, 0]


class _Places:
    """Windows of one size on a lattice over the picture; the last in each direction ends at the border."""

    def __init__(self, size: tuple[int, int], side: int, step: int) -> None:
        self.size, self.window = size, (min(side, size[0]), min(side, size[1]))
        tops, lefts = (
            sorted({*range(0, whole - length + 1, step), whole - length})
            for whole, length in zip(size, self.window, strict=True)
        )
        self.corners = [(top, left) for top in tops for left in lefts]

    def __len__(self) -> int:
        return len(self.corners)

    def mask(self, place: int) -> Tensor:
        """True inside one window, [height width]."""
        (top, left), (rows, columns) = self.corners[place], self.window
        mask = torch.zeros(self.size, dtype=torch.bool)
        mask[top : top + rows, left : left + columns] = True
        return mask

    def mean_of(self, values: Float[Tensor, "batch height width"]) -> Float[Tensor, "batch place"]:
        """The mean of a map inside every window."""
        means = avg_pool2d(values[:, None], self.window, stride=1)[:, 0]
        rows, columns = (torch.tensor(one) for one in zip(*self.corners, strict=True))
        return means[:, rows, columns]

    def counts(self, chosen: Int[Tensor, "batch place"]) -> Float[Tensor, "batch height width"]:
        """How many of the chosen windows cover each pixel."""
        return torch.stack(
            [torch.stack([self.mask(place) for place in row]).float().sum(dim=0) for row in chosen.tolist()]
        )

    def spread(
        self, values: Float[Tensor, "batch place"], chosen: Int[Tensor, "batch place"]
    ) -> Float[Tensor, "batch height width"]:
        """Each window's value on its pixels, averaged where windows overlap, 0 where there is none."""
        masks = torch.stack([torch.stack([self.mask(place) for place in row]) for row in chosen.tolist()])
        sums = (values[:, :, None, None] * masks.to(values.device)).sum(dim=1)
        return sums / self.counts(chosen).clamp(min=1).to(values.device)


def _scores(evidence: Evidence, cover: Tensor, places: _Places, chosen: Int[Tensor, "batch place"]) -> Tensor:
    """The target with one window covered, [batch place]; the n-th window may be another for every picture."""

    def covered() -> Iterator[Tensor]:
        for column in chosen.T.tolist():
            masks = torch.stack([places.mask(place) for place in column]).to(evidence.inputs.device)
            yield torch.where(masks[:, None], cover, evidence.inputs)

    return torch.stack(_read(evidence, covered()), dim=1)


def _read(evidence: Evidence, points: Iterable[Tensor]) -> list[Float[Tensor, "batch"]]:
    """Log probabilities of class targets: unlike the logit they also tell what raises the other classes."""
    classes = all(isinstance(target, (Class, Text)) for target in evidence.targets)
    classes = classes and evidence.model.activation != "none"
    scores = evidence.scores_at(points, probability=classes)
    return [score.clamp(min=LEAST).log() if classes else score for score in scores]


def _side(size: tuple[int, int], window: int | None) -> int:
    return max(1, round(min(size) / 8)) if window is None else window
