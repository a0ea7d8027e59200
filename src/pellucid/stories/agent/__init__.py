"""An agent that finds out by experiments what a unit answers to, or what a model should not go by (MAIA, 2024)."""

from pellucid.stories.agent.chatting import ChatPolicy
from pellucid.stories.agent.finding import Finding
from pellucid.stories.agent.investigation import investigate
from pellucid.stories.agent.journal import Journal
from pellucid.stories.agent.protocol import Call, Policy, Task, Turn
from pellucid.stories.agent.replaying import Replayed, replay
from pellucid.stories.agent.scripted import Scripted

__all__ = [
    "Call",
    "ChatPolicy",
    "Finding",
    "Journal",
    "Policy",
    "Replayed",
    "Scripted",
    "Task",
    "Turn",
    "investigate",
    "replay",
]
