"""What a net makes of a scene: how far its answer falls when one thing is otherwise, by re-rendering."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.errors import SceneError
from pellucid.testbed.fields import BIRDS, PRESENCE, REMOVABLE, is_yes_or_no, of_bird, whose, words_of
from pellucid.testbed.scene import Scenes
from pellucid.testbed.twins import PROP_NAMES, another, remove, twin
from pellucid.values import Class, Contrast

TargetLike = Class | Contrast | int | str
EFFECT_FIELDS = (
    *("wing", "tail", "crest", "beak", "body_hue", "wing_hue", "tail_hue", "crest_hue", "bib_hue", "beak_hue"),
    *("feet", "land", *PROP_NAMES),
)
MOST_TWINS = 32  # of one scene, with all fields tried


@dataclass(frozen=True, eq=False)
class Effects:
    """What a net's answer owes to each field of the scenes, measured by re-rendering.

    drops:   field -> by how much the target falls when the field is otherwise, mean over its other values: log
             probability of a class, or logit difference of a contrast; below 0 where it rises
    changed: field -> share of its twins for which the predicted class is another
    """

    drops: Mapping[str, Float[np.ndarray, "scene"]]
    changed: Mapping[str, Float[np.ndarray, "scene"]]

    def mean(self, name: str) -> float:
        """Mean drop over the scenes."""
        return float(self.drops[name].mean())

    def flipped(self, name: str) -> float:
        """Share of predictions that change, over scenes and values."""
        return float(self.changed[name].mean())

    def causes(self, share: float = 0.9, *, at: int | None = None) -> tuple[str, ...]:
        """The smallest set of fields that holds this share of all positive effect, strongest first.

        at: in one scene; None is in the mean over all
        """
        drops = self._drops(at)
        wanted, kept, total = share * sum(max(drop, 0.0) for drop in drops.values()), [], 0.0
        for name in sorted(drops, key=lambda name: -drops[name]):
            if total >= wanted:
                break
            kept.append(name)
            total += drops[name]
        return tuple(kept)

    def distractors(self, share: float = 0.05, *, at: int | None = None) -> tuple[str, ...]:
        """The fields with less than this share of the largest effect: the net does not read them."""
        drops = self._drops(at)
        largest = max(map(abs, drops.values()))
        return tuple(name for name in drops if abs(drops[name]) < share * largest)

    def _drops(self, at: int | None) -> dict[str, float]:
        return {name: self.mean(name) if at is None else float(drops[at]) for name, drops in self.drops.items()}


def effect(
    predict: Callable[[Tensor], Tensor],
    scenes: Scenes,
    target: TargetLike | Sequence[int] | None = None,
    *,
    fields: Sequence[str] | None = None,
    batch: int = 256,
) -> Effects:
    """How much each part matters to a net, from twins with the part otherwise: the causal check.

    predict: pictures [batch 3 height width] in 0..1 -> logits or log probabilities [batch classes]
    target:  what is explained; None is the class the net predicts, a list one class per scene
    fields:  which to try; None is what `tried` names

    Hues are tried at one other value each, props by removal, presence (`has_eye`, `occ`) at the opposite, the rest at
    every other value. Raises SceneError for a field that cannot be measured so, and for more than 32 twins a scene.
    """
    names = tuple(fields) if fields is not None else tried(scenes)
    twins = {name: others(scenes, name) for name in names}  # fields only; each is painted when its turn comes
    count = sum(map(len, twins.values()))
    if count > MOST_TWINS:
        raise SceneError(f"Trying {', '.join(names)} takes {count} twins of each scene; the most is {MOST_TWINS}.")
    before = _logits(predict, scenes, batch)
    predicted = before.argmax(dim=1)
    score = _scorer(scenes, target, predicted)
    base = score(before)
    drops: dict[str, np.ndarray] = {}
    changed: dict[str, np.ndarray] = {}
    for name in names:
        falls, flips = [], []
        for other in twins[name]:
            after = _logits(predict, other, batch)
            falls.append((base - score(after)).double().numpy())
            flips.append((after.argmax(dim=1) != predicted).double().numpy())
        drops[name], changed[name] = np.mean(falls, axis=0), np.mean(flips, axis=0)
    return Effects(MappingProxyType(drops), MappingProxyType(changed))


def tried(scenes: Scenes) -> tuple[str, ...]:
    """The fields whose effect is measured unless others are named: at most 32 twins of each scene.

    The cue joins where there is one, the presence of parts where they may be missing. Of flocks: the deciding parts of
    each bird, or what the task asks; landscape and props.
    """
    if not scenes.world.flock:
        cue = ("cue",) if "cue" in scenes.fields else ()
        parts = tuple(f"has_{part}" for part in REMOVABLE) if scenes.world.parts_missing > 0 else ()
        return (*EFFECT_FIELDS, *cue, *parts)
    asked = {"count": ("birds",), "side": ("tail", "cell")}
    each = tuple(of_bird(bird, cause) for bird in range(BIRDS) for cause in ("wing", "tail", "crest"))
    return (*asked.get(scenes.world.task, each), "land", *PROP_NAMES)


def others(scenes: Scenes, name: str) -> tuple[Scenes, ...]:
    """The twins by which the effect of one field is measured, each for all scenes.

    Raises SceneError for a field that holds no words and says nothing about presence.
    """
    plain = whose(name)[1]
    if name in PROP_NAMES:
        return (remove(scenes, name),)
    if name not in scenes.fields or not (words_of(name) or is_yes_or_no(name)):
        known = ", ".join(dict.fromkeys((*tried(scenes), *PRESENCE, "occ")))
        raise SceneError(f"The effect of {name!r} cannot be measured. Known: {known}.")
    values = scenes.fields[name]
    if is_yes_or_no(name):
        return (scenes.with_fields(**{name: 1 - values}),)
    if scenes.world.task == "side" and plain in ("tail", "cell"):
        return (_swapped(scenes, plain),)
    if plain.endswith("_hue") or plain == "cell":
        return (twin(scenes, **{name: another(scenes, name)}),)
    count = len(words_of(name))
    return tuple(twin(scenes, **{name: (values + step) % count}) for step in range(1, count))


def _swapped(scenes: Scenes, plain: str) -> Scenes:
    """The two birds of the task `side` with their tails changed, or each on the other side."""
    flip = (lambda values: 1 - values) if plain == "tail" else (lambda values: values ^ 1)
    birds = (0, 1) if plain == "tail" else range(BIRDS)
    return twin(scenes, **{of_bird(bird, plain): flip(scenes.fields[of_bird(bird, plain)]) for bird in birds})


def label_of(scenes: Scenes, asked: int | str) -> int:
    """A class of the scenes' task by number or name. Raises SceneError where there is none."""
    labels = scenes.task.labels
    if isinstance(asked, str):
        if asked not in labels:
            raise SceneError(f"The task {scenes.world.task!r} has no class {asked!r}. Known: {', '.join(labels)}.")
        return labels.index(asked)
    if not 0 <= asked < len(labels):
        raise SceneError(f"The task {scenes.world.task!r} has classes 0 to {len(labels) - 1}; got {asked}.")
    return int(asked)


def _scorer(scenes: Scenes, target: TargetLike | Sequence[int] | None, predicted: Tensor) -> Callable[[Tensor], Tensor]:
    if isinstance(target, Contrast):
        this, that = label_of(scenes, target.this), label_of(scenes, target.that)
        return lambda logits: logits[:, this] - logits[:, that]
    if target is None:
        chosen = predicted
    elif isinstance(target, (Class, int, str)):
        label = label_of(scenes, target.index if isinstance(target, Class) else target)
        chosen = torch.full_like(predicted, label)
    else:
        chosen = torch.as_tensor(np.asarray(target), dtype=torch.long)
    return lambda logits: logits.log_softmax(dim=1).gather(1, chosen[:, None])[:, 0]


def _logits(predict: Callable[[Tensor], Tensor], scenes: Scenes, batch: int) -> Float[Tensor, "scene classes"]:
    with torch.no_grad():
        return torch.cat([predict(scenes[at : at + batch].tensor()).cpu() for at in range(0, len(scenes), batch)])
