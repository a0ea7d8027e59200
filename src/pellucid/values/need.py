"""What a method asks of the passes, so that one plan can serve many methods."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Need:
    """One thing a method reads from Evidence.

    gradient:  whether it takes a backward pass, which a black box does not have
    inside:    whether it looks inside the model, which a black box does not allow
    """

    name: str
    gradient: bool = False
    inside: bool = False

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Rule(Need):
    """What comes back to the input under a changed rule: `guided`, `deconvnet`, `resampled` or `relevance`."""

    def __init__(self, name: str) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "gradient", True)
        object.__setattr__(self, "inside", True)


Activation = Need("activation", inside=True)
Gradient = Need("gradient", gradient=True, inside=True)
InputGradient = Need("input gradient", gradient=True)
Attention = Need("attention", inside=True)
AttentionGradient = Need("attention gradient", gradient=True, inside=True)
Attended = Need("what attention compares and mixes", inside=True)
AttendedGradient = Need("gradient of what attention gives", gradient=True, inside=True)
Blocks = Need("what every token block hands on", inside=True)
BiasGradient = Need("bias gradient", gradient=True, inside=True)
Gradients = Need("gradients of changed inputs", gradient=True)
Scores = Need("scores of changed inputs")
Tail = Need("what follows the layer", inside=True)
Places = Need("boxes or regions of its own")
Films = Need("films")
Fitted = Need("an explainer fitted to the model", inside=True)
