"""Few-shot segmentation: does a map of the support foretell by how much the query falls when patches of it go?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pellucid.compute.bootstrap import Interval, difference
from pellucid.errors import RequestError, ShapeError
from pellucid.images.superpixels import slic
from pellucid.trust.fidelity import missed
from pellucid.trust.measured import control, is_control
from pellucid.trust.support import Support
from pellucid.values.seed import Seed


@dataclass(frozen=True, eq=False)
class SupportInfidelity:
    """How far the query's falls are from what maps of the support foretell, lower is better.

    values:   per map, mean of (forecast - fall)^2, in the square of the score's unit; `control random` and `control
              masks` stand beside
    spread:   standard error over the changes
    nothing:  what a map of zeros scores: the mean of fall^2
    ahead:    per map and rival (the controls and `nothing`), by how much more the rival misses, over the same changes
    cells:    superpixels over all shots together
    """

    values: Mapping[str, float]
    spread: Mapping[str, float]
    nothing: float
    ahead: Mapping[str, Mapping[str, Interval]]
    cells: int
    changes: int

    def beats_controls(self, name: str) -> bool:
        """Whether a map surely misses by less than both controls and than a map of zeros: all intervals above 0."""
        return all(margin.above_zero for margin in self.ahead[name].values())


def support_infidelity(
    support: Support,
    maps: Mapping[str, Float[Tensor, "shot height width"]],
    *,
    segments: int | Int[Tensor, "shot height width"] = 50,
    gone: float = 0.25,
    samples: int = 100,
    scaling: str = "optimal",
) -> SupportInfidelity:
    """Infidelity of maps of the support, random superpixels of all shots going at once.

    A change takes some superpixels out of pictures and masks alike; the support's substrate stands in their place. A
    map foretells the sum of its values there; the truth is the fall of the support's score. Each cell goes with the
    chance `gone`, and at least one does. One forward pass per change and one more, for all maps together.

    segments: about how many superpixels per shot (SLIC), or numbers of segments of one's own, each shot's by itself
    scaling:  as of the measure `infidelity`: `optimal` multiplies each map by the factor that serves it best

    Raises RequestError for settings out of range and maps that are not finite, ShapeError for maps of other shots.
    De Marinis et al. 2025; infidelity after Yeh et al., NeurIPS 2019.
    """
    if samples < 1 or not 0 < gone < 1:
        raise RequestError(f"samples={samples}, gone={gone}; expected at least 1 change, and a chance between 0 and 1.")
    for given in maps.values():
        support.check(given)
    cells = _cells(support, segments)
    changes = _changes(cells, gone, samples, Seed(support.seed).child("infidelity"))
    falls = support.falls(changes)[:, None]
    weights = torch.stack(changes).flatten(1).double()
    told = {**maps, **{control(name): given for name, given in support.controls().items()}}
    errors = {
        name: missed((weights @ given.detach().cpu().double().flatten())[:, None], falls, scaling)[:, 0]
        for name, given in told.items()
    }
    rivals = {**{name: one for name, one in errors.items() if is_control(name)}, "nothing": falls[:, 0].square()}
    return SupportInfidelity(
        values={name: float(one.mean()) for name, one in errors.items()},
        spread={name: float(one.std(correction=0)) / samples**0.5 for name, one in errors.items()},
        nothing=float(falls.square().mean()), cells=int(cells.max()) + 1, changes=samples,
        ahead={
            name: {rival: difference(other.numpy(), errors[name].numpy()) for rival, other in rivals.items()}
            for name in maps
        },
    )  # fmt: skip


def _cells(support: Support, segments: int | Int[Tensor, "shot height width"]) -> Int[Tensor, "shot height width"]:
    """Superpixels numbered through all shots."""
    if isinstance(segments, Tensor):
        if segments.shape != support.masks.shape:
            expected = f"{list(support.masks.shape)}: a number for each pixel of each shot"
            raise ShapeError("The segments", got=tuple(segments.shape), expected=expected)
        cut: Sequence[Tensor] = [one.unique(return_inverse=True)[1] for one in segments.cpu()]
    else:
        cut = [torch.from_numpy(slic(_shown(image), segments)) for image in support.images]
    first = np.cumsum([0, *(int(one.max()) + 1 for one in cut[:-1])])
    return torch.stack([one + int(start) for one, start in zip(cut, first, strict=True)])


def _shown(image: Float[Tensor, "channel height width"]) -> np.ndarray:
    """Between its own darkest and brightest value: how the segmenter's input is scaled is not known here."""
    values = image.detach().cpu().float()
    least, most = values.amin(), values.amax()
    scaled = (values - least) / (most - least).clamp(min=1e-12)
    return (scaled * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def _changes(
    cells: Int[Tensor, "shot height width"], gone: float, samples: int, seed: Seed
) -> list[Bool[Tensor, "shot height width"]]:
    count, generator = int(cells.max()) + 1, seed.generator()
    drawn = torch.rand(samples, count, generator=generator) < gone
    lone = torch.randint(count, (samples,), generator=generator)
    none = ~drawn.any(dim=1)
    drawn[none, lone[none]] = True
    return [row[cells] for row in drawn]
