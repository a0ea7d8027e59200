"""Equal explanations agree in all, reversed ones in nothing; on a sum of segments every figure has its closed form."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import Tensor

from pellucid.errors import RequestError, ShapeError
from pellucid.trust.concepts import segment_agreement, segment_faithfulness
from tests.trust.concepts import normal

WORTH = torch.tensor([[5.0, 3.0, 2.0, 1.0], [0.5, 4.0, 0.25, 1.0]])


def answers(shown: Tensor) -> Tensor:
    """Two classes: what the shown segments are worth, and a bar of 5.5."""
    own = (WORTH.repeat(len(shown) // 2, 1) * shown).sum(dim=1)
    return torch.stack([own, torch.full_like(own, 5.5)], dim=1)


def test_equal_explanations_agree_in_all() -> None:
    one = normal(8, 12)
    found = segment_agreement(one, one.clone())
    for interval in (found.spearman, found.kendall, found.pairwise):
        assert interval.mean == pytest.approx(1)
    for top in found.tops.values():
        assert {top.feature.mean, top.rank.mean, top.sign.mean, top.signed_rank.mean, top.union.mean} == {1.0}


def test_reversed_explanations_agree_in_nothing_but_what_they_name() -> None:
    one = torch.arange(1.0, 13).expand(5, -1)
    found = segment_agreement(one, -one, tops=(3,))
    assert found.spearman.mean == pytest.approx(-1) and found.kendall.mean == pytest.approx(-1)
    assert found.pairwise.mean == 0
    assert (found.tops[3].feature.mean, found.tops[3].rank.mean, found.tops[3].sign.mean) == (1, 1, 0)
    assert found.tops[3].signed_rank.mean == 0


def test_random_explanations_share_as_many_segments_as_chance_gives() -> None:
    found = segment_agreement(normal(400, 50), normal(400, 50, seed=1), tops=(10,))
    assert found.tops[10].feature.low < 0.2 < found.tops[10].feature.high
    assert found.tops[10].shuffled == pytest.approx(0.2, abs=0.02) and abs(found.spearman.mean) < 0.02
    flat = segment_agreement(torch.ones(300, 50), torch.ones(300, 50) * 2, tops=(10,))
    assert flat.tops[10].feature.mean == pytest.approx(0.2, abs=0.03) and flat.kept == 0


def test_kendall_with_ties_is_scipys() -> None:
    one, other = normal(6, 9).round(), normal(6, 9, seed=1).round()
    expected = [float(stats.kendalltau(a, b).statistic) for a, b in zip(one.numpy(), other.numpy(), strict=True)]
    assert segment_agreement(one, other, tops=(1,)).kendall.mean == pytest.approx(sum(expected) / 6)


def test_the_order_of_worth_has_its_closed_form_on_a_sum() -> None:
    """The first item decides for its own class (11 > 5.5), the second too (5.75): they flip below the bar."""
    found = segment_faithfulness(WORTH, answers, parts=(0.25, 0.5))
    assert found.comprehensiveness.mean == pytest.approx(((5 + 8) / 2 + (4 + 5) / 2) / 2)
    assert found.sufficiency.mean == pytest.approx((((11 - 5) + (11 - 8)) / 2 + ((5.75 - 4) + (5.75 - 5)) / 2) / 2)
    assert found.until_flip.mean == pytest.approx((2 / 4 + 1 / 4) / 2) and found.single_flip.mean == 0.5
    assert found.deletion_rank.mean == pytest.approx(1) and found.random["deletion_rank"].mean < 1


def test_the_reverse_flips_late_and_ranks_the_other_way() -> None:
    best, worst = (segment_faithfulness(sign * WORTH, answers, parts=(0.25,)) for sign in (1, -1))
    assert worst.deletion_rank.mean == pytest.approx(-1) and worst.until_flip.mean > best.until_flip.mean
    assert worst.comprehensiveness.mean < best.comprehensiveness.mean


def test_a_decision_that_never_changes_needs_all_segments_and_flat_explanations_have_no_rank() -> None:
    steady = segment_faithfulness(WORTH, lambda shown: torch.tensor([[1.0, 0.0]]).expand(len(shown), -1))
    assert steady.until_flip.mean == 1 and steady.single_flip.mean == 0
    assert (steady.kept, steady.total) == (0, 2) and "item 0" in steady.skipped


@pytest.mark.untyped
def test_more_segments_than_there_are_and_other_segments_are_refused() -> None:
    with pytest.raises(RequestError, match="from 1 to 4"):
        segment_agreement(WORTH, WORTH, tops=(5,))
    with pytest.raises(ShapeError):
        segment_agreement(WORTH, WORTH[:, :2])
