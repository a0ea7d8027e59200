"""Parts that can be left out: what a map of the true effects must score, and what chance gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from scipy import stats
from torch import Tensor

from pellucid.errors import RequestError
from pellucid.registry import find_metric
from pellucid.trust.ground import Ground
from pellucid.trust.measured import Measured
from pellucid.trust.parts import (
    Birds,
    PartTable,
    Rivals,
    dilated,
    importance,
    important,
    painted,
    part_deletion_correlation,
    part_row,
    part_tables,
)

SIDE, CELL = 12, 4


def squares(count: int, pictures: int = 1) -> Tensor:
    """The first cells of a 3 x 3 grid of squares, one mask per part."""
    masks = torch.zeros(pictures, count, SIDE, SIDE, dtype=torch.bool)
    for at in range(count):
        top, left = at // 3 * CELL, at % 3 * CELL
        masks[:, at, top : top + CELL, left : left + CELL] = True
    return masks


def ground(effects: Sequence[Sequence[float]]) -> Ground:
    """Pictures whose parts are equal squares with these effects."""
    table = torch.tensor(effects)
    masks = squares(table.shape[1], len(table))
    anywhere = masks.any(dim=1)
    names = [f"part {at}" for at in range(table.shape[1])]
    return Ground(
        anywhere, anywhere, parts={name: masks[:, at] for at, name in enumerate(names)},
        effects={name: table[:, at] for at, name in enumerate(names)},
    )  # fmt: skip


def take(values: Tensor, truth: Ground) -> Measured:
    return part_deletion_correlation({"map": values}, truth)


def test_a_map_of_the_true_effects_agrees_with_them_and_its_negative_disagrees() -> None:
    effects = [[3.0, 0.5, -1.0, 0.0], [0.1, 0.2, 0.3, 0.4]]
    truth = ground(effects)
    drawn = painted(torch.tensor(effects), squares(4, 2))
    assert take(drawn, truth).values["map"].tolist() == pytest.approx([1.0, 1.0])
    assert take(-drawn, truth).values["map"].tolist() == pytest.approx([-1.0, -1.0])
    assert take(drawn.exp(), truth).values["map"].tolist() == pytest.approx([1.0, 1.0])  # only the order counts
    assert take(torch.zeros(2, SIDE, SIDE), truth).values["map"].tolist() == [0.0, 0.0]


def test_it_is_spearmans_correlation_of_sums_and_effects() -> None:
    draw = torch.Generator().manual_seed(4)
    effects = torch.randn(5, 7, generator=draw)
    values = torch.randn(5, SIDE, SIDE, generator=draw)
    found = take(values, ground(effects.tolist())).values["map"]
    for at in range(5):
        sums = [float(values[at][mask].double().sum()) for mask in squares(7)[0]]
        expected = stats.spearmanr(sums, effects[at].numpy()).statistic
        assert float(found[at]) == pytest.approx(expected, abs=1e-6)


def test_a_large_part_weighs_by_its_whole_sum() -> None:
    truth = ground([[2.0, 1.0]])
    small = truth.parts["part 0"].clone()
    small[0, 1:] = False
    narrow = replace(truth, parts={**truth.parts, "part 0": small})
    assert float(take(torch.ones(1, SIDE, SIDE), narrow).values["map"][0]) == pytest.approx(-1.0)


def test_beyond_area_the_true_effects_still_agree_and_sizes_alone_say_nothing() -> None:
    """Three parts of falling size, of which the largest matters most: a flat map agrees only for their sizes."""
    masks = squares(3)
    masks[0, 1, 1], masks[0, 2, 1:4] = False, False  # of 4 x 4 pixels: 16, 12 and 4
    anywhere = masks.any(dim=1)
    effects = [3.0, 0.5, 1.0]
    truth = Ground(
        anywhere, anywhere, parts={str(at): masks[:, at] for at in range(3)},
        effects={str(at): torch.tensor([effect]) for at, effect in enumerate(effects)},
    )  # fmt: skip
    flat, true = torch.ones(1, SIDE, SIDE), painted(torch.tensor([effects]), masks)
    found = part_deletion_correlation({"flat": flat, "true": true, "against": -true}, truth, beyond_area=True)
    assert float(part_deletion_correlation({"flat": flat}, truth).values["flat"]) == pytest.approx(0.5)
    assert {name: float(row) for name, row in found.values.items()} == pytest.approx(
        {"flat": 0, "true": 1, "against": -1}
    )


def test_what_puts_parts_in_no_order_is_left_out_with_its_reason() -> None:
    truth = ground([[1.0, 1.0, 1.0 + 1e-6], [5.0, float("nan"), float("nan")], [0.0, 1.0, 2.0], [0.0, 0.0, 0.0]])
    found = take(torch.rand(4, SIDE, SIDE, generator=torch.Generator().manual_seed(0)), truth)
    assert found.values["map"].isnan().tolist() == [True, True, False, True]
    assert set(found.skipped) == {0, 1, 3}
    assert "no order" in found.skipped[0] and "fewer than two" in found.skipped[1]


def test_a_part_that_does_not_show_is_not_asked_about_and_a_broken_map_has_no_value() -> None:
    truth = ground([[9.0, 1.0, 0.0]])
    hidden = replace(truth, parts={**truth.parts, "part 0": torch.zeros(1, SIDE, SIDE, dtype=torch.bool)})
    drawn = painted(torch.tensor([[-5.0, 1.0, 0.0]]), squares(3))
    assert float(take(drawn, hidden).values["map"][0]) == pytest.approx(1.0)
    drawn[0, 0, 0] = float("nan")
    assert bool(take(drawn, hidden).values["map"].isnan()) and not take(drawn, hidden).skipped


def test_a_truth_that_knows_no_effects_is_refused() -> None:
    mask = squares(1)[:, 0]
    with pytest.raises(RequestError, match="leaving out each part"):
        take(mask.float(), Ground(mask, mask))
    assert find_metric("part_deletion_correlation").needs_truth


# -- the protocols -----------------------------------------------------------------------------------------------


def birds(pictures: int = 1, seed: int = 0) -> Birds:
    """Six equal parts and two background objects. The logit is the sum of the first three parts' scores; the rest has
    no effect; without the first three the class is another, and any two of them are enough.
    """
    scores = 1 + torch.rand(pictures, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    falls = torch.cat([scores, torch.zeros(pictures, 5, dtype=torch.float64)], dim=1)
    pairs = [frozenset({0, 1}), frozenset({0, 2}), frozenset({1, 2})]
    there = torch.ones(pictures, 8, dtype=torch.bool)
    rivals = [Rivals(frozenset({0}), frozenset({1}), True)] * pictures
    return Birds(squares(8, pictures), 6, there, scores.sum(dim=1), falls, [pairs] * pictures, rivals)


def keeps(asked: Sequence[tuple[int, frozenset[int]]]) -> list[bool]:
    """The class stays while two of the first three parts are there."""
    return [len(frozenset({0, 1, 2}) - gone) >= 2 for _, gone in asked]


def rival_effects(known: Birds, own: int, other: int) -> Tensor:
    """A class that has only one part in common with the picture: that part speaks for it, the other two against."""
    falls = torch.zeros_like(known.falls)
    falls[:, :3] = -1.0
    falls[:, own] = 1.0
    return painted(falls, known.places)


def test_the_true_part_scores_are_complete_correct_and_contrastive() -> None:
    known = birds(3)
    own = {"map": painted(known.falls, known.places)}
    rivals = ({"map": rival_effects(known, 0, 1)}, {"map": rival_effects(known, 1, 0)})
    row = part_row(part_tables(own, known, keeps, rivals, dilation=1)["map"])
    assert (row.csdc, row.pc, row.dc, row.d, row.sd, row.ts) == pytest.approx((1, 1, 1, 1, 1, 1))
    assert (row.com, row.cor, row.con, row.mean) == pytest.approx((1, 1, 1, 1))
    assert set(row.pictures.values()) == {3}


def test_a_map_that_has_it_backwards_scores_nothing() -> None:
    known = birds(2)
    upside_down = painted(known.falls.max() - known.falls, known.places) * ~known.places[:, :3].any(dim=1)
    rivals = ({"map": rival_effects(known, 1, 0)}, {"map": rival_effects(known, 0, 1)})
    row = part_row(part_tables({"map": upside_down}, known, keeps, rivals, dilation=1)["map"])
    assert (row.ts, row.csdc, row.pc, row.dc) == pytest.approx((0, 0, 0, 0))
    assert row.sd < 0.2 and row.com == pytest.approx(0.5)  # where nothing is important, nothing irrelevant is either


def test_random_maps_are_right_about_half_of_the_time() -> None:
    count = 150
    known = birds(count)
    draw = torch.Generator().manual_seed(9)
    own, first, second = ({"map": torch.rand(count, SIDE, SIDE, generator=draw)} for _ in range(3))
    table = part_tables(own, known, keeps, (first, second), dilation=1)["map"]
    assert float(table.sd.mean()) == pytest.approx(0.5, abs=3 * float(table.sd.std()) / count**0.5)
    assert float(table.ts.mean()) == pytest.approx(0.5, abs=3 * float(table.ts.std()) / count**0.5)


def test_a_map_that_is_the_same_for_every_class_has_no_contrast() -> None:
    known = birds(2)
    own = {"map": painted(known.falls, known.places)}
    assert part_tables(own, known, keeps, (own, own), dilation=1)["map"].ts.tolist() == [0.0, 0.0]


def test_rivals_that_the_model_does_not_see_as_such_and_classes_that_need_no_part_are_left_out() -> None:
    known = replace(
        birds(2), rivals=[None, Rivals(frozenset({0}), frozenset({1}), False)], sufficient=[[frozenset()], []]
    )
    own = {"map": painted(known.falls, known.places)}
    table = part_tables(own, known, keeps, (own, own), dilation=1)["map"]
    assert bool(table.ts.isnan().all()) and bool(table.csdc.isnan().all()) and not bool(table.pc.isnan().any())
    assert part_row(table).pictures == {"csdc": 0, "pc": 2, "dc": 2, "d": 2, "sd": 2, "ts": 0}


def test_the_model_is_asked_once_whatever_the_number_of_maps() -> None:
    known, calls = birds(2), []

    def ask(asked: Sequence[tuple[int, frozenset[int]]]) -> list[bool]:
        calls.append(list(asked))
        return keeps(asked)

    own = painted(known.falls, known.places)
    maps = {"one": own, "another": own, "other": -own}
    part_tables(maps, known, ask, (maps, maps))
    assert len(calls) == 1 and len(calls[0]) == len(set(calls[0]))


def test_a_part_is_grown_by_two_pixels_on_every_side_and_important_beyond_its_share() -> None:
    mask = torch.zeros(1, 1, 9, 9, dtype=torch.bool)
    mask[0, 0, 4, 4] = True
    assert int(dilated(mask).sum()) == 25 and bool(dilated(mask)[0, 0, 2, 6])
    with pytest.raises(RequestError, match="odd"):
        dilated(mask, 4)
    given = importance(torch.ones(1, 9, 9), dilated(mask))
    assert float(given) == 25
    chosen = important(given, torch.tensor([81.0]).double(), (0.30, 0.31))
    assert chosen.flatten().tolist() == [True, False]  # 25 of 81 are 30.9 %


def test_tables_of_batches_join_in_order() -> None:
    known = birds(4)
    own = painted(known.falls, known.places)
    whole = part_tables({"map": own}, known, keeps, ({"map": own}, {"map": own}))["map"]
    assert PartTable.joined([whole, whole]).sd.tolist() == [*whole.sd.tolist(), *whole.sd.tolist()]
