"""What can be found out on photographs, which cannot be painted again: where it looks, and whether colour matters."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from pellucid.stories.agent.protocol import CONCLUDE, Call, Task

Script = Generator[Call, Mapping[str, Any], Any]
STRONGEST = 8
_MATTERS = 0.25  # of the way from the median answer to the strongest


def photo_script(task: Task) -> Script:
    """Calls of tools, each after the result of the one before."""
    top = yield Call("exemplars", {"count": STRONGEST}, "What does it answer to most?")
    if "error" in top:
        yield Call(CONCLUDE, {"label": "", "description": "There was no budget to look at pictures.", "evidence": []})
        return
    said = yield Call("names", {"count": 3}, "What would it be called without experiments?")
    strong = [one["picture"] for one in top["exemplars"]]
    boxes = [",".join(f"{side:.3f}" for side in one["box"]) for one in top["exemplars"]]
    reach = sum(one["answer"] for one in top["exemplars"]) / len(strong) - top["all"]["median"]
    rows: dict[str, list[Mapping[str, Any]]] = {"colour": [], "hues": [], "side": [], "box": [], "else": []}
    whole = yield Call("experiment", {"pictures": strong, "edits": [{"grey": ""}, {"turn": "120"}, {"mirror": ""}]},
                       "Does colour matter, or which side is left?")  # fmt: skip
    for name, row in zip(("colour", "hues", "side"), whole.get("rows", []), strict=False):
        rows[name].append(row)
    for picture, box in zip(strong[:4], boxes, strict=False):
        one = yield Call("experiment", {"pictures": [picture], "edits": [{"hide": box}, {"only": box}]},
                         "Is it what is in the box, and is that enough?")  # fmt: skip
        for name, row in zip(("box", "else"), one.get("rows", []), strict=False):
            rows[name].append(row)
    falls = {name: _fall(found, reach) for name, found in rows.items()}
    cited = [str(row["row"]) for found in rows.values() for row in found if row.get("row")]
    names = [str(one["name"]) for one in said.get("names", [])]
    yield Call(CONCLUDE, {"label": "", "description": _told(falls, names), "evidence": cited[:12]})


def _fall(rows: list[Mapping[str, Any]], reach: float) -> float:
    gains = [float(one) for row in rows for one in row.get("gains", ())]
    return -sum(gains) / len(gains) / reach if gains and reach > 0 else float("nan")


def _told(falls: Mapping[str, float], names: list[str]) -> str:
    """What was measured, in a few sentences."""
    told = {
        "colour": ("It needs colour", "It does without colour"),
        "hues": ("needs these hues", "does without these hues"),
        "side": ("minds which side is left", "does not mind which side is left"),
        "box": ("falls without the box it answers in", "does not fall without the box it answers in"),
        "else": ("needs what is around that box", "does without what is around that box"),
    }  # fmt: skip
    words = [
        f"{says[0] if falls[name] >= _MATTERS else says[1]} ({falls[name]:.0%} of the way to its median answer)"
        for name, says in told.items()
        if falls[name] == falls[name]
    ]
    last = f" Beside it goes the model's own “{names[0]}”." if names else ""
    return f"{'; '.join(words)}.{last}"
