"""T-TAME: a net over a model's layers that learns, per class, what has to stay for the model to answer as it did.

Ntrougkas et al. 2024, for transformers too; Ntrougkas et al. 2022 for convolutional nets.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pellucid.attribution.asked import classes_of
from pellucid.attribution.fitted import Explainer, Lesson, explainer_of, features
from pellucid.attribution.layers import reference_layers
from pellucid.engine import Evidence
from pellucid.engine.maps import upsampled
from pellucid.registry import Fitting, Learning, method
from pellucid.subject import VisionModel
from pellucid.values import Activation, Fitted

_FINEST = 56  # cells a side that the maps have at most
_ANSWER, _AREA, _ROUGHNESS, _BORDER = 1.5, 2.0, 0.01, 0.3
_POWER, _LEAST = 0.3, 5e-4  # of the area; the root has no slope at 0


class TameNet(nn.Module):
    """Maps of every class from several layers: each through a convolution of its own, all fused by one.

    layers: the names it reads, `channels` of each; classes: how many maps
    """

    def __init__(self, layers: Sequence[str], channels: Sequence[int], classes: int) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.mixes = nn.ModuleList(nn.Conv2d(width, width, 1) for width in channels)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in channels)
        self.fuse = nn.Conv2d(sum(channels), classes, 1)

    def forward(self, maps: Sequence[Float[Tensor, "batch _channel _h _w"]]) -> Float[Tensor, "batch classes h w"]:
        rows, columns = (min(_FINEST, max(one.shape[axis] for one in maps)) for axis in (-2, -1))
        seen = [
            upsampled((norm(mix(one)) + one).relu(), (rows, columns))
            for one, mix, norm in zip(maps, self.mixes, self.norms, strict=True)
        ]
        return self.fuse(torch.cat(seen, dim=1)).sigmoid()


def _shape(model: VisionModel, size: tuple[int, int], *, layers: Sequence[str] | None = None) -> dict[str, Any]:
    tree = model.layers_at(size)
    chosen = reference_layers(tree, tree.chosen("t_tame")) if layers is None else [tree[name] for name in layers]
    return {
        "layers": [one.name for one in chosen], "channels": [one.channels for one in chosen],
        "classes": len(model.labels),
    }  # fmt: skip


def _loss(net: TameNet, lesson: Lesson) -> Tensor:
    """The answer has to stay under the map of its class; maps have to be small and smooth."""
    maps = net(lesson.features(net.layers))
    answer = lesson.outputs.argmax(dim=1)
    shown = upsampled(maps[torch.arange(len(maps)), answer], lesson.evidence.size)
    kept = functional.cross_entropy(lesson.answers(lesson.under(shown)), answer)
    return _ANSWER * kept + _AREA * ((maps + _LEAST) ** _POWER).mean() + _ROUGHNESS * _roughness(maps)


def _roughness(maps: Float[Tensor, "batch classes h w"]) -> Tensor:
    """Half the summed squares of steps between neighbours, and of what touches the border, per picture."""
    steps = maps.diff(dim=-2).square().sum() + maps.diff(dim=-1).square().sum()
    ends = [maps[..., 0, :], maps[..., -1, :], maps[..., 0], maps[..., -1]]
    return (steps + _BORDER * sum(end.square().sum() for end in ends)) / (2 * len(maps))


@method(
    "t_tame", needs=[Fitted, Activation], paper="Ntrougkas et al. 2024", cost=1,
    fitting=Fitting(_shape, TameNet, _loss, Learning(updates=800, learning_rate=3e-3, batch=32)),
)  # fmt: skip
def t_tame(
    evidence: Evidence, *, explainer: Explainer | str | Path | None = None
) -> Float[Tensor, "batch height width"]:
    """What has to stay of the picture for its class, as a net has learned it that was fitted to the model once.

    explainer: what was fitted, or its file; None is the one that came with the model
    returns:   0 to 1, the share of a place that is shown
    """
    fitted = explainer_of(evidence, "t_tame", explainer)
    with torch.no_grad():
        maps = fitted.net(features(evidence, fitted.shape["layers"]))
    return upsampled(maps[torch.arange(len(maps)), classes_of(evidence, "t_tame")], evidence.size)
