"""The model under study: wrapped, never changed."""

from pellucid.subject.labels import Labels
from pellucid.subject.layers import LayerTree
from pellucid.subject.loaders import load
from pellucid.subject.model import VisionModel, wrap

__all__ = ["Labels", "LayerTree", "VisionModel", "load", "wrap"]
