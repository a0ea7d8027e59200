"""Infidelity: by how much a map, read as a forecast, misses what the target does when the picture is changed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.engine.perturb import Write, answers_of, whole_answers, write_without
from pellucid.errors import RequestError
from pellucid.registry import metric
from pellucid.trust.measured import Maps, Measured
from pellucid.trust.removal import blanked
from pellucid.values.seed import Seed

PERTURBATIONS = ("square", "gaussian")
SCALINGS = ("optimal", "none")


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
    noise: float = 0.2, fill: str = "mean", seed: int | None = None,
) -> Measured:  # fmt: skip
    """How far the target's fall under random changes of the picture is from what the map forecasts.

    perturbation: `square` hides a random square and reads the map as contributions: the forecast is its sum over the
                  square. `gaussian` adds noise, the same in every colour, and reads the map as slopes: the forecast is
                  its sum weighted by the noise; right for gradients alone
    scaling:      `optimal` multiplies each map by the one number that serves it best, since most maps have no unit of
                  the target; `none` takes it at its word
    samples:      changes tried; all maps are measured on the same ones
    noise:        standard deviation of the noise, as part of the picture's own range
    fill:         what a hidden square becomes
    returns:      mean of (forecast - fall)^2, in the square of the target's unit, its spread the standard error; a map
                  of zeros scores the mean of fall^2, which stands in the curves as `nothing forecast`
    """
    if perturbation not in PERTURBATIONS:
        raise RequestError(f"perturbation={perturbation!r}; expected {' or '.join(PERTURBATIONS)}.")
    if scaling not in SCALINGS:  # before any forward pass
        raise RequestError(f"scaling={scaling!r}; expected {' or '.join(SCALINGS)}.")
    if samples < 1:
        raise RequestError(f"samples={samples}; expected at least 1.")
    seed_of = evidence.seed if seed is None else Seed(seed)
    make: Callable[[Seed], Change] = {
        "square": lambda drawn: hidden_square(evidence, drawn, fill),
        "gaussian": lambda drawn: gaussian_noise(evidence, drawn, noise),
    }[perturbation]
    changes: dict[Hashable, Change] = {
        ("change", perturbation, int(seed_of), index, fill, noise): make(seed_of.child(perturbation, index))
        for index in range(samples)
    }
    falls = _falls(evidence, changes)
    forecasts = _forecasts(maps, list(changes.values()))
    errors = {name: missed(forecast, falls, scaling) for name, forecast in forecasts.items()}
    return Measured(
        values=blanked({name: one.mean(dim=0).float() for name, one in errors.items()}, maps),
        spread={name: one.std(dim=0, correction=0).float() / samples**0.5 for name, one in errors.items()},
        curves={name: {"nothing forecast": falls.square().mean(dim=0).tolist()} for name in maps},
        fills=(fill,) if perturbation == "square" else (),
        unit=f"squared error of the forecast, {scaling} scaling, changes by {perturbation}",
    )


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


def gaussian_noise(evidence: Evidence, seed: Seed, noise: float) -> Change:
    """Noise taken from every picture, as strong as a part of its range, the same in all its colours."""
    flat = evidence.inputs.flatten(1)
    strength = noise * (flat.amax(dim=1) - flat.amin(dim=1))[:, None, None]

    def weights() -> Tensor:
        drawn = torch.randn(1, *evidence.size, generator=seed.generator())
        return drawn * strength.cpu()

    return Change(weights, lambda out: torch.sub(evidence.inputs, weights()[:, None].to(out), out=out))


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
