"""Remove and debias: pixels are taken away so that the hole does not tell where they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
from scipy import stats
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.engine.perturb import Cut, Side, pixels
from pellucid.errors import RequestError
from pellucid.registry import metric
from pellucid.trust.measured import Maps, Measured, is_control
from pellucid.trust.removal import along, counted

PARTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)
READ = ("prediction", "decision")
_FILL = "road"


@metric("road_morf", better="lower", paper="Rong et al. 2022", cost=lambda parts=PARTS, **_: len(parts), shared=1)
def road_morf(
    evidence: Evidence, maps: Maps, *, parts: Sequence[float] = PARTS, read: str = "prediction", seed: int | None = None
) -> Measured:
    """What is left of the prediction when the most relevant pixels were replaced by what their neighbours say.

    parts:   of the picture that are replaced, most relevant pixels first
    read:    `prediction`, its height, or `decision`, 1 while the class ranked first is still the one of the whole
             picture and 0 after; the mean of the latter over pictures is the accuracy that the paper reports
    returns: mean over parts. The mean colour or black would leave holes whose shape gives the class away; a smooth
             continuation with a little noise leaves few traces
    """
    curves, unit = _curves(evidence, maps, parts, read, seed, "removed")
    return _measured(curves, {name: curve.mean(dim=-1) for name, curve in curves.items()}, parts, unit, "largest first")


@metric("road_lerf", better="higher", paper="Rong et al. 2022", cost=lambda parts=PARTS, **_: len(parts), shared=1)
def road_lerf(
    evidence: Evidence, maps: Maps, *, parts: Sequence[float] = PARTS, read: str = "prediction", seed: int | None = None
) -> Measured:
    """What is left of the prediction when the least relevant pixels were replaced by what their neighbours say.

    Parameters as for `road_morf`; here a good map keeps the prediction.
    """
    curves, unit = _curves(evidence, maps, parts, read, seed, "kept")
    return _measured(
        curves, {name: curve.mean(dim=-1) for name, curve in curves.items()}, parts, unit, "smallest first"
    )


@metric(
    "road", better="higher", paper="Rong et al. 2022", range=(-0.5, 0.5), cost=lambda parts=PARTS, **_: 2 * len(parts),
    shared=1,
)  # fmt: skip
def road(
    evidence: Evidence, maps: Maps, *, parts: Sequence[float] = PARTS, read: str = "prediction", seed: int | None = None
) -> Measured:
    """How much more of the prediction the relevant pixels carry than the irrelevant ones, without telling holes.

    returns: half of what `road_lerf` keeps over what `road_morf` keeps; about 0 for a map that knows nothing. A note
             says whether both orders rank the maps alike (Spearman), which the paper asks of a measure worth its name
    """
    first, unit = _curves(evidence, maps, parts, read, seed, "removed")
    last, _ = _curves(evidence, maps, parts, read, seed, "kept")
    halves = {name: (last[name] - first[name]).mean(dim=-1) / 2 for name in maps}
    agreement = consistency(first, last)
    notes = () if agreement is None else (f"both orders rank the maps alike to {agreement:.2f} (Spearman)",)
    return Measured(
        values=halves,
        curves={
            name: {"fractions": list(parts), "morf": [first[name].tolist()], "lerf": [last[name].tolist()]}
            for name in maps
        },
        fills=(_FILL,),
        order="signed, largest first and smallest first",
        unit=f"half the {unit} kept by one order over the other",
        notes=notes,
    )


def consistency(
    most: Mapping[str, Float[Tensor, "batch point"]], least: Mapping[str, Float[Tensor, "batch point"]]
) -> float | None:
    """Spearman's correlation of the ranks of maps by both orders, 1 where they agree; None for fewer than three maps.

    most, least: per map, what is left when the most and when the least relevant pixels go. Controls do not count
    """
    names = [name for name in most if not is_control(name)]
    first = [float(most[name].nanmean()) for name in names]
    last = [float(least[name].nanmean()) for name in names]
    if len(names) < 3 or len(set(first)) == 1 or len(set(last)) == 1:
        return None
    found: Any = stats.spearmanr([-value for value in first], last)
    return float(found.statistic)


def _curves(
    evidence: Evidence, maps: Maps, parts: Sequence[float], read: str, seed: int | None, side: Side
) -> tuple[dict[str, Float[Tensor, "batch point"]], str]:
    if read not in READ:
        raise RequestError(f"read={read!r}; expected {' or '.join(READ)}.")
    shares = parts if side == "removed" else [1 - part for part in parts]
    cuts = [Cut(_FILL, count, side) for count in counted(shares, pixels(evidence))]
    found = along(evidence, maps, {_FILL: cuts}, seed)
    rows: Mapping[str, Tensor] = found.values if read == "prediction" else found.firm
    return {name: row[0] for name, row in rows.items()}, found.unit if read == "prediction" else "decisions"


def _measured(
    curves: Mapping[str, Tensor], values: Mapping[str, Tensor], parts: Sequence[float], unit: str, order: str
) -> Measured:
    drawn: dict[str, dict[str, Any]] = {
        name: {"fractions": list(parts), "left": [curve.tolist()]} for name, curve in curves.items()
    }
    return Measured(values=values, curves=drawn, fills=(_FILL,), order=f"signed, {order}", unit=f"{unit} left")
