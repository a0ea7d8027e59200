"""Are groups on which a net errs found without being told? Groups first and words after, with and without masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.language.failures import Answers, Pictures
from pellucid.language.failures.keywords import Keyword, KeywordControls, beside_keywords, keywords
from pellucid.language.failures.masked import QUANTILE, masked
from pellucid.language.failures.slices import DOMINO, FACTS, Mixing, Slice, each_class, named, precision, slices
from pellucid.language.failures.tags import bird_tags
from pellucid.language.pools import encoder_for
from pellucid.language.residual import image_embeddings, text_embeddings
from pellucid.stories.maps import attribute
from pellucid.subject import VisionModel
from pellucid.testbed import nets
from pellucid.testbed.captions import PLACES
from pellucid.testbed.nets import AGREEMENT
from pellucid.values import Class

BACKENDS: dict[str, Mixing] = {"DOMINO": each_class(DOMINO), "FACTS": FACTS}
CAPTIONED = 1200
_CHUNK = 100


@dataclass(frozen=True)
class Sliced:
    """One backend, with masks or without.

    precision: share of misleading scenes among the ten that belong most to a slice, in the best slice of each class;
               mean over classes
    by_lot:    the same where the pictures of a slice are drawn by lot
    cued:      share of the worst slices, one of each class, whose first three words name a landscape
    cued_by_lot: the same of words that name groups of pictures drawn by lot, as large
    """

    backend: str
    masked: bool
    precision: float
    by_lot: float
    cued: float
    cued_by_lot: float

    @property
    def beats_controls(self) -> bool:
        """Whether slices hold more of what was planted than groups by lot, and are named for it more often."""
        return self.precision > self.by_lot and self.cued > self.cued_by_lot

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "beats_controls": self.beats_controls}


@dataclass(frozen=True)
class Slicing:
    """What groups and keywords gave for one net.

    misleading: share of scenes whose landscape does not agree, which is what a slice by lot would hold
    keywords:   with and without masks, suspicious keywords, and how many of them name a landscape
    keyword_controls: of the same, in that order
    """

    model: str
    pictures: int
    misleading: float
    rows: tuple[Sliced, ...]
    keywords: tuple[tuple[bool, int, int, tuple[str, ...]], ...]
    keyword_controls: tuple[KeywordControls, ...]

    def __str__(self) -> str:
        lines = [
            f"{self.model}, {self.pictures} scenes, {self.misleading:.1%} of them mislead",
            f"{'':10}{'pictures':10}precision at 10  by lot  slices named for a landscape  groups by lot",
        ]
        for row in self.rows:
            verdict = "" if row.beats_controls else "  It does not beat its controls."
            lines.append(
                f"{row.backend:10}{_shown(row.masked):10}{row.precision:15.3f} {row.by_lot:7.3f} {row.cued:14.0%} "
                f"{row.cued_by_lot:29.0%}{verdict}"
            )
        for (masks, count, cued, first), beside in zip(self.keywords, self.keyword_controls, strict=True):
            lines.append(
                f"Bias-to-Text, {_shown(masks)}: {cued} of {count} suspicious keywords name a landscape. "
                f"{'; '.join(first)}\n{beside}"
            )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        controls = [one.to_dict() for one in self.keyword_controls]
        return {**vars(self), "rows": [row.to_dict() for row in self.rows], "keyword_controls": controls,
                "beats_controls": self.beats_controls}  # fmt: skip

    @property
    def beats_controls(self) -> bool:
        """Whether all of it does better than where there is nothing to find."""
        return all(one.beats_controls for one in (*self.rows, *self.keyword_controls))


def _shown(masks: bool) -> str:
    return "masked" if masks else "whole"


def slicing(model: VisionModel, *, count: int = 6000, seed: int = 3200, strength: float = AGREEMENT) -> Slicing:
    """DOMINO, FACTS and Bias-to-Text on scenes where few landscapes mislead, on whole and on masked pictures.

    FACTS amplifies the shortcut of the model first; a net that follows it in all misleading scenes needs none of that,
    and `remedies.amplified` does it for others.
    """
    pictures = Pictures(seed=seed, count=count, strength=strength)
    drawn = pictures.scenes()
    inputs = drawn.tensor()
    answers = pictures.answers(model, inputs)
    shown = _seen_by(model, inputs, answers)
    words = bird_tags()
    encoder = encoder_for(words)
    texts = np.stack([text_embeddings(encoder, word.sentences).mean(dim=0).cpu().numpy() for word in words.words])
    planted = [(answers.labels == number) & ~drawn.aligned for number in range(len(answers.classes))]
    rows: list[Sliced] = []
    said: list[tuple[bool, int, int, tuple[str, ...]]] = []
    controls: list[KeywordControls] = []
    encode = lambda asked: text_embeddings(encoder, asked).cpu().double().numpy()
    for masks, part in ((False, inputs), (True, shown)):
        points = image_embeddings(encoder, part).cpu().double().numpy()
        for name, mixing in BACKENDS.items():
            found = slices(points, answers, mixing, seed=seed)
            rows.append(_row(name, masks, found, planted, points, answers, texts, words.names, seed))
        told, beside = _keywords(masks, part, points, answers, encode, seed)
        said.append(told)
        controls.append(beside)
    return Slicing(
        model.spec or model.name, count, float((~drawn.aligned).mean()), tuple(rows), tuple(said), tuple(controls)
    )


def _seen_by(model: VisionModel, inputs: Tensor, answers: Answers) -> Tensor:
    parts: list[Tensor] = []
    for part, said in zip(inputs.split(_CHUNK), torch.from_numpy(answers.said).split(_CHUNK), strict=True):
        heat = attribute(model, part, "grad_cam", target=[Class(one) for one in said.tolist()]).one_channel.cpu()
        parts.append(masked(part, heat, quantile=QUANTILE).pictures)
    return torch.cat(parts)


def _row(
    name: str, masks: bool, found: Sequence[Slice], planted: Sequence[Bool[np.ndarray, "picture"]],
    points: Float[np.ndarray, "picture dim"], answers: Answers, texts: Float[np.ndarray, "text dim"],
    words: Sequence[str], seed: int,
) -> Sliced:  # fmt: skip
    rng = np.random.default_rng(seed)
    best: list[float] = []
    lots: list[float] = []
    cued: list[bool] = []
    cued_by_lot: list[bool] = []
    for number, group in enumerate(planted):
        own = [one for one in found if one.number == number]
        best.append(precision(own, [group])[1])
        lots.append(max(float(group[rng.permutation(one.members)[:10]].mean()) for one in own))
        lot = replace(own[0], weights=_dealt(own[0].weights, answers.labels == number, rng))
        for one, kept in ((own[0], cued), (lot, cued_by_lot)):
            told = named(one, points, answers.labels, texts, words)
            kept.append(any(word in PLACES for word, _ in told))
    return Sliced(
        name, masks, float(np.nanmean(best)), float(np.mean(lots)), float(np.mean(cued)), float(np.mean(cued_by_lot))
    )


def _dealt(
    weights: Float[np.ndarray, "picture"], group: Bool[np.ndarray, "picture"], rng: np.random.Generator
) -> Float[np.ndarray, "picture"]:
    """How much each picture belongs to a slice, dealt to other pictures of the class."""
    dealt = weights.copy()
    dealt[group] = rng.permutation(weights[group])
    return dealt


def _keywords(
    masks: bool, part: Tensor, points: Float[np.ndarray, "picture dim"], answers: Answers, encode: Any, seed: int
) -> tuple[tuple[bool, int, int, tuple[str, ...]], KeywordControls]:
    """Bias-to-Text on as many wrong as right pictures, captioned by the testbed's captioner."""
    rng = np.random.default_rng(seed)
    wrong, right = (rng.permutation(np.flatnonzero(one))[: CAPTIONED // 2] for one in (~answers.right, answers.right))
    chosen = np.sort(np.concatenate([wrong, right]))
    writer = nets.loaded("captioner", nets.Captioner)
    captions = [text for block in part[torch.from_numpy(chosen)].split(_CHUNK) for text in writer.generate(block)]
    found: tuple[Keyword, ...] = keywords(answers[chosen], captions, points[chosen], encode, template="a bird , {}")
    suspicious = [one for one in found if one.suspicious]
    lands = {place.split()[-1] for place in PLACES}
    cued = sum(one.word.split()[-1] in lands for one in suspicious)
    beside = beside_keywords(
        found, answers[chosen], captions, points[chosen], encode, template="a bird , {}", seed=seed
    )
    return (masks, len(suspicious), cued, tuple(f"{one.name}: {one.word}" for one in suspicious[:5])), beside
