"""Descent on masks: slopes that are true, and minima that are known."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.testing import assert_close

from pellucid.engine.optimise import descend
from tests.oracles.asking import evidence_of
from tests.oracles.nets import LinearPicture, Pixels, Twin, pictures


def test_slopes_are_the_score_and_the_gradient_from_one_pass() -> None:
    inputs = pictures(2, 16, 20)
    evidence = evidence_of(Twin("module"), inputs)
    points = [inputs * share for share in (0.3, 0.7, 1.0)]
    before = evidence.passes.cost
    found = list(evidence.slopes_at(points))
    assert evidence.passes.cost - before == 9
    assert_close(torch.stack([score for score, _ in found]), torch.stack(list(evidence.scores_at(points))))
    assert_close(torch.stack([slope for _, slope in found]), torch.stack(list(evidence.gradients_at(points))))


def test_descent_ends_at_the_minimum_of_a_square() -> None:
    """(m x - 0.3)² plus 0.1 m for x = 1, where the score is m: the slope 2 (m - 0.3) + 0.1 is zero at 0.25."""
    inputs = torch.ones(2, 3, 4, 4)
    evidence = evidence_of(Pixels(lambda x: x[:, 0, 0, 0]), inputs, 0)

    def show(mask: Tensor, step: int) -> list[Tensor]:
        return [mask[:, None, None, None] * inputs]

    def loss(mask: Tensor, scores: Tensor, step: int) -> Tensor:
        return (scores[0] - 0.3).square() + 0.1 * mask

    found = descend(evidence, torch.tensor([1.0, 0.0]), show, loss, steps=150, rate=0.05)
    assert_close(found.found, torch.full((2,), 0.25), atol=5e-3, rtol=0)
    assert found.losses.shape == (150, 2) and (found.losses[-1] < found.losses[0]).all()


def test_a_mask_stays_within_its_bounds_and_what_was_given_is_not_touched() -> None:
    inputs, start = pictures(1, 12, 14), torch.full((1, 12, 14), 0.5)
    evidence = evidence_of(LinearPicture(), inputs, 1)
    found = descend(
        evidence, start, lambda mask, step: [inputs * mask[:, None]], lambda mask, scores, step: -scores[0], steps=9,
        rate=0.3,
    ).found  # fmt: skip
    terms = (LinearPicture().weight[1] * inputs).sum(dim=1)
    assert torch.equal(found[terms.abs() > 1e-3], (terms > 0).float()[terms.abs() > 1e-3])
    assert (start == 0.5).all()
