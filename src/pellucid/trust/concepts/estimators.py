"""How important each concept is to an answer, by the ways in use: all of them ask the same tail in other places."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.trust.concepts.deletion import Decomposition
from pellucid.values.seed import Seed

Importance = Float[Tensor, "item concept"]


def occlusion(parts: Decomposition) -> Importance:
    """What the answer loses when the concept alone is taken away."""
    items, count = len(parts.activations), parts.concepts
    alone = 1 - torch.eye(count)[:, None, :].expand(-1, items, -1)
    whole = parts.answers(torch.ones(1, items, count))[0]
    return (whole - parts.answers(alone)).T


def gradient_x_input(parts: Decomposition) -> Importance:
    """The slope along the concept times how much of it there is."""
    return _over_places(parts.slopes(parts.codes) * parts.codes)


def integrated_gradients(parts: Decomposition, *, steps: int = 32) -> Importance:
    """The mean slope on the straight way from no concept at all, times how much of it there is.

    The slopes are taken in the middle of `steps` equal parts of the way.
    """
    total = torch.zeros_like(parts.codes)
    for step in range(steps):
        total = total + parts.slopes(parts.codes * ((step + 0.5) / steps))
    return _over_places(total / steps * parts.codes)


def smoothgrad(parts: Decomposition, *, samples: int = 16, noise: float = 0.1, seed: int = 0) -> Importance:
    """The mean slope around the codes, times how much of the concept there is.

    noise: standard deviation in parts of that of the codes
    """
    generator = Seed(seed).child("smoothgrad").generator()
    scale = noise * parts.codes.std()
    total = torch.zeros_like(parts.codes)
    for _ in range(samples):
        total = total + parts.slopes(parts.codes + scale * torch.randn(parts.codes.shape, generator=generator))
    return _over_places(total / samples * parts.codes)


def rise(parts: Decomposition, *, masks: int = 256, seed: int = 0) -> Importance:
    """The mean answer where the concept was among those shown, less the mean where it was not.

    masks: each with its opposite beside it, so that every concept is shown in exactly half
    """
    generator = Seed(seed).child("rise").generator()
    half = torch.rand(max(1, masks // 2), parts.concepts, generator=generator) < 0.5
    shown = torch.cat([half, ~half]).to(parts.codes.dtype)
    answers = parts.answers(shown[:, None].expand(-1, len(parts.activations), -1))
    return 2 / len(shown) * torch.einsum("mi,mk->ik", answers, 2 * shown - 1)


def sobol_total(parts: Decomposition, *, designs: int = 32, seed: int = 0) -> Importance:
    """The share of the answer's variance that involves the concept, when all are turned down by chance.

    Jansen's estimate of the total index from `designs` (concepts + 2) answers, on a scrambled Sobol sequence. It has no
    sign: a concept that speaks against the answer counts like one that speaks for it.
    """
    count, items = parts.concepts, len(parts.activations)
    drawn = torch.quasirandom.SobolEngine(2 * count, scramble=True, seed=int(Seed(seed).child("sobol")) % 2**31)
    both = drawn.draw(designs)
    one, other = both[:, :count], both[:, count:]
    base = parts.answers(one[:, None].expand(-1, items, -1))
    again = parts.answers(other[:, None].expand(-1, items, -1))
    variance = torch.cat([base, again]).var(dim=0)
    totals: list[Tensor] = []
    for concept in range(count):
        mixed = one.clone()
        mixed[:, concept] = other[:, concept]
        moved = base - parts.answers(mixed[:, None].expand(-1, items, -1))
        totals.append((moved**2).mean(dim=0) / 2)
    shares = torch.stack(totals, dim=1)
    return torch.where(variance[:, None] > 0, shares / variance[:, None].clamp(min=1e-30), torch.zeros_like(shares))


ESTIMATORS: dict[str, Callable[[Decomposition], Importance]] = {
    "occlusion": occlusion,
    "gradient_x_input": gradient_x_input,
    "integrated_gradients": integrated_gradients,
    "smoothgrad": smoothgrad,
    "rise": rise,
    "sobol_total": sobol_total,
}


def all_of(parts: Decomposition) -> dict[str, Importance]:
    """Every estimate by name."""
    return {name: estimate(parts) for name, estimate in ESTIMATORS.items()}


def _over_places(values: Float[Tensor, "item concept ..."]) -> Importance:
    return values.flatten(2).sum(dim=2) if values.ndim > 2 else values
