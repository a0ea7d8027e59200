"""What helps against a shortcut that was found: copies of a net trained so that every group counts.

Group DRO: Sagawa, Koh, Hashimoto, Liang, ICLR 2020. Group-balanced sampling as there. The last layer alone (DFR):
Kirichenko, Izmailov, Wilson, ICLR 2023. Masked pictures: Marani et al., ViG-Bias, ECCV 2024. Groups are read off the
words of failure modes; nobody tells them. The net that is given stays as it was.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from pellucid.compute.train import Recipe, descend, one_thread, seeded
from pellucid.errors import MethodUnavailable, ShapeError
from pellucid.language.failures.prime import Mode
from pellucid.language.failures.tags import Tags
from pellucid.values import Seed

RECIPE = Recipe(steps=300, learning_rate=1e-3, weight_decay=0.1, smoothing=0.0)
_CHUNK, _LEAST = 200, 10


@dataclass(frozen=True, eq=False)
class Lesson:
    """What is learned from: model input, its classes, and which group each picture is in, numbered from 0."""

    inputs: Float[Tensor, "picture channel height width"]
    labels: Int64[Tensor, "picture"]
    groups: Int64[Tensor, "picture"]

    def __post_init__(self) -> None:
        if not len(self.inputs) == len(self.labels) == len(self.groups):
            counts = f"{len(self.labels)} labels and {len(self.groups)} groups"
            raise ShapeError(
                "Lesson.inputs", got=tuple(self.inputs.shape), expected=f"one picture for each of {counts}"
            )


@dataclass(frozen=True)
class Fared:
    """How a net fares, 0 to 1: on all pictures, and in the group that fares worst.

    mean:   mean over groups
    groups: how many there are; those of less than 10 pictures are not counted
    """

    name: str
    overall: float
    mean: float
    worst: float
    groups: int


def groups_of(
    labels: Int64[np.ndarray, "picture"], tags: Tags, modes: Sequence[Mode], *, most: int = 12
) -> Int64[np.ndarray, "picture"]:
    """Class and word as one number: the words of the modes, the costliest first, or none of them."""
    cost: dict[str, float] = {}
    for mode in modes:
        for word in mode.tags:
            cost[word] = cost.get(word, 0.0) + mode.errors
    words = sorted(cost, key=lambda word: -cost[word])[:most]
    which = np.zeros(len(labels), dtype=np.int64)
    for number, word in reversed(list(enumerate(words, start=1))):
        which[tags.having([word])] = number
    return labels * (len(words) + 1) + which


def fared(
    net: nn.Module,
    name: str,
    inputs: Tensor,
    labels: Int64[np.ndarray, "picture"],
    groups: Int64[np.ndarray, "picture"],
) -> Fared:
    """Accuracy on all pictures and group by group."""
    with torch.no_grad(), one_thread():
        said = torch.cat([net(part).argmax(dim=1) for part in inputs.split(_CHUNK)]).numpy()
    right: Bool[np.ndarray, "picture"] = said == labels
    each = [float(right[groups == group].mean()) for group in np.unique(groups) if (groups == group).sum() >= _LEAST]
    return Fared(name, float(right.mean()), float(np.mean(each)), min(each), len(each))


def balanced(net: nn.Module, lesson: Lesson, *, recipe: Recipe = RECIPE, seed: int = 0) -> nn.Module:
    """A copy that saw every group as often as any other."""

    def loss(outputs: Tensor, labels: Tensor, _groups: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, labels)

    return _trained(net, lesson, loss, recipe, seed, even=True)


def group_dro(
    net: nn.Module, lesson: Lesson, *, recipe: Recipe = RECIPE, pace: float = 0.01, seed: int = 0
) -> nn.Module:
    """A copy for which the worst group was made as good as possible.

    pace: how fast weight moves to groups with a large loss. Batches are balanced; the recipe's weight decay is strong,
          without which, the paper finds, groups that are learned by heart gain nothing
    """
    numbers, dense = torch.unique(lesson.groups, return_inverse=True)
    weights = torch.full((len(numbers),), 1 / len(numbers))

    def loss(outputs: Tensor, labels: Tensor, groups: Tensor) -> Tensor:
        each = functional.cross_entropy(outputs, labels, reduction="none")
        counts = torch.bincount(groups, minlength=len(weights)).float()
        means = torch.zeros(len(weights)).index_add(0, groups, each) / counts.clamp(min=1)
        weights.mul_((pace * means.detach()).exp()).div_(weights.sum())
        return (weights * means).sum() / weights[counts > 0].sum()

    return _trained(net, replace(lesson, groups=dense), loss, recipe, seed, even=True)


def on_masked(
    net: nn.Module, lesson: Lesson, shown: Float[Tensor, "picture channel height width"], *, recipe: Recipe = RECIPE,
    seed: int = 0,
) -> nn.Module:  # fmt: skip
    """A copy that learned from the pictures and, as often, from copies in which what it looked at is gone.

    shown: the masked copies, as `masked(..., cue=True)` gives them
    """
    both = Lesson(torch.cat([lesson.inputs, shown]), lesson.labels.repeat(2), lesson.groups.repeat(2))

    def loss(outputs: Tensor, labels: Tensor, _groups: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, labels)

    return _trained(net, both, loss, recipe, seed, even=False)


def last_layer(net: nn.Module, lesson: Lesson, *, decay: float = 1e-3, draws: int = 5, seed: int = 0) -> nn.Module:
    """A copy whose last layer alone was fitted anew, to as many pictures of every group: the mean of several draws.

    The pictures should not be those that the net learned from. Raises MethodUnavailable for a net without linear head.
    """
    body, name, old = _headless(net)
    features = _features(body, lesson)
    middle, scale = features.mean(dim=0), features.std(dim=0).clamp(min=1e-6)
    scaled = (features - middle) / scale
    fitted: list[tuple[Tensor, Tensor]] = []
    for draw in range(draws):
        rows = _as_many_of_each(lesson.groups.numpy(), Seed(seed).child("draw", draw))
        fitted.append(_logistic(scaled[rows], lesson.labels[rows], old.out_features, decay))
    weight, bias = (torch.stack(parts).mean(dim=0) for parts in zip(*fitted, strict=True))
    _put(body, name, _linear(old, weight / scale, bias - (weight / scale) @ middle))
    return body


def amplified(net: nn.Module, lesson: Lesson, *, decay: float = 1.0) -> nn.Module:
    """A copy that leans on its shortcut more: its last layer fitted anew under so strong a decay that only the features
    that vary most with the class count.

    FACTS trains the whole net anew with strong weight decay and stops early, to the same end; this takes seconds.
    Raises MethodUnavailable for a net without linear head.
    """
    body, name, old = _headless(net)
    features = _features(body, lesson)
    middle = features.mean(dim=0)
    weight, bias = _logistic(features - middle, lesson.labels, old.out_features, decay)
    _put(body, name, _linear(old, weight, bias - weight @ middle))
    return body


def _trained(
    net: nn.Module, lesson: Lesson, loss: Callable[[Tensor, Tensor, Tensor], Tensor], recipe: Recipe, seed: int,
    *, even: bool,
) -> nn.Module:  # fmt: skip
    own = copy.deepcopy(net)
    for weight in own.parameters():
        weight.requires_grad_(True)
    chances = _even(lesson.groups) if even else torch.ones(len(lesson.groups))

    def objective(step: int) -> Tensor:
        generator = Seed(seed).child("lesson", step).generator()
        rows = torch.multinomial(chances, min(recipe.batch, len(chances)), replacement=True, generator=generator)
        return loss(own(lesson.inputs[rows]).float(), lesson.labels[rows], lesson.groups[rows])

    with seeded(seed):
        descend(own, objective, recipe, label="Remedy", quick=True)
    return own


def _even(groups: Int64[Tensor, "picture"]) -> Float[Tensor, "picture"]:
    """The chance of each picture when every group is to come as often."""
    _, dense, counts = torch.unique(groups, return_inverse=True, return_counts=True)
    return 1 / counts[dense].float()


def _as_many_of_each(groups: Int64[np.ndarray, "picture"], seed: Seed) -> Int64[np.ndarray, "row"]:
    """As many pictures of each group as the smallest has, and no fewer than 10."""
    rng = np.random.default_rng(int(seed))
    every = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    smallest = max(_LEAST, min(map(len, every)))
    return np.concatenate([rng.permutation(places)[:smallest] for places in every])


def _logistic(
    features: Float[Tensor, "picture dim"], labels: Int64[Tensor, "picture"], classes: int, decay: float
) -> tuple[Tensor, Tensor]:
    """Weight and bias of multinomial logistic regression with decay of the weight."""
    weight = torch.zeros(classes, features.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = functional.cross_entropy(features @ weight.T + bias, labels) + decay * weight.square().sum()
        value.backward()
        return value

    with one_thread():
        optimiser.step(closure)
    return weight.detach(), bias.detach()


def _headless(net: nn.Module) -> tuple[nn.Module, str, nn.Linear]:
    """A copy that gives what its last layer would read, that layer's name, and the layer."""
    name = _head(net)
    body = copy.deepcopy(net).eval()
    old = body.get_submodule(name)
    assert isinstance(old, nn.Linear)
    _put(body, name, nn.Identity())
    return body, name, old


def _features(body: nn.Module, lesson: Lesson) -> Float[Tensor, "picture dim"]:
    with torch.no_grad(), one_thread():
        return torch.cat([body(part) for part in lesson.inputs.split(_CHUNK)])


def _linear(old: nn.Linear, weight: Tensor, bias: Tensor) -> nn.Linear:
    new = nn.Linear(old.in_features, old.out_features).to(old.weight)
    with torch.no_grad():
        new.weight.copy_(weight)
        new.bias.copy_(bias)
    return new


def _head(net: nn.Module) -> str:
    linear = [name for name, module in net.named_modules() if isinstance(module, nn.Linear) and name]
    if not linear:
        raise MethodUnavailable("Fitting the last layer anew", f"{type(net).__name__} ends in no linear layer.", ())
    return linear[-1]


def _put(net: nn.Module, name: str, module: nn.Module) -> None:
    above, _, own = name.rpartition(".")
    setattr(net.get_submodule(above) if above else net, own, module)
