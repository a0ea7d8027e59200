"""A study of patches: both conditions show one decision, and the key knows whether it is right."""

from __future__ import annotations

import pytest
import torch

import pellucid as pl
from pellucid.errors import RequestError
from pellucid.stories.corresponding import correspondence_study
from pellucid.trust.people.neighbours import patches, voted


def test_both_conditions_show_the_decisions_of_the_vote() -> None:
    model, asked, known = pl.load("testbed:cnn"), pl.testbed.scenes(950, 5), pl.testbed.scenes(951, 60)
    study = correspondence_study(model, asked, known, layer="features.3", shortlist=30)
    mine, theirs = (patches(model, drawn.tensor(), layer="features.3") for drawn in (asked, known))
    found = voted(mine, theirs, torch.from_numpy(known.labels).long(), "chm", shortlist=30)
    assert [task.condition for task in study.tasks] == ["static", "dynamic"] * 5
    for at in range(5):
        still, moving = study.tasks[2 * at : 2 * at + 2]
        label = known.task.labels[int(found.predicted[at])]
        assert still.said == moving.said == f"The program says: {label}."
        assert still.right == moving.right == (label == asked.task.labels[int(asked.labels[at])])
        assert still.confidence == pytest.approx(float(found.share[at])) and still.practice == (at == 0)
        assert still.patchwork is not None and moving.patchwork is not None
        assert moving.patchwork.editable and not still.patchwork.editable
    with pytest.raises(RequestError, match="at least 2"):
        correspondence_study(model, asked[[0]], known)
    with pytest.raises(RequestError, match="of the task"):
        correspondence_study(model, asked, pl.testbed.scenes(951, 3, task="bib6"))
