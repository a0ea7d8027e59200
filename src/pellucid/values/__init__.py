"""The small frozen things everyone names."""

from pellucid.values.check import Check
from pellucid.values.layer import Layer
from pellucid.values.need import (
    Activation,
    Attended,
    AttendedGradient,
    Attention,
    AttentionGradient,
    BiasGradient,
    Blocks,
    Films,
    Fitted,
    Gradient,
    Gradients,
    InputGradient,
    Need,
    Places,
    Rule,
    Scores,
    Tail,
)
from pellucid.values.preprocess import Preprocess
from pellucid.values.proposals import Proposals
from pellucid.values.region import Region
from pellucid.values.seed import Seed
from pellucid.values.target import (
    Box,
    Call,
    Class,
    Contrast,
    Pixels,
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
    "Attended",
    "AttendedGradient",
    "Attention",
    "AttentionGradient",
    "BiasGradient",
    "Blocks",
    "Films",
    "Fitted",
    "Places",
    "Box",
    "Call",
    "Check",
    "Class",
    "Contrast",
    "Gradient",
    "Gradients",
    "InputGradient",
    "Layer",
    "Need",
    "Pixels",
    "Predicted",
    "Preprocess",
    "Proposals",
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
