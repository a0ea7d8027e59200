"""A language model as a policy, behind a server that speaks the OpenAI chat protocol.

It is told the task, the tools and every result; it answers with one call, as `tool_calls` or as JSON in its text. That
is read as data: a tool's name and its arguments. Nothing it writes is run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pellucid.errors import RemoteError
from pellucid.language.conditions import GRAMMAR
from pellucid.language.narrators import Chat
from pellucid.stories.agent.protocol import CONCLUDE, UNREAD, Call, Task, Tool, Turn

_LONGEST_RESULT = 6_000  # characters of a result that are sent
_LONGEST_THOUGHT = 600
_DEEPEST = 20_000  # characters of an answer in which a call is looked for

ROLE = (
    "You study a vision model by experiments. Each turn, call exactly one tool, either as a tool call or by answering "
    'with one JSON object: {"thought": "...", "tool": "NAME", "arguments": {...}}. Make hypotheses, try each by '
    "changing pictures, drop what is refuted. Pictures are named by texts such as scene:3000:17;tail=fanned that you "
    "may also write yourself. What you conclude must cite experiments by their row names, and is judged on fresh "
    "pictures."
)


class ChatPolicy:
    """A model on a server that says what to do next; safe to use for one task at a time.

    chat: the server, as narrators use it: `Chat("MODEL", url=...)`; None of its pictures are sent
    """

    def __init__(self, chat: Chat, *, most_tokens: int = 800) -> None:
        self._server = _Server(chat)
        self._model, self._most_tokens = chat.model, most_tokens
        self.name = chat.name

    def act(self, task: Task, tools: Sequence[Tool], turns: Sequence[Turn], left: Mapping[str, int]) -> Call:
        """The next step. Raises RemoteError where the server does not answer as agreed."""
        body = {
            "model": self._model, "temperature": 0.0, "seed": 0, "max_tokens": self._most_tokens, "stream": False,
            "messages": messages(task, tools, turns, left), "tools": [tool.schema for tool in tools],
        }  # fmt: skip
        return read_call(self._server.asked(body))


class _Server(Chat):
    """The narrator's connection, asked for a whole message."""

    def __init__(self, chat: Chat) -> None:
        self.__dict__.update(vars(chat))
        self._kept = chat  # whose end closes the connection

    def asked(self, body: dict[str, Any]) -> Mapping[str, Any]:
        response = self._asked(body)
        agreed = 'Expected {"choices": [{"message": {"content": "...", "tool_calls": [...]}}]}.'
        try:
            message = response.json()["choices"][0]["message"]
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise RemoteError(self.url, "the answer holds no message.", agreed) from error
        if not isinstance(message, dict):
            raise RemoteError(self.url, "the message is no object.", agreed)
        return message  # pyright: ignore[reportUnknownVariableType]


def messages(task: Task, tools: Sequence[Tool], turns: Sequence[Turn], left: Mapping[str, int]) -> list[dict[str, Any]]:
    """All that a model is told: its role and tools, the task, then each call with its result."""
    listed = "\n".join(f"- {tool.name}({_taken(tool)}): {tool.does}" for tool in tools)
    said: list[dict[str, Any]] = [
        {"role": "system", "content": f"{ROLE}\n\n{GRAMMAR if task.job == 'unit' else ''}\n\nTools:\n{listed}"},
        {"role": "user", "content": json.dumps({"task": _asked(task), "budget": dict(left)}, ensure_ascii=False)},
    ]
    for turn in turns:
        call = {"thought": turn.call.thought, "tool": turn.call.tool, "arguments": dict(turn.call.arguments)}
        said.append({"role": "assistant", "content": json.dumps(call, ensure_ascii=False)})
        said.append({"role": "user", "content": _shown(turn)})
    if left["turns"] == 1:
        said.append({"role": "user", "content": f"This is your last turn: call {CONCLUDE}."})
    return said


def _taken(tool: Tool) -> str:
    return ", ".join(f"{name}: {one['type']}" for name, one in tool.takes.items())


def _asked(task: Task) -> dict[str, Any]:
    if task.job == "bias":
        return {"job": "bias", "model": task.model, "question": "What does the model go by and should not?"}
    question = f"What does unit {task.unit} of {task.layer} answer to?"
    return {"job": "unit", "model": task.model, "layer": task.layer, "unit": task.unit, "question": question}


def _shown(turn: Turn) -> str:
    text = json.dumps({"turn": turn.number, "result": dict(turn.result)}, ensure_ascii=False)
    if len(text) <= _LONGEST_RESULT:
        return text
    return json.dumps({"turn": turn.number, "cut": True, "result": text[:_LONGEST_RESULT]}, ensure_ascii=False)


def read_call(message: Mapping[str, Any]) -> Call:
    """The call in a message. What holds none becomes a call of `unread`, whose error the model is shown."""
    content = message.get("content")
    text = content if isinstance(content, str) else ""
    asked = message.get("tool_calls")
    if isinstance(asked, list) and asked:
        found = _from_tool_call(asked[0], text)  # pyright: ignore[reportUnknownArgumentType]
        if found is not None:
            return found
    for record in _objects(text[:_DEEPEST]):
        if isinstance(record.get("tool"), str):
            arguments = record.get("arguments", {})
            thought = str(record.get("thought", ""))[:_LONGEST_THOUGHT]
            return Call(record["tool"], arguments if isinstance(arguments, dict) else {}, thought)  # pyright: ignore[reportUnknownArgumentType]
    return Call(UNREAD, {}, text[:_LONGEST_THOUGHT])


def _from_tool_call(asked: Any, text: str) -> Call | None:
    try:
        function = asked["function"]
        arguments = function["arguments"]
        read: Any = json.loads(arguments) if isinstance(arguments, str) else arguments
    except (KeyError, TypeError, ValueError):
        return None
    if not isinstance(read, dict) or not isinstance(function["name"], str):
        return None
    return Call(function["name"], read, text[:_LONGEST_THOUGHT])  # pyright: ignore[reportUnknownArgumentType]


def _objects(text: str) -> list[dict[str, Any]]:
    """Every JSON object in a text, in order, wherever it begins."""
    reader, found, at = json.JSONDecoder(), [], text.find("{")
    while at >= 0:
        try:
            record, end = reader.raw_decode(text, at)
        except (ValueError, RecursionError):
            at = text.find("{", at + 1)
            continue
        if isinstance(record, dict):
            found.append(record)
        at = text.find("{", end)
    return found  # pyright: ignore[reportUnknownVariableType]
