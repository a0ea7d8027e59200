"""Performance information curves: how much of the answer returns per bit of the picture that the map reveals?"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image, features
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import Delaunay
from torch import Tensor

from pellucid.engine import Answers, Evidence
from pellucid.engine.perturb import Write, answers_of, digest, ranking, whole_answers
from pellucid.errors import RequestError
from pellucid.registry import metric
from pellucid.trust.measured import Maps, Measured
from pellucid.trust.removal import blanked, followed
from pellucid.values.seed import Seed

THRESHOLDS = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.13, 0.21, 0.34, 0.5, 0.75)
_BINS = 1000


@dataclass(frozen=True, eq=False)
class Revealed:
    """Every picture blurred but for what a map reveals: what the model says to it and how many bytes it takes.

    answers: per map and threshold
    bytes:   per map, float [threshold batch]
    """

    start: Answers
    start_bytes: Float[Tensor, "batch"]
    whole: Answers
    whole_bytes: Float[Tensor, "batch"]
    answers: Mapping[str, Sequence[Answers]]
    bytes: Mapping[str, Float[Tensor, "threshold batch"]]
    coder: str


@metric(
    "softmax_information_curve", better="higher", paper="Kapishnikov et al. 2019", shared=2,
    cost=lambda thresholds=THRESHOLDS, **_: len(thresholds),
)  # fmt: skip
def softmax_information_curve(
    evidence: Evidence, maps: Maps, *, thresholds: Sequence[float] = THRESHOLDS, least: float = 0.8,
    start: float = 0.01, seed: int | None = None,
) -> Measured:  # fmt: skip
    """How early the class's probability returns as the map reveals the picture, per byte revealed (SIC).

    The picture begins as a blur drawn from a few random pixels, the same for every map. The map's most important pixels
    come back, the rest is drawn anew from all that is known, and the size of the result as a compressed file says how
    much information that is.

    thresholds: parts of the picture that are revealed, most important pixels first
    least:      pictures on which the class has less probability than this are left out, as are those whose blur already
                has more probability or more bytes than the picture
    start:      part of the pixels, the corners apart, that the blur is drawn from
    returns:    area under probability over information, both 0 at the blur and 1 at the picture, the curve made
                monotone; 0 to 1. `dataset_area` gives the paper's figure for a data set, the area under the median
                curve
    """
    return _areas(evidence, maps, thresholds, start, seed, _probability, least, "probability")


@metric(
    "accuracy_information_curve", better="higher", paper="Kapishnikov et al. 2019", shared=2,
    cost=lambda thresholds=THRESHOLDS, **_: len(thresholds),
)  # fmt: skip
def accuracy_information_curve(
    evidence: Evidence, maps: Maps, *, thresholds: Sequence[float] = THRESHOLDS, start: float = 0.01,
    seed: int | None = None,
) -> Measured:  # fmt: skip
    """How early the model's decision returns as the map reveals the picture, per byte revealed (AIC).

    As `softmax_information_curve`, with 1 where the class ranked first is that of the whole picture and 0 elsewhere in
    place of the probability. Pictures whose blur already gets the decision are left out.
    """
    return _areas(evidence, maps, thresholds, start, seed, _decision, 0.0, "decision")


def dataset_area(scores: Sequence[Measured], name: str, how: str) -> float:
    """The area under the `median` (SIC) or `mean` (AIC) curve of one map over pictures, as the paper reports it.

    scores: the tables of one of the two measures, of as many batches as there are
    """
    rows = [row for one in scores for row in one.curves[name]["curve"] if row is not None]
    if not rows:
        return float("nan")
    curve = {"median": np.median, "mean": np.mean}[how](np.asarray(rows), axis=0)
    return float(np.trapezoid(curve, np.linspace(0, 1, _BINS + 1)))


def _probability(answers: Answers, whole: Answers) -> Float[Tensor, "batch"]:
    return answers.probabilities


def _decision(answers: Answers, whole: Answers) -> Float[Tensor, "batch"]:
    return (answers.predicted == whole.predicted).float()


def _areas(
    evidence: Evidence, maps: Maps, thresholds: Sequence[float], start: float, seed: int | None,
    read: Callable[[Answers, Answers], Tensor], least: float, unit: str,
) -> Measured:  # fmt: skip
    seen = revealed(evidence, maps, thresholds, start, evidence.seed if seed is None else Seed(seed))
    before, after = read(seen.start, seen.whole), read(seen.whole, seen.whole)
    why = _unusable(evidence, seen, before, after, least, unit)
    values: dict[str, Tensor] = {}
    curves: dict[str, dict[str, Any]] = {}
    for name, answers in seen.answers.items():
        performance = torch.stack([read(one, seen.whole) for one in answers])
        risen = ((performance - before) / (after - before)).clamp(0, 1)
        known = ((seen.bytes[name] - seen.start_bytes) / (seen.whole_bytes - seen.start_bytes)).clamp(0, 1)
        drawn = [
            None if index in why else _curve(known[:, index].numpy(), risen[:, index].numpy())
            for index in range(len(evidence))
        ]
        at = np.linspace(0, 1, _BINS + 1)
        values[name] = torch.tensor([float("nan") if one is None else float(np.trapezoid(one, at)) for one in drawn])
        curves[name] = {
            "information": [known.T.tolist()], unit: [risen.T.tolist()],
            "curve": [None if one is None else one.tolist() for one in drawn],
        }  # fmt: skip
    return Measured(
        values=blanked(values, maps), curves=curves, order="signed, largest first", fills=("linear interpolation",),
        unit=f"area under the {unit} over the share of bytes ({seen.coder})", skipped=why,
    )  # fmt: skip


def _curve(known: Float[np.ndarray, "point"], risen: Float[np.ndarray, "point"]) -> Float[np.ndarray, "bin"]:
    """Performance over information at even bins, from (0, 0) to (1, 1), never falling."""
    x = np.concatenate([[0.0], known, [1.0]])
    y = np.concatenate([[0.0], np.maximum.accumulate(risen), [1.0]])
    order = np.argsort(x, kind="stable")
    return np.interp(np.linspace(0, 1, _BINS + 1), x[order], y[order])


def _unusable(
    evidence: Evidence, seen: Revealed, before: Tensor, after: Tensor, least: float, unit: str
) -> dict[int, str]:
    if unit == "probability" and followed(evidence).unit != unit:
        return dict.fromkeys(range(len(evidence)), "the target has no probability")
    why: dict[int, str] = {}
    for index, (low, high) in enumerate(zip(before.tolist(), after.tolist(), strict=True)):
        if high < least:
            why[index] = f"the {unit} of the whole picture is {high:.2f}, below {least:g}"
        elif low >= high:
            why[index] = f"the {unit} of the blurred picture is {low:.2f}, no lower than {high:.2f} of the whole one"
        elif seen.start_bytes[index] >= seen.whole_bytes[index]:
            why[index] = "the blurred picture takes as many bytes as the whole one"
    return why


def revealed(evidence: Evidence, maps: Maps, thresholds: Sequence[float], start: float, seed: Seed) -> Revealed:
    """Blur, whole picture and everything between, for every map."""
    if not thresholds or not all(0 < part < 1 for part in thresholds):
        raise RequestError(f"thresholds={tuple(thresholds)}; expected parts of the picture between 0 and 1.")
    height, width = evidence.size
    first = _first_pixels(height, width, start, seed)
    pictures = evidence.inputs.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    named = {name: digest(values) for name, values in maps.items()}
    masks: dict[Hashable, Callable[[], Bool[Tensor, "batch height width"]]] = {
        ("revealed", int(seed), start): lambda: first.expand(len(evidence), -1, -1)
    }
    for name, values in maps.items():
        for part in thresholds:
            count = round(part * height * width)
            masks["revealed", named[name], int(seed), start, part] = lambda values=values, count=count: (
                (ranking(values, seed.child("ties")) < count) | first
            )
    sizes: dict[Hashable, Tensor] = evidence.remember("bytes of revealed pictures", dict)

    def writer(key: Hashable) -> Write:
        def write(out: Tensor) -> None:
            shown = masks[key]().numpy()
            drawn = np.stack([interpolated(picture, mask) for picture, mask in zip(pictures, shown, strict=True)])
            changed = torch.from_numpy(drawn).permute(0, 3, 1, 2)
            sizes[key] = _sizes(changed, evidence)
            out.copy_(changed)

        return write

    found = answers_of(evidence, {key: writer(key) for key in masks})
    begin: Hashable = ("revealed", int(seed), start)
    rows = {name: [("revealed", named[name], int(seed), start, part) for part in thresholds] for name in maps}
    return Revealed(
        start=found[begin], start_bytes=sizes[begin], whole=whole_answers(evidence),
        whole_bytes=_sizes(evidence.inputs.cpu(), evidence),
        answers={name: [found[key] for key in keys] for name, keys in rows.items()},
        bytes={name: torch.stack([sizes[key] for key in keys]) for name, keys in rows.items()},
        coder=CODER,
    )  # fmt: skip


def interpolated(
    picture: Float[np.ndarray, "height width channel"], known: Bool[np.ndarray, "height width"]
) -> Float[np.ndarray, "height width channel"]:
    """The picture with every unknown pixel on the plane through the three known ones around it."""
    if known.all():
        return picture
    points, missing = np.argwhere(known), np.argwhere(~known)
    planes = LinearNDInterpolator(Delaunay(points.astype(float)), picture[known].astype(float))
    filled = picture.copy()
    filled[~known] = planes(missing)  # the corners are known, so nothing lies outside all triangles
    return filled


def coded(picture: UInt8[np.ndarray, "height width channel"]) -> int:
    """Bytes of the picture compressed without loss: as WebP, or by zlib where Pillow has no WebP."""
    if CODER != "lossless WebP":
        return len(zlib.compress(picture.tobytes(), 9))
    buffer = io.BytesIO()
    Image.fromarray(picture.squeeze()).save(buffer, "WEBP", lossless=True)
    return len(buffer.getvalue())


CODER = "lossless WebP" if features.check("webp") else "zlib"
"""What measures information here."""


def _first_pixels(height: int, width: int, start: float, seed: Seed) -> Bool[Tensor, "1 height width"]:
    """Random pixels, and always the four corners, so that everything lies between known ones."""
    if not 0 <= start < 1:
        raise RequestError(f"start={start}; expected a part of the pixels, 0 to 1.")
    first = torch.zeros(height * width, dtype=torch.bool)
    count = round(start * height * width)
    first[torch.randperm(height * width, generator=seed.child("first pixels").generator())[:count]] = True
    first = first.view(height, width)
    first[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    return first[None]


def _sizes(inputs: Float[Tensor, "batch channel height width"], evidence: Evidence) -> Float[Tensor, "batch"]:
    """Bytes of each changed picture as colours 0..255, which without preprocessing span the whole picture's range."""
    whole = evidence.inputs.cpu()
    if evidence.preprocess is None:
        low, high = (pick(whole, dim=(1, 2, 3), keepdim=True) for pick in (torch.amin, torch.amax))
        raw = (inputs - low) / (high - low).clamp(min=1e-12)
    else:
        mean, std = (
            torch.tensor(values)[:, None, None] for values in (evidence.preprocess.mean, evidence.preprocess.std)
        )
        raw = inputs * std + mean  # grey becomes three like channels, which take no more bytes
    colours = raw.clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    return torch.tensor([coded(one) for one in colours], dtype=torch.float32)
