"""How a person would find out whether a model goes by what it should not: change one thing at a time, and count."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from pellucid.language.recipes import FIELDS
from pellucid.stories.agent.biases import LEAST_TURNED, WORDS_OF_FIELD
from pellucid.stories.agent.protocol import CONCLUDE, Call, Task
from pellucid.testbed.fields import SHORTCUTS, words_of

Script = Generator[Call, Mapping[str, Any], Any]
FIRST, AGAIN = 24, 48


def bias_script(task: Task) -> Script:
    """Calls of tools, each after the result of the one before."""
    guide = yield Call("guide", {}, "What should tell the classes?")
    deciding = [str(name) for name in guide.get("fields", [])]
    tried = [name for name in FIELDS if name != "cue"]
    drawn = yield Call("sample", {"count": FIRST}, "Some pictures to change.")
    screened = yield Call(
        "experiment",
        {"pictures": drawn.get("pictures", []), "edits": [{name: "another"} for name in tried]},
        "Which single change turns its answer?",
    )
    rows = dict(zip(tried, screened.get("rows", []), strict=False))
    for world in SHORTCUTS[1:]:
        marked = yield Call("sample", {"count": FIRST, "world": world}, f"The same with a {world}.")
        found = yield Call("experiment", {"pictures": marked.get("pictures", []), "edits": [{"cue": "another"}]},
                           f"Does the colour or angle of a {world} turn its answer?")  # fmt: skip
        rows |= dict(zip([world], found.get("rows", []), strict=False))
    suspects = [name for name, row in rows.items() if name not in deciding and row.get("turned", 0) >= 2]
    causes: list[str] = []
    cited: list[str] = []
    for name in suspects:
        row = yield from _again(name)
        kept = bool(row) and float(row["low"]) > LEAST_TURNED
        yield Call(
            "note", {"hypothesis": f"it goes by {WORDS_OF_FIELD[name]}", "status": "kept" if kept else "refuted"}
        )
        if kept:
            causes.append(name)
            cited.append(str(row["row"]))
    causes.sort(key=lambda name: -int(rows[name]["turned"]))
    idle = [name for name in deciding if rows.get(name, {}).get("low", 1.0) <= LEAST_TURNED]
    told = yield from _what_each_says(causes[0]) if causes else _no_more()
    words = " ".join([*told, *([f"It hardly minds {_and(idle)}, which should decide."] if idle else [])])
    cited += [str(rows[name]["row"]) for name in [*causes, *deciding] if rows.get(name, {}).get("row")]
    if not causes:
        quiet = max((name for name in rows if name not in deciding), key=lambda name: rows[name].get("turned", 0))
        cited += [str(rows[quiet]["row"])] if rows[quiet].get("row") else []
        words = f"No change of what should not decide turned more than now and then an answer. {words}".strip()
    label = " and ".join(WORDS_OF_FIELD[name] for name in causes[:3])
    yield Call(CONCLUDE, {"label": label, "description": words, "evidence": cited[:12]})


def _again(name: str) -> Generator[Call, Mapping[str, Any], Mapping[str, Any]]:
    """The same change on more pictures."""
    world = name if name in SHORTCUTS else ""
    drawn = yield Call("sample", {"count": AGAIN, "world": world})
    found = yield Call(
        "experiment",
        {"pictures": drawn.get("pictures", [])[FIRST:], "edits": [{"cue" if world else name: "another"}]},
        f"Does {WORDS_OF_FIELD[name]} turn others too?",
    )
    return next(iter(found.get("rows", [])), {})


def _what_each_says(name: str) -> Generator[Call, Mapping[str, Any], list[str]]:
    """Which answer goes with which value of what it goes by."""
    world = name if name in SHORTCUTS else ""
    field = "cue" if world else name
    drawn = yield Call("sample", {"count": FIRST, "world": world})
    found = yield Call(
        "experiment", {"pictures": drawn.get("pictures", []), "edits": [{field: word} for word in words_of(field)]},
        "Which answer goes with which value?",
    )  # fmt: skip
    told = [
        f"{word}: “{row['most_said_after']}” in {row['said']} of {row['pictures']}"
        for word, row in zip(words_of(field), found.get("rows", []), strict=False)
        if row.get("pictures")
    ]
    return [f"With {WORDS_OF_FIELD[name]} set to {'; '.join(told)}."] if told else []


def _no_more() -> Generator[Call, Mapping[str, Any], list[str]]:
    return []
    yield  # a generator that asks nothing


def _and(names: list[str]) -> str:
    said = [WORDS_OF_FIELD[name] for name in names]
    return " and ".join(said) if len(said) < 3 else f"{', '.join(said[:-1])} and {said[-1]}"
