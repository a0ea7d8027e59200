"""The small frozen things everyone names."""

from pellucid.values.check import Check
from pellucid.values.layer import Layer
from pellucid.values.need import (
    Activation,
    Attention,
    AttentionGradient,
    BiasGradient,
    Gradient,
    Gradients,
    InputGradient,
    Need,
    Rule,
    Scores,
    Tail,
)
from pellucid.values.preprocess import Preprocess
from pellucid.values.region import Region
from pellucid.values.seed import Seed
from pellucid.values.target import (
    Call,
    Class,
    Contrast,
    Predicted,
    Probability,
    Similar,
    Target,
    Text,
    Unit,
    target_from_dict,
)

__all__ = [
    "Activation",
    "Attention",
    "AttentionGradient",
    "BiasGradient",
    "Call",
    "Check",
    "Class",
    "Contrast",
    "Gradient",
    "Gradients",
    "InputGradient",
    "Layer",
    "Need",
    "Predicted",
    "Preprocess",
    "Probability",
    "Region",
    "Rule",
    "Scores",
    "Seed",
    "Similar",
    "Tail",
    "Target",
    "Text",
    "Unit",
    "target_from_dict",
]
