"""Why the model said what it said about one picture: maps, the most faithful first, and sentences that were tested."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.engine import Evidence, look
from pellucid.engine.maps import layer_for, refuse_if_unavailable, upsampled
from pellucid.errors import MethodUnavailable, RemoteError, RequestError
from pellucid.images import baselines, masks
from pellucid.language import check, templates
from pellucid.language.narrators import Narrator, narrate, narrator_of
from pellucid.language.templates import Topic
from pellucid.registry import find_method, find_metric
from pellucid.results import Choice, Claim, Claims, Explanation, Heatmaps, Narration, Prediction, Score, Truth
from pellucid.stories.maps import check_layer, heatmaps, needs_of, said_later
from pellucid.stories.panel import POINTS, Plan, plan
from pellucid.stories.request import (
    DEFAULT_BUDGET,
    Asked,
    Batch,
    Pictures,
    Request,
    batches_of,
    is_single,
    method_names,
    panel_budget,
    subject,
)
from pellucid.stories.search import search
from pellucid.stories.versions import versions
from pellucid.subject import VisionModel
from pellucid.trust.faithfulness import Curves, measured, perturbation_curves
from pellucid.trust.localisation import hits, overlaps
from pellucid.trust.measured import CONTROLS, control, controls, scores_of
from pellucid.values import Class, Contrast, Layer, Target, Text

# Even steps of the side of the region changed: close together where the few pixels lie that matter. Areas over the side
# chose maps that hit the deciding part in 99 % (CNN) and 88 % (ViT) of 48 scenes; over the fraction in 99 and 82 %.
FRACTIONS = tuple((step / (POINTS - 1)) ** 2 for step in range(POINTS))
REGIONS = FRACTIONS[1:5]  # how much of the picture a sentence may speak of: 2, 8, 18 or 33 %
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
    claims = _claims(topic, seen, outputs, predictions, request.layer)
    narration = _narration(model, claims, narrator, picture, notes)
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


@dataclass(frozen=True, eq=False)
class Ranked:
    """The maps of one picture in the order to show them, and how they came into it.

    searched: the method whose map a search found, perhaps at another layer than the others
    """

    panel: Plan
    evidence: Evidence
    maps: tuple[Heatmaps, ...]
    curves: Curves | None
    choice: Choice
    notes: tuple[str, ...]
    searched: str | None = None


def rank_maps(
    model: VisionModel, picture: Batch, request: Request, *, target: Any = None, memory: float | None = None
) -> Ranked:
    """The planned maps of one picture (a Batch of one), scored and put in order; all of `explain` but the words."""
    size, layer, seed = (int(picture.inputs.shape[-2]), int(picture.inputs.shape[-1])), request.layer, request.seed
    target = request.target if target is None else target
    with said_later():
        check_layer(model, layer, size)
        panel = plan(model, size, budget=panel_budget(request), methods=request.methods, layer=layer)
        asked = [find_method(step.method) for step in panel.steps]
        if request.methods is not None:
            for method in asked:
                refuse_if_unavailable(model, method)
        layers = [address for method in asked if (address := _layer_or_none(model, method, layer, size))]
    evidence = look(
        model, picture.inputs, None if target is None else [target], needs=needs_of(asked),
        layers=dict.fromkeys(layers), seed=seed, memory=memory,
    )  # fmt: skip
    evidence.output()
    notes: list[str] = [*panel.dropped]
    maps = _maps(evidence, picture, panel, layer, strict=request.methods is not None, notes=notes)
    evidence.release()  # what is to come takes forwards only, and memory of its own
    curves = _curves(evidence, maps, panel)
    searched = None
    if request.faithfulness_target is not None and curves is not None:
        scored = {name: float(curves.gain(name).mean()) for name in maps if name in curves.deletion}
        best = max(scored, key=lambda name: scored[name])
        found = search(
            model, picture, evidence, best=(maps[best], scored[best]), target=request.faithfulness_target,
            passes=request.budget - evidence.passes.cost - panel.words, fractions=FRACTIONS, fills=panel.fills,
            seed=seed, memory=memory,
        )  # fmt: skip
        notes.append(found.sentence(request.faithfulness_target))
        if found.heat is not None and found.curves is not None:
            searched = found.heat.method
            maps[searched] = found.heat
            curves = curves.joined(found.curves)
    choice, order = _choose(maps, curves, panel)
    return Ranked(panel, evidence, tuple(maps[name] for name in order), curves, choice, tuple(notes), searched)


# -- maps and their scores ------------------------------------------------------------------------------------------


def _maps(
    evidence: Evidence, picture: Batch, panel: Plan, layer: Layer | str | None, *, strict: bool, notes: list[str]
) -> dict[str, Heatmaps]:
    """The planned maps by name. A method of the default panel that turns out undefined here is left out with a note."""
    made: dict[str, Heatmaps] = {}
    for step in panel.steps:
        method = find_method(step.method)
        try:
            made[step.method] = heatmaps(evidence, picture, method, layer=layer, parameters=step.parameters)
        except MethodUnavailable as error:
            if strict:
                raise
            notes.append(str(error))
    if not made:
        raise RequestError("No method of the panel could explain this model.")
    return made


def _curves(evidence: Evidence, maps: Mapping[str, Heatmaps], panel: Plan) -> Curves | None:
    scored = {name: maps[name].one_channel for name in panel.scored if name in maps and maps[name].finite(0)}
    if not scored or not panel.controls:
        return None
    beside = {control(name): values for name, values in controls(evidence).items()}
    return perturbation_curves(evidence, {**scored, **beside}, fractions=FRACTIONS, fills=panel.fills, over="side")


def _choose(maps: Mapping[str, Heatmaps], curves: Curves | None, panel: Plan) -> tuple[Choice, list[str]]:
    """The map to show first, and all maps in the order to show them: scored ones best first, failed checks last."""
    declared = list(maps)
    if curves is None:
        order = sorted(declared, key=lambda name: (not maps[name].passed(0), panel.rank(name)))
        reason = "No map was scored, so the first is first by declaration, not by measurement."
        return Choice(method=order[0], reason=reason), order
    gain = {name: float(curves.gain(name).mean()) for name in curves.deletion}
    scored = [name for name in declared if name in gain]
    ranked = sorted(scored, key=lambda name: (not maps[name].passed(0), -gain[name]))
    order = [
        *ranked,
        *sorted((name for name in declared if name not in gain), key=lambda name: not maps[name].passed(0)),
    ]
    rows = [_row(curves, name, is_control=False, passed=maps[name].passed(0)) for name in ranked]
    rows += [_row(curves, control(name), is_control=True, passed=True) for name in CONTROLS]
    table = tuple(sorted(rows, key=lambda row: -row["score"]))
    sound = sorted((name for name in declared if maps[name].passed(0)), key=panel.rank)
    if sound and not maps[ranked[0]].passed(0):
        reason = f"Every map that was scored failed a check; {sound[0]} passed its own, but was not scored."
        return Choice(method=sound[0], reason=reason, table=table), [
            sound[0],
            *(name for name in order if name != sound[0]),
        ]
    best = ranked[0]
    margins = {name: gain[best] - gain[control(name)] for name in CONTROLS}
    beats = all(margin > 0 for margin in margins.values()) and maps[best].passed(0)
    rivals = [name for name in scored if maps[name].passed(0)] or scored
    per_fill = {name: curves.gain(name)[:, 0].tolist() for name in rivals}
    winners = [max(rivals, key=lambda name, at=at: per_fill[name][at]) for at in range(len(curves.fills))]
    return Choice(
        method=best,
        reason=_reason(best, margins, beats, maps[best].passed(0)),
        margin_random=margins["random"],
        margin_centre=margins["centre"],
        margin_edge=margins["edge"],
        beats_controls=beats,
        stable=winners.count(best) / len(winners),
        table=table,
    ), order


def _row(curves: Curves, name: str, *, is_control: bool, passed: bool) -> dict[str, Any]:
    gains = curves.gain(name)
    return {
        "method": name.removeprefix("control "), "score": float(gains.mean()),
        "spread": float(gains.std(correction=0)), "deletion": float(curves.area("deletion", name).mean()),
        "insertion": float(curves.area("insertion", name).mean()), "control": is_control, "checks passed": passed,
    }  # fmt: skip


def _reason(best: str, margins: Mapping[str, float], beats: bool, passed: bool) -> str:
    if not passed:
        return f"Every map that was scored failed a check; {best} has the highest score, but do not trust it."
    if beats:
        least = min(margins, key=lambda name: margins[name])
        return (
            f"Of the maps that were scored, {best} follows the model best: its insertion less deletion is higher by "
            f"{margins['random']:.2f} than a random map's, and by {margins[least]:.2f} than that of the best control "
            f"({least})."
        )
    unbeaten = [name for name, margin in margins.items() if margin <= 0]
    names = {"random": "a random map", "centre": "the picture's centre", "edge": "the picture's edges"}
    return (
        f"No map explains this answer better than {' and '.join(names[name] for name in unbeaten)}, which know "
        f"nothing of the model. Shown first is {best}, which scored highest, but it should not be relied on."
    )


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


# -- words ----------------------------------------------------------------------------------------------------------


def _claims(
    topic: Topic, seen: Ranked, outputs: Tensor, predictions: tuple[Prediction, ...], layer: Layer | str | None
) -> Claims:
    claims: list[Claim] = []
    evidence, chosen = seen.evidence, seen.maps[0]
    if seen.panel.words:
        claims.append(templates.predicted(topic, predictions[0]))
        evidence.passes.add(forwards=1)
        if chosen.passed(0):
            mask = region_of(chosen, seen.curves)
            claims += [templates.removed(topic, mask), templates.survives(topic, mask)]
            evidence.passes.add(forwards=2 * check.PASSES)
            claims += _separation(topic, evidence, outputs, mask, layer)
    named = [
        heat for heat in seen.maps
        if heat.passed(0) and not find_method(heat.method).control and heat.method != seen.searched
    ]  # fmt: skip
    if len(named) > 1:
        parameters = {heat.method: dict(heat.parameters) for heat in named}
        name = layer.name if isinstance(layer, Layer) else layer
        claims.append(templates.agreeing(topic, parameters, name, [heat.one_channel[0] for heat in named]))
    return Claims(claims)


def _narration(
    model: VisionModel, claims: Claims, narrator: Narrator | None, picture: Batch, notes: list[str]
) -> Narration | None:
    """The claims in the narrator's words. What a server or the evidence makes impossible becomes a note."""
    if narrator is None:
        return None
    if not claims.verified:
        notes.append(f"{narrator.name} was not asked: there is no verified claim to retell.")
        return None
    try:
        return narrate(model, claims, narrator, frame=picture.frames[0])
    except RemoteError as error:
        notes.append(f"{narrator.name} told nothing. {error}")
        return None


def region_of(heat: Heatmaps, curves: Curves | None) -> Bool[np.ndarray, "height width"]:
    """The part of the picture a map speaks of: its strongest pixels, as many as it takes to halve the prediction.

    Where the curves say nothing, 8 % of the picture. Scattered maps are smoothed first, so that it is a place.
    """
    share = REGIONS[1]
    if curves is not None and heat.method in curves.deletion:
        blur = curves.fills.index("blur") if "blur" in curves.fills else 0
        curve = curves.deletion[heat.method][blur, 0]
        start, least = float(curve[0]), float(curve.min())
        reached = [
            fraction
            for fraction, value in zip(curves.fractions, curve.tolist(), strict=True)
            if fraction in REGIONS and value <= (start + least) / 2
        ]
        share = reached[0] if reached else REGIONS[-1]
    return masks.threshold_area(smooth(heat.one_channel[0]), share, seed=heat.seed)


def smooth(values: Float[Tensor, "height width"]) -> Float[Tensor, "height width"]:
    """The map without its grain: blurred by a 64th of the shorter side."""
    return baselines.blur(values[None, None], max(0.5, min(values.shape) / 64))[0, 0]


def _separation(
    topic: Topic, evidence: Evidence, outputs: Tensor, mask: Bool[np.ndarray, "height width"], layer: Layer | str | None
) -> list[Claim]:
    """The runner-up, and the region that separates the target from it: the map's own, or that of the contrast."""
    contrast = _contrast(topic.target, outputs)
    if contrast is None:
        return []
    own = templates.separated(topic, contrast, mask)
    evidence.passes.add(forwards=check.PASSES)
    if not topic.model.differentiable:
        return [own]
    between = _contrast_region(topic.model, evidence, contrast, layer, float(mask.mean()))
    other = own
    if between is not None:
        other = templates.separated(topic, contrast, between)
        evidence.passes.add(forwards=check.PASSES)
    return [max((own, other), key=lambda claim: (claim.predicate == "separates", _lost(claim)))]


def _lost(claim: Claim) -> float:
    return float(claim.measured["lead"]) - float(claim.measured["lead_after"])


def _contrast(target: Target, outputs: Float[Tensor, "1 classes"]) -> Contrast | None:
    """The target's class against the strongest other one."""
    if not isinstance(target, (Class, Text)) or not isinstance(target.index, int) or outputs.shape[1] < 2:
        return None
    others = outputs[0].clone()
    others[target.index] = float("-inf")
    return Contrast(target.index, int(others.argmax()))


def _contrast_region(
    model: VisionModel, evidence: Evidence, contrast: Contrast, layer: Layer | str | None, share: float
) -> Bool[np.ndarray, "height width"] | None:
    """Where the lead over the runner-up comes from, by LayerCAM of the difference: one forward and one backward."""
    method = find_method("layer_cam")
    with said_later():
        address = _layer_or_none(model, method, layer, evidence.size)
    if address is None or not model.layers_at(evidence.size).flows:
        return None
    asked = look(model, evidence.inputs, [contrast], needs=method.needs, layers=[address], seed=evidence.seed)
    values = upsampled(method.function(asked, address), evidence.size)[0]
    evidence.passes.add(forwards=1, backwards=1)
    if not bool(values.max() > values.min()):
        return None
    return masks.threshold_area(smooth(values), share, seed=int(evidence.seed))


# -- small things ---------------------------------------------------------------------------------------------------


def _layer_or_none(model: VisionModel, method: Any, layer: Layer | str | None, size: tuple[int, int]) -> Layer | None:
    try:
        return layer_for(model, method, layer, size)
    except MethodUnavailable:
        return None


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
