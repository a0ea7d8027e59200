"""What the right answer is: the parts that decide, twins in which one of them is otherwise, and what a net makes of it.

A mask of the deciding parts is the truth of the world. What a net truly reads may be less or other; `effect` measures
it with twins, so every figure that compares a map with a mask can stand beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from pellucid.errors import SceneError
from pellucid.images import masks
from pellucid.results import Truth
from pellucid.testbed.fields import HUES, PARTS_OF_FIELD, PROPS, REMOVABLE, WORDS, uniform_numbers
from pellucid.testbed.render import BIRD_PARTS, blur_weight, render
from pellucid.testbed.scene import Scenes, allowed, boxes_of
from pellucid.values import Class, Contrast

# -- twins -------------------------------------------------------------------------------------------------------------


def twin(scenes: Scenes, **changes: Any) -> Scenes:
    """The same scenes but for these fields, one value or one each: `twin(scenes, tail="fanned")`.

    Everything that was drawn for other fields stays, so pictures differ only in the `footprint`.
    Raises SceneError for a field or value that does not exist, and where a hue would equal that of the body it touches.
    """
    values = {name: _values(scenes, name, wanted) for name, wanted in changes.items()}
    changed = scenes.with_fields(**values)
    for name in values:
        if name not in WORDS:
            continue
        bad = ~allowed(changed.fields, name)[np.arange(len(scenes)), changed.fields[name]]
        if bad.any():
            at = int(np.flatnonzero(bad)[0])
            raise SceneError(
                f"{name} cannot be {WORDS[name][changed.fields[name][at]]!r} in scene {scenes.index[at]}: a part that "
                f"touches it has that hue, and they would run together. `truth.another` gives a value that is free."
            )
    return changed


def another(scenes: Scenes, name: str) -> Int64[np.ndarray, "scene"]:
    """For each scene one other value the field may take, drawn by seed and index."""
    free = allowed(scenes.fields, name)
    free[np.arange(len(scenes)), scenes.fields[name]] = False
    rank = (uniform_numbers(scenes.seed, scenes.index, f"another_{name}") * free.sum(axis=1)).astype(np.int64)
    rank = np.minimum(rank, free.sum(axis=1) - 1)
    return np.argmax(np.cumsum(free, axis=1) == (rank + 1)[:, None], axis=1).astype(np.int64)


def remove(scenes: Scenes, part: str) -> Scenes:
    """The same scenes without one part: wing, tail, crest, bib, beak, eye, feet, grass or prop0 to prop2."""
    return scenes.with_fields(**{_presence(part): np.int64(0)})


def add(scenes: Scenes, part: str) -> Scenes:
    """The same scenes with one part that may be missing."""
    return scenes.with_fields(**{_presence(part): np.int64(1)})


def paste_land(scenes: Scenes, land: str | int) -> Scenes:
    """The same birds in another landscape."""
    return twin(scenes, land=land)


def footprint(scenes: Scenes, other: Scenes) -> Bool[np.ndarray, "scene height width"]:
    """Where two sets of the same scenes can differ at all: outside, their pictures are equal byte for byte.

    The soft edge of the changed part in either picture, before anything is painted over it; one pixel more where the
    camera blurs; for the landscape all that the bird and the things before it do not cover fully.
    """
    if scenes.seed != other.seed or not np.array_equal(scenes.index, other.index) or scenes.world != other.world:
        raise SceneError("A footprint lies between twins: the same seed, indices and world on both sides.")
    changed = {name: scenes.fields[name] != other.fields[name] for name in scenes.fields}
    changed = {name: where for name, where in changed.items() if where.any()}
    covers = [_coverage(side, _painted_by(changed)) for side in (scenes, other)]
    size = scenes.world.size
    print_ = np.zeros((len(scenes), size, size), dtype=bool)
    for name, where in changed.items():
        for cover in covers:
            print_[where] |= _reach(name, scenes, cover)[where]
    for at in np.flatnonzero(blur_weight(scenes.fields, scenes.world) > 0):
        print_[at] = masks.dilate(print_[at], 1)
    return print_


def _values(scenes: Scenes, name: str, wanted: Any) -> np.ndarray:
    """Words or numbers as the field keeps them, one per scene."""
    if name not in scenes.fields:
        raise SceneError(f"Scenes have no field {name!r}. Known: {', '.join(scenes.fields)}.")
    words = WORDS.get(name, HUES if name == "cue" or name.endswith("_h") else ())
    listed = np.broadcast_to(np.asarray(wanted), (len(scenes),))
    if listed.dtype.kind in "US":
        unknown = sorted(set(listed.tolist()) - set(words))
        if unknown:
            raise SceneError(f"{name} has no value {unknown[0]!r}. Known: {', '.join(words) or 'numbers from 0 to 1'}.")
        return np.array([words.index(word) for word in listed.tolist()], dtype=np.int64)
    values = listed.astype(scenes.fields[name].dtype)
    top = len(words) - 1 if words else 2 if name.endswith("_kind") else 1
    if (values < 0).any() or (values > top).any():
        raise SceneError(f"{name} lies between 0 and {top}; got {values.min()} to {values.max()}.")
    return values


def _presence(part: str) -> str:
    """The field that says whether a part is there."""
    fields = {"crest": "crest", "feet": "feet", "grass": "occ"}
    fields |= {part: f"has_{part}" for part in REMOVABLE} | {f"prop{slot}": f"prop{slot}_on" for slot in PROPS}
    if part not in fields:
        raise SceneError(f"There is no part {part!r} that can be left out. Known: {', '.join(fields)}.")
    return fields[part]


def _painted_by(names: Mapping[str, Any]) -> tuple[str, ...]:
    """The parts whose coverage decides how far a change of these fields can reach."""
    parts = {part for name in names for part in PARTS_OF_FIELD.get(name, ())}
    if "wing" in parts:
        parts.add("wing_shadow")
    if "land" in names:
        parts |= {*BIRD_PARTS, "grass", *(f"prop{slot}" for slot in PROPS)}
    if "cue" in names:
        parts.add("cue")
    return tuple(sorted(parts))


def _coverage(scenes: Scenes, parts: tuple[str, ...]) -> dict[str, np.ndarray]:
    return render(scenes.fields, scenes.seed, scenes.index, scenes.world, coverage=parts).coverage


def _reach(name: str, scenes: Scenes, cover: Mapping[str, np.ndarray]) -> Bool[np.ndarray, "scene height width"]:
    size = scenes.world.size
    if name == "land" and scenes.world.shortcut != "tag":
        hidden = [cover[part] >= 1 for part in cover if part not in ("wing_shadow", "cue")]
        return ~np.logical_or.reduce(hidden)
    if name == "cue" and scenes.world.shortcut in ("tag", "frame"):
        return cover["cue"] > 0
    parts = PARTS_OF_FIELD.get(name)
    if parts is None:  # place, light, noise: they reach everywhere
        return np.ones((len(scenes), size, size), dtype=bool)
    if name == "has_wing":
        parts = (*parts, "wing_shadow")
    return np.logical_or.reduce([cover[part] > 0 for part in parts])


# -- causes in the world -----------------------------------------------------------------------------------------------


def causal(
    scenes: Scenes, target: Class | Contrast | int | str | None = None, *, ghosts: bool = True
) -> Bool[np.ndarray, "scene height width"]:
    """Where the parts lie that decide the class, or that tell the two classes of a contrast apart.

    target: a class or None gives all deciding parts of the task; a Contrast those in which its two classes differ
    ghosts: also the place where a deciding part would be, where its absence decides

    Grass before a part is not the part.
    """
    causes = causes_of(scenes, target)
    parts = tuple(part for cause in causes for part in PARTS_OF_FIELD[cause])
    visible = scenes.mask(*parts) if parts else np.zeros(scenes.parts.shape, dtype=bool)
    bare = np.flatnonzero(scenes.fields["crest"] == 0)
    if ghosts and "crest" in causes and len(bare):
        visible[bare] |= add(scenes[bare], "crest").mask("crest")
    return visible


def grown(mask: Bool[np.ndarray, "scene height width"], pixels: int = 1) -> Bool[np.ndarray, "scene height width"]:
    """Each mask widened on all sides: the tolerance of the pointing game (1 pixel at 64, 3 at 224)."""
    return np.stack([masks.dilate(one, pixels) for one in mask]) if len(mask) else mask


def causes_of(scenes: Scenes, target: Class | Contrast | int | str | None = None) -> tuple[str, ...]:
    """The fields that decide the class, or in which the two classes of a contrast differ."""
    task = scenes.task
    if isinstance(target, Contrast):
        return task.differing(_label(scenes, target.this), _label(scenes, target.that))
    if target is not None:
        _label(scenes, target.index if isinstance(target, Class) else target)
    return task.causes


def known(scenes: Scenes, target: Class | Contrast | int | str | None = None) -> tuple[Truth, ...]:
    """The true answer for each scene, ready to be shown beside an explanation.

    The mask is the causal one with ghosts, grown by one pixel for each 64 of the picture's side; boxes are per part.
    """
    ungrown = causal(scenes, target)
    wide = grown(ungrown, max(1, round(scenes.world.size / 64)))
    causes = causes_of(scenes, target)
    pieces = [causal_part(scenes, cause) for cause in causes]
    truths = []
    for at in range(len(scenes)):
        boxes = boxes_of(np.stack([piece[at] for piece in pieces])) if pieces else np.zeros((0, 4), dtype=np.int64)
        shown = tuple(tuple(float(edge) for edge in box) for box in boxes if box.any())
        truths.append(Truth(wide[at], ungrown[at], in_words(scenes[at], target), shown))
    return tuple(truths)


def causal_part(scenes: Scenes, cause: str) -> Bool[np.ndarray, "scene height width"]:
    """Where one deciding field shows, or would show."""
    mask = scenes.mask(*PARTS_OF_FIELD[cause])
    if cause != "crest":
        return mask
    bare = (scenes.fields["crest"] == 0)[:, None, None]
    return mask | (add(scenes, "crest").mask("crest") & bare)


def in_words(scene: Scenes, target: Class | Contrast | int | str | None = None) -> str:
    """The deciding parts of one scene: "the dotted wing, the forked tail, the plume"."""
    phrases: dict[str, Callable[[int], str]] = {
        "wing": lambda value: f"the {WORDS['wing'][value]} wing",
        "tail": lambda value: f"the {WORDS['tail'][value]} tail",
        "crest": lambda value: "the plume" if value else "the bare head, which has no plume",
        "bib_hue": lambda value: f"the {HUES[value]} bib",
        "body_hue": lambda value: f"the {HUES[value]} body",
    }
    return ", ".join(phrases[cause](int(scene.fields[cause][0])) for cause in causes_of(scene, target))


def _label(scenes: Scenes, asked: int | str) -> int:
    labels = scenes.task.labels
    if isinstance(asked, str):
        if asked not in labels:
            raise SceneError(f"The task {scenes.world.task!r} has no class {asked!r}. Known: {', '.join(labels)}.")
        return labels.index(asked)
    if not 0 <= asked < len(labels):
        raise SceneError(f"The task {scenes.world.task!r} has classes 0 to {len(labels) - 1}; got {asked}.")
    return int(asked)


# -- causes in a net ---------------------------------------------------------------------------------------------------

EFFECT_FIELDS = (
    *("wing", "tail", "crest", "beak", "body_hue", "wing_hue", "tail_hue", "crest_hue", "bib_hue", "beak_hue"),
    *("feet", "land", *(f"prop{slot}" for slot in PROPS)),
)


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

    def causes(self, share: float = 0.9) -> tuple[str, ...]:
        """The smallest set of fields that holds this share of all positive effect, strongest first."""
        means = {name: max(self.mean(name), 0.0) for name in self.drops}
        wanted, kept, total = share * sum(means.values()), [], 0.0
        for name in sorted(means, key=lambda name: -means[name]):
            if total >= wanted:
                break
            kept.append(name)
            total += means[name]
        return tuple(kept)

    def distractors(self, share: float = 0.05) -> tuple[str, ...]:
        """The fields with less than this share of the largest effect: the net does not read them."""
        largest = max(abs(self.mean(name)) for name in self.drops)
        return tuple(name for name in self.drops if abs(self.mean(name)) < share * largest)


def effect(
    predict: Callable[[Tensor], Tensor],
    scenes: Scenes,
    target: Class | Contrast | int | str | Sequence[int] | None = None,
    *,
    fields: Sequence[str] | None = None,
    batch: int = 256,
) -> Effects:
    """How much each part matters to a net, from twins with the part otherwise: the causal check.

    predict: pictures [batch 3 height width] in 0..1 -> logits [batch classes]
    target:  what is explained; None is the class the net predicts, a list one class per scene
    fields:  which to try; None is `EFFECT_FIELDS`, and the cue of a tag, frame or trace

    Hues are tried at one other value each, props by removal, the rest at every other value: up to 32 twins a scene.
    """
    names = tuple(fields) if fields is not None else EFFECT_FIELDS + (("cue",) if "cue" in scenes.fields else ())
    before = _logits(predict, scenes, batch)
    predicted = before.argmax(dim=1)
    score = _scorer(scenes, target, predicted)
    base = score(before)
    drops: dict[str, np.ndarray] = {}
    changed: dict[str, np.ndarray] = {}
    for name in names:
        falls, flips = [], []
        for other in _others(scenes, name):
            after = _logits(predict, other, batch)
            falls.append((base - score(after)).double().numpy())
            flips.append((after.argmax(dim=1) != predicted).double().numpy())
        drops[name], changed[name] = np.mean(falls, axis=0), np.mean(flips, axis=0)
    return Effects(MappingProxyType(drops), MappingProxyType(changed))


def _others(scenes: Scenes, name: str) -> list[Scenes]:
    """The twins of one field, each for all scenes."""
    if name in {f"prop{slot}" for slot in PROPS}:
        return [remove(scenes, name)]
    if name.endswith("_hue") and name != "beak_hue":
        return [twin(scenes, **{name: another(scenes, name)})]
    if name == "beak_hue":
        return [twin(scenes, beak_hue=another(scenes, name))]
    if name not in (*WORDS, "cue"):
        raise SceneError(f"The effect of {name!r} cannot be measured. Known: {', '.join(EFFECT_FIELDS)}, cue.")
    count = len(WORDS.get(name, HUES))
    return [twin(scenes, **{name: (scenes.fields[name] + step) % count}) for step in range(1, count)]


def _scorer(
    scenes: Scenes, target: Class | Contrast | int | str | Sequence[int] | None, predicted: Tensor
) -> Callable[[Tensor], Tensor]:
    if isinstance(target, Contrast):
        this, that = _label(scenes, target.this), _label(scenes, target.that)
        return lambda logits: logits[:, this] - logits[:, that]
    if target is None:
        chosen = predicted
    elif isinstance(target, (Class, int, str)):
        label = _label(scenes, target.index if isinstance(target, Class) else target)
        chosen = torch.full_like(predicted, label)
    else:
        chosen = torch.as_tensor(np.asarray(target), dtype=torch.long)
    return lambda logits: logits.log_softmax(dim=1).gather(1, chosen[:, None])[:, 0]


def _logits(predict: Callable[[Tensor], Tensor], scenes: Scenes, batch: int) -> Float[Tensor, "scene classes"]:
    with torch.no_grad():
        return torch.cat([predict(scenes[at : at + batch].tensor()).cpu() for at in range(0, len(scenes), batch)])
