"""Where a captioner looked for each of its words, and whether it needed what it saw there.

Attention is a statement of the captioner about itself. Two tests decide what it is worth: whether the words that tell
of a part were looked up in that part, and whether a word becomes less likely when the place it looked at is painted
over than when as many pixels elsewhere are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from pellucid import hooks
from pellucid.errors import RequestError, ShapeError
from pellucid.images import Frame
from pellucid.images.position import in_words
from pellucid.language.check import answered
from pellucid.language.word_controls import shuffled_cells
from pellucid.registry import claim_test
from pellucid.results import Beside, Claim
from pellucid.subject import VisionModel
from pellucid.testbed import nets
from pellucid.testbed.nets import Attender, Captioner
from pellucid.testbed.nets.words import END, PAD
from pellucid.values import Seed

Telling = Attender | Captioner
AREA = 0.06  # share of the picture that is painted over: about a part of the bird
LEAST_FALL = 0.05  # in nats, below which a word is not said to have needed anything
ELSEWHERE = 4  # as many pixels at so many other places
_LAYER = 0  # of the captioner's two blocks the one whose words look at parts more often, on scenes of seed 950


@dataclass(frozen=True, eq=False)
class Caption:
    """What was said of one picture, and where was looked for each word.

    words:      in order
    maps:       how much each place counted for it; of each word they sum to 1
    through:    the share of what counted for a word that came from places of the picture, 0 to 1: the gate of the
                attending net; for the transformer what its class token left
    likelihood: log probability of each word after those before it
    """

    words: tuple[str, ...]
    maps: Float[Tensor, "word rows columns"]
    through: Float[Tensor, "word"]
    likelihood: Float[Tensor, "word"]

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def map_of(self, at: int, size: tuple[int, int]) -> Float[Tensor, "height width"]:
        """One word's map on the pixels, bilinear."""
        return functional.interpolate(self.maps[at][None, None], size, mode="bilinear", align_corners=False)[0, 0]

    def to_dict(self) -> dict[str, Any]:
        return {
            "text": self.text,
            "words": [
                {"word": word, "through": float(through), "log_probability": float(likely), "map": one.tolist()}
                for word, one, through, likely in zip(self.words, self.maps, self.through, self.likelihood, strict=True)
            ],
        }


@torch.no_grad()
def captions(
    net: Telling, pictures: Float[Tensor, "picture 3 height width"], texts: Sequence[str] | None = None
) -> tuple[Caption, ...]:
    """One caption per picture with the map of every word.

    texts: what is said of each picture; None lets the captioner speak

    Raises SceneError for words it does not know, ShapeError unless there is one text per picture.
    """
    said = net.generate(pictures) if texts is None else tuple(texts)
    if len(said) != len(pictures):
        raise ShapeError("The texts", got=(len(said),), expected=f"{len(pictures)}, one per picture")
    numbers = net.words.encode(said).to(pictures.device)
    logits, maps, through = _looked(net, pictures, numbers[:, :-1])
    likely = _likelihood(logits, numbers)
    side = round(maps.shape[2] ** 0.5)
    found: list[Caption] = []
    for at, text in enumerate(said):
        words = tuple(text.replace(",", " , ").split())
        own = maps[at, : len(words)].unflatten(1, (side, side))
        found.append(Caption(words, own, through[at, : len(words)], likely[at, : len(words)]))
    return tuple(found)


def beside(net: Telling, picture: Float[Tensor, "1 3 height width"], caption: Caption, *, seed: int = 0) -> Beside:
    """How likely a caption is of its picture, beside the same of the picture in shuffled cells, and of random words.

    Two passes more. A captioner that says whatever is usual finds its caption as likely of shuffled cells.
    """
    own = Seed(seed)
    listed = [word for word in net.words.listed if word.isalpha()]
    drawn = torch.randint(len(listed), (len(caption.words),), generator=own.child("words").generator()).tolist()
    said = [caption.text, " ".join(listed[at] for at in drawn)]
    blind, random = captions(net, torch.cat([shuffled_cells(picture, seed=own), picture]), said)
    each = lambda one: float(one.likelihood.mean())
    return Beside("Log probability of a word of the caption", each(caption), {
        "with the picture in shuffled pieces": each(blind), "of as many random words": each(random),
    }, unit="nats")  # fmt: skip


@dataclass(frozen=True, eq=False)
class Glance:
    """One word, the pixels it looked at most, and what painting them over does to it.

    fall:      by how much the word's log probability falls without them
    elsewhere: the same with as many pixels of the same shape at other places, mean over them
    least:     the largest of these falls
    """

    word: str
    mask: Bool[np.ndarray, "height width"]
    fall: float
    elsewhere: float
    largest: float

    @property
    def needed(self) -> bool:
        """Whether the word fell further than with any other place, and by enough to speak of."""
        return self.fall > max(self.largest, LEAST_FALL)


def glances(
    net: Telling, picture: Float[Tensor, "1 3 height width"], caption: Caption, places: Sequence[int], *,
    area: float = AREA, seed: int = 0,
) -> tuple[Glance, ...]:  # fmt: skip
    """For some words of a caption, what they lose when the place they looked at is painted over.

    The picture's own blur is the paint; the other words stay as they were, so that only seeing can change a word.

    places: which words, counted from 0
    area:   how much of the picture is painted over: its pixels of the highest attention
    """
    masks = [most_looked_at(caption.map_of(at, (picture.shape[2], picture.shape[3])), area) for at in places]
    tried = [[mask, *_others(mask, Seed(seed).child(at))] for at, mask in zip(places, masks, strict=True)]
    return tuple(_glance(net, picture, caption, at, group) for at, group in zip(places, tried, strict=True))


def most_looked_at(heat: Float[Tensor, "height width"], area: float = AREA) -> Bool[np.ndarray, "height width"]:
    """The pixels of highest attention that are `area` of the picture; of equals those that come first as one reads."""
    if not 0 < area < 1:
        raise RequestError(f"area={area}; expected a share of the picture between 0 and 1.")
    count = max(1, round(area * heat.numel()))
    order = heat.flatten().argsort(descending=True, stable=True)[:count]
    mask = torch.zeros(heat.numel(), dtype=torch.bool)
    mask[order] = True
    return mask.view(heat.shape).numpy()


def claim(
    frame: Frame, said: str, at: int, *, captioner: str = "captioner", area: float = AREA, seed: int = 0
) -> Claim:
    """Whether a captioner needed the place that it looked at for one word, as a claim whose test has been run."""
    blank = Claim(
        template="Not measured yet.", predicate="word_needs_its_place", test="glance", frame=frame,
        arguments={"captioner": captioner, "said": said, "word": at, "area": area, "seed": seed},
    )  # fmt: skip
    found = glance(None, blank)
    if found.verdict != "refuted":
        return found
    return glance(None, Claim(
        template=blank.template, predicate=blank.predicate, test=blank.test, frame=frame,
        arguments={**blank.arguments, "expected": False},
    ))  # fmt: skip


@claim_test("glance")
def glance(_: VisionModel | None, claim: Claim) -> Claim:
    """Does a word become less likely without the place it looked at than without as many pixels elsewhere?"""
    if claim.frame is None:
        raise RequestError("This claim is about no picture, so its captioner has nothing to look at.")
    net = opened(str(claim.arguments["captioner"]))
    picture = claim.frame.tensor()
    (told,) = captions(net, picture, [str(claim.arguments["said"])])
    at = int(claim.arguments["word"])
    if not 0 <= at < len(told.words):
        raise RequestError(f"The caption has {len(told.words)} words, 0 to {len(told.words) - 1}; there is no {at}.")
    (found,) = glances(net, picture, told, [at], area=float(claim.arguments["area"]), seed=int(claim.arguments["seed"]))
    measured = {
        "captioner": str(claim.arguments["captioner"]), "word": found.word, "place": in_words(found.mask),
        "probability": float(told.likelihood[at].exp()), "fall": found.fall, "elsewhere": found.elsewhere,
        "largest": found.largest,
    }  # fmt: skip
    words = (
        "For “{word}” {captioner} looked at {place}, and needed it: the word’s log probability falls by {fall:.2f} "
        "with that painted over, by {elsewhere:.2f} with random places of the same shape painted over."
        if found.needed
        else "For “{word}” {captioner} looked at {place}, but did not need it: the word’s log probability falls by "
        "{fall:.2f} with that painted over, by up to {largest:.2f} with random places of the same shape painted over."
    )
    return answered(claim, found.needed, words, measured, denies=not found.needed)


def opened(name: str) -> Telling:
    """A testbed net that tells and attends. Raises RequestError for one that does not."""
    net, _ = nets.load(name)
    if not isinstance(net, Attender | Captioner):
        raise RequestError(f"{name!r} is no captioner whose attention can be read; take attender or captioner.")
    return net


def _looked(
    net: Telling, pictures: Float[Tensor, "picture 3 height width"], numbers: Int64[Tensor, "picture word"]
) -> tuple[Tensor, Float[Tensor, "picture word place"], Float[Tensor, "picture word"]]:
    """Logits, maps over the places of the picture, and how much of what counted they are."""
    if isinstance(net, Attender):
        seen = net.attend(net.look(pictures), numbers)
        return seen.logits, seen.looks, seen.gates
    kept: list[Tensor] = []

    def keep(_name: str, _call: int, _module: Any, _inputs: Any, output: Any) -> None:
        kept.append(output)

    with hooks.watched(net, [f"blocks.{_LAYER}.cross.attn_drop"], keep):
        logits = net(pictures, numbers)
    heads = kept[0].mean(dim=1)
    patches = heads[:, :, 1:]
    through = patches.sum(dim=2)
    return logits, patches / through[..., None], through


def _likelihood(logits: Tensor, numbers: Int64[Tensor, "picture word"]) -> Float[Tensor, "picture word"]:
    own = logits.log_softmax(dim=-1).gather(2, numbers[:, 1:, None])[..., 0]
    return own.masked_fill((numbers[:, 1:] == PAD) | (numbers[:, 1:] == END), 0.0)


@torch.no_grad()
def _glance(
    net: Telling, picture: Tensor, caption: Caption, at: int, masks: Sequence[Bool[np.ndarray, "height width"]]
) -> Glance:
    after = likelihood_without(net, picture, caption, masks)[:, at]
    falls = (caption.likelihood[at] - after).tolist()
    others = falls[1:]
    return Glance(caption.words[at], masks[0], falls[0], sum(others) / len(others), max(others))


@torch.no_grad()
def likelihood_without(
    net: Telling, picture: Float[Tensor, "1 3 height width"], caption: Caption,
    masks: Sequence[Bool[np.ndarray, "height width"]],
) -> Float[Tensor, "mask word"]:  # fmt: skip
    """Log probability of every word of a caption, after the same words, with each mask painted over."""
    from pellucid.images.baselines import fill

    hidden = torch.from_numpy(np.stack(masks))[:, None]
    shown = torch.where(hidden, fill(picture, "blur"), picture)
    numbers = net.words.encode([caption.text]).expand(len(shown), -1)
    logits = net(shown, numbers[:, :-1])
    return _likelihood(logits, numbers)[:, : len(caption.words)]


def _others(mask: Bool[np.ndarray, "height width"], seed: Seed) -> list[Bool[np.ndarray, "height width"]]:
    """The same shape moved to other places, coming in again on the opposite side."""
    height, width = mask.shape
    draws = torch.rand(2, ELSEWHERE, generator=seed.child("elsewhere").generator()).tolist()
    return [
        np.roll(mask, (int(height * (0.2 + 0.6 * down)), int(width * (0.2 + 0.6 * right))), (0, 1))
        for down, right in zip(*draws, strict=True)
    ]
