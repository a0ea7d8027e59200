"""Infidelity: by how much a map, read as a forecast, misses what the target does when the picture is changed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.engine.perturb import Write, answers_of, whole_answers, write_without
from pellucid.errors import RequestError
from pellucid.images.superpixels import slic
from pellucid.registry import metric
from pellucid.trust.measured import Maps, Measured
from pellucid.trust.removal import blanked
from pellucid.values.seed import Seed

SCALINGS = ("optimal", "none")
_GONE = 0.25  # the chance of every superpixel, as for few-shot segmenters


@dataclass(frozen=True, eq=False)
class Change:
    """One way to change every picture.

    weights: by how much each pixel changes, [batch height width]; what a map forecasts is its sum with these weights
    write:   puts the changed pictures where it is told
    """

    weights: Callable[[], Float[Tensor, "#batch height width"]]
    write: Write


@metric(
    "infidelity", better="lower", paper="Yeh et al. 2019", range=(0.0, float("inf")),
    shared=lambda samples=50, **_: 1 + samples,
)  # fmt: skip
def infidelity(
    evidence: Evidence, maps: Maps, *, perturbation: str = "square", scaling: str = "optimal", samples: int = 50,
    noise: float = 0.2, fill: str = "mean", segments: int = 50, seed: int | None = None,
) -> Measured:  # fmt: skip
    """How far the target's fall under random changes of the picture is from what the map forecasts.

    perturbation: how the picture is changed. `square` hides a random square and `superpixels` random superpixels (each
                  with a chance of 0.25, at least one); both read the map as contributions: the forecast is its sum over
                  what is hidden. `gaussian` adds noise, the same in every colour, and `noisy_baseline` puts the fill
                  with that noise in the place of all pixels; both read the map as slopes: the forecast is its sum
                  weighted by the change, averaged over colours; right for gradients alone
    scaling:      `optimal` multiplies each map by the one number that serves it best, since most maps have no unit of
                  the target; `none` takes it at its word
    samples:      changes tried, 100 in published comparisons; all maps are measured on the same ones
    noise:        standard deviation of the noise, as part of the picture's own range
    fill:         what hidden pixels become, and what the noisy baseline is without its noise
    segments:     superpixels, about
    returns:      mean of (forecast - fall)^2, in the square of the target's unit, its spread the standard error; a map
                  of zeros scores the mean of fall^2, which stands in the curves as `nothing forecast`
    """
    if scaling not in SCALINGS:  # before any forward pass
        raise RequestError(f"scaling={scaling!r}; expected {' or '.join(SCALINGS)}.")
    if samples < 1:
        raise RequestError(f"samples={samples}; expected at least 1.")
    seed_of = evidence.seed if seed is None else Seed(seed)
    make = _changes_by(evidence, perturbation, noise, fill, segments)
    changes: dict[Hashable, Change] = {
        ("change", perturbation, int(seed_of), index, fill, noise, segments): make(seed_of.child(perturbation, index))
        for index in range(samples)
    }
    falls = _falls(evidence, changes)
    forecasts = _forecasts(maps, list(changes.values()))
    errors = {name: missed(forecast, falls, scaling) for name, forecast in forecasts.items()}
    return Measured(
        values=blanked({name: one.mean(dim=0).float() for name, one in errors.items()}, maps),
        spread={name: one.std(dim=0, correction=0).float() / samples**0.5 for name, one in errors.items()},
        curves={name: {"nothing forecast": falls.square().mean(dim=0).tolist()} for name in maps},
        fills=() if perturbation == "gaussian" else (fill,),
        unit=f"squared error of the forecast, {scaling} scaling, changes by {perturbation}",
    )


def _changes_by(
    evidence: Evidence, perturbation: str, noise: float, fill: str, segments: int
) -> Callable[[Seed], Change]:
    """What draws changes of a kind. Raises RequestError for a kind that does not exist."""
    kinds: dict[str, Callable[[], Callable[[Seed], Change]]] = {
        "square": lambda: lambda drawn: hidden_square(evidence, drawn, fill),
        "superpixels": lambda: hidden_superpixels(evidence, segments, fill),
        "gaussian": lambda: lambda drawn: gaussian_noise(evidence, drawn, noise),
        "noisy_baseline": lambda: lambda drawn: noisy_baseline(evidence, drawn, noise, fill),
    }
    if perturbation not in kinds:
        raise RequestError(f"perturbation={perturbation!r}; expected one of {', '.join(kinds)}.")
    return kinds[perturbation]()


def hidden_square(evidence: Evidence, seed: Seed, fill: str) -> Change:
    """A square of 1/16 to 1/2 of the shorter side, anywhere in the picture, hidden behind a fill."""
    height, width = evidence.size
    generator = seed.generator()

    def draw(least: int, most: int) -> int:
        return int(torch.randint(least, most + 1, (1,), generator=generator))

    shorter = min(height, width)
    side = draw(max(1, shorter // 16), max(1, shorter // 2))
    top, left = draw(0, height - side), draw(0, width - side)
    gone = torch.zeros(1, height, width, dtype=torch.bool)
    gone[:, top : top + side, left : left + side] = True
    return Change(lambda: gone.float(), lambda out: write_without(evidence, gone, fill, out))


def hidden_superpixels(evidence: Evidence, segments: int, fill: str) -> Callable[[Seed], Change]:
    """What draws some of the superpixels of every picture, at least one, to be hidden behind a fill."""
    shown = evidence.inputs if evidence.inputs.shape[1] == 3 else evidence.inputs.expand(-1, 3, -1, -1)
    cut = [torch.as_tensor(slic(one, segments, preprocess=evidence.preprocess)).long() for one in shown]

    def draw(seed: Seed) -> Change:
        gone = torch.stack([_some_of(labels, seed.generator()) for labels in cut])
        return Change(gone.float, lambda out: write_without(evidence, gone, fill, out))

    return draw


def gaussian_noise(evidence: Evidence, seed: Seed, noise: float) -> Change:
    """Noise taken from every picture, as strong as a part of its range, the same in all its colours."""
    weights = _noise_of(evidence, seed, noise)
    return Change(weights, lambda out: torch.sub(evidence.inputs, weights()[:, None].to(out), out=out))


def noisy_baseline(evidence: Evidence, seed: Seed, noise: float, fill: str) -> Change:
    """Every picture replaced by the fill and noise as strong as a part of its range, the same in all its colours."""
    drawn, empty = _noise_of(evidence, seed, noise), evidence.fill(fill)

    def weights() -> Tensor:
        return (evidence.inputs - empty).float().mean(dim=1).cpu() - drawn()

    return Change(weights, lambda out: torch.add(empty, drawn()[:, None].to(out), out=out))


def _noise_of(evidence: Evidence, seed: Seed, noise: float) -> Callable[[], Float[Tensor, "batch height width"]]:
    flat = evidence.inputs.flatten(1)
    strength = noise * (flat.amax(dim=1) - flat.amin(dim=1))[:, None, None].cpu()
    return lambda: torch.randn(1, *evidence.size, generator=seed.generator()) * strength


def _some_of(labels: Int[Tensor, "height width"], generator: torch.Generator) -> Bool[Tensor, "height width"]:
    count = int(labels.max()) + 1
    drawn = torch.rand(count, generator=generator) < _GONE
    lone = torch.randint(count, (1,), generator=generator)
    drawn[lone] |= not drawn.any()
    return drawn[labels]


def missed(
    forecast: Float[Tensor, "sample batch"], falls: Float[Tensor, "sample batch"], scaling: str = "optimal"
) -> Float[Tensor, "sample batch"]:
    """(forecast - fall)^2 of every change; with `optimal` scaling after the one factor that serves each forecast best.

    Raises RequestError for another scaling than `optimal` or `none`.
    """
    if scaling not in SCALINGS:
        raise RequestError(f"scaling={scaling!r}; expected {' or '.join(SCALINGS)}.")
    if scaling == "optimal":
        power = forecast.square().mean(dim=0)
        factor = (forecast * falls).mean(dim=0) / torch.where(power > 0, power, torch.ones_like(power))
        forecast = factor * forecast
    return (forecast - falls).square()


def _falls(evidence: Evidence, changes: Mapping[Hashable, Change]) -> Float[Tensor, "sample batch"]:
    """How far the target falls with each change."""
    found = answers_of(evidence, {key: change.write for key, change in changes.items()})
    whole = whole_answers(evidence).scores
    return torch.stack([whole - answers.scores for answers in found.values()]).double()


def _forecasts(maps: Maps, changes: list[Change]) -> dict[str, Float[Tensor, "sample batch"]]:
    """What each map says of each change: its sum, weighted by how much every pixel changes."""
    rows: dict[str, list[Tensor]] = {name: [] for name in maps}
    held = {name: values.cpu().double() for name, values in maps.items()}
    for change in changes:
        weights = change.weights().double()
        for name, values in held.items():
            rows[name].append((values * weights).sum(dim=(-2, -1)))
    return {name: torch.stack(row) for name, row in rows.items()}
