"""What stands beside words about a map: the words of a shuffled map, as many random regions, and a region's control.

The words are chosen for the evidence they name, so they always name much of it; what tells is how much more than words
that were chosen in the same way where there was nothing to choose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from pellucid.language.salience import Neighbours, Settings, runs, told
from pellucid.results import Beside, Claim
from pellucid.values import Seed

SHUFFLED, RANDOM_REGIONS = "named by the words of a shuffled map", "by as many random regions"
_SHUFFLES, _DRAWS = 3, 50


def beside_map(
    values: Float[np.ndarray, "segment"], things: Mapping[str, Sequence[int]], neighbours: Neighbours | None,
    settings: Settings, *, seed: int = 0,
) -> Beside:  # fmt: skip
    """The share of all evidence, for and against, that the words name, beside that of words which know no map.

    The search is made again on the map with its values dealt to other segments, and what it would tell is judged by
    the map as it is. Both are means over draws.
    """
    magnitude = np.abs(values)
    whole = float(magnitude.sum())
    share = lambda members: float(magnitude[sorted(members)].sum() / whole) if whole > 0 else 0.0
    rng = np.random.default_rng(int(Seed(seed).child("words about a map")))
    own = {at for members in things.values() for at in members}
    blind = [share(_named(rng.permutation(values), neighbours, settings)) for _ in range(_SHUFFLES)]
    random = [share(rng.permutation(len(values))[: len(own)].tolist()) for _ in range(_DRAWS)]
    controls = {SHUFFLED: float(np.mean(blind)), RANDOM_REGIONS: float(np.mean(random))}
    return Beside("Evidence of the map that the words name", share(own), controls)


def beside_removal(gone: Claim, *, unit: str = "share") -> Beside | None:
    """How far the answer falls without the region named first, beside the random region of its shape that costs most.

    gone: a tested claim of `templates.removed`; None where it could not be measured
    """
    measured = gone.measured
    if not all(name in measured for name in ("before", "after", "random_worst")):
        return None
    before, after, worst = (float(measured[name]) for name in ("before", "after", "random_worst"))
    return Beside("The answer falls without the region named first by", before - after,
                  {"without random regions of its shape by at most": before - worst}, unit=unit)  # fmt: skip


def _named(values: Float[np.ndarray, "segment"], neighbours: Neighbours | None, settings: Settings) -> set[int]:
    """What would be told of these values, for and against."""
    found = (*told(runs(values, neighbours, settings)), *told(runs(-values, neighbours, settings))[:1])
    return {at for run in found for at in run.members}
