"""Does a map help somebody to foretell what the model says once the picture is edited? A student reads map and edit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from pellucid.compute.bootstrap import interval
from pellucid.compute.ranking import auroc
from pellucid.errors import RequestError, ShapeError
from pellucid.results.retraining import Retraining
from pellucid.trust.measured import Maps
from pellucid.values.seed import Seed

FOLDS = 5
_RIDGE, _ITERATIONS = 1e-2, 30
_CELLS = 4  # rows and columns of what the student who sees no edit knows of a map


def counterfactual_simulatability(
    maps: Maps,
    edited: Bool[Tensor, "twin height width"],
    before: Int64[Tensor, "twin"],
    after: Int64[Tensor, "twin"],
    *,
    pictures: Sequence[int] | None = None,
    folds: int = FOLDS,
    seed: int = 0,
) -> Retraining:
    """How well a student that knows a picture's map foretells whether an edit of the picture changes the answer.

    maps:          of the unedited pictures, by name; `control random` and the other controls among them
    edited:        where a picture and its edited twin differ
    before, after: the model's answers to both
    pictures:      which picture each twin is of; None, each of another. Twins of one picture are never on both sides
    folds:         parts of the pictures; a student learns from all but one and is tried on that

    The student is a logistic regression. It knows how large the edit is and, with a map, how much of the map's
    magnitude lies in the edit, and how dense it is there; so the map can tell it nothing that has nothing to do with
    the edit. Edits that change the answer count as much as those that do not, whichever are more, so that 0.5 is
    chance. One row per map: `agreement` with the model on twins it did not learn from; `gain`, that less the
    agreement of the student without a map, -1 to 1, with a 95 % interval over pictures; `auroc`, how well it orders
    twins; `leaking`, the agreement of a student that sees the map and no edit: where that is above chance the map says
    beforehand whether the answer will change. Raises ShapeError, RequestError.

    Doshi-Velez & Kim 2017; Hase & Bansal 2020, there with people.
    """
    changed = (before != after).numpy()
    for name, values in maps.items():
        if values.shape != edited.shape:
            raise ShapeError(f"The map of {name}", got=tuple(values.shape), expected=f"{list(edited.shape)}")
    if not maps:
        raise RequestError("maps is empty; name at least one.")
    groups = np.arange(len(edited)) if pictures is None else np.asarray(pictures)
    if folds < 2 or len(set(groups.tolist())) < folds:
        raise RequestError(f"{folds} folds of {len(set(groups.tolist()))} pictures; expected 2 and no more than those.")
    if changed.all() or not changed.any():
        raise RequestError("Every edit changes the answer, or none does: there is nothing to foretell.")
    parts = _parts(groups, folds, seed)
    size = edited.flatten(1).double().mean(dim=1)
    plain, _ = _foretold(size[:, None], changed, parts)
    rows: list[dict[str, Any]] = []
    for name, values in maps.items():
        right, scores = _foretold(_beside(values, edited, size), changed, parts)
        leaks, _ = _foretold(_alone(values), changed, parts)
        gain = interval(_by_picture(right - plain, groups))
        rows.append({
            "map": name, "agreement": float(right.mean()), "gain": gain.mean, "low": gain.low, "high": gain.high,
            "auroc": auroc(changed, scores), "leaking": float(leaks.mean()),
        })  # fmt: skip
    return Retraining(
        "counterfactual simulatability", "higher", tuple(sorted(rows, key=lambda row: -row["gain"])), (),
        {"twins": len(changed), "pictures": len(set(groups.tolist())), "folds": folds,
         "answers changed": round(float(changed.mean()), 4), "without a map": round(float(plain.mean()), 4)},
        notes=(
            f"{changed.mean():.1%} of the edits change the answer; they count as much as all others, so 0.5 is chance.",
            "leaking: what a student foretells from the map alone, without knowing the edit.",
        ),
        trainings=folds * (1 + 2 * len(maps)),
    )  # fmt: skip


def _beside(values: Tensor, edited: Tensor, size: Tensor) -> Float[Tensor, "twin feature"]:
    magnitude = values.double().abs().flatten(1)
    inside = (magnitude * edited.flatten(1)).sum(dim=1) / magnitude.sum(dim=1).clamp(min=1e-300)
    return torch.stack([size, inside, (inside + 1e-3).log() - (size + 1e-3).log()], dim=1)


def _alone(values: Tensor) -> Float[Tensor, "twin feature"]:
    """Where the map lies, coarsely, each in parts of its whole."""
    magnitude = values.double().abs()[:, None]
    cells = torch.nn.functional.adaptive_avg_pool2d(magnitude, _CELLS).flatten(1)
    return cells / cells.sum(dim=1, keepdim=True).clamp(min=1e-300)


def _parts(groups: np.ndarray, folds: int, seed: int) -> list[Bool[np.ndarray, "twin"]]:
    """Which twins each fold is tried on; twins of a picture together."""
    names = np.unique(groups)
    dealt = np.random.default_rng(int(Seed(seed).child("folds"))).permutation(len(names)) % folds
    fold_of = dict(zip(names.tolist(), dealt.tolist(), strict=True))
    where = np.array([fold_of[one] for one in groups.tolist()])
    return [where == fold for fold in range(folds)]


def _foretold(
    features: Tensor, changed: Bool[np.ndarray, "twin"], parts: Sequence[Bool[np.ndarray, "twin"]]
) -> tuple[Float[np.ndarray, "twin"], Float[np.ndarray, "twin"]]:
    """Whether the student was right about each twin, and how sure it was of a change, each from the other folds."""
    x = features.double().numpy()
    scores = np.zeros(len(x))
    for tried in parts:
        centre, spread = x[~tried].mean(axis=0), x[~tried].std(axis=0)
        scaled = np.column_stack([np.ones(len(x)), (x - centre) / np.where(spread > 0, spread, 1.0)])
        scores[tried] = scaled[tried] @ _logistic(scaled[~tried], changed[~tried].astype(np.float64))
    return ((scores > 0) == changed) * _evened(changed), scores


def _evened(changed: Bool[np.ndarray, "twin"]) -> Float[np.ndarray, "twin"]:
    """Weights, 1 in the mean, under which edits that change the answer count as much as those that do not."""
    share = changed.mean()
    return np.where(changed, 0.5 / max(share, 1e-12), 0.5 / max(1 - share, 1e-12))


def _logistic(x: Float[np.ndarray, "twin weight"], y: Float[np.ndarray, "twin"]) -> Float[np.ndarray, "weight"]:
    """Logistic regression by Newton's method, with a ridge on all weights but the intercept."""
    weights, each = np.zeros(x.shape[1]), _evened(y > 0)
    ridge = np.full(x.shape[1], _RIDGE * len(x))
    ridge[0] = 1e-9
    for _ in range(_ITERATIONS):
        chance = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        slope = x.T @ (each * (chance - y)) + ridge * weights
        curve = (x * (each * chance * (1 - chance))[:, None]).T @ x + np.diag(ridge + 1e-9)
        weights = weights - np.linalg.solve(curve, slope)
    return weights


def _by_picture(values: Float[np.ndarray, "twin"], groups: np.ndarray) -> Float[np.ndarray, "picture"]:
    return np.array([values[groups == one].mean() for one in np.unique(groups)])
