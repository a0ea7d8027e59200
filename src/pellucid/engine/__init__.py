"""Passes over a model: recorded once, remembered, shared by every method."""

from pellucid.engine.edits import Ablate, Add, Edit, Replace
from pellucid.engine.evidence import Evidence
from pellucid.engine.findings import Answers, Passes, TokenGrid
from pellucid.engine.looking import look

__all__ = ["Ablate", "Add", "Answers", "Edit", "Evidence", "Passes", "Replace", "TokenGrid", "look"]
