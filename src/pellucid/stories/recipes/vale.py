"""One picture and one paragraph: what drove the answer, cut out, named, told, and every name tested on the model.

Natarajan and Nambiar, VALE: a multimodal visual and language explanation framework, 2024. Shapley values of
superpixels give the points that a segmenter is prompted with; the mask that holds most of what speaks for the class is
told. A part is told only with what the model does without it: that a part can be seen is no evidence that it counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from pellucid.engine import look
from pellucid.engine.maps import compute
from pellucid.errors import RequestError
from pellucid.images import Frame
from pellucid.images.masks import connected
from pellucid.images.position import in_words
from pellucid.images.superpixels import slic
from pellucid.language import templates, things, wording
from pellucid.language.narrators import Narrator
from pellucid.language.places import dominant_colour, sums, touching
from pellucid.language.templates import Topic
from pellucid.registry import find_method
from pellucid.results import Beside, Claim, Prediction
from pellucid.stories.recipes.told import Told, told
from pellucid.subject import VisionModel
from pellucid.values import Seed

POINTS, SEGMENTS, SAMPLES = 4, 30, 500
_APART = 0.12  # of the shorter side: how far peaks of Shapley values lie from each other at least
_FLAT = 1e-6
_DRAWS = 8
_BIRD = ("feet", "tail", "crest", "body", "bib", "wing", "head", "beak", "eye")
_LARGEST = 4  # masks that are joined


@dataclass(frozen=True, eq=False)
class Piece:
    """A mask that a segmenter offers, with its name."""

    name: str
    mask: Bool[np.ndarray, "height width"]


def vale(
    picture: Frame, model: VisionModel, *, target: int | None = None, segmenter: str = "superpixels",
    segments: int = SEGMENTS, samples: int = SAMPLES, points: int = POINTS, fill: str = "blur",
    narrator: Narrator | str = "templates", seed: int = 0,
) -> Told:  # fmt: skip
    """What in the picture speaks for the answer, in a paragraph.

    segmenter: `testbed` for its rendered birds; `superpixels` grows the masks from the points where there is none
    samples:   coalitions tried for the Shapley values
    points:    how many peaks prompt the segmenter
    fill:      what removed pixels become, for the Shapley values and for the tests alike

    Raises RequestError for another segmenter.
    """
    if segmenter not in ("testbed", "superpixels"):
        raise RequestError(f"segmenter={segmenter!r}; expected testbed or superpixels.")
    frame = picture if model.preprocess is None else picture.fitted(model.preprocess)
    inputs = model.prepare([frame])
    shares = model.probabilities(model.predict(inputs))[0]
    index = int(shares.argmax()) if target is None else target
    topic = Topic(model, frame, model.resolve(index, 1)[0], seed)
    patches = np.unique(slic(inputs[0], segments, preprocess=model.preprocess), return_inverse=True)[1]
    patches = patches.reshape(inputs.shape[-2:])
    values = shapley(topic, inputs, patches, samples=samples, fill=fill)
    first = templates.predicted(topic, Prediction(int(shares.argmax()), model.labels.name(int(shares.argmax())),
                                                  float(shares.max())))  # fmt: skip
    if np.abs(values).max() < _FLAT:
        trail = ["All Shapley values are next to nothing: no region can be told from another."]
        return told("vale", model, [first], narrator=narrator, frame=picture, trail=trail, seed=seed)
    pieces = _pieces(topic, patches, values, segmenter)
    mask, parts = chosen(pieces, values, patches, points=points)
    names = tuple(piece.name for piece in parts)
    claims = [first, *_about(topic, mask, parts, fill)]
    beside = _beside(topic, inputs, pieces, values, patches, mask, points, fill)
    trail = [
        f"{patches.max() + 1} superpixels, {samples} coalitions; the strongest holds {values.max():.3g}, the most "
        f"opposed {values.min():.3g}.",
        f"Prompted at {points} peaks, the mask is {in_words(mask)}, {mask.mean():.0%} of what the model sees: "
        f"{', '.join(names)}.",
    ]  # fmt: skip
    kept = {"names": list(names), "mask_share": float(mask.mean()), "shapley": values.tolist()}
    return told("vale", model, claims, narrator=narrator, frame=picture, beside=[beside], trail=trail, parts=kept,
                seed=seed)  # fmt: skip


def shapley(
    topic: Topic, inputs: torch.Tensor, patches: Int[np.ndarray, "height width"], *, samples: int, fill: str
) -> Float[np.ndarray, "segment"]:
    """Each segment's share of the difference between the picture and the same all removed (Kernel SHAP)."""
    evidence = look(topic.model, inputs, [topic.target], seed=topic.seed)
    heat = compute(evidence, find_method("kernel_shap"), None, samples=samples, segments=torch.from_numpy(patches),
                   baseline=fill)  # fmt: skip
    return sums(heat[0], patches)


def peaks(
    values: Float[np.ndarray, "segment"], patches: Int[np.ndarray, "height width"], count: int
) -> tuple[int, ...]:
    """The segments of largest positive share, none closer to another than an eighth of the picture."""
    middles = np.array([np.argwhere(patches == number).mean(axis=0) for number in range(len(values))])
    least, kept = _APART * min(patches.shape), list[int]()
    for number in np.argsort(-values, kind="stable").tolist():
        if values[number] <= 0 or len(kept) == count:
            break
        if all(np.linalg.norm(middles[number] - middles[other]) >= least for other in kept):
            kept.append(number)
    return tuple(kept)


def chosen(
    pieces: Sequence[Piece], values: Float[np.ndarray, "segment"], patches: Int[np.ndarray, "height width"], *,
    points: int = POINTS,
) -> tuple[Bool[np.ndarray, "height width"], tuple[Piece, ...]]:  # fmt: skip
    """The union of prompted pieces with most positive less negative share inside, by the root of its area.

    Pieces of one name become one: who reads the name twice cannot tell which is meant. A piece is prompted when it
    holds part of a peak. Raises RequestError where no segment speaks for the target.
    """
    prompts = peaks(values, patches, points)
    if not prompts:
        raise RequestError("No segment speaks for this class, so nothing can be cut out.")
    hit = [piece for piece in pieces if any((piece.mask & (patches == number)).any() for number in prompts)]
    if not hit:
        strongest = np.isin(patches, prompts)
        return strongest, (Piece("the strongest superpixels", strongest),)
    density = (values / np.bincount(patches.ravel()))[patches]
    ranked = sorted(hit, key=lambda piece: -_worth(piece.mask, density))[: 2 * _LARGEST]
    unions = [group for size in range(1, _LARGEST + 1) for group in combinations(ranked, size)]
    best = max(unions, key=lambda group: _worth(_union(group), density))
    names = dict.fromkeys(piece.name for piece in best)
    return _union(best), tuple(Piece(name, _union([one for one in best if one.name == name])) for name in names)


def _worth(mask: Bool[np.ndarray, "height width"], density: Float[np.ndarray, "height width"]) -> float:
    return float(density[mask].sum() / np.sqrt(max(1, int(mask.sum()))))


def _union(group: Iterable[Piece]) -> Bool[np.ndarray, "height width"]:
    return np.any([piece.mask for piece in group], axis=0)


def _pieces(
    topic: Topic, patches: Int[np.ndarray, "height width"], values: Float[np.ndarray, "segment"], segmenter: str
) -> list[Piece]:
    """The masks on offer: the segmenter's parts, or superpixels with the neighbours that speak for the same."""
    if segmenter == "testbed":
        found = things.parts_of(topic.frame)
        parts = [Piece(f"the {things.CALLED.get(name, name)}", found[name]) for name in _BIRD if found[name].sum() >= 4]
        ground = found["background"]
        return [*parts, *(Piece("the ground", one) for one in connected(ground) if one.sum() > 0.05 * one.size)]
    beside = touching(patches)
    pieces: list[Piece] = []
    for number in np.flatnonzero(values > 0).tolist():
        own = [number, *(near for near in beside[number] if values[near] > 0.5 * values[number])]
        for members in ([number], own):
            mask = np.isin(patches, members)
            pieces.append(Piece(_called(topic.frame, mask), mask))
    return pieces


def _called(frame: Frame, mask: Bool[np.ndarray, "height width"]) -> str:
    on_frame = mask if frame.geometry is None else frame.geometry.mask_to_frame(mask)
    colour = dominant_colour(frame.pixels[on_frame])
    return in_words(on_frame) + (f" (mostly {colour})" if colour else "")


def _about(topic: Topic, mask: Bool[np.ndarray, "height width"], parts: Sequence[Piece], fill: str) -> list[Claim]:
    """What the model does without the mask, with it alone, and without each named piece of it."""
    claims = [templates.removed(topic, mask, fill), templates.survives(topic, mask, fill)]
    return claims + ([_without(topic, piece, fill) for piece in parts] if len(parts) > 1 else [])


def _without(topic: Topic, piece: Piece, fill: str) -> Claim:
    words = {"region": piece.name, "part": f"{piece.mask.mean():.1%} of the picture", "gone": wording.gone(fill)}
    return topic.claim("part_matters", "named_part", words, {"mask": piece.mask, "fill": fill})


def _beside(
    topic: Topic, inputs: torch.Tensor, pieces: Sequence[Piece], values: Float[np.ndarray, "segment"],
    patches: Int[np.ndarray, "height width"], mask: Bool[np.ndarray, "height width"], points: int, fill: str,
) -> Beside:  # fmt: skip
    """How far the answer falls without the mask, and without masks chosen by shuffled values or at random."""
    evidence = look(topic.model, inputs, [topic.target], seed=topic.seed)
    generator = np.random.default_rng(int(Seed(topic.seed).child("vale")))
    blind = [chosen(pieces, generator.permutation(values), patches, points=points)[0] for _ in range(_DRAWS)]
    random = [_as_large(pieces, int(mask.sum()), generator) for _ in range(_DRAWS)]
    hidden = evidence.fill(fill)
    before = float(evidence.model.probabilities(evidence.output())[0, _index(topic)])
    shown = (torch.where(torch.from_numpy(one)[None, None], hidden, inputs) for one in (mask, *blind, *random))
    falls = [before - float(topic.model.probabilities(topic.model.predict(one))[0, _index(topic)]) for one in shown]
    own, shuffled, drawn = falls[0], falls[1 : 1 + _DRAWS], falls[1 + _DRAWS :]
    controls = {
        "with the Shapley values shuffled": float(np.mean(shuffled)), "best shuffle": float(np.max(shuffled)),
        "random pieces of as many pixels": float(np.mean(drawn)),
    }  # fmt: skip
    return Beside("The answer falls without the mask by", own, controls)


def _as_large(pieces: Sequence[Piece], pixels: int, generator: np.random.Generator) -> Bool[np.ndarray, "height width"]:
    """Random pieces until about as many pixels are covered."""
    mask = np.zeros_like(pieces[0].mask)
    for at in generator.permutation(len(pieces)):
        if mask.sum() >= pixels:
            break
        mask = mask | pieces[int(at)].mask
    return mask


def _index(topic: Topic) -> int:
    return int(getattr(topic.target, "index", 0))
