"""Few-shot segmentation: do the marked pixels of the support pictures cause what is segmented in the query?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pellucid.engine.perturb import ranking
from pellucid.errors import RequestError, ShapeError
from pellucid.images import baselines
from pellucid.trust.removal import not_finite
from pellucid.values.seed import Seed

Segment = Callable[
    [Float[Tensor, "version shot channel height width"], Float[Tensor, "version shot height width"]],
    Float[Tensor, "version class row column"],
]
"""Support pictures and their masks in several versions -> the logits of the query for each, background first. The query
belongs to the callable: it is never touched, and may have another size."""

CURVES = ("deletion", "insertion")
MEASURES = ("logits", "miou")
SUBSTRATES = ("zero", "blur", "random")


@dataclass(frozen=True, eq=False)
class SupportCurve:
    """What is left of the query's segmentation as support pixels go, or has come back as they come.

    fractions: part of the support changed at each step, 0 to `share`
    values:    the score after each step: mean probability of the classes first seen, or mean IoU
    full:      the score with the whole support
    auc:       area under the values, the steps taken as even: (sum - first / 2 - last / 2) / (steps - 1)
    loss:      |full - auc|: how much of the score the marked part costs, where the curve is cut short
    """

    fractions: tuple[float, ...]
    values: Float[Tensor, "step"]
    full: float
    auc: float
    loss: float


@dataclass(frozen=True, eq=False)
class Support:
    """The pictures that a few-shot segmenter learns a class from, and what is read of its answer.

    images, masks: the shots, masks 0 to 1
    segment:       see Segment
    explained:     the query pixels whose segmentation is explained; None is what the whole support makes foreground
    measure:       `logits`: mean over those pixels of the probability of the class that the whole support gives each;
                   `miou`: mean IoU with `truth` over the classes it holds, the background (0) left out
    substrate:     what stands in the place of support that is gone, in picture and mask: `zero`, `blur` or `random`
    """

    images: Float[Tensor, "shot channel height width"]
    masks: Float[Tensor, "shot height width"]
    segment: Segment
    explained: Bool[Tensor, "row column"] | None = None
    measure: str = "logits"
    truth: Int[Tensor, "row column"] | None = None
    substrate: str = "zero"
    seed: int = 0
    batch: int = 16

    def __post_init__(self) -> None:
        if self.masks.shape != (len(self.images), *self.images.shape[-2:]):
            expected = f"{[len(self.images), *self.images.shape[-2:]]}: one mask per shot"
            raise ShapeError("The support's masks", got=tuple(self.masks.shape), expected=expected)
        _one_of("measure", self.measure, MEASURES)
        _one_of("substrate", self.substrate, SUBSTRATES)
        if self.measure == "miou" and self.truth is None:
            raise RequestError("measure='miou' compares with the true segmentation: give truth=, class ids per pixel.")

    def curve(
        self, given: Float[Tensor, "shot height width"], curve: str = "deletion", *, steps: int = 20,
        step: int | None = None, levels: int | None = None, share: float = 1.0,
    ) -> SupportCurve:  # fmt: skip
        """The joint deletion or insertion of the pixels of all shots, in falling order of what a map gives them.

        given:  the map, one per shot; only its order over all shots together counts, ties are broken by the seed
        steps:  points of the curve, both ends included
        step:   pixels at each step, in place of `steps`
        levels: cut the range of the map into so many equal parts instead: each step takes all pixels above its level
        share:  look at no more than this part of all pixels
        """
        _one_of("curve", curve, CURVES)
        self.check(given)
        if not 0 < share <= 1:
            raise RequestError(f"share={share}; expected a part of the support, above 0 to 1.")
        flat, most = given.detach().cpu().double().flatten(), round(share * given.numel())
        if levels is not None:
            ladder = torch.linspace(float(flat.max()), float(flat.min()), levels + 1, dtype=torch.float64)[1:]
            counts = [0, *(int((flat >= level).sum()) for level in ladder)]
        elif step is not None:
            counts = [*range(0, most, max(1, step)), most]
        else:
            counts = [round(most * at / (steps - 1)) for at in range(max(2, steps))]
        places = ranking(flat[None], Seed(self.seed).child("ties")).view(given.shape)
        rising = sorted({min(count, most) for count in counts})
        return self._followed([places < count for count in rising], [at / given.numel() for at in rising], curve)

    def shot_curve(self, given: Float[Tensor, "shot height width"], curve: str = "deletion") -> SupportCurve:
        """Whole shots go or come, in falling order of what the map gives them on average: a ranking of the support."""
        _one_of("curve", curve, CURVES)
        self.check(given)
        means = given.detach().cpu().double().mean(dim=(-2, -1))
        places = ranking(means[None], Seed(self.seed).child("ties"))[0, :, None, None].expand(given.shape)
        shots = range(len(given) + 1)
        return self._followed([places < count for count in shots], [count / len(given) for count in shots], curve)

    def falls(self, gone: Sequence[Bool[Tensor, "shot height width"]]) -> Float[Tensor, "change"]:
        """By how much the score falls when each of these parts of the support, picture and mask alike, goes."""
        whole, followed, pixels = self._begun(torch.zeros_like(gone[0]))
        return whole - torch.tensor(
            [self._score(logits, followed, pixels) for logits in self._answers(gone)], dtype=torch.float64
        )

    def controls(self) -> dict[str, Float[Tensor, "shot height width"]]:
        """Maps that know nothing: random numbers, and the masks themselves, which any method should beat."""
        draw = Seed(self.seed).child("support").generator()
        return {"random": torch.rand(self.masks.shape, generator=draw), "masks": self.masks.detach().cpu().float()}

    def check(self, given: Tensor) -> None:
        """Raises ShapeError or RequestError unless the map is of these shots and every value is finite."""
        if given.shape != self.masks.shape:
            raise ShapeError("The map of the support", got=tuple(given.shape), expected=f"{list(self.masks.shape)}")
        if bool(not_finite(given).any()):
            raise RequestError("The map of the support holds values that are not finite, so it has no order.")

    # -- inside -----------------------------------------------------------------------------------------------------

    def _followed(self, touched: Sequence[Tensor], fractions: Sequence[float], curve: str) -> SupportCurve:
        """The score after each step; the whole support is asked about first, since it says what is followed."""
        full, followed, pixels = self._begun(torch.zeros_like(touched[0]))
        gone = touched if curve == "deletion" else [~one for one in touched]
        values = torch.tensor(
            [self._score(logits, followed, pixels) for logits in self._answers(gone)], dtype=torch.float64
        )
        auc = float((values.sum() - (values[0] + values[-1]) / 2) / max(1, len(values) - 1))
        return SupportCurve(tuple(fractions), values, full, auc, abs(full - auc))

    def _begun(self, nothing: Bool[Tensor, "shot height width"]) -> tuple[float, Tensor, Tensor]:
        """With the whole support: the score, the class that each query pixel gets, and the pixels explained."""
        whole = self._answers([nothing])[0]
        followed = whole.softmax(dim=0).argmax(dim=0)
        pixels = followed > 0 if self.explained is None else self.explained.cpu()
        if not bool(pixels.any()):
            raise RequestError(
                "Nothing of the query is segmented with the whole support, so there is nothing to explain."
            )
        return self._score(whole, followed, pixels), followed, pixels

    def _answers(self, gone: Sequence[Bool[Tensor, "shot height width"]]) -> list[Float[Tensor, "class row column"]]:
        images, masks = self._without
        rows: list[Tensor] = []
        with torch.no_grad():
            for start in range(0, len(gone), self.batch):
                away = torch.stack(list(gone[start : start + self.batch])).to(self.images.device)
                pictures = torch.where(away[:, :, None], images, self.images)
                found = self.segment(pictures, torch.where(away, masks, self.masks))
                if found.ndim != 4 or len(found) != len(away):
                    expected = f"[{len(away)} class height width]: logits of the query for each version"
                    raise ShapeError("The segmenter's answer", got=tuple(found.shape), expected=expected)
                rows += list(found.detach().double().cpu())
        return rows

    @property
    def _without(self) -> tuple[Tensor, Tensor]:
        """What stands where support is gone, in the pictures and in the masks."""
        if self.substrate == "zero":
            return torch.zeros_like(self.images), torch.zeros_like(self.masks)
        if self.substrate == "blur":
            sigma = 10 / 224 * min(self.images.shape[-2:])
            return baselines.blur(self.images, sigma), baselines.blur(self.masks[:, None], sigma)[:, 0]
        draw = Seed(self.seed).child("substrate").generator()
        images = torch.rand(self.images.shape, generator=draw).to(self.images)
        masks = (torch.rand(self.masks.shape, generator=draw) < 0.5).to(self.masks)
        return images, masks

    def _score(self, logits: Tensor, followed: Tensor, pixels: Tensor) -> float:
        if self.measure == "logits":
            probability = logits.softmax(dim=0).gather(0, followed[None])[0]
            return float(probability[pixels].mean())
        assert self.truth is not None
        truth, said = self.truth.cpu(), logits.argmax(dim=0)
        classes = [int(one) for one in truth.unique() if int(one) > 0]
        if not classes:
            raise RequestError("The true segmentation holds nothing but background.")
        shares = [
            float(((said == one) & (truth == one)).sum() / ((said == one) | (truth == one)).sum()) for one in classes
        ]
        return sum(shares) / len(shares)


def compared(
    support: Support, maps: Mapping[str, Float[Tensor, "shot height width"]], **settings: Any
) -> dict[str, dict[str, SupportCurve]]:
    """Deletion and insertion of several maps and the controls, by map and curve; settings as for `Support.curve`."""
    return {
        name: {curve: support.curve(given, curve, **settings) for curve in CURVES}
        for name, given in {**maps, **{f"control {name}": given for name, given in support.controls().items()}}.items()
    }


def _one_of(what: str, asked: str, known: Sequence[str]) -> None:
    if asked not in known:
        raise RequestError(f"{what}={asked!r}; expected {' or '.join(known)}.")
