"""COMET: a selector that shows all of what the class can be told from, so that nothing of it is left outside.

Zhang et al. 2024. A predictor has to name the class from what is shown; the explained model, which stays as it is, must
not be able to name it from the rest. The predictor is a head of its own on what a layer of that model makes of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from pellucid.attribution.fitted import Explainer, Lesson, explainer_of, under
from pellucid.attribution.nets import PictureNet, Pooled, UNet, convolved
from pellucid.compute.train import Recipe, descend, seeded
from pellucid.engine import Evidence, look
from pellucid.engine.edits import Watch
from pellucid.errors import RequestError
from pellucid.registry import Fitting, Learning, method
from pellucid.subject import VisionModel
from pellucid.values import Fitted, Seed

_CHUNK = 64  # pictures at a time
_LEAK = Recipe(steps=200, learning_rate=3e-3, batch=32, smoothing=0.0)


class CometNet(nn.Module):
    """The selector and the predictor, and how they are to be fitted; see `_shape`."""

    def __init__(
        self, layer: str, colours: int, channels: int, classes: int, width: int, completeness: float, gap: float,
        sparsity: float, area: float, fill: str,
    ) -> None:  # fmt: skip
        super().__init__()
        self.layer, self.fill = layer, fill
        self.completeness, self.gap, self.sparsity, self.area = completeness, gap, sparsity, area
        self.selector = UNet(colours, width)
        self.predictor = nn.Sequential(convolved(channels, 8 * width), Pooled(8 * width, classes))

    def forward(self, inputs: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch height width"]:
        return self.selector(inputs.float()).sigmoid()


def _shape(
    model: VisionModel, size: tuple[int, int], *, layer: str | None = None, width: int = 8, completeness: float = 4.0,
    gap: float = 2.0, sparsity: float = 100.0, area: float = 0.2, fill: str = "mean",
) -> dict[str, Any]:  # fmt: skip
    """What the nets are like and what is asked of them.

    layer:        of the model, from which the predictor reads; None is its default one
    width:        channels of the selector at its finest grid, a multiple of 4; the predictor has eight times as many
    completeness: weight of what the rest must not tell; 0 is a plain selector and predictor
    gap:          by how much the model's cross entropy on the rest has to exceed the predictor's on what is shown
    sparsity:     weight of the area that is shown beyond `area`, the share of the pictures that costs nothing
    fill:         what stands where nothing is shown
    """
    if width < 4 or width % 4:
        raise RequestError(f"width={width}; expected a multiple of 4, from 4 up.")
    tree = model.layers_at(size)
    read = tree.chosen("comet", layer)
    return {
        "layer": read.name, "colours": model.channels, "channels": read.channels, "classes": len(model.labels),
        "width": width, "completeness": completeness, "gap": gap, "sparsity": sparsity, "area": area, "fill": fill,
    }  # fmt: skip


def _loss(net: CometNet, lesson: Lesson) -> Tensor:
    """The selector's loss and the predictor's own, neither of which moves the other's weights."""
    mask, answer = net(lesson.inputs), lesson.outputs.argmax(dim=1)
    watch = Watch(lesson.evidence.layers[net.layer])
    lesson.answers(lesson.under(mask, net.fill), [watch])
    seen = watch.seen[0].float()
    held = {name: weight.detach() for name, weight in net.predictor.named_parameters()}
    told = functional.cross_entropy(functional_call(net.predictor, held, (seen,)), answer)
    selector = told + net.sparsity * (mask.mean() - net.area).clamp(min=0)
    if net.completeness:
        left = functional.cross_entropy(lesson.answers(lesson.under(1 - mask, net.fill)), answer)
        selector = selector + net.completeness * (told - left + net.gap).clamp(min=0)
    return selector + functional.cross_entropy(net.predictor(seen.detach()), answer)


@method(
    "comet", needs=[Fitted], paper="Zhang et al. 2024", class_agnostic=True, cost=1,
    fitting=Fitting(_shape, CometNet, _loss, Learning(updates=800, learning_rate=3e-3, batch=32)),
)  # fmt: skip
def comet(
    evidence: Evidence, *, explainer: Explainer | str | Path | None = None
) -> Float[Tensor, "batch height width"]:
    """All of the picture that the predicted class can be told from, as a net has learned it that was fitted once.

    explainer: what was fitted, or its file; None is the one that came with the model
    returns:   0 to 1, the share of a place that is shown
    """
    net = _net(explainer_of(evidence, "comet", explainer))
    with torch.no_grad():
        mask = net(evidence.inputs)
        named = net.predictor(_seen(evidence, mask, net).activation(net.layer)).argmax(dim=1)
    agreed = int((named == evidence.output().argmax(dim=1)).sum())
    evidence.note(f"The predictor, which sees only what is shown, names the model's class in {agreed} of {len(mask)}.")
    return mask


@dataclass(frozen=True)
class Completeness:
    """How much of what tells the class a selector shows, over pictures; all but `pictures` from 0 to 1.

    agreement: how often the predictor names the model's class from what is shown
    kept:      how often the model itself does
    left:      how often the model names it from the rest; 1 less this is the drop that the paper reports
    area:      the share of the pictures that is shown
    leaked:    how often a classifier that sees the mask alone names it, on pictures it did not learn from
    chance:    the same for always naming the most frequent class of those
    """

    pictures: int
    agreement: float
    kept: float
    left: float
    area: float
    leaked: float
    chance: float

    @property
    def text(self) -> str:
        return (
            f"{self.area:.0%} of {self.pictures} pictures is shown. From it the predictor names the model's class in "
            f"{self.agreement:.0%}, the model in {self.kept:.0%}; from the rest the model does in {self.left:.0%}. "
            f"The mask's shape alone tells it in {self.leaked:.0%} ({self.chance:.0%} by chance)."
        )


def completeness(
    explainer: Explainer, model: VisionModel, pictures: Float[Tensor, "picture channel height width"], *, seed: int = 0
) -> Completeness:
    """Whether a fitted selector left anything outside that tells the class, and whether its masks give the class away.

    pictures: model input, other than those it was fitted to; a classifier of masks learns from half of them

    Raises RequestError for an explainer of another method and for fewer than four pictures.
    """
    if explainer.method != "comet":
        raise RequestError(f"Completeness is measured of comet; this is an explainer of {explainer.method}.")
    if len(pictures) < 4:
        raise RequestError(f"{len(pictures)} pictures; half of at least 4 teach a classifier of masks, half judge it.")
    net, masks, answers = _net(explainer).to(model.device), list[Tensor](), list[Tensor]()
    right: dict[str, int] = dict.fromkeys(("agreement", "kept", "left"), 0)
    for part in pictures.split(_CHUNK):
        evidence = look(model, part, seed=seed)
        answer = evidence.output().argmax(dim=1)
        with torch.no_grad():
            mask = net(evidence.inputs)
            shown, rest = (_seen(evidence, one, net) for one in (mask, 1 - mask))
            named = net.predictor(shown.activation(net.layer))
        for name, answered in {"agreement": named, "kept": shown.output(), "left": rest.output()}.items():
            right[name] += int((answered.argmax(dim=1) == answer).sum())
        masks.append(mask.cpu())
        answers.append(answer.cpu())
    shares = {name: count / len(pictures) for name, count in right.items()}
    leaked, chance = _leakage(torch.cat(masks), torch.cat(answers), len(model.labels), Seed(seed))
    return Completeness(len(pictures), **shares, area=float(torch.cat(masks).mean()), leaked=leaked, chance=chance)


def _net(explainer: Explainer) -> CometNet:
    assert isinstance(explainer.net, CometNet)  # the method's own, as its shape says
    return explainer.net


def _seen(evidence: Evidence, mask: Float[Tensor, "batch height width"], net: CometNet) -> Evidence:
    """What the model makes of the pictures where the mask is 1, the fill where it is 0."""
    seen = evidence.at(under(evidence, evidence.inputs, mask.to(evidence.inputs), net.fill))
    seen.keep([net.layer])
    return seen


def _leakage(
    masks: Float[Tensor, "picture height width"], answers: Int64[Tensor, "picture"], classes: int, seed: Seed
) -> tuple[float, float]:
    """How often a classifier of masks is right on one half of them, having learned from the other; and by chance."""
    order = torch.randperm(len(masks), generator=seed.child("split").generator())
    learned, judged = order[: len(order) // 2], order[len(order) // 2 :]
    with seeded(int(seed)):
        net = PictureNet(1, classes, 8)

    def objective(step: int) -> Tensor:
        draw = seed.child("leakage", step).generator()
        places = learned[torch.randint(len(learned), (_LEAK.batch,), generator=draw)]
        return functional.cross_entropy(net(masks[places, None]), answers[places])

    descend(net, objective, _LEAK, label="Reading masks")
    with torch.no_grad():
        named = net(masks[judged, None]).argmax(dim=1)
    truth = answers[judged]
    return float((named == truth).double().mean()), float(truth.bincount().max() / len(truth))
