"""Which kind of change a map foretells, from passes that were made to score it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.compute.bootstrap import Interval, ratio
from pellucid.engine import Evidence
from pellucid.engine.perturb import ranking
from pellucid.trust.faithfulness import Curves
from pellucid.values.seed import Seed

_LARGE = 0.25  # share of the picture from which on a part is a large one
_FEWEST = 8  # changes, of which half fit the map's scale
SLIGHTLY = "every pixel becomes a very little lighter or darker"
SMALL = "a small part of the picture is taken away"
LARGE = "a large part of the picture is taken away"


@dataclass(frozen=True)
class Foretold:
    """How much of what the answer does a map foretells; changes: of what kind, in words to follow "when"."""

    changes: str
    share: Interval


def foretold_by_passes(
    evidence: Evidence, maps: Mapping[str, Float[Tensor, "1 height width"]], curves: Curves, name: str,
    slopes: Float[Tensor, "height width"] | None = None,
) -> tuple[Foretold, ...]:  # fmt: skip
    """What the map `name` foretells of one picture under three kinds of change, without a pass of its own.

    maps:   those that `curves` were taken of, each in the order in which its pixels went; what the other maps took away
            are the changes, compared with parts of the same size, so that knowing how much is gone tells nothing
    slopes: the target's gradient, all colours together, where it was taken anyway
    returns: explained variance of the answer (R²), on each half of the changes with the one factor that fits the other
             half: 1 all, 0 no more than the mean of parts of that size; of the slightest changes the squared cosine of
             map and slopes, which is what R² tends to. Kinds with fewer than 8 changes are left out

    Han et al., Which Explanation Should I Choose?, NeurIPS 2022.
    """
    found: list[Foretold] = []
    samples = list(_samples(evidence, maps, curves, name))
    for changes, large in ((SMALL, False), (LARGE, True)):
        kind = [(said, fell) for share, said, fell in samples if (share >= _LARGE) == large]
        share = _explained(kind, int(evidence.seed))
        found += [Foretold(changes, share)] if share is not None else []
    if slopes is not None:
        cosine = torch.nn.functional.cosine_similarity(maps[name].flatten().double(), slopes.flatten().double(), dim=0)
        exact = float(cosine.clamp(min=0).square())
        found.append(Foretold(SLIGHTLY, Interval(exact, exact, exact, 1)))
    return tuple(found)


def grey_slopes(evidence: Evidence) -> Float[Tensor, "height width"]:
    """The target's gradient of one picture for changes that are the same in all colours, in parts of their range."""
    std = evidence.preprocess.std if evidence.preprocess is not None else (1.0, 1.0, 1.0)
    scale = torch.tensor(std)[:, None, None]
    return (evidence.input_gradient()[0].cpu() / scale).sum(dim=0)


def _samples(
    evidence: Evidence, maps: Mapping[str, Tensor], curves: Curves, name: str
) -> Iterator[tuple[float, float, float]]:
    """What other maps took away: how much of the picture, the map's sum over it, the fall; both less their means."""
    own = maps[name][0].flatten().double().cpu()
    others = [other for other in curves.deletion if other != name and bool(torch.isfinite(maps[other]).all())]
    orders = {other: ranking(maps[other], Seed(int(evidence.seed)).child("ties")).flatten() for other in others}
    running = {other: torch.cat([torch.zeros(1).double(), own[rank.argsort()].cumsum(dim=0)])
               for other, rank in orders.items()}  # fmt: skip
    for point, fraction in enumerate(curves.fractions[1:-1], start=1):
        first = round(fraction * len(own))
        for side, share in (("deletion", fraction), ("insertion", 1 - fraction)):
            said = torch.stack([running[other][first] for other in others])
            said = said if side == "deletion" else running[others[0]][-1] - said
            lines: Mapping[str, Tensor] = getattr(curves, side)
            for fill in range(len(curves.fills)):
                fell = -torch.stack([lines[other][fill, 0, point] for other in others]).double()
                centred = zip((said - said.mean()).tolist(), (fell - fell.mean()).tolist(), strict=True)
                yield from ((share, *pair) for pair in centred)


def _explained(samples: list[tuple[float, float]], seed: int) -> Interval | None:
    if len(samples) < _FEWEST:
        return None
    said, fell = torch.tensor(samples).double().T
    order = torch.randperm(len(samples), generator=Seed(seed).child("halves").generator())
    left = torch.zeros_like(fell)
    halves = order.chunk(2)
    for fit, judge in (halves, halves[::-1]):
        power = float(said[fit].square().sum())
        factor = max(0.0, float((said[fit] * fell[fit]).sum()) / power) if power > 0 else 0.0
        left[judge] = (fell[judge] - factor * said[judge]).square()
    part = ratio(left.numpy(), fell.square().numpy(), seed)
    return Interval(1 - part.mean, 1 - part.high, 1 - part.low, part.count) if part.count else None
