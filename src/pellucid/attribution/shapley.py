"""Fair shares of a game between segments of the picture, worked out to the last coalition."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pellucid.attribution.players import few_segments_of, scores_shown, shares_on_pixels
from pellucid.attribution.surrogates import efficiency
from pellucid.engine import Evidence
from pellucid.registry import method
from pellucid.values import Scores

MOST_PLAYERS = 12  # 4,096 coalitions
MOST_OF_HIERARCHY = 64  # 11,000 of them


def _players(segments: Any) -> int:
    return segments if isinstance(segments, int) else len(torch.as_tensor(segments).unique())


def _all_coalitions(*, segments: Any = 8, **_: Any) -> float:
    return 2.0 ** _players(segments) - 1


@method(
    "exact_shapley", needs=[Scores], paper="Shapley 1953", signed=True, cost=_all_coalitions, promise=efficiency
)  # fmt: skip
def exact_shapley(
    evidence: Evidence, *, segments: int | Int[Tensor, "height width"] = 8, baseline: str = "blur"
) -> Float[Tensor, "batch height width"]:
    """Each segment's fair share (Shapley value) of what hiding the picture costs, from every coalition there is.

    segments: exactly how many, 2 to 12, or a map of segment numbers [height width] with as few; superpixels, of which
              neighbours of similar colour are joined until no more are left
    baseline: what hidden segments become
    returns:  the share spread evenly over the segment's pixels: the map sums to target(picture) - target(baseline).
              A share is the segment's own contribution to a coalition, averaged over all orders in which they join
    """
    maps = few_segments_of(evidence, segments, MOST_PLAYERS)
    games = [_every_coalition(int(numbers.max()) + 1) for numbers in maps]
    scores = scores_shown(evidence, maps, [game[:-1] for game in games], baseline).double()
    whole = evidence.score().double().cpu()
    painted: list[Tensor] = []
    for index, (numbers, game) in enumerate(zip(maps, games, strict=True)):
        worth = torch.cat([scores[index, : len(game) - 1], whole[index, None]])
        painted.append(shares_on_pixels(shapley_values(worth), numbers))
    return torch.stack(painted).to(evidence.inputs)


def shapley_values(worth: Float[Tensor, "coalition"]) -> Float[Tensor, "player"]:
    """Shapley values of a game: `worth` of every coalition, whose number has the bits of its players."""
    count = len(worth).bit_length() - 1
    coalitions = torch.arange(len(worth))
    sizes = _every_coalition(count).sum(dim=1).long()
    chance = torch.tensor([1 / (count * math.comb(count - 1, size)) for size in range(count)]).to(worth)
    values: list[Tensor] = []
    for player in range(count):
        without = coalitions[(coalitions >> player & 1) == 0]
        values.append((chance[sizes[without]] * (worth[without + 2**player] - worth[without])).sum())
    return torch.stack(values)


def _every_coalition(count: int) -> Float[Tensor, "coalition player"]:
    return (torch.arange(2**count)[:, None] >> torch.arange(count) & 1).double()


def _halved(count: int, contexts: int = 1) -> int:
    """Coalitions that the halves of `count` segments are tried in, and so on down to single ones."""
    if count == 1:
        return 0
    first = (count + 1) // 2
    return 2 * contexts + _halved(first, 2 * contexts) + _halved(count - first, 2 * contexts)


def _of_hierarchy(*, segments: Any = 16, **_: Any) -> float:
    return 1.0 + _halved(_players(segments))


@method("owen", needs=[Scores], paper="Owen 1977", signed=True, cost=_of_hierarchy, promise=efficiency)
def owen(
    evidence: Evidence, *, segments: int | Int[Tensor, "height width"] = 16, baseline: str = "blur"
) -> Float[Tensor, "batch height width"]:
    """Each segment's fair share where neighbours play as one: halves of the picture share first, then halves of those.

    segments: exactly how many, 2 to 64, or a map of segment numbers [height width]. They are halved along the longer
              side of where they lie, again and again, down to single ones
    baseline: what hidden segments become
    returns:  the Owen value, that is the Shapley value over those orders only in which a group, once begun, is
              completed first; spread over the segment's pixels, so that the map sums to target(picture) -
              target(baseline). 16 segments take 171 coalitions instead of 65,536
    """
    maps = few_segments_of(evidence, segments, MOST_OF_HIERARCHY)
    trees = [_Group.of(numbers) for numbers in maps]
    empty, whole = evidence.score_of_fill(baseline).double().cpu(), evidence.score().double().cpu()
    for tree, least, most in zip(trees, empty, whole, strict=True):
        tree.contexts = [_Context(torch.zeros(tree.players).double(), float(least), float(most))]
    level = [[tree] for tree in trees]
    while any(level):
        asked = [[choice for group in groups for choice in group.asked()] for groups in level]
        blank = torch.zeros(0, 1).double()
        scores = scores_shown(evidence, maps, [torch.stack(one) if one else blank for one in asked], baseline)
        for groups, answers in zip(level, scores.tolist(), strict=True):
            answer = iter(answers)
            for group in groups:
                group.answered([next(answer) for _ in range(2 * len(group.contexts))])
        level = [[half for group in groups for half in group.halves if half.halves] for groups in level]
    painted = [shares_on_pixels(tree.shares(), numbers) for tree, numbers in zip(trees, maps, strict=True)]
    return torch.stack(painted).to(evidence.inputs)


class _Context:
    """Who is shown beside a group, and what the target is without and with the group."""

    def __init__(self, beside: Float[Tensor, "player"], without: float, having: float) -> None:
        self.beside, self.without, self.having = beside, without, having


class _Group:
    """Some segments, their two halves, and the contexts in which the group as a whole was tried."""

    def __init__(self, members: list[int], players: int, halves: tuple[_Group, ...]) -> None:
        self.members, self.players, self.halves = members, players, halves
        self.contexts: list[_Context] = []

    @classmethod
    def of(cls, numbers: Int[Tensor, "height width"]) -> _Group:
        """The hierarchy over a map of segment numbers."""
        count = int(numbers.max()) + 1
        sizes = numbers.flatten().bincount(minlength=count)
        rows, columns = (
            numbers.flatten().bincount(axis.expand_as(numbers).flatten().double(), minlength=count) / sizes
            for axis in (torch.arange(numbers.shape[0])[:, None], torch.arange(numbers.shape[1])[None, :])
        )
        return cls._halved(list(range(count)), rows.tolist(), columns.tolist())

    @classmethod
    def _halved(cls, members: list[int], rows: list[float], columns: list[float]) -> _Group:
        if len(members) == 1:
            return cls(members, len(rows), ())
        extents = [max(axis[one] for one in members) - min(axis[one] for one in members) for axis in (rows, columns)]
        longer = rows if extents[0] > extents[1] else columns
        ordered = sorted(members, key=lambda one: (longer[one], one))
        middle = (len(ordered) + 1) // 2
        parts = ordered[:middle], ordered[middle:]
        return cls(members, len(rows), tuple(cls._halved(part, rows, columns) for part in parts))

    def asked(self) -> list[Float[Tensor, "player"]]:
        """In every context, the one half shown beside it, then the other."""
        return [half.joined(context.beside) for context in self.contexts for half in self.halves]

    def answered(self, scores: list[float]) -> None:
        """What was answered makes the contexts of the halves: each without and with its sibling."""
        one, other = self.halves
        for context, alone, rest in zip(self.contexts, scores[::2], scores[1::2], strict=True):
            one.contexts += [
                _Context(context.beside, context.without, alone),
                _Context(other.joined(context.beside), rest, context.having),
            ]
            other.contexts += [
                _Context(context.beside, context.without, rest),
                _Context(one.joined(context.beside), alone, context.having),
            ]

    def joined(self, beside: Float[Tensor, "player"]) -> Float[Tensor, "player"]:
        shown = beside.clone()
        shown[self.members] = 1
        return shown

    def shares(self) -> Float[Tensor, "player"]:
        """Of every segment, what it adds on average over its contexts."""
        if not self.halves:
            found = torch.zeros(self.players).double()
            found[self.members[0]] = sum(one.having - one.without for one in self.contexts) / len(self.contexts)
            return found
        return self.halves[0].shares() + self.halves[1].shares()
