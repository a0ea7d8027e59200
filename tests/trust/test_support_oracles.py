"""Few-shot segmentation: matching segmenters of which it is known which support pixel decides."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pellucid.errors import RequestError, ShapeError
from pellucid.trust.support import Support, compared

SHOTS, SIDE = 2, 4
HIGH, LOW = torch.tensor([0.0, 3.0]).softmax(0)[1].item(), 0.5
PIXELS = SHOTS * SIDE * SIDE


def one_pixel(images: Tensor, masks: Tensor) -> Tensor:
    """The query is foreground, by a logit of 3, as far as pixel (1, 2) of shot 0 and its mask are there."""
    there = images[:, 0, 0, 1, 2] * masks[:, 0, 1, 2]
    foreground = 3 * there[:, None, None, None].expand(-1, 1, 3, 5)
    return torch.cat([torch.zeros_like(foreground), foreground], dim=1)


def matching(query: Tensor) -> object:
    """Each query pixel is compared with the mean colour under the masks of all shots: a prototype network."""

    def segment(images: Tensor, masks: Tensor) -> Tensor:
        weight = masks[:, :, None]
        prototype = (images * weight).sum(dim=(1, 3, 4)) / weight.sum(dim=(1, 3, 4)).clamp(min=1e-6)
        likeness = 4 - 8 * (query[None] - prototype[:, :, None, None]).square().sum(dim=1)
        return torch.stack([torch.zeros_like(likeness), likeness], dim=1)

    return segment


def support(**more: object) -> Support:
    ones = torch.ones(SHOTS, 3, SIDE, SIDE)
    return Support(ones, torch.ones(SHOTS, SIDE, SIDE), **{"segment": one_pixel, **more})  # type: ignore[arg-type]


def decisive() -> Tensor:
    given = torch.zeros(SHOTS, SIDE, SIDE)
    given[0, 1, 2] = 1
    return given


def test_the_oracle_deletes_everything_with_its_first_pixel() -> None:
    found = support().curve(decisive(), step=1)
    assert found.values.tolist() == pytest.approx([HIGH, *[LOW] * PIXELS])
    assert found.auc == pytest.approx((HIGH / 2 + LOW * (PIXELS - 1) + LOW / 2) / PIXELS)
    assert found.full == pytest.approx(HIGH) and found.fractions[1] == pytest.approx(1 / PIXELS)


def test_the_oracle_inserts_everything_with_its_first_pixel_and_its_opposite_with_its_last() -> None:
    found = support().curve(decisive(), "insertion", step=1)
    assert found.values.tolist() == pytest.approx([LOW, *[HIGH] * PIXELS])
    worst = support().curve(-decisive(), "insertion", step=1)
    assert worst.values.tolist() == pytest.approx([*[LOW] * PIXELS, HIGH])
    assert support().curve(-decisive(), step=1).auc > support().curve(decisive(), step=1).auc


def test_all_shots_stand_in_one_order() -> None:
    """The first pixels to go lie in the second shot, so nothing changes until they are gone."""
    given = decisive()
    given[1] = 2 + torch.rand(SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    found = support().curve(given, step=1)
    assert found.values.tolist() == pytest.approx([*[HIGH] * (SIDE * SIDE + 1), *[LOW] * (SIDE * SIDE)])


def test_half_of_the_curve_and_what_it_costs() -> None:
    found = support().curve(decisive(), step=4, share=0.5)
    assert found.fractions == pytest.approx([0.0, 0.125, 0.25, 0.375, 0.5])
    assert found.auc == pytest.approx((HIGH / 2 + 3 * LOW + LOW / 2) / 4)
    assert found.loss == pytest.approx(HIGH - found.auc)
    assert support().curve(-decisive(), step=4, share=0.5).loss == pytest.approx(0.0)


def test_steps_by_value_take_all_pixels_of_a_level_together() -> None:
    given = decisive()
    given[1, :2] = 0.5
    found = support().curve(given, levels=4)  # 1 down to 0 by quarters: above .75, .5, .25 and all
    assert found.fractions == pytest.approx([0.0, 1 / PIXELS, 9 / PIXELS, 1.0])
    assert found.values.tolist() == pytest.approx([HIGH, LOW, LOW, LOW])


def test_whole_shots_go_in_the_order_of_their_mean() -> None:
    support_ranking = torch.stack([torch.full((SIDE, SIDE), 0.2), torch.full((SIDE, SIDE), 0.1)])
    found = support().shot_curve(support_ranking)
    assert found.values.tolist() == pytest.approx([HIGH, LOW, LOW]) and found.fractions == (0.0, 0.5, 1.0)
    assert support().shot_curve(-support_ranking).values.tolist() == pytest.approx([HIGH, HIGH, LOW])
    assert support().shot_curve(support_ranking, "insertion").values.tolist() == pytest.approx([LOW, HIGH, HIGH])


def test_a_prototype_net_loses_the_query_when_the_masked_support_goes() -> None:
    query = torch.zeros(3, 3, 5)
    query[0, :, :2] = 1.0  # red on the left, black elsewhere
    images = torch.zeros(1, 3, SIDE, SIDE)
    images[0, 0, :2] = 1.0
    masks = torch.zeros(1, SIDE, SIDE)
    masks[0, :2] = 1.0
    truth = torch.zeros(3, 5, dtype=torch.long)
    truth[:, :2] = 1
    held = Support(images, masks, matching(query), measure="miou", truth=truth)  # type: ignore[arg-type]
    found = held.curve(masks, steps=5)
    assert found.full == 1.0 and float(found.values[0]) == 1.0 and float(found.values[-1]) == 0.0
    background = held.curve(1 - masks, step=8)
    assert background.values.tolist() == [1.0, 1.0, 0.0]  # what no mask covers was never used


@pytest.mark.parametrize("substrate", ["zero", "blur", "random"])
def test_substrates_stand_in_picture_and_mask_and_are_the_same_each_time(substrate: str) -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def segment(images: Tensor, masks: Tensor) -> Tensor:
        seen.append((images, masks))
        return one_pixel(images, masks)

    draw = torch.Generator().manual_seed(1)
    images, masks = torch.rand(SHOTS, 3, SIDE, SIDE, generator=draw), torch.ones(SHOTS, SIDE, SIDE)
    masks[:, 2:] = 0
    held = Support(images, masks, segment, explained=torch.ones(3, 5, dtype=torch.bool), substrate=substrate)
    first, again = (held.curve(decisive(), steps=3).values for _ in range(2))
    assert torch.equal(first, again)
    last_images, last_masks = (values[-1] for values in seen[-1])
    assert not torch.equal(last_images, images) and not torch.equal(last_masks, masks)


def test_batches_do_not_matter_and_controls_stand_beside() -> None:
    maps = {"oracle": decisive()}
    one, other = compared(support(batch=1), maps, step=1), compared(support(), maps, step=1)
    assert set(one) == {"oracle", "control random", "control masks"}
    for name, rows in one.items():
        assert torch.equal(rows["deletion"].values, other[name]["deletion"].values)
    assert one["oracle"]["deletion"].auc < one["control random"]["deletion"].auc


def test_what_cannot_be_followed_is_refused() -> None:
    with pytest.raises(RequestError, match="nothing to explain"):
        support(segment=lambda images, masks: -one_pixel(images, masks)).curve(decisive())
    with pytest.raises(RequestError, match="truth="):
        support(measure="miou")
    with pytest.raises(RequestError, match="substrate='grey'"):
        support(substrate="grey")
    with pytest.raises(RequestError, match="curve='erasure'"):
        support().curve(decisive(), "erasure")
    with pytest.raises(RequestError, match="share=0"):
        support().curve(decisive(), share=0.0)
    with pytest.raises(RequestError, match="not finite"):
        support().curve(decisive() * math.inf)
    with pytest.raises(ShapeError, match="one mask per shot"):
        Support(torch.ones(2, 3, 4, 4), torch.ones(1, 4, 4), one_pixel)
    with pytest.raises(ShapeError, match="segmenter's answer"):
        support(segment=lambda images, masks: one_pixel(images, masks)[0]).curve(decisive())
