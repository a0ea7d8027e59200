"""Deletion and insertion by the tokens of a transformer: what is gone is not painted over but never there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pellucid.engine import Answers, Evidence
from pellucid.engine.perturb import Side, digest, ranking, sums_over, whole_answers
from pellucid.engine.token_drop import droppable_grid, fewest_tokens, token_answers
from pellucid.errors import RequestError
from pellucid.trust.measured import Maps
from pellucid.trust.removal import Along, blanked, counted, followed
from pellucid.values.seed import Seed

MODES = ("pixels", "token_drop")
DROPPED = "tokens dropped"
ANOTHER_QUESTION = (
    "tokens were dropped from the sequence: another question than painted pixels, and not to be compared with them"
)


def drops_tokens(mode: str) -> bool:
    """Whether tokens are to be dropped rather than pixels painted. Raises RequestError for a mode there is not."""
    if mode not in MODES:
        raise RequestError(f"mode={mode!r}; expected {' or '.join(MODES)}.")
    return mode == "token_drop"


def token_fractions(evidence: Evidence, fractions: Sequence[float]) -> tuple[float, ...]:
    """The fractions in whole tokens, each once. Raises MethodUnavailable where tokens cannot be dropped."""
    count = tokens_of(evidence)
    return tuple(done / count for done in sorted({round(fraction * count) for fraction in fractions}))


def tokens_of(evidence: Evidence) -> int:
    """Patch tokens of a picture. Raises MethodUnavailable where tokens cannot be dropped."""
    grid = droppable_grid(evidence)
    return grid.rows * grid.columns


def token_lines(
    evidence: Evidence, maps: Maps, fractions: Sequence[float], curves: Sequence[str], seed: Seed | None = None,
    read: Callable[[Answers], Float[Tensor, "batch"]] | None = None,
) -> dict[str, dict[str, Float[Tensor, "1 batch point"]]]:  # fmt: skip
    """What is followed as a map's first tokens go (`deletion`) or only they are there (`insertion`), per curve and map.

    read: what is taken of each answer; None is what `followed` names. Answers are kept, so asking again costs nothing

    Tokens are ranked by the sum of the map over their patch, ties broken by the seed. Where the mean over the grid is
    read, one token stays to the end: with none there would be no answer.
    """
    count, least = tokens_of(evidence), fewest_tokens(evidence)
    seed = seed or Seed(int(evidence.seed))
    known: dict[tuple[str, int, int, str], Answers] = evidence.remember(DROPPED, dict)
    asked: dict[tuple[str, int, int, str], Tensor] = {}
    table: dict[str, dict[str, list[tuple[str, int, int, str] | None]]] = {curve: {} for curve in curves}
    for name, values in maps.items():
        order = _order(evidence, values, seed)
        for curve in curves:
            row = table[curve][name] = []
            for fraction in fractions:
                first = round(fraction * count)
                stay = max(least, count - first if curve == "deletion" else first)
                if stay == count:
                    row.append(None)
                    continue
                key = ("", 0, 0, "") if stay == 0 else (digest(values), int(seed), stay, curve)
                asked.setdefault(key, order[:, count - stay :] if curve == "deletion" else order[:, :stay])
                row.append(key)
    missing = [key for key in asked if key not in known]
    known.update(zip(missing, token_answers(evidence, [asked[key] for key in missing]), strict=True))
    whole, read = whole_answers(evidence), read or followed(evidence).read

    def line(row: Sequence[tuple[str, int, int, str] | None]) -> Float[Tensor, "1 batch point"]:
        return torch.stack([read(whole if key is None else known[key]) for key in row], dim=-1)[None]

    return {
        curve: blanked({name: line(row) for name, row in rows.items()}, maps, axis=-2) for curve, rows in table.items()
    }


def tokens_along(evidence: Evidence, maps: Maps, side: Side, parts: Sequence[float], seed: int | None = None) -> Along:
    """As `along` says it of pixels: with those parts of a map's first tokens gone (`removed`), or only they there."""
    counted(parts, tokens_of(evidence))
    curve, drawn = ("deletion" if side == "removed" else "insertion"), None if seed is None else Seed(seed)
    whole, what = whole_answers(evidence), followed(evidence)
    values = token_lines(evidence, maps, parts, (curve,), drawn)[curve]
    same = lambda answers: (answers.predicted == whole.predicted).float()
    firm = token_lines(evidence, maps, parts, (curve,), drawn, read=same)[curve]
    return Along(values, firm, what.read(whole), what.unit)


def token_labels(size: tuple[int, int], grid: tuple[int, int]) -> Int[Tensor, "height width"]:
    """For every pixel the patch it lies in, row by row."""
    (height, width), (rows, columns) = size, grid
    row, column = torch.arange(height) * rows // height, torch.arange(width) * columns // width
    return row[:, None] * columns + column[None, :]


def _order(evidence: Evidence, values: Float[Tensor, "batch height width"], seed: Seed) -> Int[Tensor, "batch token"]:
    """Tokens from the most to the least important."""
    grid = droppable_grid(evidence)
    sums = sums_over(values.nan_to_num(0.0, 0.0, 0.0), token_labels(evidence.size, (grid.rows, grid.columns)))
    return ranking(sums[:, None], seed.child("ties"))[:, 0].argsort(dim=1)
