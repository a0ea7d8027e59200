"""A model that reads one pixel of each picture: an edit changes its answer exactly where it covers that pixel."""

from __future__ import annotations

import pytest
import torch

from pellucid.errors import RequestError, ShapeError
from pellucid.trust.retraining import counterfactual_simulatability

TWINS, HEIGHT, WIDTH = 240, 9, 13


def planted() -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(11)
    rows, columns = (torch.randint(0, side, (TWINS,), generator=generator) for side in (HEIGHT, WIDTH))
    right = torch.zeros(TWINS, HEIGHT, WIDTH)
    right[torch.arange(TWINS), rows, columns] = 1.0
    edited = torch.rand(TWINS, HEIGHT, WIDTH, generator=generator) < 0.5
    covered = edited[torch.arange(TWINS), rows, columns]
    before = torch.zeros(TWINS).long()
    leak = torch.zeros(TWINS, HEIGHT, WIDTH)  # says on the left or on the right what will come, wherever the edit is
    leak[covered, :, :3], leak[~covered, :, -3:] = 1.0, 1.0
    maps = {"right": right, "leak": leak, "control random": torch.rand(TWINS, HEIGHT, WIDTH, generator=generator)}
    return maps, edited, before, covered.long()


def test_the_true_map_foretells_every_edit_and_one_that_tells_the_answer_beforehand_gains_nothing() -> None:
    found = counterfactual_simulatability(*planted())
    right, leak, random = (found.row(map=name) for name in ("right", "leak", "control random"))
    assert right["agreement"] == 1.0 and right["auroc"] == 1.0 and right["low"] > 0.3
    assert leak["leaking"] == 1.0 and abs(leak["gain"]) < 0.1
    assert random["low"] < 0.05 and abs(random["gain"]) < 0.1 and right["leaking"] < 0.65
    assert found.rows[0]["map"] == "right" and found.facts["answers changed"] == pytest.approx(0.5, abs=0.1)


def test_twins_of_one_picture_are_not_learned_from_and_tried_on() -> None:
    """Answers drawn by lot per picture: who sees a picture on both sides knows them, who does not is at chance."""
    generator = torch.Generator().manual_seed(12)
    pictures = [one for one in range(30) for _ in range(8)]
    own = torch.randn(30, HEIGHT, WIDTH, generator=generator)[torch.tensor(pictures)]
    after = (torch.rand(30, generator=generator) < 0.5).long()[torch.tensor(pictures)]
    edited = torch.rand(TWINS, HEIGHT, WIDTH, generator=generator) < 0.5
    before = torch.zeros(TWINS).long()
    apart = counterfactual_simulatability({"own": own}, edited, before, after, pictures=pictures, seed=1)
    mixed = counterfactual_simulatability({"own": own}, edited, before, after, seed=1)
    assert mixed.row(map="own")["leaking"] > apart.row(map="own")["leaking"] + 0.15


def test_what_says_nothing_is_refused() -> None:
    maps, edited, before, after = planted()
    with pytest.raises(RequestError, match="nothing to foretell"):
        counterfactual_simulatability(maps, edited, before, before)
    with pytest.raises(ShapeError, match="right"):
        counterfactual_simulatability({"right": maps["right"][:3]}, edited, before, after)
    with pytest.raises(RequestError, match="folds"):
        counterfactual_simulatability(maps, edited, before, after, folds=1)
