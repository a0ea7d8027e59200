"""What an agent is asked, what it does, and what it is told: a task, calls of tools, turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, runtime_checkable

from pellucid.errors import RequestError

JOBS = ("unit", "bias")
PASSES, TURNS, PICTURES = 3000, 30, 300
CONCLUDE = "conclude"
UNREAD = "unread"  # the tool that is called where an answer could not be read: its error goes back to the policy


@dataclass(frozen=True)
class Task:
    """What is to be found out.

    job:         `unit`, what a unit answers to; `bias`, what the model goes by and should not
    model:       how the model is called, so that a journal can be run again
    layer, unit: which unit; `pool` is how its answer is read: `max` or `mean` over the grid
    source:      what it looks at: `scene`s, crops of `photo`graphs, or `file`s
    paint:       how the net sees scenes
    pictures:    how many it is scanned with, from `seed`
    passes:      how many forward passes of the model may be spent
    turns:       how often a tool may be called
    """

    job: str
    model: str
    layer: str = ""
    unit: int = 0
    pool: str = "max"
    source: str = "scene"
    paint: str = "lit"
    files: tuple[str, ...] = ()
    pictures: int = PICTURES
    seed: int = 3000
    passes: int = PASSES
    turns: int = TURNS

    def __post_init__(self) -> None:
        if self.job not in JOBS or self.pool not in ("max", "mean"):
            raise RequestError(f"job={self.job!r}, pool={self.pool!r}; expected unit or bias, and max or mean.")
        if self.passes < 1 or self.turns < 1 or self.pictures < 20:
            raise RequestError(
                f"passes={self.passes}, turns={self.turns}, pictures={self.pictures}; expected at least 1, 1 and 20."
            )
        if self.job == "bias" and self.source != "scene":
            raise RequestError("What a model should go by is known of the testbed's nets only.")

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "files": list(self.files)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Task:
        """The task that `to_dict` wrote. Raises RequestError for what is none."""
        try:
            settings: dict[str, Any] = {**record, "files": tuple(record["files"])}
            return cls(**settings)
        except (TypeError, KeyError) as error:
            raise RequestError("The journal's first line holds no task.") from error


@dataclass(frozen=True)
class Call:
    """One tool to be used, and why, in the agent's own words."""

    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    thought: str = ""


@dataclass(frozen=True)
class Turn:
    """A call and what came of it.

    number: counted from 1
    result: what the tool gave; with `error`, why it did not
    passes: what it cost
    """

    number: int
    call: Call
    result: Mapping[str, Any]
    passes: int

    @property
    def error(self) -> str:
        """Why the tool gave nothing; empty where it did."""
        return str(self.result.get("error", ""))

    @property
    def concluded(self) -> bool:
        """Whether the agent is done."""
        return self.call.tool == CONCLUDE and not self.error

    def to_dict(self) -> dict[str, Any]:
        return {
            "turn": self.number, "thought": self.call.thought, "tool": self.call.tool,
            "arguments": dict(self.call.arguments), "result": dict(self.result), "passes": self.passes,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Turn:
        call = Call(str(record["tool"]), dict(record["arguments"]), str(record["thought"]))
        return cls(int(record["turn"]), call, dict(record["result"]), int(record["passes"]))


@dataclass(frozen=True)
class Tool:
    """One thing an agent can do: its name, what it does, and what it takes, as a JSON schema."""

    name: str
    does: str
    takes: Mapping[str, Mapping[str, Any]]
    needs: tuple[str, ...] = ()

    @property
    def schema(self) -> dict[str, Any]:
        """As servers of the chat protocol are told it."""
        parameters = {"type": "object", "properties": {name: dict(one) for name, one in self.takes.items()},
                      "required": list(self.needs), "additionalProperties": False}  # fmt: skip
        return {"type": "function",
                "function": {"name": self.name, "description": self.does, "parameters": parameters}}  # fmt: skip


@runtime_checkable
class Policy(Protocol):
    """Anything that says what to do next. What it says is only ever a tool and its arguments; none of it is run."""

    @property
    def name(self) -> str: ...

    def act(self, task: Task, tools: Sequence[Tool], turns: Sequence[Turn], left: Mapping[str, int]) -> Call: ...


def checked(tool: Tool, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, if they are what the tool takes. Raises RequestError that says what is wrong."""
    unknown = [name for name in arguments if name not in tool.takes]
    missing = [name for name in tool.needs if name not in arguments]
    if unknown or missing:
        raise RequestError(
            f"{tool.name} takes {', '.join(tool.takes) or 'nothing'}"
            + (f"; unknown: {', '.join(map(str, unknown))[:80]}" if unknown else "")
            + (f"; missing: {', '.join(missing)}" if missing else "")
            + "."
        )
    for name, value in arguments.items():
        _check(f"{tool.name}: {name}", value, tool.takes[name])
    return dict(arguments)


def _check(place: str, value: Any, schema: Mapping[str, Any]) -> None:
    kinds: dict[str, type] = {"integer": int, "string": str, "array": list, "object": dict}
    kind = schema["type"]
    if not isinstance(value, kinds[kind]) or isinstance(value, bool):
        raise RequestError(f"{place} is {str(value)[:60]!r}; expected {kind}.")
    if kind == "integer" and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        raise RequestError(f"{place} is {value}; expected {schema.get('minimum')} to {schema.get('maximum')}.")
    if kind == "string" and (len(value) > schema.get("maxLength", 400) or value not in schema.get("enum", [value])):
        raise RequestError(f"{place} is {value[:60]!r}; expected {schema.get('enum') or 'a shorter text'}.")
    if kind == "array":
        if not schema.get("minItems", 0) <= len(value) <= schema["maxItems"]:
            raise RequestError(f"{place} has {len(value)} entries; expected up to {schema['maxItems']}.")
        for at, one in enumerate(value):
            _check(f"{place}[{at}]", one, schema["items"])
    if kind == "object":
        for name, one in value.items():
            _check(f"{place}.{str(name)[:40]}", one, schema["additionalProperties"])
