"""The page of one picture: one HTML file that asks for nothing from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from pellucid.canvas import charts, fragments
from pellucid.canvas.raster import data_uri, enlarged
from pellucid.canvas.words import figures, listed, number, percent, shortened, title
from pellucid.results.drawing import drawn, photograph, picture_alt, truth_drawn

if TYPE_CHECKING:
    from pellucid.results.explanation import Explanation
    from pellucid.results.heatmaps import Heatmaps
    from pellucid.results.score import Score

_TEMPLATES = Path(__file__).parent / "templates"
_LARGE, _SMALL = 720, 480  # longest side of the pictures in the opening and in the gallery
CONTROLS = ("random", "centre", "edge")


def render(story: Explanation) -> str:
    """The whole page as text."""
    template = fragments.environment(_TEMPLATES).get_template("page.html")
    return template.render(**_opening(story), **_evidence(story), **_technical(story))


def _opening(story: Explanation) -> dict[str, Any]:
    photo = enlarged(photograph(story.frame, side=_LARGE), _LARGE)
    answer = story.answer.label[:1].upper() + story.answer.label[1:]
    probability = story.answer.probability
    bars = [(line.label, line.probability) for line in story.predictions[:5]]
    return {
        "no_requests": fragments.NO_REQUESTS, "base_css": fragments.stylesheet(),
        "page_css": fragments.stylesheet(_TEMPLATES / "page.css"),
        "name": story.frame.name, "model": story.model.name, "answer": answer,
        "sure": f"{percent(probability)} sure" if probability == probability else "it gives no probability",
        "explains": "" if story.target_name == story.answer.label else story.target_name,
        "headline": story.headline,
        "probabilities": charts.probabilities(
            bars, alt="Most probable: " + listed([f"{label} {percent(share)}" for label, share in bars])
        ),
        "picture": {
            "uri": data_uri(photo), "width": photo.shape[1], "height": photo.shape[0],
            "words": f"{story.frame.name}, {story.frame.width} × {story.frame.height} pixels",
        },
        "tall": story.frame.height > 1.1 * story.frame.width,
        "map": _map(story.chosen, _LARGE), "truth": _truth(story),
    }  # fmt: skip


def _evidence(story: Explanation) -> dict[str, Any]:
    known = {heat.method: _faithfulness(story, heat.method) for heat in story.heatmaps}
    shown = [heat for heat in story.heatmaps if heat.method not in CONTROLS]
    return {
        "claims": [claim.fragment() for claim in story.claims], "trust": _trust(story),
        "narration": None if story.narration is None else {
            "who": story.narration.narrator, "judgement": story.narration.judgement, "beside": story.narration.beside,
            "sentences": [one.fragment() for one in story.narration.sentences],
        },
        "curves": _curves(story),
        "gallery": [
            {**_map(heat, _SMALL), "about": heat.about, "failure": heat.failure(0),
             "score": "" if known[heat.method] is None else f"{known[heat.method]:.2f}"}
            for heat in shown
        ],
    }  # fmt: skip


def _map(heat: Heatmaps, side: int) -> dict[str, Any]:
    over = drawn(heat, 0, side=side)
    legend = over.legend if heat.finite(0) else ("hatched: this map holds values that are not numbers",)
    return {
        "uri": data_uri(enlarged(over.pixels, side)), "alt": picture_alt(heat), "title": heat.title,
        "drawn": over.state == "drawn", "gradient": over.scale.css(), "low": over.scale.low, "high": over.scale.high,
        "legend": legend,
    }  # fmt: skip


def _truth(story: Explanation) -> dict[str, Any] | None:
    if story.truth is None:
        return None
    words, scores = story.truth.text, story.scores_of(story.chosen.method)
    return {
        "uri": data_uri(enlarged(truth_drawn(story.frame, story.truth, side=_LARGE), _LARGE)),
        "alt": f"{story.frame.name} with the known cause in colour: {words}", "words": words,
        "scores": [words for score in scores.values() if (words := _against_truth(score))],
    }  # fmt: skip


def _against_truth(score: Score) -> str:
    """How the map did against the truth, as a sentence; empty for measures that know no truth."""
    value, random = percent(score.values[0]), percent(score.random[0]) if score.random else "unknown"
    return {
        "pointing_game": f"The strongest point of the map {'lies inside' if score.values[0] >= 0.5 else 'misses it'}.",
        "mask_iou": f"Map and truth share {value} of the area they cover; a random map {random}.",
    }.get(score.metric, "")


def _trust(story: Explanation) -> dict[str, Any]:
    choice = story.choice
    rows = [
        charts.Bar(
            title(str(row["method"])), float(row["score"]), float(row.get("spread") or 0),
            control=bool(row.get("control", row["method"] in CONTROLS)), chosen=row["method"] == choice.method,
        )
        for row in choice.table if row.get("score") is not None
    ]  # fmt: skip
    drawable = [row for row in rows if row.value == row.value]
    words = "Faithfulness: " + listed([f"{row.label} {row.value:.2f}" for row in drawable])
    return {
        "good": choice.beats_controls, "sentence": choice.sentence, "question": choice.question,
        "comparison": charts.comparison(drawable, alt=words) if drawable else None,
        "reading": f"Further right is better. {_DOTS[any(row.spread for row in rows)]} Upright lines are maps that "
        "know nothing about the model.",
        "checks": [*_stability(story), *_checks(story)],
    }  # fmt: skip


_DOTS = {
    True: "Dots are means over several ways to remove pixels, whiskers their spread.",
    False: "Pixels were removed in one way, which was not varied, so there are no whiskers.",
}


def _stability(story: Explanation) -> list[dict[str, str]]:
    # against the controls the sentence above has said it already, with its figures
    lines = [_check(None, story.choice.reason)] if story.choice.reason and not story.choice.margins else []
    if story.choice.stable is not None:
        words = f"It comes first under {percent(story.choice.stable)} of the ways tried to remove pixels."
        lines.append(_check(story.choice.stable > 0.5, words))
    turned = {str(row["method"]): places for row in story.choice.table if _turns(places := row.get("places") or [1])}
    if turned:
        said = listed([f"{title(name)} (place {min(places)} to {max(places)})" for name, places in turned.items()])
        lines.append(_check(False, f"Between the ways to remove pixels these change places by two and more: {said}."))
    return lines


def _turns(places: Sequence[int]) -> bool:
    """Whether the place depends on what removed pixels become; near neighbours change places by chance."""
    return max(places) - min(places) > 1


def _checks(story: Explanation) -> list[dict[str, str]]:
    checks = story.chosen.checks[0] if story.chosen.checks else ()
    own = [_check(check.passed, f"{check.name[:1].upper()}{check.name[1:]}: {check.words}") for check in checks]
    if story.chosen.flat(0):
        own.append(_check(False, "The map is flat: it says the same of every place."))
    failed = [heat.title for heat in story.heatmaps if not heat.passed(0)]
    return [*own, _check(None, f"Maps that failed a check of their own: {listed(failed) or 'none'}.")]


def _check(passed: bool | None, words: str) -> dict[str, str]:
    mark, kind, meaning = {
        True: ("✓", "yes", "passed"), False: ("✗", "no", "failed"), None: ("·", "told", "for information"),
    }[passed]  # fmt: skip
    return {"mark": mark, "kind": kind, "meaning": meaning, "words": words}


def _curves(story: Explanation) -> list[dict[str, Any]]:
    wanted = {
        "deletion": (
            "Taking the marked pixels away",
            "The answer should fall fast, far below the dashed line.",
            "of the picture removed",
        ),
        "insertion": (
            "Bringing the marked pixels back",
            "The answer should return fast, far above it.",
            "of the picture shown",
        ),
    }
    return [
        {"title": heading, "words": words, "chart": chart}
        for order, (heading, words, axis) in wanted.items()
        if (chart := _curve(story, order, axis)) is not None
    ]


def _curve(story: Explanation, order: str, axis: str) -> Markup | None:
    kept = [score for score in story.scores if score.curves and order in score.curves]
    own = next((score for score in kept if score.method == story.chosen.method), None)
    if own is None:
        return None
    assert own.curves is not None
    mine, random = own.curve(order), own.curve(f"{order}_random")
    control = next((score for score in kept if score.method == "random"), None)
    beside = random or (control.curve(order) if control else None)
    lines = {story.chosen.title: mine or [], **({"Random map": beside} if beside else {})}
    return charts.curves(
        own.curves["fractions"], lines, axis=axis, accent=story.chosen.title,
        unit="%" if "probability" in own.unit else "", alt=_curve_alt(own.curves["fractions"], lines, order),
    )  # fmt: skip


def _curve_alt(fractions: list[float], lines: Mapping[str, list[float]], order: str) -> str:
    middle = len(fractions) // 2
    said = [f"{name} {number(line[middle])}" for name, line in lines.items()]
    return f"{order} curve; with {percent(fractions[middle])} of the picture changed: {listed(said)}"


def _faithfulness(story: Explanation, method: str) -> float | None:
    row = next((row for row in story.choice.table if row["method"] == method), None)
    value = None if row is None else row.get("score")
    return None if value is None or value != value else float(value)


def _technical(story: Explanation) -> dict[str, Any]:
    layer = story.chosen.layer
    grid = f", {layer.grid[0]} × {layer.grid[1]} cells" if layer and layer.grid else ""
    how = {
        "explained": story.target_name,
        "target": _spelled(story.target.to_dict()),
        "method": story.chosen.method,
        "parameters": _spelled(story.chosen.parameters) or "the defaults",
        "layer": f"{layer.name} ({layer.module or layer.kind}{grid})" if layer else "none: it explains at the input",
        "why that layer": story.model.why_layer,
        "plan": story.plan,
        "cost": _spelled(story.cost),
        "seed": str(story.seed),
    }
    of_maps = (f"{heat.title}: {note}" for heat in story.heatmaps for note in heat.notes)
    versions = {"versions": _spelled(story.versions)}
    return {
        "details": [
            fragments.facts("How the map was made", {name: words for name, words in how.items() if words}),
            fragments.facts("The model", {**story.model.facts, **versions}),
        ],
        "scores": _score_table(story),
        "notes": list(dict.fromkeys([*story.frame.notes, *story.notes, *of_maps])),
    }  # fmt: skip


def _spelled(values: Mapping[str, Any]) -> str:
    """Names and values on one line; long lists of numbers are left to the JSON."""
    shown = {name: value for name, value in figures(values).items() if value not in ("", "none")}
    return ", ".join(f"{name} {shortened(value, 90)}" for name, value in shown.items())


def _score_table(story: Explanation) -> Markup | None:
    if not story.scores:
        return None
    return fragments.table(
        "All scores", ["Method", "Measure", "Better", "Value", "Spread", "Random", "Centre", "Edges"],
        [_score_row(score) for score in story.scores],
    )  # fmt: skip


def _score_row(score: Score) -> list[str]:
    controls = score.controls(0)
    return [
        title(score.method), title(score.metric), score.better, number(score.values[0]),
        number(score.spread[0]) if score.spread else "not varied",
        *(number(controls[name]) if name in controls else "" for name in CONTROLS),
    ]  # fmt: skip
