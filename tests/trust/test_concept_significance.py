"""TCAV on linear answers, where the share and its sign are known, and whether its tests hold what they promise."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor

from pellucid.errors import RequestError
from pellucid.trust.concepts import gradients_of, tcav
from pellucid.trust.concepts.significance import _welch
from tests.trust.concepts import linear, normal

CHANNELS = 8


def along(channel: int, items: int = 40, seed: int = 3, by: float = 4.0) -> Tensor:
    values = normal(items, CHANNELS, seed=seed)
    values[:, channel] += by
    return values


def slopes(channel: int = 0, items: int = 20) -> Tensor:
    """Of an answer that is that channel, with a little of its own in each item."""
    weights = torch.zeros(items, CHANNELS)
    weights[:, channel] = 1
    return weights + 0.02 * normal(items, CHANNELS, seed=9)


def test_along_the_answer_the_share_is_one_against_it_nought_and_both_are_significant() -> None:
    pool = normal(120, CHANNELS, seed=4)
    found = tcav(
        slopes(), {"with": along(0), "against": along(0, by=-4)}, pool, sets=15, random_concepts=39, random_sets=2
    )
    aligned, opposed = found.concepts["with"], found.concepts["against"]
    assert aligned.score.mean == 1 and opposed.score.mean == 0
    assert aligned.accuracy > 0.9 and aligned.cosine > 0.8 and aligned.alignment > 0.9 > -0.9 > opposed.alignment
    for test in (aligned, opposed):
        assert test.p_holm < 0.05 and test.p_rank == 1 / 40 and test.p_rank_holm == 2 / 40


def test_a_concept_at_right_angles_is_no_more_aligned_than_random_ones() -> None:
    """Its share is still near 0 or 1: the sign of what little it shares decides. Only the alignment shows that."""
    found = tcav(
        slopes(), {"other": along(3)}, normal(120, CHANNELS, seed=4), sets=10, random_concepts=39, random_sets=2
    )
    test = found.concepts["other"]
    assert abs(test.alignment) < 0.2 and test.p_rank > 0.2


def test_random_scores_of_a_linear_answer_are_noughts_and_ones() -> None:
    weights = torch.zeros(6, CHANNELS)
    weights[:, 0] = 1
    found = tcav(weights, {"with": along(0)}, normal(120, CHANNELS, seed=4), sets=30, random_concepts=9, random_sets=1)
    assert set(found.random) == {0.0, 1.0} and 0.2 < np.mean(found.random) < 0.8


def test_p_of_the_rank_test_is_uniform_over_random_concepts() -> None:
    named = {str(at): normal(20, CHANNELS, seed=100 + at) for at in range(24)}
    found = tcav(
        slopes(), named, normal(140, CHANNELS, seed=4), sets=2, random_concepts=19, random_sets=2, least_accuracy=0
    )
    ranks = np.array([test.p_rank for test in found.concepts.values()])
    assert 0.3 < ranks.mean() < 0.7 and (ranks <= 0.1).mean() <= 0.25 and (ranks > 0.5).mean() > 0.25, ranks


def test_p_of_the_t_test_is_uniform_where_every_score_has_examples_of_its_own() -> None:
    """Shares drawn alike on both sides, which is what the t-test asks for; sets that share one concept's do not."""
    draw = np.random.default_rng(0)
    values = np.array([_welch(tuple(draw.uniform(size=20)), draw.uniform(size=20).tolist()) for _ in range(400)])
    assert abs((values < 0.1).mean() - 0.1) < 0.045 and abs((values < 0.5).mean() - 0.5) < 0.08
    assert _welch((1.0, 1.0), [1.0, 1.0]) == 1 and _welch((1.0, 1.0), [0.0, 0.0]) == 0


def test_items_without_gradient_are_left_out_and_counted_and_all_of_them_leave_no_score() -> None:
    some = slopes()
    some[:5] = 0
    pool = normal(80, CHANNELS, seed=4)
    found = tcav(some, {"with": along(0)}, pool, sets=4, random_concepts=4, random_sets=1)
    assert (found.kept, found.total) == (15, 20)
    nothing = tcav(torch.zeros(6, CHANNELS), {"with": along(0)}, pool, sets=4)
    assert nothing.kept == 0 and np.isnan(nothing.concepts["with"].score.mean)
    assert "zero" in nothing.skipped["with"] and nothing.to_dict()["concepts"]["with"]["p"] is None


def test_vectors_that_tell_nothing_apart_give_no_score_but_say_so() -> None:
    pool = normal(160, CHANNELS, seed=4)
    found = tcav(slopes(), {"noise": normal(40, CHANNELS, seed=5), "with": along(0)}, pool, sets=6, random_concepts=6,
                 random_sets=1, least_accuracy=0.9)  # fmt: skip
    noise = found.concepts["noise"]
    assert noise.kept == 0 and np.isnan(noise.p_holm) and noise.accuracy < 0.8
    assert "not 90%" in found.skipped["noise"] and found.concepts["with"].kept > 0
    json.dumps(found.to_dict())


def test_gradients_come_from_the_tail_and_a_tail_that_ignores_its_layer_has_none() -> None:
    weight = normal(3, CHANNELS)
    torch.testing.assert_close(gradients_of(linear(weight), normal(5, CHANNELS), 1), weight[1].expand(5, -1))
    assert not gradients_of(lambda values: torch.zeros(len(values), 3), normal(5, CHANNELS), 1).any()


def test_too_few_examples_are_refused() -> None:
    with pytest.raises(RequestError, match="examples of the smallest concept"):
        tcav(slopes(), {"with": along(0, items=3)}, normal(80, CHANNELS))
