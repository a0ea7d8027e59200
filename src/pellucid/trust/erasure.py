"""Parts of the picture taken away or left alone, in the order of a map: how much of the answer goes with them?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine import Evidence
from pellucid.engine.perturb import ORDERS, Cut, Side, ordered, pixels
from pellucid.errors import RequestError
from pellucid.registry import metric
from pellucid.trust.measured import Maps, Measured, spread_of
from pellucid.trust.removal import Along, along, counted
from pellucid.trust.tokens import ANOTHER_QUESTION, DROPPED, drops_tokens, tokens_along

PARTS = (0.01, 0.05, 0.1, 0.2, 0.5)
_FILLS = ("blur", "mean")
_LEAST = tuple(percent / 100 for percent in range(1, 11))
_TENTHS = tuple(tenth / 10 for tenth in range(10))
_WHOLE = {"pixels": 1, "token_drop": 3}  # passes once for all maps: also without any token, and the trial if it works


@metric(
    "comprehensiveness", better="higher", paper="DeYoung et al. 2020", range=(-1.0, 1.0), shared=1,
    cost=lambda parts=PARTS, fills=_FILLS, **_: len(parts) * len(fills),
)  # fmt: skip
def comprehensiveness(
    evidence: Evidence, maps: Maps, *, parts: Sequence[float] = PARTS, fills: Sequence[str] = _FILLS,
    order: str = "signed", seed: int | None = None,
) -> Measured:  # fmt: skip
    """How much of the prediction goes with the most important pixels: did the map name everything that was needed?

    parts:   of the picture, most important pixels first, that are removed one after the other
    returns: prediction on the whole picture less that without the part, mean over parts and fills
    """
    found = _along(evidence, maps, "removed", parts, fills, order, seed)
    return _drops(found, parts, fills, order)


@metric(
    "sufficiency", better="lower", paper="DeYoung et al. 2020", range=(-1.0, 1.0), shared=1,
    cost=lambda parts=PARTS, fills=_FILLS, **_: len(parts) * len(fills),
)  # fmt: skip
def sufficiency(
    evidence: Evidence, maps: Maps, *, parts: Sequence[float] = PARTS, fills: Sequence[str] = _FILLS,
    order: str = "signed", seed: int | None = None,
) -> Measured:  # fmt: skip
    """How much of the prediction is missing when only the most important pixels are left.

    parts:   of the picture, most important pixels first, that alone are shown one after the other
    returns: prediction on the whole picture less that with the part alone, mean over parts and fills; below 0 where the
             part alone convinces the model more than the picture does
    """
    found = _along(evidence, maps, "kept", parts, fills, order, seed)
    return _drops(found, parts, fills, order)


@metric(
    "pixel_perturbation", better="lower", paper="Srinivas & Fleuret 2019", range=(0.0, float("inf")),
    cost=lambda parts=_LEAST, fills=("black",), mode="pixels", **_: len(parts) * _fillings(fills, mode),
    shared=lambda mode="pixels", **_: _WHOLE[mode],
)  # fmt: skip
def pixel_perturbation(
    evidence: Evidence, maps: Maps, *, parts: Sequence[float] = _LEAST, fills: Sequence[str] = ("black",),
    order: str = "absolute", mode: str = "pixels", seed: int | None = None,
) -> Measured:  # fmt: skip
    """How much the prediction moves when the pixels go that the map calls least important.

    Taking the least important pixels away leaves no such holes as taking the most important ones does, so less of the
    change is due to the holes themselves.

    parts:   of the picture, least important pixels first, that are removed one after the other
    mode:    `pixels` become black, or what `fills` names; `token_drop` takes patch tokens out of the sequence of a
             plain vision transformer, so that nothing is painted. Parts are rounded to whole tokens
    returns: size of the change in parts of the prediction, mean over parts and fills; NaN where the prediction is 0

    Raises MethodUnavailable for `token_drop` where tokens cannot be left out.
    """
    left = [1 - part for part in parts]
    found = _along(evidence, maps, "kept", left, fills, order, seed, mode)
    nothing = dict.fromkeys(_zeros(found.whole), "the prediction on the whole picture is 0")
    whole = found.whole[:, None]
    moved = {name: (whole - values).abs() / whole.abs() for name, values in found.values.items()}
    blank = {name: torch.where(whole == 0, torch.nan, values) for name, values in moved.items()}
    return _means(
        blank, parts, _become(fills, mode), f"change in parts of the {found.unit}", f"{order}, smallest first",
        skipped=nothing, notes=_said(mode),
    )  # fmt: skip


@metric(
    "positive_perturbation", better="lower", paper="Chefer et al. 2021",
    cost=lambda parts=_TENTHS, fills=("black",), mode="pixels", **_: (len(parts) - 1) * _fillings(fills, mode),
    shared=lambda mode="pixels", **_: _WHOLE[mode],
)  # fmt: skip
def positive_perturbation(
    evidence: Evidence, maps: Maps, *, parts: Sequence[float] = _TENTHS, fills: Sequence[str] = ("black",),
    order: str = "signed", mode: str = "pixels", seed: int | None = None,
) -> Measured:  # fmt: skip
    """How long the model keeps its decision while the most important pixels go.

    parts:   of the picture, rising from 0, at which the decision is looked at
    mode:    `pixels` become black, or what `fills` names; `token_drop` takes patch tokens out of the sequence of a
             plain vision transformer, most important first, whole patches by their sum
    returns: area under "the class ranked first is still the one of the whole picture", 0 to 1. The mean over pictures
             is the area under the accuracy against the model's own decisions

    Raises MethodUnavailable for `token_drop` where tokens cannot be left out.
    """
    return _firmness(evidence, maps, "removed", parts, fills, order, seed, mode)


@metric(
    "negative_perturbation", better="higher", paper="Chefer et al. 2021",
    cost=lambda parts=_TENTHS, fills=("black",), mode="pixels", **_: (len(parts) - 1) * _fillings(fills, mode),
    shared=lambda mode="pixels", **_: _WHOLE[mode],
)  # fmt: skip
def negative_perturbation(
    evidence: Evidence, maps: Maps, *, parts: Sequence[float] = _TENTHS, fills: Sequence[str] = ("black",),
    order: str = "signed", mode: str = "pixels", seed: int | None = None,
) -> Measured:  # fmt: skip
    """How long the model keeps its decision while the least important pixels go.

    Parameters as for `positive_perturbation`; here a good map keeps the decision to the end.
    """
    return _firmness(evidence, maps, "kept", parts, fills, order, seed, mode)


def _along(
    evidence: Evidence, maps: Maps, side: Side, parts: Sequence[float], fills: Sequence[str], order: str,
    seed: int | None, mode: str = "pixels",
) -> Along:  # fmt: skip
    if drops_tokens(mode):
        return tokens_along(evidence, ordered(maps, order), side, parts, seed)
    counts = counted(parts, pixels(evidence))
    cuts = {fill: [Cut(fill, count, side) for count in counts] for fill in fills}
    return along(evidence, ordered(maps, order), cuts, seed)


def _firmness(
    evidence: Evidence, maps: Maps, side: Side, parts: Sequence[float], fills: Sequence[str], order: str,
    seed: int | None, mode: str,
) -> Measured:  # fmt: skip
    if len(parts) < 2 or parts[0] != 0 or any(one >= other for one, other in pairwise(parts)):
        raise RequestError(f"parts={tuple(parts)}; expected rising parts of the picture that begin with 0.")
    left = parts if side == "removed" else [1 - part for part in parts]
    found = _along(evidence, maps, side, left, fills, order, seed, mode)
    at = torch.tensor(parts)
    areas = {name: torch.trapezoid(firm, at, dim=-1) / (parts[-1] - parts[0]) for name, firm in found.firm.items()}
    return Measured(
        values={name: area.mean(dim=0) for name, area in areas.items()},
        spread=spread_of(areas),
        by_fill=areas,
        curves={name: {"fractions": list(parts), "decision kept": firm.tolist()} for name, firm in found.firm.items()},
        fills=_become(fills, mode),
        order=ORDERS[order] if side == "removed" else f"{order}, smallest first",
        unit="area under the share of decisions kept",
        notes=_said(mode),
    )


def _become(fills: Sequence[str], mode: str) -> tuple[str, ...]:
    """What is removed became that."""
    return (DROPPED,) if drops_tokens(mode) else tuple(fills)


def _said(mode: str) -> tuple[str, ...]:
    return (ANOTHER_QUESTION,) if drops_tokens(mode) else ()


def _fillings(fills: Sequence[str], mode: str) -> int:
    return len(_become(fills, mode))


def _drops(found: Along, parts: Sequence[float], fills: Sequence[str], order: str) -> Measured:
    lost = {name: found.whole[:, None] - values for name, values in found.values.items()}
    return _means(lost, parts, fills, f"{found.unit} lost", ORDERS[order])


def _means(
    lost: Mapping[str, Float[Tensor, "fill batch point"]], parts: Sequence[float], fills: Sequence[str], unit: str,
    order: str, **rest: Any,
) -> Measured:  # fmt: skip
    means = {name: values.mean(dim=-1) for name, values in lost.items()}
    return Measured(
        values={name: mean.mean(dim=0) for name, mean in means.items()},
        spread=spread_of(means),
        by_fill=means,
        curves={name: {"fractions": list(parts), "lost": values.tolist()} for name, values in lost.items()},
        fills=tuple(fills),
        order=order,
        unit=unit,
        **rest,
    )


def _zeros(whole: Float[Tensor, "batch"]) -> list[int]:
    return [index for index, value in enumerate(whole.tolist()) if value == 0]
