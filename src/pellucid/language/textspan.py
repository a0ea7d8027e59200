"""What each attention head of a dual encoder writes, in texts.

Gandelsman, Efros, Steinhardt, Interpreting CLIP's image representation via text-based decomposition, ICLR 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from pellucid.errors import RequestError
from pellucid.language.pursuit import Pursuit, pursue, shuffled_numbers, within
from pellucid.language.residual import Contributions, Head
from pellucid.values import Seed

_LOTS = 10  # draws of as many texts


@dataclass(frozen=True)
class Spoken:
    """One text of a head.

    explained: what it adds to the share of the head's variance explained
    stability: share of bootstrap samples of pictures in whose list the text stands too, 0 to 1
    """

    text: str
    explained: float
    stability: float


@dataclass(frozen=True)
class HeadTexts:
    """A head in texts, the first the direction along which it tells pictures apart most.

    variance: of what the head writes, as a share of the variance of the whole embedding
    random:   share explained by as many random directions, chosen by the same rule from a pool as large
    shuffled: share explained by the same pool with each text's numbers in another order: lengths and spread are kept,
              meaning is gone
    by_lot:   share explained by as many texts of the pool drawn by lot, the best of ten draws
    """

    head: Head
    texts: tuple[Spoken, ...]
    variance: float
    random: float
    shuffled: float
    by_lot: float

    @property
    def explained(self) -> float:
        """Share of the head's variance that the texts explain together, 0 to 1."""
        return sum(said.explained for said in self.texts)

    @property
    def beats_controls(self) -> bool:
        """Whether the texts explain more than random directions, shuffled texts and texts drawn by lot do."""
        return self.explained > max(self.random, self.shuffled, self.by_lot)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "explained": self.explained, "beats_controls": self.beats_controls}

    def __str__(self) -> str:
        said = ", ".join(f"{one.text} ({one.explained:.0%})" for one in self.texts)
        verdict = "" if self.beats_controls else "; no better than its controls, so the words mean little"
        return (
            f"{self.head}: {said}. Explained {self.explained:.0%}; random directions {self.random:.0%}, shuffled texts "
            f"{self.shuffled:.0%}, as many texts by lot {self.by_lot:.0%}{verdict}."
        )


def spell_heads(
    contributions: Contributions,
    texts: Sequence[str],
    directions: Float[Tensor, "text dim"],
    *,
    heads: Iterable[Head] | None = None,
    count: int = 5,
    rank: int = 80,
    resamples: int = 10,
    seed: int = 0,
) -> tuple[HeadTexts, ...]:
    """Each head's list of texts, with what they explain beside what chance explains.

    texts, directions: the pool and its embeddings
    count:     texts per head (the paper shows 20 to 60)
    rank:      directions of the head's own output that are kept, at most its channels
    resamples: bootstrap samples of pictures, for the stability of each text
    """
    if len(texts) != len(directions):
        raise RequestError(f"{len(texts)} texts with {len(directions)} embeddings; expected one each.")
    asked = tuple(heads) if heads is not None else contributions.all_heads
    own, base = Seed(seed), _variance(contributions.embedding)
    draw = own.child("random directions").generator()
    chance = functional.normalize(torch.randn(directions.shape, generator=draw), dim=1).to(directions)
    mixed = shuffled_numbers(directions, own.child("shuffled").generator())
    found: list[HeadTexts] = []
    for head in asked:
        rows = contributions.of(head)
        chosen = text_span(rows, directions, count, rank=rank)
        steady = _stability(rows, directions, chosen.chosen, count, rank, resamples, own.child("bootstrap", head.layer))
        said = tuple(
            Spoken(texts[number], gain, share)
            for number, gain, share in zip(chosen.chosen, chosen.gains, steady, strict=True)
        )
        random, shuffled = (_last(text_span(rows, pool, count, rank=rank)) for pool in (chance, mixed))
        by_lot = _by_lot(rows, directions, count, own.child("texts by lot", head.layer, head.head))
        found.append(HeadTexts(head, said, _variance(rows) / base, random, shuffled, by_lot))
    return tuple(found)


def _by_lot(rows: Float[Tensor, "picture dim"], directions: Float[Tensor, "text dim"], count: int, seed: Seed) -> float:
    """The share of the rows' variance that as many texts of the pool explain, drawn by lot; the best draw."""
    held, generator = rows - rows.mean(dim=0), seed.generator()
    whole = held.square().sum().clamp(min=torch.finfo(rows.dtype).tiny)
    drawn = (torch.randperm(len(directions), generator=generator)[:count] for _ in range(_LOTS))
    return max(
        float(within(held, directions[one.to(directions.device)].to(held)).square().sum() / whole) for one in drawn
    )


def text_span(
    rows: Float[Tensor, "picture dim"], directions: Float[Tensor, "text dim"], count: int, *, rank: int = 80
) -> Pursuit:
    """The texts along which one head's outputs differ most, each beside those before it.

    Texts are seen through the head's own span first: only what it can write counts.
    """
    span = torch.linalg.svd(rows, full_matrices=False)
    strong = span.S.max() * torch.finfo(rows.dtype).eps * max(rows.shape) < span.S
    basis = span.Vh[strong][:rank]
    return pursue(rows - rows.mean(dim=0), directions.to(rows) @ basis.T @ basis, count, rule="spread")


def rebuilt(
    rows: Float[Tensor, "picture dim"], directions: Float[Tensor, "text dim"], count: int, *, rank: int = 80
) -> Float[Tensor, "picture dim"]:
    """The head's outputs as their mean and what the texts explain: put in its place, how much is lost?"""
    return rows - text_span(rows, directions, count, rank=rank).residual


def heads_naming(spelled: Iterable[HeadTexts], cue: Callable[[str], bool], *, among: int = 3) -> tuple[Head, ...]:
    """Heads with a text that names a property among their first, those that explain most of the embedding first.

    cue: whether a text names it. No label and no group of any picture is asked for.
    """
    naming = [one for one in spelled if any(cue(said.text) for said in one.texts[:among])]
    return tuple(one.head for one in sorted(naming, key=lambda one: -one.variance))


@dataclass(frozen=True, eq=False)
class ZeroShotMasks:
    """Where a text lies in each picture.

    scores: per patch, above the mean over the texts compared [picture text rows columns]
    """

    scores: Float[Tensor, "picture text rows columns"]

    def maps(self, size: tuple[int, int]) -> Float[Tensor, "picture text height width"]:
        """0 to 1 at picture size: bilinear, below zero cut off."""
        raised = functional.interpolate(self.scores, size, mode="bilinear", align_corners=False).clamp(min=0)
        return raised / raised.amax(dim=(-2, -1), keepdim=True).clamp(min=1e-12)

    def masks(self, size: tuple[int, int]) -> Bool[Tensor, "picture text height width"]:
        """Where the map is above its own mean."""
        maps = self.maps(size)
        return maps > maps.mean(dim=(-2, -1), keepdim=True)


def zero_shot_masks(
    contributions: Contributions, texts: Float[Tensor, "text dim"], *, places: bool = False
) -> ZeroShotMasks:
    """Each patch's part of the cosine with each text, less the mean over the texts.

    places: count in what MLPs and the first tokens write where they stand, for towers that pool over patches
    """
    written = contributions.patches + contributions.places if places else contributions.patches
    scores = (
        torch.einsum("pnd,td->ptn", written, texts.to(written)) / contributions.embedding.norm(dim=1)[:, None, None]
    )
    scores = scores - scores.mean(dim=1, keepdim=True) if len(texts) > 1 else scores
    return ZeroShotMasks(scores.unflatten(2, contributions.grid))


def _stability(
    rows: Tensor, directions: Tensor, chosen: Sequence[int], count: int, rank: int, resamples: int, seed: Seed
) -> list[float]:
    if not resamples:
        return [float("nan")] * len(chosen)
    generator = seed.generator()
    times = dict.fromkeys(chosen, 0)
    for _ in range(resamples):
        drawn: Int64[Tensor, "picture"] = torch.randint(len(rows), (len(rows),), generator=generator)
        again = set(text_span(rows[drawn.to(rows.device)], directions, count, rank=rank).chosen)
        for number in times:
            times[number] += number in again
    return [times[number] / resamples for number in chosen]


def _variance(rows: Tensor) -> float:
    return float((rows - rows.mean(dim=0)).square().sum(dim=1).mean())


def _last(found: Pursuit) -> float:
    return found.explained[-1] if found.explained else 0.0
