"""A scene as one line of JSON: all that is needed to paint it again, and all that is known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from pellucid.errors import SceneError
from pellucid.images import masks
from pellucid.testbed import captions
from pellucid.testbed.fields import is_yes_or_no, of_bird, words_of
from pellucid.testbed.palette import BIRD_PARTS, PART_IDS
from pellucid.testbed.scene import Scenes, allowed, frozen, world_of
from pellucid.testbed.tasks import TASKS

OTHERS = ("prop", "grass", "cue")  # what is marked beside birds


def to_records(scenes: Scenes) -> list[dict[str, Any]]:
    """What is known of each scene, in plain values.

    `seed`, `index`, `world` and `fields` make the picture; `label` and `name` are those of the task, None in a flock
    that is labelled bird by bird; `birds` has box, mask and parts of each bird (boxes left, top, right, bottom; masks
    as run lengths, column by column); `twins` says which changes lead to which class.
    """
    told = {style: scenes.told(style) for style in captions.STYLES}
    labelled = scenes.task.flock or not scenes.world.flock
    labels = scenes.labels.tolist() if labelled else []
    birds, others, twins = _birds(scenes), {part: scenes.mask(part) for part in OTHERS}, _twins(scenes)
    records: list[dict[str, Any]] = []
    for at, attributes in enumerate(scenes.attributes):
        record: dict[str, Any] = {
            "file": f"images/{int(scenes.index[at]):06d}.png",
            "seed": scenes.seed,
            "index": int(scenes.index[at]),
            "world": asdict(scenes.world),
            "fields": attributes,
            "label": labels[at] if labelled else None,
            "name": scenes.task.labels[labels[at]] if labelled else None,
            "captions": {style: texts[at] for style, texts in told.items()},
            "birds": birds[at],
            "others": _runs({part: mask[at] for part, mask in others.items()}),
            "twins": twins[at],
        }
        if scenes.world.shortcut is not None:
            record |= {"cue": int(scenes.cue[at]), "aligned": bool(scenes.aligned[at])}
        records.append(record)
    return records


def from_records(records: Sequence[Mapping[str, Any]]) -> Scenes:
    """The scenes that `to_records` wrote, to be painted again. Raises SceneError where they are not of one set."""
    if not records:
        raise SceneError("There are no records, so it is not known of which world they are.")
    first = records[0]
    if any(record["seed"] != first["seed"] or record["world"] != first["world"] for record in records):
        raise SceneError("These records are of several seeds or worlds; read those of one at a time.")
    world = world_of(first["world"])
    fields = {name: _values(name, [record["fields"][name] for record in records]) for name in first["fields"]}
    index = np.array([record["index"] for record in records], dtype=np.int64)
    return Scenes(int(first["seed"]), index, frozen(fields), world)


def _values(name: str, listed: Sequence[Any]) -> np.ndarray:
    words = words_of(name)
    if words:
        return np.array([words.index(word) for word in listed], dtype=np.int64)
    return np.array(listed, dtype=np.int64 if is_yes_or_no(name) else np.float32)


def _birds(scenes: Scenes) -> list[list[dict[str, Any]]]:
    """Each bird of each scene: class, boxes, and the masks of it and its parts."""
    names = TASKS["species" if scenes.task.flock else scenes.world.task].labels
    labels, boxes, whole = scenes.bird_labels, scenes.bird_boxes(), scenes.bird_boxes(whole=True)
    shown, parts = scenes.birds, scenes.parts

    def one(at: int, bird: int) -> dict[str, Any]:
        mine = shown[at] == bird + 1
        return {
            "label": int(labels[at, bird]),
            "name": names[labels[at, bird]],
            "box": boxes[at, bird].tolist(),
            "whole_box": whole[at, bird].tolist(),
            "mask": masks.encode(mine),
            "parts": _runs({part: mine & (parts[at] == PART_IDS[part]) for part in BIRD_PARTS}),
        }

    return [[one(at, bird) for bird in range(count)] for at, count in enumerate(scenes.counts.tolist())]


def _runs(shown: Mapping[str, np.ndarray]) -> dict[str, dict[str, list[int]]]:
    """The masks of what shows, as run lengths."""
    return {name: masks.encode(mask) for name, mask in shown.items() if mask.any()}


def _twins(scenes: Scenes) -> list[list[dict[str, Any]]]:
    """The smallest changes that lead to another class: which field, to which value, to which class."""
    found: list[list[dict[str, Any]]] = [[] for _ in range(len(scenes))]
    if scenes.world.task == "side":
        swapped = scenes.with_fields(tail=1 - scenes.fields["tail"], bird1_tail=1 - scenes.fields["bird1_tail"])
        for at, label in enumerate(swapped.true_labels.tolist()):
            tails = {name: words_of(name)[swapped.fields[name][at]] for name in ("tail", "bird1_tail")}
            found[at].append({"fields": tails, "label": label})
        return found
    each = scenes.world.flock and not scenes.task.flock
    for bird in range(scenes.most if each else 1):
        for cause in scenes.task.causes:
            _add_twins(found, scenes, cause, bird, each=each)
    return found


def _add_twins(found: list[list[dict[str, Any]]], scenes: Scenes, cause: str, bird: int, *, each: bool) -> None:
    """The twins of one field; `each` where classes are those of single birds."""
    name = of_bird(bird, cause)
    words, values = words_of(name), scenes.fields[name]
    before = scenes.bird_labels[:, bird] if each else scenes.true_labels
    for step in range(1, len(words)):
        other = (values + step) % len(words)
        changed = scenes.with_fields(**{name: other})
        after = changed.bird_labels[:, bird] if each else changed.true_labels
        free = allowed(changed.fields, name)[np.arange(len(scenes)), other] & (after != before)
        for at in np.flatnonzero(free).tolist():
            found[at].append(
                {"fields": {name: words[other[at]]}, "label": int(after[at])} | ({"bird": bird} if each else {})
            )
