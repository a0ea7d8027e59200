"""Which one is meant: descriptions that single out one region of a picture, and finding the region that is meant.

Mao et al., Generation and comprehension of unambiguous object descriptions, CVPR 2016. A description is chosen not for
being likely of its region, but for being likelier of it than of the other regions (their MMI criterion), by ranking
candidate texts anew; nothing is trained. Whether it is understood is asked of a listener that did not speak.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from pellucid.errors import RequestError, ShapeError
from pellucid.testbed import captions as grammar
from pellucid.testbed.captions import parse
from pellucid.testbed.fields import HUES, WORDS
from pellucid.testbed.nets import Captioner, Dual
from pellucid.testbed.witness import witness

Judge = Callable[[Float[Tensor, "region 3 h w"], Sequence[str]], Float[Tensor, "region text"]]
SLACK = 1.0  # how much less likely of its region, in nats, a text may be than the likeliest one, to be chosen
SURE = 0.75  # of the right region, by the speaker's own reckoning; below it the place is told as well
AROUND = 1.7  # side of the square that is shown of a region, by the longer side of its box
SIZE = 64  # of the square as the testbed's nets take it
_ORDER = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
_BREAK = ", the "
_PLACE = "{} from the left"
_LEAST = 1e-6  # probability of what a reader holds impossible


@dataclass(frozen=True)
class Reference:
    """A description meant for one region.

    region: which, from 0
    words:  what is said of it
    place:  where it stands among the others, where words alone would not do: "second from the left"
    fits:   log probability of the words for the region, among the candidates
    sure:   probability that the speaker gives the right region, among all, from its words alone
    """

    region: int
    words: str
    place: str
    fits: float
    sure: float

    @property
    def text(self) -> str:
        return f"{self.words}{_BREAK}{self.place}" if self.place else self.words

    def to_dict(self) -> dict[str, Any]:
        return {"region": self.region, "text": self.text, "fits": self.fits, "sure": self.sure}


def refer(
    scores: Float[Tensor, "region text"], texts: Sequence[str], boxes: Float[Tensor, "region 4"], *,
    contrast: bool = True, slack: float = SLACK, sure: float = SURE,
) -> tuple[Reference, ...]:  # fmt: skip
    """One description for each region.

    scores:   how well each text fits each region, as logits over texts: a dual encoder's scaled cosines, or a
              captioner's log likelihoods
    contrast: among the texts that are nearly as likely of a region as the likeliest, log p(text | region) - log of the
              sum over all regions decides; without it the likeliest text is taken, and never a place
    slack:    how many nats less than the likeliest is nearly as likely. The paper's criterion alone has no such bound:
              it then takes words that are false of the region and only more so of the others
    sure:     where the chosen words point to the region with less than this, its place from the left is told too

    Raises ShapeError where scores, texts and boxes do not go together.
    """
    if scores.shape != (len(boxes), len(texts)):
        raise ShapeError("The scores", got=tuple(scores.shape), expected=f"{len(boxes)} regions, {len(texts)} texts")
    likely = scores.double().log_softmax(dim=1)
    posterior = likely.log_softmax(dim=0)  # log p(text | region) - log sum over regions of it
    ranks = boxes[:, [0, 2]].double().mean(dim=1).argsort(stable=True).argsort(stable=True)
    found: list[Reference] = []
    for region in range(len(boxes)):
        best = int(likely[region].argmax())
        if contrast:
            near = (likely[region] >= likely[region, best] - slack).nonzero().flatten()
            best = int(near[int(posterior[region, near].argmax())])
        share = float(posterior[region, best].exp())
        told = contrast and len(boxes) > 1 and share < sure
        place = _PLACE.format(_ordinal(int(ranks[region]))) if told else ""
        found.append(Reference(region, texts[best], place, float(likely[region, best]), share))
    return tuple(found)


def comprehend(
    text: str, judge: Judge, regions: Float[Tensor, "region 3 h w"], boxes: Float[Tensor, "region 4"]
) -> Float[Tensor, "region"]:
    """The probability of each region being the one a text means: p(text | region) over the regions, and its place.

    judge: the listener; regions: what it is shown of each
    """
    return meant(text, judge(regions, [words_of(text)])[:, 0], boxes)


def words_of(text: str) -> str:
    """A description without its place."""
    return text.partition(_BREAK)[0]


def meant(text: str, logits: Float[Tensor, "region"], boxes: Float[Tensor, "region 4"]) -> Float[Tensor, "region"]:
    """The same from how well its words fit each region, as logits."""
    place = text.partition(_BREAK)[2]
    logits = logits.double()
    if place:
        ranks = boxes[:, [0, 2]].double().mean(dim=1).argsort(stable=True).argsort(stable=True)
        order = place.removesuffix(" from the left")
        if order not in _ORDER:
            raise RequestError(f"The place {place!r} is none; expected as in {_PLACE.format('second')!r}.")
        logits = logits.masked_fill(ranks != _ORDER.index(order), -torch.inf)
    return logits.softmax(dim=0)


def shown(
    picture: Float[Tensor, "3 height width"], boxes: Float[Tensor, "region 4"], *, size: int = SIZE,
    around: float = AROUND,
) -> Float[Tensor, "region 3 size size"]:  # fmt: skip
    """Each region in a square of its own, with what lies around it; beyond the picture its edge goes on."""
    height, width = picture.shape[1:]
    squares: list[Tensor] = []
    for left, top, right, bottom in boxes.tolist():
        side = max(2.0, around * max(right - left, bottom - top))
        window = torch.tensor([
            [side / width, 0.0, (left + right) / width - 1], [0.0, side / height, (top + bottom) / height - 1]
        ])  # fmt: skip
        grid = functional.affine_grid(window[None], [1, 3, size, size], align_corners=False)
        squares.append(functional.grid_sample(picture[None], grid, padding_mode="border", align_corners=False))
    if not squares:
        raise RequestError("There is no region to be described.")
    return torch.cat(squares)


def bird_texts() -> tuple[str, ...]:
    """What may be said of a bird among others: its hue, and at most one thing more."""
    wings = [f"{shape} {hue} wings" for shape in WORDS["wing"] for hue in HUES]
    tails = [f"a {shape} {hue} tail" for shape in WORDS["tail"] for hue in HUES]
    heads = ["no plume", *(f"a {hue} plume" for hue in HUES), *(f"a {hue} bib" for hue in HUES)]
    beaks = [f"a {shape} {hue} beak" for shape in WORDS["beak"] for hue in WORDS["beak_hue"]]
    clauses = ["", *(f" with {clause}" for clause in (*wings, *tails, *heads, *beaks))]
    return tuple(f"a {hue} bird{clause}" for hue in HUES for clause in clauses)


# -- who speaks and who listens ----------------------------------------------------------------------------------------


def dual_judge(net: Dual) -> Judge:
    """Scaled cosines of a dual encoder."""

    @torch.no_grad()
    def judge(regions: Tensor, texts: Sequence[str]) -> Tensor:
        return net.encode_images(regions) @ net.encode_texts(texts).T * net.scale

    return judge


def captioner_judge(net: Captioner) -> Judge:
    """Log likelihood of each whole text, as the words of a caption begun."""

    @torch.no_grad()
    def judge(regions: Tensor, texts: Sequence[str]) -> Tensor:
        seen, numbers = net.look(regions), net.words.encode(texts)
        spoken = (numbers[:, 1:] > 2).double()  # neither filling nor the end, which captions in full do not have here
        rows = [
            net.speak(one.expand(len(numbers), -1, -1), numbers[:, :-1]).log_softmax(dim=-1)
            .gather(2, numbers[:, 1:, None])[..., 0] for one in seen
        ]  # fmt: skip
        return torch.stack([(row.double() * spoken).sum(dim=1) for row in rows])

    return judge


def witness_judge() -> Judge:
    """How likely it is to the witness that all a text states is so; it shares no weight with either speaker."""

    def judge(regions: Tensor, texts: Sequence[str]) -> Tensor:
        read = witness().read(regions)
        told = [parse(text) for text in texts]
        return torch.tensor([[_believed(seen, said) for said in told] for seen in read])

    return judge


def _believed(seen: Mapping[str, Mapping[str, float]], said: Mapping[str, str]) -> float:
    shares = torch.tensor([max(seen[name].get(word, 0.0), _LEAST) for name, word in said.items()], dtype=torch.double)
    return float(shares.log().sum())


def _ordinal(rank: int) -> str:
    if rank >= len(_ORDER):
        raise RequestError(f"{rank + 1} regions are more than can be told apart by their place.")
    return _ORDER[rank]


def true_of(text: str, facts: Mapping[str, str]) -> bool:
    """Whether all that the words state is so; the place is left aside. `facts` as `captions.facts` gives them."""
    said = grammar.parse(words_of(text))
    return all(facts.get(name) == word for name, word in said.items())
