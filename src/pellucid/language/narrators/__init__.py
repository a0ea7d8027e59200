"""Narrators retell claims in other words; what they say is read back and checked before anyone is shown it."""

from pellucid.language.narrators.account import audit, narrate
from pellucid.language.narrators.chat import Chat
from pellucid.language.narrators.liar import Liar
from pellucid.language.narrators.local import Local
from pellucid.language.narrators.protocol import Brief, Clue, Narrator, Templates, clues_of, narrator_of, read_clues

__all__ = [
    "Brief",
    "Chat",
    "Clue",
    "Liar",
    "Local",
    "Narrator",
    "Templates",
    "audit",
    "clues_of",
    "narrate",
    "narrator_of",
    "read_clues",
]
