"""Are descriptions that single out understood? Measured on fresh flocks, where it is known which bird is which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.compute.bootstrap import Interval, difference, interval
from pellucid.errors import RequestError
from pellucid.language.references import (
    Judge,
    Reference,
    bird_texts,
    meant,
    refer,
    shown,
    true_of,
    words_of,
)
from pellucid.testbed import captions
from pellucid.testbed.fields import BIRDS, TOUCHING, fields_of_bird
from pellucid.testbed.scene import Scenes
from pellucid.values import Seed


@dataclass(frozen=True)
class Heard:
    """How descriptions of one manner fared.

    found:     share of regions that the listener found
    singles:   share of descriptions that are true of their bird and of no other, by the renderer's record
    true:      share that are true of their bird
    words:     how many words they have, mean
    """

    found: Interval
    singles: float
    true: float
    words: float

    def __str__(self) -> str:
        return (
            f"found {self.found.mean:.1%} ({self.found.low:.1%} to {self.found.high:.1%}), true of this bird and no "
            f"other {self.singles:.1%}, true {self.true:.1%}, {self.words:.1f} words"
        )


@dataclass(frozen=True)
class Understood:
    """Whether contrast makes descriptions that are understood.

    contrastive: chosen for singling out
    plain:       chosen for being likely of the region alone
    random:      candidates drawn at random, of as many words as the contrastive one
    blind:       the contrastive descriptions of another picture's birds
    placed:      share of contrastive descriptions that also tell the place
    by_words:    share of regions found from the contrastive words without their place
    chance:      mean of one over the number of birds
    gain:        by how much more often the contrastive ones are found than the plain ones
    """

    speaker: str
    listener: str
    scenes: int
    seed: int
    birds: int
    contrastive: Heard
    plain: Heard
    random: Heard
    blind: Interval
    placed: float
    by_words: Interval
    chance: float
    gain: Interval

    @property
    def helps(self) -> bool:
        """Whether contrast beats the plain caption and every control."""
        others = max(self.random.found.high, self.blind.high, self.chance)
        return self.gain.low > 0 and self.contrastive.found.low > others

    @property
    def verdict(self) -> str:
        if self.helps:
            return "Choosing words for what they tell apart makes the listener find the bird more often."
        if self.contrastive.found.low > max(self.random.found.high, self.blind.high, self.chance):
            return "The descriptions are understood, but contrast adds nothing to the likeliest caption."
        return "The listener does no better than with words that mean nothing here."

    def __str__(self) -> str:
        return "\n".join([
            f"{self.birds} birds in {self.scenes} flocks of seed {self.seed}; {self.speaker} speaks, {self.listener} "
            f"listens; chance {self.chance:.1%}.",
            f"contrastive: {self.contrastive}; {self.placed:.1%} tell the place too (words alone: found "
            f"{self.by_words.mean:.1%})",
            f"likeliest:   {self.plain}",
            f"random:      {self.random}",
            f"blind, told of another flock: found {self.blind.mean:.1%}",
            f"Gain over the likeliest caption {self.gain.mean:+.1%} ({self.gain.low:+.1%} to {self.gain.high:+.1%}). "
            f"{self.verdict}",
        ])  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "helps": self.helps, "beats_controls": self.helps, "verdict": self.verdict}


@dataclass(frozen=True, eq=False)
class _Flock:
    squares: Tensor
    boxes: Tensor
    facts: tuple[dict[str, str], ...]
    contrastive: tuple[Reference, ...]
    plain: tuple[Reference, ...]


def trial(
    drawn: Scenes, speaker: Judge, listener: Judge, *, names: tuple[str, str] = ("dual", "witness"), seed: int = 0
) -> Understood:
    """Every bird of every flock described and looked for again, by its true box. Raises RequestError for no flock."""
    if not drawn.world.flock or len(drawn) < 2:
        raise RequestError("Give two scenes or more with several birds: scenes(seed, count, mode='flock', size=128).")
    texts = bird_texts()
    flocks = [flock for at in range(len(drawn)) if (flock := _flock(drawn[at], speaker, texts)) is not None]
    pool: dict[int, list[str]] = {}
    for text in texts:
        pool.setdefault(len(text.split()), []).append(text)
    generator = Seed(seed).child("random descriptions").generator()
    rows: list[tuple[bool, bool, bool, bool, bool]] = []
    said: dict[str, list[tuple[str, _Flock, int]]] = {"contrastive": [], "plain": [], "random": []}
    for at, flock in enumerate(flocks):
        stranger = flocks[(at + 1) % len(flocks)]
        for region, one in enumerate(flock.contrastive):
            alike = pool[len(one.words.split())]
            drawn_text = alike[int(torch.randint(len(alike), (1,), generator=generator))]
            blind = stranger.contrastive[region % len(stranger.contrastive)].words
            told = (one.text, flock.plain[region].text, drawn_text, blind, one.words)
            logits = listener(flock.squares, [words_of(text) for text in told])
            hits = [
                int(meant(text, logits[:, column], flock.boxes).argmax()) == region for column, text in enumerate(told)
            ]
            rows.append((hits[0], hits[1], hits[2], hits[3], hits[4]))
            for manner, text in zip(said, told, strict=False):
                said[manner].append((text, flock, region))
    hits = np.array(rows, dtype=float)
    heard = [_heard(said[manner], hits[:, column]) for column, manner in enumerate(said)]
    return Understood(
        *names, len(flocks), int(drawn.seed), len(rows), *heard, blind=interval(hits[:, 3]),
        placed=float(np.mean([bool(one.place) for flock in flocks for one in flock.contrastive])),
        by_words=interval(hits[:, 4]),
        chance=float(np.mean([1 / len(flock.boxes) for flock in flocks for _ in flock.boxes])),
        gain=difference(hits[:, 0], hits[:, 1]),
    )  # fmt: skip


def _flock(scene: Scenes, speaker: Judge, texts: Sequence[str]) -> _Flock | None:
    """The birds of one scene that show, with what is said of each; None where fewer than two do."""
    boxes = torch.from_numpy(scene.bird_boxes()[0]).float()
    there = [bird for bird in range(min(BIRDS, int(scene.counts[0]))) if float(boxes[bird].sum()) > 0]
    if len(there) < 2:
        return None
    squares = shown(scene.tensor()[0], boxes[there])
    scores = speaker(squares, texts)
    facts = tuple(captions.facts(_alone(scene, bird))[0] for bird in there)
    return _Flock(
        squares, boxes[there], facts, refer(scores, texts, boxes[there]),
        refer(scores, texts, boxes[there], contrast=False),
    )  # fmt: skip


def _alone(scene: Scenes, bird: int) -> dict[str, Any]:
    own = fields_of_bird(scene.fields, bird)
    return {name: values for name, values in own.items() if name != "birds"}


def _heard(said: Sequence[tuple[str, _Flock, int]], hits: np.ndarray) -> Heard:
    singles: list[bool] = []
    true: list[bool] = []
    for text, flock, region in said:
        verdicts = [true_of(text, facts) for facts in flock.facts]
        true.append(verdicts[region])
        placed = ", the " in text
        singles.append(verdicts[region] and (placed or sum(verdicts) == 1))
    length = float(np.mean([len(text.split()) for text, _, _ in said]))
    return Heard(interval(hits), float(np.mean(singles)), float(np.mean(true)), length)


def alike_in_hue(drawn: Scenes) -> Scenes:
    """The same flocks with all birds in the first one's hue, where none of their parts that touch the body has it."""
    hue = drawn.fields["body_hue"]
    changed: dict[str, np.ndarray] = {}
    for bird in range(1, BIRDS):
        free = np.all([drawn.fields[f"bird{bird}_{part}"] != hue for part in TOUCHING], axis=0)
        changed[f"bird{bird}_body_hue"] = np.where(free, hue, drawn.fields[f"bird{bird}_body_hue"])
    return drawn.with_fields(**changed)
