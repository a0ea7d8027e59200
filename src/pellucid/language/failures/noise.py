"""What a tagger's own errors do to the accuracy of a group, and the accuracy without them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

_LEAST = 0.05  # difference of the two shares below which the tagger tells nothing


@dataclass(frozen=True)
class TaggerError:
    """How far a tagger can be trusted.

    meant:  share of the pictures it tags that truly have the tag; missed: of those that it does not tag
    """

    meant: float
    missed: float


def taggers_error(seen: Bool[np.ndarray, "picture"], truth: Bool[np.ndarray, "picture"]) -> TaggerError:
    """Counted on pictures where the truth is known. NaN where it tags all of them, or none."""
    share = lambda chosen: float(truth[chosen].mean()) if chosen.any() else float("nan")
    return TaggerError(share(seen), share(~seen))


def cleared(
    right: Bool[np.ndarray, "picture"], seen: Bool[np.ndarray, "picture"], error: TaggerError
) -> tuple[float, float]:
    """Accuracy where the tag truly is, and where it is not, from accuracy where the tagger says so.

    Both groups as they are seen are mixtures of the two as they are; two equations for two unknowns. It holds where the
    tagger errs independently of the model. NaN where the tagger tells nothing.
    """
    apart = error.meant - error.missed
    if not np.isfinite(apart) or abs(apart) < _LEAST or not seen.any() or seen.all():
        return float("nan"), float("nan")
    tagged, bare = float(right[seen].mean()), float(right[~seen].mean())
    having = (tagged * (1 - error.missed) - bare * (1 - error.meant)) / apart
    lacking = (bare * error.meant - tagged * error.missed) / apart
    return min(1.0, max(0.0, having)), min(1.0, max(0.0, lacking))
