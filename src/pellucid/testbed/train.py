"""Rebuild the shipped nets from a seed, and measure what their cards say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from pellucid.compute import train as training
from pellucid.testbed import nets
from pellucid.testbed.fields import SPECIES
from pellucid.testbed.nets import WEIGHTS, Card
from pellucid.testbed.scene import Scenes, scenes
from pellucid.testbed.truth import causal, grown
from pellucid.values import Seed

TEST_SEED = 900  # the pictures cards are measured on
POINTING_SEED = 901  # the pictures default layers are chosen on
AGREEMENT = 0.95  # how often the biased nets' cue agrees with the label


@dataclass(frozen=True)
class Plan:
    """How one net is made: its recipe, how many pictures of which settings, and the candidates for default layer."""

    recipe: training.Recipe
    pool: int
    settings: Mapping[str, Any]
    layers: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Trained:
    """A net after its training, not yet measured, the plan as carried out, and how the loss fell."""

    net: nn.Module
    plan: Plan
    course: training.Course


PLANS: Mapping[str, Plan] = {
    "cnn": Plan(training.Recipe(500, 4e-3), 24_000, {}, ("features.2", "features.3", "features.4", "features.5")),
    "vit": Plan(training.Recipe(1800, 1.5e-3), 24_000, {}, tuple(f"blocks.{at}.norm1" for at in range(1, 4))),
    "cnn_background": Plan(
        training.Recipe(700, 4e-3),
        12_000,
        {"shortcut": "background", "strength": AGREEMENT},
        ("features.2", "features.3", "features.4", "features.5"),
    ),
    "digits": Plan(training.Recipe(600, 4e-3), 0, {}, ("features.1", "features.2", "features.3")),
}


def train(
    name: str, seed: int = 0, *, folder: Path = WEIGHTS, steps: int | None = None, pool: int | None = None
) -> Card:
    """Train one of the shipped nets anew, measure it, and write its weights with the card into `folder`.

    seed:  of the first weights, the order of pictures and the scenes; the shipped weights have seed 0
    steps: fewer (or more) updates than the recipe's, for a trial
    pool:  fewer rendered pictures than the recipe's, for a trial

    On one machine the same arguments give the same bytes. Raises SceneError for a name that is not shipped.
    """
    nets.known(name)
    outcome = trained(name, seed, steps=steps, pool=pool)
    card = measured(name, nets.rounded(outcome.net), seed, outcome.plan)
    nets.save(outcome.net, card, folder)
    return card


def trained(name: str, seed: int, *, steps: int | None = None, pool: int | None = None) -> Trained:
    """Train a net, without measuring or keeping it."""
    plan = replace(PLANS[name], pool=pool or PLANS[name].pool)
    if steps is not None:
        plan = replace(plan, recipe=replace(plan.recipe, steps=steps))
    pictures, labels = _pictures(name, seed, plan)
    plan = replace(plan, pool=len(pictures))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nets.build(name)
    batches = _batches(pictures, labels, plan.recipe, seed, mirrored=name != "digits")
    course = training.fit(net, batches, plan.recipe, label=f"Training {name}")
    return Trained(net, plan, course)


def digits(held_out: bool) -> tuple[UInt8[Tensor, "picture 3 32 32"], Int64[Tensor, "picture"]]:
    """scikit-learn's handwritten digits, enlarged to 32 px: the 70 % that are learned from, or the 30 % held out."""
    flat, classes = load_digits(return_X_y=True)
    small = torch.from_numpy(np.asarray(flat)).float().view(-1, 1, 8, 8) * (255 / 16)
    large = functional.interpolate(small, size=(32, 32), mode="bilinear", align_corners=False)
    pictures = (large + 0.5).clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1).contiguous()
    order = torch.randperm(len(pictures), generator=Seed(0).child("digits", "split").generator())
    cut = round(0.7 * len(order))
    chosen = order[cut:] if held_out else order[:cut]
    return pictures[chosen], torch.from_numpy(np.asarray(classes)).long()[chosen]


def _pictures(name: str, seed: int, plan: Plan) -> tuple[Tensor, Tensor]:
    if name == "digits":
        return digits(held_out=False)
    drawn = scenes(seed, plan.pool, **plan.settings)
    return torch.from_numpy(np.ascontiguousarray(drawn.pixels.transpose(0, 3, 1, 2))), torch.from_numpy(drawn.labels)


def _batches(
    pictures: Tensor, labels: Tensor, recipe: training.Recipe, seed: int, *, mirrored: bool
) -> Callable[[int], training.Batch]:
    """Batches in an order that step and seed alone decide: each picture once before any comes twice."""
    per_round = len(pictures) // recipe.batch

    def order(turn: int) -> Tensor:
        return torch.randperm(len(pictures), generator=Seed(seed).child("order", turn).generator())

    rounds = [order(turn) for turn in range(-(-recipe.steps // per_round))]

    def batch(step: int) -> training.Batch:
        turn, at = divmod(step, per_round)
        chosen = rounds[turn][at * recipe.batch : (at + 1) * recipe.batch]
        inputs = pictures[chosen].float() / 255
        if mirrored:
            coins = torch.rand(len(chosen), generator=Seed(seed).child("mirror", step).generator()) < 0.5
            inputs = torch.where(coins[:, None, None, None], inputs.flip(-1), inputs)
        return inputs, labels[chosen]

    return batch


# -- measuring ---------------------------------------------------------------------------------------------------------


def measured(name: str, net: nn.Module, seed: int, plan: Plan) -> Card:
    """The card of a trained net, every figure taken now."""
    layer, why = _best_layer(name, net, plan.layers)
    recipe = {**plan.recipe.to_dict(), "pool": plan.pool, **plan.settings}
    labels = tuple(map(str, range(10))) if name == "digits" else SPECIES
    size = 32 if name == "digits" else 64
    return Card(name, labels, size, layer, why, accuracies(name, net), seed, recipe)


def accuracies(name: str, net: nn.Module, seed: int = TEST_SEED, count: int = 1000) -> dict[str, float]:
    """Share of pictures recognised, by set: fresh scenes, and for a biased net with and against its shortcut."""
    if name == "digits":
        pictures, labels = digits(held_out=True)
        return {"held_out": _share(_answers(net, pictures.float() / 255) == labels)}
    shortcut = PLANS[name].settings.get("shortcut")
    if shortcut is None:
        sets = {"fresh": scenes(seed, count)}
    else:
        sets = {
            "aligned": scenes(seed, count, shortcut=shortcut, strength=1.0),
            "conflict": scenes(seed, count, shortcut=shortcut, strength=0.0),
        }
    return {
        word: _share(_answers(net, drawn.tensor()) == torch.from_numpy(drawn.labels)) for word, drawn in sets.items()
    }


def grad_cam(net: nn.Module, layer: str, pictures: Float[Tensor, "picture 3 h w"]) -> Float[Tensor, "picture h w"]:
    """Grad-CAM of the predicted class at picture size, to choose a layer below the engine (Selvaraju et al. 2017)."""
    tap = _Tap(net.get_submodule(layer))
    net.set_submodule(layer, tap)
    try:
        with torch.enable_grad():
            net(pictures).amax(dim=1).sum().backward()
    finally:
        net.set_submodule(layer, tap.inner)
        net.zero_grad(set_to_none=True)
    assert tap.seen is not None and tap.seen.grad is not None
    activation, gradient = _on_grid(tap.seen.detach()), _on_grid(tap.seen.grad)
    cam = (gradient.mean(dim=(2, 3), keepdim=True) * activation).sum(dim=1, keepdim=True).clamp(min=0)
    return functional.interpolate(cam, size=pictures.shape[-2:], mode="bilinear", align_corners=False)[:, 0]


class _Tap(nn.Module):
    """Stands in a layer's place and keeps what it gave."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.seen: Tensor | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        seen: Tensor = self.inner(inputs)
        seen.retain_grad()
        self.seen = seen
        return seen


def _on_grid(values: Tensor) -> Float[Tensor, "picture channel h w"]:
    """Tokens laid on their square grid, the class token left out."""
    if values.ndim == 4:
        return values
    side = round((values.shape[1] - 1) ** 0.5)
    return values[:, 1:].transpose(1, 2).unflatten(2, (side, side))


def _best_layer(name: str, net: nn.Module, layers: tuple[str, ...]) -> tuple[str, str]:
    """The layer whose Grad-CAM is best, and the figures.

    Where the net is known to read the deciding parts: how often the maximum points at them. Elsewhere: how far the
    prediction falls when the tenth of the picture that the map ranks highest is blurred away.
    """
    if name == "digits":
        pictures, drawn = digits(held_out=True)[0][:200].float() / 255, None
    else:
        drawn = scenes(POINTING_SEED, 200, **PLANS[name].settings)
        pictures = drawn.tensor()
    if drawn is not None and drawn.world.shortcut is None:
        figures = {layer: _pointing(net, layer, drawn) for layer in layers}
        what = "the share whose Grad-CAM maximum lies in a deciding part (grown by 1 pixel)"
    else:
        figures = {layer: _fall(net, layer, pictures) for layer in layers}
        what = "the mean fall of log probability when Grad-CAM's highest tenth is blurred away"
    best = max(figures, key=lambda layer: figures[layer])
    listing = ", ".join(f"{layer} {figure:.2f}" for layer, figure in figures.items())
    return best, f"chosen by measurement on {len(pictures)} fresh pictures, {what}: {listing}"


def _pointing(net: nn.Module, layer: str, drawn: Scenes) -> float:
    right = _answers(net, drawn.tensor()).numpy() == drawn.labels
    maps = grad_cam(net, layer, drawn.tensor()).flatten(1).numpy()
    wide = grown(causal(drawn)).reshape(len(drawn), -1)
    return float(wide[np.arange(len(drawn)), maps.argmax(axis=1)][right].mean())


def _fall(net: nn.Module, layer: str, pictures: Tensor) -> float:
    maps = grad_cam(net, layer, pictures).flatten(1)
    top = torch.zeros_like(maps).scatter(1, maps.topk(maps.shape[1] // 10, dim=1).indices, 1.0)
    shown = top.view(len(pictures), 1, *pictures.shape[-2:])
    blurred = functional.avg_pool2d(functional.pad(pictures, (8, 8, 8, 8), mode="reflect"), 17, stride=1)
    with torch.no_grad():
        before, after = (net(x).log_softmax(dim=1) for x in (pictures, pictures * (1 - shown) + blurred * shown))
    first = before.argmax(dim=1, keepdim=True)
    return float((before - after).gather(1, first).mean())


def _answers(net: nn.Module, pictures: Float[Tensor, "picture 3 h w"]) -> Int64[Tensor, "picture"]:
    with torch.no_grad(), training.one_thread():
        return torch.cat([net(batch).argmax(dim=1) for batch in pictures.split(250)])


def _share(right: Bool[Tensor, "picture"]) -> float:
    return round(float(right.float().mean()), 4)
