"""Pictures: the same bytes however they are asked for, and masks that fit them."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from time import process_time

import numpy as np
import pytest
import torch

from pellucid.images import masks
from pellucid.testbed import BIRD_PARTS, PART_IDS, boxes_of, scenes
from pellucid.testbed.render import render
from pellucid.testbed.scene import Scenes


@pytest.fixture(scope="module")
def some() -> Scenes:
    return scenes(21, 120)


def test_one_scene_alone_equals_itself_in_a_batch(some: Scenes) -> None:
    for at in (0, 1, 23, 24, 25, 119):
        alone = scenes(21, [at])
        assert np.array_equal(alone.pixels[0], some.pixels[at])
        assert np.array_equal(alone.parts[0], some.parts[at])


def test_order_and_threads_do_not_matter(some: Scenes) -> None:
    order = np.random.default_rng(1).permutation(len(some))
    assert np.array_equal(scenes(21, order).pixels, some.pixels[order])
    with ThreadPoolExecutor(4) as pool:
        pieces = list(pool.map(lambda start: scenes(21, range(start, start + 30)).pixels, range(0, 120, 30)))
    assert np.array_equal(np.concatenate(pieces), some.pixels)


def test_other_seeds_and_indices_are_other_pictures(some: Scenes) -> None:
    assert not np.array_equal(scenes(22, [0]).pixels, some.pixels[:1])
    assert len({picture.tobytes() for picture in some.pixels}) == len(some)


def test_no_random_generator_is_touched() -> None:
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[index]
    scenes(21, 3, shortcut="tag").pixels.sum()
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]  # type: ignore[index]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_the_tensor_is_the_pictures_in_0_to_1(some: Scenes) -> None:
    tensor = some[:4].tensor()
    assert tensor.shape == (4, 3, 64, 64)
    assert np.array_equal((tensor * 255).round().byte().permute(0, 2, 3, 1).numpy(), some.pixels[:4])


def test_every_pixel_has_one_owner_and_the_bird_is_the_sum_of_its_parts(some: Scenes) -> None:
    assert set(np.unique(some.parts).tolist()) <= set(PART_IDS.values())
    counted = sum(some.mask(part).astype(int) for part in BIRD_PARTS)
    assert np.array_equal(counted, some.objects.astype(int))
    assert np.array_equal(some.mask("background"), ~some.objects)


@pytest.mark.parametrize("part", BIRD_PARTS)
def test_what_shows_of_a_part_lies_in_the_whole_of_it(some: Scenes, part: str) -> None:
    assert (some.amodal(part)[some.mask(part)] > 0.5).all()


def test_boxes_touch_what_they_enclose_on_all_four_sides(some: Scenes) -> None:
    for mask, (left, top, right, bottom) in zip(some.objects, some.boxes, strict=True):
        inside = mask[top:bottom, left:right]
        assert inside.sum() == mask.sum()
        assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()
    assert boxes_of(np.zeros((1, 4, 4), bool)).tolist() == [[0, 0, 0, 0]]


def test_the_bird_is_whole_and_its_parts_can_be_seen() -> None:
    """No part reaches the rim by more than a soft edge, and the wing has at least 60 pixels."""
    drawn = scenes(23, 300)
    painted = render(drawn.fields, drawn.seed, drawn.index, drawn.world, coverage=BIRD_PARTS)
    whole = np.maximum.reduce([painted.coverage[part] for part in BIRD_PARTS])
    rim = np.concatenate([whole[:, 0], whole[:, -1], whole[:, :, 0], whole[:, :, -1]], axis=1)
    assert rim.max() <= 0.5
    assert drawn.mask("wing").sum(axis=(1, 2)).min() >= 60
    plumed = drawn.fields["crest"] == 1
    assert drawn.mask("crest").sum(axis=(1, 2))[plumed].min() >= 25
    assert not drawn.mask("crest")[~plumed].any()


@pytest.mark.parametrize("part", ["wing", "tail", "crest", "head"])
def test_masks_agree_across_sizes(part: str) -> None:
    small, large = scenes(24, 24), scenes(24, 24, size=256)
    fine = large.mask(part).reshape(24, 64, 4, 64, 4).mean(axis=(2, 4)) > 0.5
    agreement = [masks.iou(one, other) for one, other in zip(small.mask(part), fine, strict=True) if one.sum() >= 30]
    assert min(agreement) >= 0.85, f"{min(agreement):.2f}"


def test_a_tag_and_a_frame_have_their_own_mask_and_a_trace_cannot_be_seen() -> None:
    plain = scenes(25, 6)
    for shortcut in ("tag", "frame"):
        cued = scenes(25, 6, shortcut=shortcut)
        changed = (cued.with_world(camera=0).pixels != plain.with_world(camera=0).pixels).any(axis=-1)
        assert (cued.mask("cue") <= changed).all()
        assert (changed <= (cued.amodal("cue") > 0)).all()
    traced = scenes(25, 6, shortcut="trace")
    difference = traced.pixels.astype(int) - plain.pixels
    assert 3 <= np.abs(difference).max() <= 5


def test_missing_parts_are_missing() -> None:
    drawn = scenes(26, 300, parts_missing=0.15)
    for part in ("wing", "tail", "bib", "beak", "eye"):
        gone = drawn.fields[f"has_{part}"] == 0
        assert 0.08 < gone.mean() < 0.23
        assert not drawn.mask(part)[gone].any()


def test_frames_hold_the_pictures(some: Scenes) -> None:
    frames = some[:2].frames()
    assert [frame.name for frame in frames] == ["scene-21-0", "scene-21-1"]
    assert np.array_equal(frames[1].pixels, some.pixels[1])


def test_fields_cannot_be_written_to(some: Scenes) -> None:
    with pytest.raises(ValueError, match="read-only"):
        some.fields["wing"][0] = 2


def test_it_paints_fast_enough() -> None:
    """Measured 2400 pictures a second on one core; a busy machine gets four tries at 500."""

    def rate(start: int) -> float:
        begun = process_time()
        assert len(scenes(27, range(start, start + 96)).pixels) == 96
        return 96 / (process_time() - begun)

    assert max(rate(96 * turn) for turn in range(4)) >= 500
