"""Objects of a detector: detectors that can be worked out by hand, whose region is known."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from pellucid.errors import RequestError, ShapeError
from pellucid.trust.objects import (
    Found,
    ObjectCurves,
    Seen,
    Target,
    object_curves,
    one_class_each,
    overlaps,
    seen,
)

SIDE, TOP, LEFT, TALL, WIDE = 10, 2, 3, 4, 5
AREA = TALL * WIDE / SIDE**2
BOX = (float(LEFT), float(TOP), float(LEFT + WIDE), float(TOP + TALL))
TARGET = Target(BOX, 1)
NOTHING: Found = (torch.zeros(0, 4), torch.zeros(0, 2))
PIXELS = [step / SIDE**2 for step in range(SIDE**2 + 1)]


def region(pictures: Tensor) -> Tensor:
    return pictures[:, 0, TOP : TOP + TALL, LEFT : LEFT + WIDE]


def all_or_nothing(pictures: Tensor) -> list[Found]:
    """Finds the object, quite sure, where the whole of its region is visible (ones)."""
    return [
        (torch.tensor([BOX]), torch.tensor([[0.0, 1.0]])) if bool((one == 1).all()) else NOTHING
        for one in region(pictures)
    ]


def by_share(pictures: Tensor) -> list[Found]:
    """As sure as the visible share of the region."""
    return [(torch.tensor([BOX]), torch.stack([1 - one.mean(), one.mean()])[None]) for one in region(pictures)]


def by_width(pictures: Tensor) -> list[Found]:
    """Always sure, with a box that reaches as far as the region's columns are visible."""
    boxes = [torch.tensor([[LEFT, TOP, LEFT + float(one[0].sum()), TOP + TALL]]) for one in region(pictures)]
    return [(box, torch.tensor([[0.2, 0.8]])) for box in boxes]


def pictures(count: int = 1) -> Tensor:
    return torch.ones(count, 3, SIDE, SIDE)


def oracle(count: int = 1) -> Tensor:
    mask = torch.zeros(count, SIDE, SIDE)
    mask[:, TOP : TOP + TALL, LEFT : LEFT + WIDE] = 1
    return mask


def curves(detect: object, values: Tensor, **more: object) -> ObjectCurves:
    return object_curves(  # type: ignore[arg-type]
        detect, pictures(len(values)), [TARGET] * len(values), {"map": values}, **{"fractions": PIXELS, **more}
    )["map"]


def test_the_oracle_of_an_all_or_nothing_detector_inserts_until_its_area_and_deletes_at_once() -> None:
    found = curves(all_or_nothing, oracle())
    grain = 0.5 / SIDE**2  # the ramp of the trapezoid rule from one pixel to the next
    assert float(found.area("insertion")) == pytest.approx(1 - AREA + grain)
    assert float(found.area("deletion")) == pytest.approx(grain)
    assert float(found.enough()) == pytest.approx(AREA)


def test_the_opposite_of_the_oracle_inserts_last_and_deletes_last() -> None:
    found = curves(all_or_nothing, -oracle())
    grain = 0.5 / SIDE**2
    assert float(found.area("insertion")) == pytest.approx(grain)
    assert float(found.area("deletion")) == pytest.approx(1 - AREA + grain)
    assert float(found.enough()) == 1.0


def test_a_detector_as_sure_as_it_sees_gives_straight_ramps() -> None:
    found = curves(by_share, oracle())
    assert float(found.area("insertion")) == pytest.approx(1 - AREA / 2)
    assert float(found.area("deletion")) == pytest.approx(AREA / 2)
    assert float(found.area("insertion", "confidence")) == pytest.approx(1 - AREA / 2)
    assert float(found.area("insertion", "iou")) == pytest.approx(1.0, abs=0.5 / SIDE**2)  # the box never moves
    assert float(found.enough(0.9)) == pytest.approx(0.9 * AREA)


def test_box_and_class_are_told_apart() -> None:
    """Columns come in from the left: the overlap rises with them, the confidence stays."""
    columns = torch.arange(SIDE, 0, -1).float().expand(SIDE, SIDE)[None]
    found = curves(by_width, columns, fractions=[at / SIDE for at in range(SIDE + 1)])
    wide = [min(max(at - LEFT, 0), WIDE) / WIDE for at in range(SIDE + 1)]
    torch.testing.assert_close(found.insertion.iou[0], torch.tensor(wide, dtype=torch.float64))
    torch.testing.assert_close(
        found.insertion.score[0], 0.8 * torch.tensor(wide, dtype=torch.float64), atol=1e-6, rtol=0
    )
    assert found.insertion.confidence[0].tolist() == pytest.approx([0.8] * (SIDE + 1))


def test_each_gate_counts_its_own_boxes() -> None:
    """A box with IoU .6 and confidence .9, another with IoU .8 and confidence .4."""
    boxes = torch.tensor([[0.0, 0.0, 6.0, 10.0], [0.0, 0.0, 8.0, 10.0]])
    one = seen((boxes, torch.tensor([[0.1, 0.9], [0.6, 0.4]])), Target((0.0, 0.0, 10.0, 10.0), 1))
    assert float(one.sure[0.5]) == pytest.approx(0.9) and float(one.sure[0.75]) == pytest.approx(0.4)
    assert float(one.score) == pytest.approx(0.6 * 0.9) and float(one.iou) == pytest.approx(0.6)
    assert float(seen(NOTHING, TARGET).score) == 0.0


def test_success_is_reaching_the_threshold_at_any_step() -> None:
    def line(values: Sequence[float]) -> Seen:
        row = torch.tensor([values], dtype=torch.float64)
        return Seen(row, row, row, {0.5: row, 0.75: 0.5 * row})

    found = ObjectCurves((0.0, 0.5, 1.0), line([0.2, 0.1, 0.0]), line([0.0, 0.36, 0.2]))
    assert float(found.highest_confidence()) == pytest.approx(0.36)
    assert float(found.highest_confidence(0.75)) == pytest.approx(0.18)
    assert float(found.explained()) == 1.0 and float(found.explained(gate=0.75)) == 0.0
    assert float(found.explained(least=0.25)) == 1.0 and float(found.explained(least=0.4)) == 0.0
    with pytest.raises(RequestError, match="measured were"):
        found.highest_confidence(0.9)


def test_an_object_that_is_not_there_is_reached_by_nothing() -> None:
    found = curves(lambda versions: [NOTHING] * len(versions), oracle(), fractions=[0, 0.5, 1])
    assert bool(found.enough().isnan()) and float(found.explained()) == 0.0


def test_the_ends_are_asked_once_and_batches_do_not_matter() -> None:
    sizes: list[int] = []

    def counting(versions: Tensor) -> list[Found]:
        sizes.append(len(versions))
        return by_share(versions)

    maps = {
        name: torch.rand(2, SIDE, SIDE, generator=torch.Generator().manual_seed(at)) for at, name in enumerate("ab")
    }
    one = object_curves(counting, pictures(2), [TARGET] * 2, maps, steps=5, batch=3)
    assert sum(sizes) == 2 * 2 + 2 * (2 * 2 * 3) and max(sizes) <= 3
    other = object_curves(by_share, pictures(2), [TARGET] * 2, maps, steps=5)
    for name in maps:
        torch.testing.assert_close(one[name].insertion.score, other[name].insertion.score)
    assert not torch.equal(one["a"].insertion.score, one["b"].insertion.score)


def test_a_broken_map_has_no_value_and_wrong_shapes_are_refused() -> None:
    broken = torch.full((1, SIDE, SIDE), float("nan"))
    found = curves(by_share, broken, fractions=[0, 0.5, 1])
    assert bool(found.area("insertion").isnan()) and bool(found.explained().isnan()) and bool(found.enough().isnan())
    with pytest.raises(ShapeError, match="map of map"):
        curves(by_share, torch.zeros(1, 3, 3))
    with pytest.raises(RequestError, match="one per picture"):
        object_curves(by_share, pictures(2), [TARGET], {"map": torch.zeros(2, SIDE, SIDE)})
    with pytest.raises(RequestError, match="rising numbers"):
        curves(by_share, oracle(), fractions=[0, 0.5])
    with pytest.raises(ShapeError, match="one per picture"):
        curves(lambda versions: [NOTHING], oracle(2), fractions=[0, 0.5, 1])


def test_overlap_of_boxes_by_hand_and_one_class_each() -> None:
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [1.0, 1.0, 3.0, 3.0], [5.0, 5.0, 6.0, 6.0]])
    assert overlaps(boxes, (0, 0, 2, 2)).tolist() == pytest.approx([1.0, 1 / 7, 0.0])
    _, confidence = one_class_each(boxes, torch.tensor([0.5, 0.6, 0.7]), torch.tensor([2, 0, 2]), 3)
    assert confidence.tolist() == [[0.0, 0.0, 0.5], [pytest.approx(0.6), 0.0, 0.0], [0.0, 0.0, pytest.approx(0.7)]]
