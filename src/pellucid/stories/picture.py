"""Why the model said what it said about one picture: maps, the most faithful first, and sentences that were tested."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.errors import RequestError
from pellucid.language.narrators import Narrator, narrator_of
from pellucid.language.templates import Topic
from pellucid.registry import find_metric
from pellucid.results import Explanation, Heatmaps, Prediction, Score, Truth
from pellucid.stories.ranking import rank_maps
from pellucid.stories.request import (
    DEFAULT_BUDGET,
    Asked,
    Batch,
    Pictures,
    Request,
    batches_of,
    is_single,
    method_names,
    subject,
)
from pellucid.stories.sentences import claims_of, narration_of
from pellucid.stories.versions import versions
from pellucid.subject import VisionModel
from pellucid.trust.faithfulness import Curves, measured
from pellucid.trust.localisation import hits, overlaps
from pellucid.trust.measured import scores_of
from pellucid.values import Layer

SHOWN_CLASSES = 5


def explain(
    model: Asked,
    images: Pictures,
    *,
    target: Any = None,
    methods: str | Sequence[str] | None = None,
    layer: Layer | str | None = None,
    budget: int = DEFAULT_BUDGET,
    faithfulness_target: float | None = None,
    seed: int = 0,
    memory: float | None = None,
    truth: Truth | Sequence[Truth] | None = None,
    narrator: Narrator | str | None = None,
) -> Explanation | list[Explanation]:
    """Why the model said what it said: maps, the most faithful first, measured against maps that know nothing, and
    sentences that were tested. One Explanation for one picture, a list of them for several.

    model, images, target, layer, memory: as for `attribute`
    methods: None is the default panel, as much of it as the budget allows; names that are given are made whatever they
             cost
    budget:  forward passes per picture; a backward counts two
    faithfulness_target: insertion less deletion, up to 1; while no map has it and the budget lasts, methods, layers and
             baselines are searched for a more faithful one. At least half of the budget is then kept for the search
    truth:   the right answer, one per picture, where it is known; it is shown beside, and never used for the choice
    narrator: who retells the claims, see `pellucid.language.narrators`: `templates`, `hf:FOLDER`, `chat:MODEL`, or an
             object of that protocol. Every sentence of it is checked against the claims

    Raises RequestError where the budget allows for nothing, and whatever `attribute` raises.
    """
    request = Request(
        methods=None if methods is None else method_names(methods), budget=budget, seed=seed,
        layer=layer.name if isinstance(layer, Layer) else layer, faithfulness_target=faithfulness_target,
        narrator=narrator if isinstance(narrator, str) else None,
    )  # fmt: skip
    teller = None if narrator is None else narrator_of(narrator)
    under_study = subject(model)
    singles = [single for batch in batches_of(under_study, images) for single in batch.singles()]
    targets = _one_each(target, len(singles), "targets")
    truths = _one_each(truth, len(singles), "truths")
    for entry in truths:
        if entry is not None and not isinstance(entry, Truth):
            raise RequestError(f"truth has a {type(entry).__name__}; expected a pl.Truth for each picture, or None.")
    answers = [
        explain_one(under_study, single, request, target=own_target, memory=memory, truth=own_truth, narrator=teller)
        for single, own_target, own_truth in zip(singles, targets, truths, strict=True)
    ]
    return answers[0] if is_single(images) else answers


def explain_one(
    model: VisionModel,
    picture: Batch,
    request: Request,
    *,
    target: Any = None,
    memory: float | None = None,
    truth: Truth | None = None,
    narrator: Narrator | None = None,
) -> Explanation:
    """The Explanation of one picture that is model input already (a Batch of one).

    target:   whatever `attribute` takes for one picture; None is the request's own
    narrator: who retells the claims; a server that does not answer is told of in the notes
    """
    started = time.perf_counter()
    seen = rank_maps(model, picture, request, target=target, memory=memory)
    panel, evidence, curves, choice, ordered = seen.panel, seen.evidence, seen.curves, seen.choice, seen.maps
    outputs = evidence.output()
    notes = list(seen.notes)
    scores = (*_scores(curves, [heat.method for heat in ordered]), *_against_truth(ordered, picture, truth))
    predictions = _predictions(model, outputs)
    topic = Topic(
        model=model, frame=picture.frames[0], target=evidence.targets[0], seed=request.seed,
        input=picture.inputs[0].cpu().numpy() if picture.given or model.preprocess is None else None,
    )  # fmt: skip
    claims = claims_of(topic, seen, outputs, predictions, request.layer)
    narration = narration_of(model, claims, narrator, picture, notes)
    if not choice.beats_controls and curves is not None:
        notes.append(choice.reason)
    spent = evidence.passes
    return Explanation(
        frame=picture.frames[0],
        model=model.card,
        target=evidence.targets[0],
        target_name=model.target_name(evidence.targets[0]),
        predictions=predictions,
        heatmaps=ordered,
        scores=scores,
        claims=claims,
        notes=tuple(dict.fromkeys([*picture.frames[0].notes, *notes])),
        truth=truth,
        cost={
            "forwards": spent.forwards, "backwards": spent.backwards, "passes": spent.forwards + 2 * spent.backwards,
            "planned": panel.passes, "budget": request.budget, "seconds": round(time.perf_counter() - started, 3),
        },
        plan=panel.text,
        seed=request.seed,
        versions=versions(),
        choice=choice,
        narration=narration,
    )  # fmt: skip


def _scores(curves: Curves | None, order: Sequence[str]) -> tuple[Score, ...]:
    if curves is None:
        return ()
    kinds = {"gain": "insertion_minus_deletion", "deletion": "deletion", "insertion": "insertion"}
    found = [score for kind, name in kinds.items() for score in scores_of(find_metric(name), measured(curves, kind))]
    places = {name: place for place, name in enumerate(order)}
    return tuple(sorted(found, key=lambda score: places[score.method]))


def _against_truth(ordered: Sequence[Heatmaps], picture: Batch, truth: Truth | None) -> tuple[Score, ...]:
    """Pointing game and overlap of every map, where the right answer is known."""
    if truth is None:
        return ()
    geometry = picture.frames[0].geometry
    on_input = [mask if geometry is None else geometry.mask_to_input(mask) for mask in (truth.mask, _ungrown(truth))]
    grown, exact = (torch.from_numpy(np.ascontiguousarray(mask))[None] for mask in on_input)
    if not bool(grown.any()):
        return ()
    scores = []
    for heat in ordered:
        values = heat.one_channel
        area, narrow = float(grown.float().mean()), float(exact.float().mean())
        scores.append(Score("pointing_game", heat.method, hits(values, grown), random=(area,), unit="share of hits"))
        if bool(exact.any()):
            scores.append(
                Score("pointing_game_ungrown", heat.method, hits(values, exact), random=(narrow,), unit="share of hits")
            )
            scores.append(
                Score("mask_iou", heat.method, overlaps(values, exact), random=(narrow / (2 - narrow),),
                      unit="intersection over union")
            )  # fmt: skip
    return tuple(scores)


def _ungrown(truth: Truth) -> np.ndarray:
    return truth.mask if truth.ungrown is None else truth.ungrown


def _predictions(model: VisionModel, outputs: Float[Tensor, "1 classes"]) -> tuple[Prediction, ...]:
    """The classes the model ranks first, with their probabilities."""
    probabilities = model.probabilities(outputs)[0]
    # Stable, so that a tie has the first class first, here as everywhere.
    best = probabilities.argsort(descending=True, stable=True)[:SHOWN_CLASSES].tolist()
    return tuple(Prediction(index, model.labels.name(index), float(probabilities[index])) for index in best)


def _one_each(values: Any, count: int, what: str) -> list[Any]:
    if not isinstance(values, Sequence) or isinstance(values, str):
        return [values] * count
    if len(values) != count:
        raise RequestError(f"{len(values)} {what} for {count} pictures; expected one, or one per picture.")
    return list(values)
