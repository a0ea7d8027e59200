"""Passes over a model: recorded once, remembered, shared by every method."""

from pellucid.engine.edits import Ablate, Add, Edit, Replace
from pellucid.engine.evidence import Evidence, Passes, TokenGrid, look

__all__ = ["Ablate", "Add", "Edit", "Evidence", "Passes", "Replace", "TokenGrid", "look"]
