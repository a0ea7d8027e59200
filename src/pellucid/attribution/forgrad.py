"""FORGrad: a gradient map without its high frequencies, cut off where the rest is most faithful."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.engine.perturb import Cut, Side, pixels, removal_answers
from pellucid.registry import find_method, method
from pellucid.values import Gradients, InputGradient, Rule, Scores

_LEAST = 2.0  # cycles per side of the lowest cut-off tried; below, nothing but a slope is left


def _passes(
    *, cutoff: float | None = None, base: str = "gradient", steps: int = 8, size: tuple[int, int] = (224, 224), **_: Any
) -> float:
    """`size` may be given by a planner that knows the model's input size."""
    asked = find_method(base)
    rules = 3.0 * any(isinstance(need, Rule) for need in asked.needs)
    choosing = 0 if cutoff is not None else 2 * (steps - 1) * len(cutoffs_for(size)) + 2
    return asked.passes() + rules + choosing


@method(
    "forgrad",
    needs=[InputGradient, Gradients, Scores],
    paper="Muzellec et al. 2024",
    channels="largest",
    cost=_passes,
)
def forgrad(
    evidence: Evidence,
    *,
    cutoff: float | None = None,
    base: str = "gradient",
    filtered: str = "signed",
    steps: int = 8,
    baseline: str = "blur",
) -> Float[Tensor, "batch channel height width"]:
    """A gradient map that keeps only frequencies below a cut-off, without the lattices that pooling leaves in it.

    cutoff:   the highest frequency kept, in cycles per shorter side (15 was the published choice at 224 pixels); None
              tries halvings of the highest there is and takes, for each picture, the most faithful
    base:     the map that is filtered
    filtered: `signed`: the map's colours as they are; `magnitude`: the magnitude of their mean
    steps:    parts in which pixels are deleted and inserted to measure faithfulness
    baseline: what deleted pixels become
    returns:  at a cut-off above the highest frequency the base map itself
    """
    values = find_method(base).function(evidence)
    if filtered == "magnitude":
        values = values.mean(dim=1, keepdim=True).abs()
    if cutoff is not None:
        return low_pass(values, cutoff)
    tried = cutoffs_for(evidence.size)
    smoothed = [low_pass(values, one) for one in tried]
    gains = _gains(evidence, [_shown(one) for one in smoothed], steps, baseline)
    best = gains.argmax(dim=1).tolist()
    kept = sorted({tried[place] for place in best})
    words = ", ".join("without end" if one == math.inf else f"to {one:.3g} cycles per shorter side" for one in kept)
    evidence.note(f"FORGrad keeps frequencies {words}.")
    return torch.stack([smoothed[place][at] for at, place in enumerate(best)])


def low_pass(values: Float[Tensor, "*batch height width"], cutoff: float) -> Float[Tensor, "*batch height width"]:
    """Maps without frequencies above `cutoff`, in cycles per shorter side, measured as a distance in the plane."""
    height, width = int(values.shape[-2]), int(values.shape[-1])
    rows = torch.fft.fftfreq(height, device=values.device)[:, None]
    columns = torch.fft.rfftfreq(width, device=values.device)[None, :]
    kept = min(height, width) * (rows**2 + columns**2).sqrt() <= cutoff * (1 + 1e-6)
    return torch.fft.irfft2(torch.fft.rfft2(values) * kept, s=(height, width))


def cutoffs_for(size: tuple[int, int]) -> list[float]:
    """The cut-offs that are tried: the highest frequency of a side, halved again and again; and no cut-off at all."""
    highest = min(size) / 2
    count = max(1, int(math.log2(max(highest / _LEAST, 1))) + 1)
    return [highest / 2**power for power in reversed(range(count))] + [math.inf]


def faithfulness_of_cutoffs(
    evidence: Evidence,
    *,
    base: str = "gradient",
    cutoffs: Sequence[float] | None = None,
    steps: int = 8,
    baseline: str = "blur",
) -> Float[Tensor, "batch cutoff"]:
    """Insertion minus deletion of the filtered maps; its mean over held-out pictures chooses a model's one cut-off.

    cutoffs: None is those of `cutoffs_for(evidence.size)`
    """
    values = find_method(base).function(evidence)
    tried = cutoffs_for(evidence.size) if cutoffs is None else cutoffs
    return _gains(evidence, [_shown(low_pass(values, one)) for one in tried], steps, baseline)


def _shown(values: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch height width"]:
    return values.abs().amax(dim=1)


def _gains(
    evidence: Evidence, maps: Sequence[Float[Tensor, "batch height width"]], steps: int, baseline: str
) -> Float[Tensor, "batch map"]:
    """Area under the insertion curve less that under the deletion curve, for each map."""
    firsts = [round(pixels(evidence) * step / steps) for step in range(steps + 1)]
    sides: tuple[Side, ...] = ("kept", "removed")
    cuts = {side: [Cut(baseline, first, side) for first in firsts] for side in sides}
    named = {str(place): values for place, values in enumerate(maps)}
    found = removal_answers(evidence, named, [*cuts["kept"], *cuts["removed"]])

    def area(name: str, side: Side) -> Tensor:
        return torch.trapezoid(torch.stack([found[name][cut].probabilities for cut in cuts[side]]), dim=0) / steps

    return torch.stack([area(name, "kept") - area(name, "removed") for name in named], dim=1)
