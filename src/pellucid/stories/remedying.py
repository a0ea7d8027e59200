"""What helps a net of the testbed that reads the background: remedies on groups that its failures gave words for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pellucid import testbed
from pellucid.errors import RequestError
from pellucid.language.failures import Failures, Pictures, remedies
from pellucid.language.failures.masked import masked
from pellucid.language.failures.remedies import Fared, Lesson, fared, groups_of
from pellucid.language.failures.report import failures
from pellucid.language.failures.tags import Tags, bird_tags, by_encoder
from pellucid.language.pools import encoder_for
from pellucid.stories.maps import attribute
from pellucid.subject import VisionModel
from pellucid.testbed.nets import AGREEMENT
from pellucid.testbed.scene import Scenes
from pellucid.values import Class

LEARNED, AUDITED, JUDGED = 4000, 6000, 3000
_CHUNK = 100


@dataclass(frozen=True)
class Remedies:
    """A net before and after, on fresh scenes whose landscape agrees in half of them.

    rows:   the net as it was, and each remedy; groups are class and landscape, as the renderer knows them
    words:  the words by which groups were told while learning
    """

    model: str
    words: tuple[str, ...]
    rows: tuple[Fared, ...]
    accuracies: tuple[tuple[float, float], ...]
    scenes: int

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": self.model, "words": list(self.words), "scenes": self.scenes,
            "rows": [
                {**vars(row), "aligned": aligned, "conflict": conflict}
                for row, (aligned, conflict) in zip(self.rows, self.accuracies, strict=True)
            ],
        }  # fmt: skip


def remedied(model: VisionModel, *, seed: int = 3100, steps: int = 300) -> Remedies:
    """Failures in words, groups from those words, four remedies, and how each fares on scenes that nobody has seen.

    Group DRO, balanced sampling and masked pictures learn from 4,000 scenes of the kind the net learned from (the cue
    agrees in 95 %); the last layer is fitted to the scenes of the search. Raises RequestError where no failure mode
    stands out: then there are no groups to mend.
    """
    if model.module is None:
        raise RequestError(f"{model.name} is a black box: there is nothing to train.")
    audit = Pictures(seed=seed, count=AUDITED)
    found, lesson_of_audit = _audited(model, audit)
    if not found.stands_out:
        raise RequestError(f"No failure mode of {model.name} stands out, so there are no groups to mend.")
    drawn = testbed.scenes(seed + 1, LEARNED, shortcut="background", strength=AGREEMENT)
    lesson = _lesson(drawn.tensor(), drawn, _tags(drawn.tensor()), found)
    shown = _without_cue(model, lesson.inputs)
    recipe = replace(remedies.RECIPE, steps=steps)
    net = model.module
    after: dict[str, nn.Module] = {
        "before": net,
        "balanced groups": remedies.balanced(net, lesson, recipe=recipe, seed=seed),
        "group DRO": remedies.group_dro(net, lesson, recipe=recipe, seed=seed),
        "last layer (DFR)": remedies.last_layer(net, lesson_of_audit, seed=seed),
        "masked pictures": remedies.on_masked(net, lesson, shown, recipe=recipe, seed=seed),
        "control: as long, groups by lot": remedies.balanced(net, _by_lot(lesson, seed), recipe=recipe, seed=seed),
    }
    judged = testbed.scenes(seed + 2, JUDGED, shortcut="background", strength=0.5)
    inputs, groups = judged.tensor(), np.asarray(judged.groups)
    rows = tuple(fared(one.eval(), name, inputs, judged.labels, groups) for name, one in after.items())
    return Remedies(
        model.spec or model.name, tuple(word for word, _ in found.words), rows,
        tuple(_apart(one, inputs, judged) for one in after.values()), JUDGED,
    )  # fmt: skip


def _audited(model: VisionModel, audit: Pictures) -> tuple[Failures, Lesson]:
    drawn = audit.scenes()
    inputs = drawn.tensor()
    tags = _tags(inputs)
    found = failures(model.name, audit.answers(model, inputs), tags, audit)
    return found, _lesson(inputs, drawn, tags, found)


def _tags(inputs: Tensor) -> Tags:
    pool = bird_tags()
    return by_encoder(encoder_for(pool), inputs, pool)


def _lesson(inputs: Tensor, drawn: Scenes, tags: Tags, found: Failures) -> Lesson:
    groups = groups_of(drawn.labels, tags, found.modes)
    return Lesson(inputs, torch.from_numpy(drawn.labels.copy()), torch.from_numpy(groups))


def _by_lot(lesson: Lesson, seed: int) -> Lesson:
    order = np.random.default_rng(seed).permutation(len(lesson.groups))
    return Lesson(lesson.inputs, lesson.labels, lesson.groups[order])


def _without_cue(model: VisionModel, inputs: Tensor) -> Tensor:
    parts: list[Tensor] = []
    for part in inputs.split(_CHUNK):
        said = [Class(one) for one in model.predict(part).argmax(dim=1).tolist()]
        heat = attribute(model, part, "grad_cam", target=said).one_channel.cpu()
        parts.append(masked(part, heat, cue=True, fill=0.5).pictures)
    return torch.cat(parts)


def _apart(net: nn.Module, inputs: Tensor, judged: Scenes) -> tuple[float, float]:
    """Accuracy where the landscape agrees, and where it does not."""
    with torch.no_grad():
        said = torch.cat([net(part).argmax(dim=1) for part in inputs.split(_CHUNK)]).numpy()
    right = said == judged.labels
    return float(right[judged.aligned].mean()), float(right[~judged.aligned].mean())
