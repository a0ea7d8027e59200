"""Ways to change a picture, in each of which another explanation is the best linear model of the model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pellucid.canvas.words import percent
from pellucid.engine import Evidence
from pellucid.engine.perturb import cells
from pellucid.errors import RequestError
from pellucid.results.neighbourhoods import Loss
from pellucid.values.seed import Seed

_INFINITESIMAL = 0.01  # changes so small that a gradient is fitted to them, in the limit
Segments = int | Int[Tensor, "height width"]


@dataclass(frozen=True, eq=False)
class Change:
    """One changed copy of every picture.

    inputs: model input
    taken:  how much of each pixel was taken away, 1 for all of it; of noise, minus what was added
    weight: how much the copy counts
    """

    inputs: Float[Tensor, "batch channel height width"]
    taken: Float[Tensor, "#batch height width"]
    weight: float | Float[Tensor, "batch"] = 1.0


Perturber = Callable[[Evidence, torch.Generator], Change]
"""Draws one changed copy of every picture."""


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """Changes of a kind, drawn by chance.

    name:     short, for a head of a column
    changes:  in words, to follow "where"
    draw:     (evidence, samples, seed) -> that many changes
    own:      methods that fit a linear model to these very changes (Han et al. 2022, table 1)
    fill:     what taken pixels become: contributions counted from it say by how much the target falls; None where
              nothing is taken
    losses:   what is compared: `answers`, where the map makes a difference to them; `slopes`, where pixels change by
              degrees, of models with gradients
    """

    name: str
    changes: str
    draw: Callable[[Evidence, int, Seed], Iterator[Change]]
    own: tuple[str, ...] = ()
    fill: str | None = None
    losses: tuple[Loss, ...] = ("answers",)


def noise(sigma: float) -> Neighbourhood:
    """Gaussian noise on every colour of every pixel; sigma: standard deviation, as part of the picture's own range."""
    if not 0 < sigma < 10:
        raise RequestError(f"sigma={sigma!r}; expected a part of the picture's range, such as 0.15.")

    def draw(evidence: Evidence, samples: int, seed: Seed) -> Iterator[Change]:
        generator, span = seed.child("noise", sigma).generator(), _range(evidence)
        for _ in range(samples):
            drawn = torch.randn(1, *evidence.inputs.shape[1:], generator=generator)
            added = sigma * span * drawn.to(evidence.inputs)
            yield Change(evidence.inputs + added, -added.mean(dim=1))

    said = f"every pixel gets noise of {percent(sigma)} of the picture's range"
    own = ("smoothgrad", "c_lime") if sigma > _INFINITESIMAL else ("gradient", "smoothgrad", "c_lime")
    return Neighbourhood(f"noise {sigma:g}", said, draw, own, losses=("answers", "slopes"))


def fade(least: float = 0.0, fill: str = "black", *, together: bool = True) -> Neighbourhood:
    """The picture fades towards a fill: what is left of it is uniform between `least` and 1.

    together: one share for the whole picture, as on the way of integrated gradients, where maps of one sum give one
              answer, so that slopes alone are compared; else one for each pixel
    """
    if not 0 <= least < 1:
        raise RequestError(f"least={least!r}; expected the least share that may be left, 0 to below 1.")

    def draw(evidence: Evidence, samples: int, seed: Seed) -> Iterator[Change]:
        generator, hidden = seed.child("fade", least, together).generator(), evidence.fill(fill)
        for _ in range(samples):
            places = (1, 1) if together else evidence.size
            gone = (1 - least) * torch.rand(1, *places, generator=generator).expand(1, *evidence.size)
            yield Change(torch.lerp(evidence.inputs, hidden, gone[:, None].to(hidden)), gone)

    who = "the picture as a whole fades" if together else "every pixel fades by a share of its own"
    said = f"{who} towards {fill}" + (f", at least {percent(least)} being left" if least else "")
    name = ("fade" if together else "fade apart") + (f" to {least:g}" if least else "")
    own = ("integrated_gradients",) if together and not least else ()
    own = ("gradient", "gradient_x_input") if together and least >= 1 - _INFINITESIMAL else own
    return Neighbourhood(name, said, draw, own, fill, ("slopes",) if together else ("answers", "slopes"))


def random_segments(
    segments: Segments = 7, fill: str = "blur", *, keep: float = 0.5, kernel: float = 0.25
) -> Neighbourhood:
    """Each segment is shown by the toss of a coin; copies near the whole picture count more: LIME's neighbourhood.

    segments: rows of a grid of cells, or segment numbers
    keep:     chance that a segment is shown
    kernel:   width of the kernel exp(-d²/kernel²) over the cosine distance d to the whole picture
    """

    def draw(evidence: Evidence, samples: int, seed: Seed) -> Iterator[Change]:
        numbers = _numbers(evidence, segments)
        generator = seed.child("segments").generator()
        for _ in range(samples):
            shown = torch.rand(int(numbers.max()) + 1, generator=generator) < keep
            distance = 1 - math.sqrt(float(shown.double().mean()))
            yield _hidden(evidence, numbers, ~shown, fill, math.exp(-((distance / kernel) ** 2)))

    return Neighbourhood("segments", "segments are taken away, few rather than many", draw, ("lime",), fill)


def coalitions(segments: Segments = 7, fill: str = "blur") -> Neighbourhood:
    """Coalitions of segments as often as Shapley's kernel weighs them: very small and very large ones most."""

    def draw(evidence: Evidence, samples: int, seed: Seed) -> Iterator[Change]:
        numbers = _numbers(evidence, segments)
        count = int(numbers.max()) + 1
        if count < 2:
            raise RequestError("One segment has no coalitions; expected at least 2.")
        generator = seed.child("coalitions").generator()
        sizes = torch.arange(1, count)
        # All coalitions of a size weigh (count - 1) / (size (count - size)) together.
        drawn = torch.multinomial(1 / (sizes * (count - sizes)).double(), samples, True, generator=generator)
        for size in sizes[drawn].tolist():
            gone = torch.randperm(count, generator=generator) < size
            yield _hidden(evidence, numbers, gone, fill)

    own = ("kernel_shap", "exact_shapley")
    return Neighbourhood("coalitions", "very few segments are taken away, or very many", draw, own, fill)


def single_segments(segments: Segments = 7, fill: str = "blur") -> Neighbourhood:
    """Each segment is taken away alone, in an order by chance, none twice: the neighbourhood of occlusion."""

    def draw(evidence: Evidence, samples: int, seed: Seed) -> Iterator[Change]:
        numbers = _numbers(evidence, segments)
        count = int(numbers.max()) + 1
        for place in torch.randperm(count, generator=seed.child("single").generator())[:samples]:
            yield _hidden(evidence, numbers, torch.arange(count) == place, fill)

    return Neighbourhood("one segment", "one segment alone is taken away", draw, ("occlusion",), fill)


def your_own(
    perturber: Perturber, name: str = "yours", *, fill: str | None = None, losses: tuple[Loss, ...] = ("answers",)
) -> Neighbourhood:
    """The changes that matter to you, one `Change` at each call; `fill`, `losses` as of Neighbourhood."""

    def draw(evidence: Evidence, samples: int, seed: Seed) -> Iterator[Change]:
        generator = seed.child("perturber", name).generator()
        for _ in range(samples):
            yield perturber(evidence, generator)

    return Neighbourhood(name, "pictures are changed in your own way", draw, (), fill, losses)


def _numbers(evidence: Evidence, segments: Segments) -> Int[Tensor, "height width"]:
    if isinstance(segments, int):
        return cells(*evidence.size, segments)
    return segments.cpu().unique(return_inverse=True)[1]


def _hidden(evidence: Evidence, numbers: Tensor, gone: Tensor, fill: str, weight: float = 1.0) -> Change:
    taken = gone[numbers][None]
    where = taken[:, None].to(evidence.inputs.device)
    return Change(torch.where(where, evidence.fill(fill), evidence.inputs), taken.float(), weight)


def _range(evidence: Evidence) -> Float[Tensor, "batch 1 1 1"]:
    """As the noise of SmoothGrad and C-LIME is measured."""
    return evidence.inputs.amax(dim=(1, 2, 3), keepdim=True) - evidence.inputs.amin(dim=(1, 2, 3), keepdim=True)
