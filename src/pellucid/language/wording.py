"""The sentences themselves: which words go with which measurement.

Each gives a template with the figures of one test in it. Whether a claim is made or checked again, the words come from
here and from what was measured last, so that they never say more than the figures beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UNMEASURED = "Not measured yet."
NO_NUMBER = "This could not be tested: what the model answers here is not a finite number."

_GONE = {"blur": "blurred", "mean": "painted over in the mean colour", "noise": "replaced by noise"}
_SURE = ((0.95, "almost certainly"), (0.75, "quite surely"), (0.5, "more likely than not"))
_RIVAL = {
    "runner-up": "The runner-up is {runner}.",
    "answer": "The model's answer is {runner}.",
    "neither": "Compared is {runner}, which is neither the answer nor the runner-up here.",
}
_AGREEMENT = ((0.7, "largely agree"), (0.4, "agree in part"), (0.15, "agree a little"), (-1.0, "hardly agree"))


def gone(fill: str) -> str:
    """What has become of removed pixels, as a participle."""
    return _GONE.get(fill, f"replaced ({fill})")


def surety(probability: float) -> str:
    """How sure one is of what has that probability."""
    return next((words for limit, words in _SURE if probability >= limit), "but is not sure")


def prediction(in_percent: bool) -> str:
    """What is ranked first: `label`, `value`, `sure`."""
    return f"The model sees “{{label}}”, {'{sure} ({value:.0%})' if in_percent else 'with a score of {value:.2f}'}."


def removal(measured: Mapping[str, Any], matters: bool, in_percent: bool, noun: str) -> str:
    """What the target, which is a `noun`, loses with the region: `target`, `region`, `part`, `gone`, `before`, …"""
    figure = _figures(measured, in_percent, "before", "after", "random", "random_worst")
    if matters:
        return (
            f"The {noun} {{target}} rests most on {{region}}, {{part}}: with that {{gone}}, it falls from "
            f"{figure['before']} to {figure['after']}; with random regions of the same shape {{gone}} instead, it is "
            f"{figure['random']}."
        )
    return (
        f"The map points at {{region}}, {{part}}, but with that {{gone}} {{target}} goes from {figure['before']} to "
        f"{figure['after']}, no further than with a random region of the same shape ({figure['random_worst']})."
    )


def survival(measured: Mapping[str, Any], suffices: bool, in_percent: bool) -> str:
    """What is left of the target with the region alone: `target`, `gone`, `after`, `random`, `random_best`."""
    alone = "Shown alone, with everything else {gone}, that region"
    if not suffices:
        figure = _figures(measured, in_percent, "after", "random_best")
        return (
            f"{alone} is not enough: it leaves {{target}} at {figure['after']}, no more than a random region of the "
            f"same shape does ({figure['random_best']})."
        )
    figure = _figures(measured, in_percent, "after", "random")
    if measured["after"] >= measured["before"] - abs(measured["before"]) / 2:
        return (
            f"{alone} keeps {{target}} at {figure['after']}; random regions of the same shape keep it at "
            f"{figure['random']}."
        )
    return (
        f"{alone} is not enough: it leaves {{target}} at {figure['after']}, though random regions of the same shape "
        f"leave even less ({figure['random']})."
    )


def runner_up(measured: Mapping[str, Any], separates: bool, in_percent: bool) -> str:
    """What the lead over another class rests on: `runner`, `second`, `region`, `lead`, `lead_after`, `lead_random`."""
    rival = _RIVAL[measured["place"]].format(runner=f"“{{runner}}” ({{second:{'.0%' if in_percent else '.2f'}}})")
    if not separates:
        return (
            f"{rival} No single region was found to separate the two: with {{region}} {{gone}} the lead goes from "
            "{lead:z.1f} to {lead_after:z.1f}, with random regions to {lead_random:z.1f}."
        )
    turn = (
        "turns over, from" if measured["overtaken"] else "shrinks from" if measured["lead_after"] >= 0 else "falls from"
    )
    return (
        f"{rival} The two are separated most by {{region}}: with that {{gone}}, the lead {turn} {{lead:z.1f}} to "
        "{lead_after:z.1f}; with random regions of the same shape it is {lead_random:z.1f}."
    )


def agreement(correlation: float) -> str:
    """How far methods agree, by their mean rank correlation: `count`, `correlation`, `lowest`, `first`, `second`."""
    how = next(words for limit, words in _AGREEMENT if correlation >= limit)
    return (
        f"The {{count}} methods {how} on where it looked: their mean rank correlation is {{correlation:z.2f}} "
        "(1 is the same order, 0 none), least between {first} and {second} ({lowest:z.2f})."
    )


def _figures(measured: Mapping[str, Any], in_percent: bool, *names: str) -> dict[str, str]:
    """Template fields for measured values, with as many digits as it takes to tell the first two apart."""
    first, second = (abs(float(measured[name])) for name in names[:2])
    if in_percent:
        digits = next((count for count in (0, 1) if f"{first:.{count}%}" != f"{second:.{count}%}"), 2)
        return {name: f"{{{name}:.{digits}%}}" for name in names}
    digits = next((count for count in (2, 3) if f"{first:.{count}f}" != f"{second:.{count}f}"), 4)
    return {name: f"{{{name}:.{digits}f}}" for name in names}


def evidence(kind: str, measured: Mapping[str, Any]) -> str:
    """What a region carries of a map's evidence: `label`, `region`, `share`, and for some `part`, `count`, `named`.

    kind: `first` and `next` speak for the label, `against` against it; `diffuse` says that no region stands out, `none`
          that nothing speaks for it
    """
    share, part, largest = (f"{{{name}:{share_form(float(measured[name]))}}}" for name in ("share", "part", "largest"))
    return {
        "first": f"What counts most is {{region}}: it carries {share} of the positive evidence for {{label}}.",
        "next": f"Next comes {{region}}, with {share} of the positive evidence.",
        "against": (
            f"Against {{label}} speaks {{region}}: it carries {share} of the negative evidence, which is {part} of all "
            "evidence."
        ),
        "diffuse": (
            f"The evidence is diffuse: all that was named carries {share} of it, the strongest of the {{count}} "
            f"segments {largest}."
        ),
        "none": "Nothing speaks for {label}: none of the {count} segments has positive evidence.",
    }[kind]


def share_form(share: float) -> str:
    """As many digits as a share needs so that neither nothing nor all is claimed of what is less."""
    near = min(share, 1 - share)
    return ".0%" if near < 1e-9 or near >= 0.005 else ".1%" if near >= 0.0005 else ".2%"


def unit_name(stands: bool, *, by_labels: bool = False) -> str:
    """What a unit answers to: `unit`, `layer`, `name`, `auroc`, `pictures`, `having`.

    by_labels: the name is a label of the model itself, which says nothing of what is in the pictures
    """
    if stands and by_labels:
        return (
            "Unit {unit} of {layer} goes with the model's own “{name}”: of two pictures, one that the model finds more "
            "like it and one less, the unit answers more strongly to the first in {auroc:.0%} of cases ({pictures} "
            "pictures that did not help to find the name, {having} of them more like it)."
        )
    if stands:
        return (
            "Unit {unit} of {layer} answers to “{name}”: of two pictures, one with it and one without, it answers more "
            "strongly to the one with it in {auroc:.0%} of cases ({pictures} pictures that did not help to find the "
            "name, {having} of them with it)."
        )
    return (
        "Unit {unit} of {layer} has no name that stands. The best, “{name}”, tells its stronger answers from its "
        "weaker ones in {auroc:.0%} of cases, where 50% is chance ({pictures} pictures, {having} of them with it)."
    )


def silent_unit(dead: bool) -> str:
    """A unit of which nothing can be said: `unit`, `layer`, `pictures`."""
    if dead:
        return "Unit {unit} of {layer} gave the same answer to all pictures, so nothing can be said of it."
    return "No name of unit {unit} of {layer} could be tested: too few of the {pictures} pictures show it, or lack it."


def unit_supports(measured: Mapping[str, Any], *, supports: bool, silent: bool, holds: bool) -> str:
    """What a unit does for a target: `called`, `target`, `before`, `without`; for a silent one `amount`, `raised`."""
    does = "supports" if supports else "opposes"
    if silent:
        would = f"would {does.removesuffix('s')} {{target}}"
        figure = _unsigned(_figures(measured, False, "before", "raised", "amount"))
        tried = f"raised to {figure['amount']}, the score goes from {figure['before']} to {figure['raised']}"
        if holds:
            return f"{{called}} is silent here; it {would}: {tried}."
        return f"{{called}} is silent here. Its gradient says that it {would}, but {tried}."
    names = ("before", "without", "as_usual", "usual") if "as_usual" in measured else ("before", "without")
    figure = _unsigned(_figures(measured, False, *names))
    tried = f"set to 0, the score goes from {figure['before']} to {figure['without']}"
    if "as_usual" in measured:
        tried += f"; set to what it is on average ({figure['usual']}), to {figure['as_usual']}"
    if holds:
        return f"{{called}} {does} {{target}}: {tried}."
    return f"{{called}} {does} {{target}} by its gradient, but {tried}."


def _unsigned(figure: Mapping[str, str]) -> dict[str, str]:
    """The same fields, where what rounds to 0 has no sign."""
    return {name: field.replace(":.", ":z.") for name, field in figure.items()}
