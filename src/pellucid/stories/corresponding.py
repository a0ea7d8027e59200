"""A study of whether being able to change an explanation helps: the same decisions to look at, and to take apart."""

from __future__ import annotations

import numpy as np
import torch

from pellucid.errors import RequestError
from pellucid.subject import VisionModel
from pellucid.testbed.scene import Scenes
from pellucid.trust.people.neighbours import SHORTLIST, Patches, corresponding, nearest, patches
from pellucid.trust.people.patchwork import Patchwork
from pellucid.trust.people.study import Study, Task
from pellucid.values import Layer

CONDITIONS = ("static", "dynamic")


def correspondence_study(
    model: VisionModel, asked: Scenes, known: Scenes, *, layer: Layer | str | None = None,
    grid: tuple[int, int] = (8, 8), shortlist: int = SHORTLIST, title: str = "Which patches speak for it",
    design: str = "between", seed: int = 0,
) -> Study:  # fmt: skip
    """Every scene as a task to look at (`static`) and as one whose patches may be changed (`dynamic`).

    What is judged is a vote of known scenes, ranked by how well their patches correspond (CHM-Corr; Nguyen et al.
    2024). The first scene is for practice, in both conditions.

    design: `between` gives each person one condition, `within` both

    Raises RequestError for fewer than two scenes, or scenes of another task than the known ones.
    """
    if len(asked) < 2 or asked.task.labels != known.task.labels:
        raise RequestError(f"{len(asked)} scenes; expected at least 2, of the task of the known ones.")
    mine, theirs = (patches(model, drawn.tensor(), layer=layer, grid=grid) for drawn in (asked, known))
    works = [_work(at, asked, known, mine, theirs, shortlist) for at in range(len(asked))]
    labels = asked.task.labels
    tasks = [
        Task(
            f"{condition} {at}", f"The program says: {(answer := work.answer()).said}.", {},
            answer.said == labels[int(asked.labels[at])], answer.share, condition, practice=at == 0,
            patchwork=work.open() if condition == "dynamic" else work.locked(),
        )
        for at, work in enumerate(works) for condition in CONDITIONS
    ]  # fmt: skip
    return Study(title, tuple(tasks), design=design, seed=seed)


def _work(at: int, asked: Scenes, known: Scenes, mine: Patches, theirs: Patches, shortlist: int) -> Patchwork:
    near = nearest(Patches(mine.cells[[at]], mine.pooled[[at]], mine.grid), theirs, shortlist)[0]
    labels = known.task.labels
    return Patchwork.of(
        _pixels(asked, [at])[0], _pixels(known, near.tolist()), [labels[int(known.labels[one])] for one in near],
        mine.grid, corresponding(mine.cells[at], theirs.cells[near], mine.grid),
    )  # fmt: skip


def _pixels(drawn: Scenes, places: list[int]) -> list[np.ndarray]:
    shown = (drawn[places].tensor() * 255).round().to(torch.uint8)
    return list(shown.permute(0, 2, 3, 1).numpy())
