"""Where the answer to a question is seen, and which channels the question lets through.

Khoshsirat and Kambhamettu, Sentence attention blocks for answer grounding, ICCV 2023. A gate is a statement of the net
about itself; two tests say what it is worth: another question must give another mask, and with all gates open the
question must be lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.compute.bootstrap import Interval, difference, interval
from pellucid.errors import RequestError
from pellucid.images import Frame
from pellucid.images.masks import iou
from pellucid.images.position import in_words
from pellucid.language.word_controls import shuffled_cells
from pellucid.testbed import nets
from pellucid.testbed.asked_places import Asked, about_birds, about_parts, swapped
from pellucid.testbed.nets import Answerer
from pellucid.testbed.scene import Scenes
from pellucid.values import Seed

_STAGES = (0, 1, 2)
_BATCH = 100
ALIKE = 0.5  # overlap from which two masks are much the same
SHUT = 0.1  # a gate below this passes next to nothing


@dataclass(frozen=True, eq=False)
class Ground:
    """Where one answer is seen.

    mask:    in the picture
    gates:   of each stage how much of every channel passed, 0 to 1
    other:   the mask of the other question
    overlap: of the two masks, 0 to 1; high where the question does not matter
    opened, random_words, blind: overlap of the mask with that of all gates open, of as many random words for a
             question, and of the same question about the picture in shuffled pieces
    """

    question: str
    instead: str
    mask: Bool[np.ndarray, "height width"]
    gates: tuple[Float[np.ndarray, "_"], ...]
    other: Bool[np.ndarray, "height width"]
    overlap: float
    moved: float
    opened: float
    random_words: float
    blind: float

    @property
    def beats_controls(self) -> bool:
        """Whether there is a mask, and it is mostly another than without the question, the gates or the picture."""
        others = (self.overlap, self.opened, self.random_words, self.blind)
        return bool(self.mask.any()) and max(others) < ALIKE

    def __str__(self) -> str:
        verdict = (
            "" if self.beats_controls
            else " It does not beat its controls: the mask need not come from the question and the picture."
        )  # fmt: skip
        shut = ", ".join(f"{int((stage < SHUT).sum())} of {len(stage)}" for stage in self.gates)
        return (
            f"“{self.question}” is answered at {in_words(self.mask)}, {self.mask.mean():.1%} of the picture.\n"
            f"Channels it shuts, stage by stage: {shut}. “{self.instead}” sets the gates otherwise by {self.moved:.2f} "
            f"on average, and is answered at {in_words(self.other)}; the two masks share {self.overlap:.0%}. With "
            f"all gates open the mask shares {self.opened:.0%} with it, with as many random words for a question "
            f"{self.random_words:.0%}, with the picture in shuffled pieces {self.blind:.0%}.{verdict}"
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "question": self.question, "instead": self.instead, "mask": self.mask.astype(int).tolist(),
            "gates": [stage.tolist() for stage in self.gates], "other": self.other.astype(int).tolist(),
            "overlap": self.overlap, "moved": self.moved, "opened": self.opened, "random_words": self.random_words,
            "blind": self.blind, "beats_controls": self.beats_controls,
        }  # fmt: skip


@dataclass(frozen=True)
class Grounding:
    """Overlap of masks with where the answer is seen, and controls of the same questions.

    own:     of the question
    swapped: of another question about another part, against the same place
    opened:  with all gates open, whatever is asked
    centre:  of the middle quarter of the picture
    gain:    by how much more the own question overlaps than the swapped one
    gated:   by how much more it overlaps than with the gates open
    """

    kind: str
    questions: int
    own: Interval
    swapped: float
    opened: float
    centre: float
    gain: Interval
    gated: Interval

    @property
    def listens(self) -> bool:
        """Whether the mask follows the question, and does so through the gates."""
        return self.gain.low > 0 and self.gated.low > 0 and self.own.low > self.centre

    def __str__(self) -> str:
        verdict = (
            "The mask follows the question, through the gates." if self.listens
            else "It does not beat its controls: the gates explain nothing."
        )  # fmt: skip
        return (
            f"{self.kind}, {self.questions} questions: overlap {self.own.mean:.2f} ({self.own.low:.2f} to "
            f"{self.own.high:.2f}); another question asked {self.swapped:.2f}, all gates open {self.opened:.2f}, the "
            f"picture's middle {self.centre:.2f}. {verdict}"
        )


@dataclass(frozen=True)
class GroundingTrial:
    """The trial on single birds, asked about their parts, and on flocks, asked where one bird is."""

    seed: int
    parts: Grounding
    which: Grounding

    def __str__(self) -> str:
        return f"Fresh scenes of seed {self.seed}\n{self.parts}\n{self.which}"

    def to_dict(self) -> dict[str, Any]:
        both = self.parts.listens and self.which.listens
        listens = {"parts": self.parts.listens, "which": self.which.listens}
        return {**asdict(self), "listens": listens, "beats_controls": both}


def opened() -> Answerer:
    """The testbed's net that grounds answers."""
    return nets.loaded("answerer", Answerer)


@torch.no_grad()
def ground(net: Answerer, frame: Frame, question: str, *, instead: str, seed: int = 0) -> Ground:
    """Where the answer to a question is seen, beside that of another question.

    Raises RequestError where both are the same, SceneError for words that the net does not know.
    """
    if question == instead:
        raise RequestError("The other question is the same; ask another, so that its mask can be compared.")
    picture = frame.tensor()
    texts = [question, instead, _random_words(net, question, seed), question]
    pictures = torch.cat([picture.expand(3, -1, -1, -1), shuffled_cells(picture, seed=Seed(seed))])
    found = net.ground(pictures, net.words.encode(texts))
    masks = (found.logits > 0).numpy()
    free = (net.ground(picture, net.words.encode([question]), opened=_STAGES).logits > 0).numpy()[0]
    shared = lambda other: iou(masks[0], other) if masks[0].any() else 0.0
    moved = float(np.mean([float((stage[0] - stage[1]).abs().mean()) for stage in found.gates]))
    return Ground(
        question, instead, masks[0], tuple(stage[0].numpy() for stage in found.gates), masks[1],
        iou(masks[0], masks[1]) if masks[:2].any() else 0.0, moved, shared(free), shared(masks[2]), shared(masks[3]),
    )  # fmt: skip


def _random_words(net: Answerer, question: str, seed: int) -> str:
    """As many words as the question has, of those that the net knows."""
    listed, generator = [word for word in net.words.listed if word.isalpha()], Seed(seed).child("words").generator()
    count = len(net.words.numbers(question))
    return " ".join(listed[int(at)] for at in torch.randint(len(listed), (count,), generator=generator))


def trial(net: Answerer, single: Scenes, flocks: Scenes) -> GroundingTrial:
    """Both tests on scenes that the net has not learned from."""
    return GroundingTrial(
        int(single.seed), _tried(net, "Parts of a bird", single, about_parts(single, 2)),
        _tried(net, "Which bird", flocks, about_birds(flocks)),
    )  # fmt: skip


def _tried(net: Answerer, kind: str, drawn: Scenes, asked: Sequence[Asked]) -> Grounding:
    pictures, texts = drawn.tensor(), [one.text for one in asked]
    own = _overlaps(net, pictures, asked, texts)
    other = _overlaps(net, pictures, asked, swapped(asked))
    free = _overlaps(net, pictures, asked, texts, opened=_STAGES)
    size = drawn.world.size
    middle = np.zeros((size, size), dtype=bool)
    middle[size // 4 : 3 * size // 4, size // 4 : 3 * size // 4] = True
    centre = [iou(middle, one.mask) for one in asked]
    return Grounding(
        kind, len(asked), interval(own), float(np.mean(other)), float(np.mean(free)), float(np.mean(centre)),
        difference(own, other), difference(own, free),
    )  # fmt: skip


@torch.no_grad()
def _overlaps(
    net: Answerer, pictures: Tensor, asked: Sequence[Asked], texts: Sequence[str], *, opened: Sequence[int] = ()
) -> list[float]:
    found: list[float] = []
    numbers = net.words.encode(texts)
    for first in range(0, len(asked), _BATCH):
        some = asked[first : first + _BATCH]
        seen = net.ground(pictures[[one.scene for one in some]], numbers[first : first + _BATCH], opened=opened)
        found += [iou(mask, one.mask) for mask, one in zip((seen.logits > 0).numpy(), some, strict=True)]
    return found
