"""Whole regions of the picture: ranked by what they hold, or replaced by what might have been there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pellucid.attribution.paths import path_integral
from pellucid.engine import Evidence
from pellucid.images import superpixels
from pellucid.images.baselines import blur
from pellucid.images.ranked import ranked_regions
from pellucid.registry import method
from pellucid.values import Class, Gradients, InputGradient, Scores, Text

_SCALES = (50, 100, 150, 250, 500, 1200)


def _two_paths(*, steps: int = 100, **_: Any) -> float:
    return 2 * 3.0 * steps


@method("xrai", needs=[InputGradient, Gradients], paper="Kapishnikov et al. 2019", signed=True, cost=_two_paths)
def xrai(evidence: Evidence, *, steps: int = 100) -> Float[Tensor, "batch height width"]:
    """The region that holds most attribution per pixel first, then the one that adds most, until all is covered.

    Attribution is that of integrated gradients from black and from white, averaged, of which each pixel keeps its
    largest colour. Regions come from six segmentations, laid over each other.

    steps:   points on each of the two paths, one gradient each
    returns: on every pixel the mean attribution of what the region added when it was taken
    """
    attribution = torch.stack(
        [path_integral(evidence, evidence.fill(kind), steps) for kind in ("black", "white")]
    ).mean(dim=0)
    painted = [
        ranked_regions(one, superpixels.by_edges(picture, _SCALES, preprocess=evidence.preprocess)).values
        for one, picture in zip(attribution.amax(dim=1).cpu(), evidence.inputs.cpu(), strict=True)
    ]
    return torch.stack(painted).to(evidence.inputs)


_SEEN = 1_000_000  # pictures that the classifier is taken to have seen, in Laplace's correction
_FRAME = 5 / 224  # width of the picture's frame, in parts of the shorter side


def _regions_at(*, samples: int = 2, cuts: Sequence[int] = (25, 50, 100), **_: Any) -> float:
    return float(samples * sum(cuts))


@method("regional_multiscale", needs=[Scores], paper="Seo et al. 2018", signed=True, cost=_regions_at)
def regional_multiscale(
    evidence: Evidence, *, samples: int = 2, cuts: Sequence[int] = (25, 50, 100), smoothing: float | None = None
) -> Float[Tensor, "batch height width"]:
    """How many bits of evidence a region carries, by replacing it with colours of the picture's rim, at several scales.

    samples:   fills per region, drawn from a normal distribution of the colours along the picture's frame, which stand
               for background; the probabilities under them are averaged
    cuts:      how many regions the picture is cut into, one cut after the other, by colour
    smoothing: standard deviation of the final blur in pixels; None is 2 % of the shorter side
    returns:   log2 odds of the class, with the picture as it is less without the region, on the region's pixels,
               averaged over the cuts; for a target that is no class the fall of the target itself
    """
    odds = all(isinstance(target, (Class, Text)) for target in evidence.targets)
    odds = odds and evidence.model.activation != "none"
    classes = evidence.output().shape[1] if odds else 2
    (clean,) = evidence.scores_at([evidence.inputs], probability=odds)
    total = torch.zeros(len(evidence), *evidence.size)
    for count in cuts:
        maps = torch.stack(
            [
                torch.as_tensor(superpixels.merged(picture, count, preprocess=evidence.preprocess)).long()
                for picture in evidence.inputs.cpu()
            ]
        )
        scores = torch.stack(list(evidence.scores_at(_replaced(evidence, maps, samples), probability=odds)), dim=1)
        kept = scores.cpu().unflatten(1, (-1, samples)).double().mean(dim=2)
        fall = (
            _bits(clean.cpu().double()[:, None], classes) - _bits(kept, classes)
            if odds
            else clean.cpu()[:, None] - kept
        )
        total += torch.stack([values[numbers] for values, numbers in zip(fall.float(), maps, strict=True)])
    mean = total / len(cuts)
    sigma = 0.02 * min(evidence.size) if smoothing is None else smoothing
    return (blur(mean[:, None], sigma)[:, 0] if sigma else mean).to(evidence.inputs)


def _bits(probability: Float[Tensor, "batch region"], classes: int) -> Float[Tensor, "batch region"]:
    """Log2 odds, with Laplace's correction so that a certain answer has finite ones."""
    corrected = (probability * _SEEN + 1) / (_SEEN + classes)
    return (corrected / (1 - corrected)).log2()


def _replaced(evidence: Evidence, maps: Int[Tensor, "batch height width"], samples: int) -> Iterator[Tensor]:
    """Every region in turn, under `samples` colours of the rim each; the same draws for every picture."""
    mean, spread = _rim(evidence.inputs)
    for region in range(int(maps.max()) + 1):
        inside = (maps == region)[:, None].to(evidence.inputs.device)
        for sample in range(samples):
            generator = evidence.seed.child("regional_multiscale", region, sample).generator()
            draw = torch.randn(mean.shape[1], generator=generator).to(mean)
            yield torch.where(inside, (mean + spread @ draw)[:, :, None, None], evidence.inputs)


def _rim(inputs: Float[Tensor, "batch channel height width"]) -> tuple[Tensor, Tensor]:
    """Mean colour along the frame of each picture, and a square root of the colours' covariance."""
    height, width = inputs.shape[-2:]
    wide = max(1, math.ceil(_FRAME * min(height, width)))
    rim: Bool[Tensor, "height width"] = torch.ones(height, width, dtype=torch.bool)
    rim[wide:-wide, wide:-wide] = False
    colours = inputs[:, :, rim.to(inputs.device)]
    mean = colours.mean(dim=2)
    centred = (colours - mean[:, :, None]).double()
    values, vectors = torch.linalg.eigh(centred @ centred.mT / centred.shape[2])
    root = vectors @ (values.clamp(min=0).sqrt()[:, :, None] * vectors.mT)
    return mean, root.to(mean)
