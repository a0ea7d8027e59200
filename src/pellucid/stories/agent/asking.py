"""From words to a task and a policy."""

from __future__ import annotations

from pellucid.errors import RequestError
from pellucid.language.narrators import Chat
from pellucid.language.probes import Probe
from pellucid.stories.agent.chatting import ChatPolicy
from pellucid.stories.agent.protocol import PASSES, PICTURES, TURNS, Policy, Task
from pellucid.stories.agent.scripted import Scripted
from pellucid.subject import VisionModel


def unit_task(
    model: VisionModel, spec: str, unit: int, *, layer: str | None = None, pool: str = "max", passes: int = PASSES,
    turns: int = TURNS, pictures: int = PICTURES, seed: int = 3000, files: tuple[str, ...] = (),
) -> Task:  # fmt: skip
    """A task about one unit, with pictures as the model takes them: scenes, or crops of photographs.

    files: the user's own pictures instead. Raises RequestError for nets that read no scenes.
    """
    probe = Probe.for_model(model, seed=seed)
    source = "file" if files else "scene" if probe.source == "scenes" else "photo"
    where = layer or model.layers.chosen("agent").name
    return Task("unit", spec, where, unit, pool, source, probe.paint, files, pictures, seed, passes, turns)


def policy_of(name: str) -> Policy:
    """The policy of a name: `scripted`, or `chat:MODEL` at the narrators' address. Raises RequestError for others."""
    if name == Scripted.name:
        return Scripted()
    kind, _, model = name.partition(":")
    if kind == "chat" and model:
        return ChatPolicy(Chat(model))
    raise RequestError(f"{name!r} names no policy. There are scripted and chat:MODEL.")
