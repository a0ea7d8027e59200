"""From the user's pixels to the model's and back: parity with the libraries one way, closed forms the other."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from timm.data.transforms import CenterCropOrPad, ResizeKeepRatio
from timm.data.transforms_factory import create_transform
from torchvision import transforms

from pellucid.errors import ImageError, ShapeError
from pellucid.images import Frame, Geometry
from pellucid.subject import timm_config
from pellucid.values import Preprocess

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
sides = st.integers(1, 140)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def assert_equal_input(pixels: np.ndarray, preprocess: Preprocess, theirs: torch.Tensor) -> None:
    ours = Frame(pixels).input(preprocess)
    assert (ours.shape, ours.dtype) == (theirs.shape, torch.float32)
    off = float((ours - theirs).abs().max())
    assert off <= 1e-6, f"{pixels.shape} differs by {off}"


# --- parity -----------------------------------------------------------------------------------------------------------


@given(height=sides, width=sides, resize=st.integers(1, 70), crop_h=st.integers(1, 70), crop_w=st.integers(1, 70))
@example(height=500, width=375, resize=256, crop_h=224, crop_w=224)
@example(height=375, width=501, resize=232, crop_h=224, crop_w=224)
@example(height=10, width=9, resize=13, crop_h=24, crop_w=25)
@settings(max_examples=60, deadline=None)
def test_input_equals_torchvisions_evaluation_transform(
    height: int, width: int, resize: int, crop_h: int, crop_w: int
) -> None:
    pixels = picture(height, width)
    chain = [transforms.Resize(resize, transforms.InterpolationMode.BILINEAR), transforms.CenterCrop((crop_h, crop_w))]
    theirs = transforms.Compose([*chain, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    ours = Preprocess((crop_h, crop_w), resize, mean=MEAN, std=STD, interpolation="bilinear")
    assert_equal_input(pixels, ours, theirs(Image.fromarray(pixels)))


TARGETS = [(224, 224), (288, 288), (96, 160), (160, 96), (224, 225)]  # the last: unequal sides, one box of equal ones


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("crop_pct", [0.875, 0.9, 1.0])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_input_equals_timms_evaluation_transform(
    target: tuple[int, int], crop_pct: float, mode: str, interpolation: str
) -> None:
    """Every pixel of every crop mode, for square inputs and others, and for pictures of every shape."""
    config = {
        "input_size": (3, *target), "crop_pct": crop_pct, "crop_mode": mode, "interpolation": interpolation,
        "mean": MEAN, "std": STD,
    }  # fmt: skip
    theirs, ours = create_transform(**config, is_training=False), timm_config.preprocess(config)
    assert ours is not None
    for size in [(333, 500), (500, 333), (224, 224), (100, 80), (225, 231), (61, 300)]:
        pixels = picture(*size)
        assert_equal_input(pixels, ours, theirs(Image.fromarray(pixels)))


@given(height=sides, width=sides, box_h=st.integers(8, 70), box_w=st.integers(8, 70), longest=st.booleans())
@example(height=1, width=140, box_h=8, box_w=70, longest=False)
@settings(max_examples=60, deadline=None)
def test_covering_and_padding_are_equal_to_timms_resize_byte_by_byte(
    height: int, width: int, box_h: int, box_w: int, longest: bool
) -> None:
    pixels = picture(height, width)
    size = (max(1, box_h - 5), max(1, box_w - 2))
    if longest and round(min(height, width) / max(height / box_h, width / box_w)) < 1:
        return  # timm rounds such a ribbon to nothing and fails
    steps = [
        ResizeKeepRatio((box_h, box_w), interpolation="bicubic", longest=float(longest)),
        CenterCropOrPad(size, fill=[round(255 * value) for value in MEAN]),
    ]
    theirs = np.asarray(transforms.Compose(steps)(Image.fromarray(pixels)))
    ours = Preprocess(size, (box_h, box_w), fit="pad" if longest else "cover", mean=MEAN)
    shown = Frame(pixels).input(ours) + torch.tensor(MEAN)[:, None, None]
    np.testing.assert_array_equal((shown * 255).round().byte().permute(1, 2, 0).numpy(), theirs)


def test_covering_cuts_only_along_the_longer_side() -> None:
    """Of 100 x 200 pixels for an input of 40 x 60: shrunk by 2.5 to 40 x 80, then the middle 60 columns."""
    geometry = Geometry.fit(100, 200, Preprocess((40, 60), fit="cover"))
    assert geometry == Geometry((100, 200), (40, 80), (0, 10), (40, 60))
    geometry = Geometry.fit(200, 100, Preprocess((40, 60), fit="cover"))  # shrunk by 1.67 to 120 x 60
    assert geometry == Geometry((200, 100), (120, 60), (40, 0), (40, 60))
    assert geometry.seen.sum() == 66 * 100  # rows whose centre lies in 40..80 of 120, or 66.7..133.3 of 200


def test_without_a_size_the_picture_keeps_its_own() -> None:
    pixels = picture(37, 53)
    assert_equal_input(pixels, Preprocess(), torch.from_numpy(pixels).permute(2, 0, 1) / 255)
    assert Frame(pixels).input(Preprocess(resize=20)).shape == (3, 20, 28)
    assert Frame(pixels).input(Preprocess(resize=(7, 9))).shape == (3, 7, 9)


def test_the_default_dtype_of_the_caller_does_not_matter() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        assert Frame(picture(9, 9)).input(Preprocess((8, 8))).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


# --- the way back -----------------------------------------------------------------------------------------------------

PREPROCESSES = [
    Preprocess((32, 32), 40),
    Preprocess((31, 33), 31),
    Preprocess((48, 48), 32),  # padded with black on all sides that are short
    Preprocess((32, 40), fit="pad"),
    Preprocess((32, 40), (36, 45), fit="pad"),  # resized into the larger box, so one side is cut, the other padded
    Preprocess((32, 40), fit="cover"),
    Preprocess((24, 44), (27, 50), fit="cover"),
    Preprocess((32, 40), fit="stretch"),
    Preprocess((32, 40), (36, 45), fit="stretch"),
    Preprocess((32, 32)),  # the centre of the picture, not resized
    Preprocess((16, 16), (24, 30)),
    Preprocess(),
]
preprocesses = st.sampled_from(PREPROCESSES)
odd_sides = st.integers(20, 150)


def inner(geometry: Geometry, margin: float = 0.5) -> np.ndarray:
    """Original pixels at least `margin` inside the outermost centres, where no border can interfere."""
    rows, columns = (
        (geometry._centres(axis) >= margin) & (geometry._centres(axis) <= geometry.size[axis] - margin)
        for axis in (0, 1)
    )
    return rows[:, None] & columns[None, :]


@given(height=odd_sides, width=odd_sides, preprocess=preprocesses, slope=st.floats(-3, 3))
@settings(max_examples=80, deadline=None)
def test_a_ramp_in_input_coordinates_comes_back_as_the_same_ramp(
    height: int, width: int, preprocess: Preprocess, slope: float
) -> None:
    """Pixel centres are at +0.5: the ramp's value at a point may not change on the way."""
    geometry = Geometry.fit(height, width, preprocess)
    rows, columns = torch.meshgrid(*(torch.arange(side) + 0.5 for side in geometry.size), indexing="ij")
    back = geometry.to_frame(rows + slope * columns)
    (top, left), (resized_h, resized_w) = geometry.offset, geometry.resized
    row = (np.arange(height) + 0.5) * resized_h / height - top
    column = (np.arange(width) + 0.5) * resized_w / width - left
    expected = row[:, None] + slope * column[None, :]
    margin = 0.5 + max(resized_h / height, resized_w / width) / 2  # an enlarged picture is averaged over its pixel
    where = inner(geometry, margin)
    if where.any():
        off = np.abs(back - expected)[where].max()
        assert off <= 1e-3, f"off by {off}"
    assert (back[~geometry.seen] == 0).all()


@given(height=odd_sides, width=odd_sides, preprocess=preprocesses, data=st.data())
@settings(max_examples=80, deadline=None)
def test_an_impulse_lands_on_the_pixel_it_came_from(
    height: int, width: int, preprocess: Preprocess, data: st.DataObject
) -> None:
    geometry = Geometry.fit(height, width, preprocess)
    row, column = (data.draw(st.integers(0, side - 1)) for side in geometry.size)
    impulse = np.zeros(geometry.size, np.float32)
    impulse[row, column] = 1
    back = geometry.to_frame(impulse)
    inside = [
        0 <= place + shift < full
        for place, shift, full in zip((row, column), geometry.offset, geometry.resized, strict=True)
    ]
    if not all(inside):  # on the border that padding added
        assert back[~geometry.seen].sum() == 0
        return
    peak = np.unravel_index(back.argmax(), back.shape)
    for place, axis in ((row, 0), (column, 1)):
        scale = geometry.resized[axis] / geometry.original[axis]
        expected = (place + 0.5 + geometry.offset[axis]) / scale  # in original pixel edges
        reach = 0.5 + 0.5 / scale + 1e-6  # half an original pixel and, where it was shrunk, half an input pixel
        assert abs(peak[axis] + 0.5 - expected) <= reach, f"axis {axis}: peak {peak[axis]}, expected {expected - 0.5}"


@given(height=odd_sides, width=odd_sides, size=st.integers(8, 60))
@settings(max_examples=30, deadline=None)
def test_back_to_a_larger_picture_is_torchs_bilinear_resizing(height: int, width: int, size: int) -> None:
    height, width = height + 40, width + 43
    geometry = Geometry.fit(height, width, Preprocess((size, size + 3), fit="stretch"))
    values = torch.rand(size, size + 3, generator=torch.Generator().manual_seed(1))
    theirs = F.interpolate(values[None, None], (height, width), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(geometry.to_frame(values), theirs[0, 0].numpy(), atol=2e-5)


@given(height=st.integers(1, 60), width=st.integers(1, 60))
@settings(max_examples=30, deadline=None)
def test_back_to_a_smaller_picture_no_mass_is_lost(height: int, width: int) -> None:
    """The integral of the surface over all original pixels is the sum of the map."""
    geometry = Geometry.fit(height, width, Preprocess((61, 67), fit="stretch"))
    values = np.random.default_rng(4).random((61, 67)).astype(np.float32)
    pixel = (61 / height) * (67 / width)
    assert geometry.to_frame(values).sum() * pixel == pytest.approx(values.sum(), rel=1e-4)


def test_a_constant_map_is_constant_where_seen_and_zero_elsewhere() -> None:
    for preprocess in PREPROCESSES:
        geometry = Geometry.fit(45, 101, preprocess)
        np.testing.assert_allclose(geometry.to_frame(np.ones(geometry.size)), geometry.seen.astype(float), atol=1e-6)


def test_what_the_model_saw_is_the_centre_window() -> None:
    geometry = Geometry.fit(100, 200, Preprocess((50, 50), 50))  # shrunk by two, then the middle 50 of 100 columns
    assert (geometry.resized, geometry.offset) == ((50, 100), (0, 25))
    expected = np.zeros((100, 200), bool)
    expected[:, 50:150] = True
    np.testing.assert_array_equal(geometry.seen, expected)
    assert Geometry.fit(30, 30, Preprocess((50, 50))).seen.all()


def test_the_identity_gives_the_map_back() -> None:
    values = np.random.default_rng(0).normal(size=(13, 17)).astype(np.float32)
    np.testing.assert_array_equal(Geometry.identity(13, 17).to_frame(values), values)


# --- masks and boxes --------------------------------------------------------------------------------------------------


def test_a_mask_of_whole_input_pixels_survives_both_ways() -> None:
    geometry = Geometry.fit(60, 90, Preprocess((20, 20), 20))  # each input pixel is 3 x 3 original ones
    mask = np.random.default_rng(1).random((20, 20)) > 0.6
    back = geometry.mask_to_frame(mask)
    np.testing.assert_array_equal(back[:, 15:75], np.kron(mask, np.ones((3, 3))) > 0)
    assert not back[:, :15].any()
    np.testing.assert_array_equal(geometry.mask_to_input(back), mask)


@given(height=odd_sides, width=odd_sides, preprocess=preprocesses)
@settings(max_examples=40, deadline=None)
def test_a_map_carried_to_the_input_keeps_its_mass_where_nothing_was_cut(
    height: int, width: int, preprocess: Preprocess
) -> None:
    geometry = Geometry.fit(height, width, preprocess)
    if any(size < resized for size, resized in zip(geometry.size, geometry.resized, strict=True)):
        return
    values = np.random.default_rng(2).random((height, width)).astype(np.float32)
    area = (geometry.resized[0] / height) * (geometry.resized[1] / width)
    assert geometry.map_to_input(values).sum() == pytest.approx(values.sum() * area, rel=1e-4)


def test_an_input_pixel_belongs_to_a_mask_that_covers_half_of_it() -> None:
    geometry = Geometry.fit(4, 4, Preprocess((2, 2), 2))
    mask = np.zeros((4, 4), bool)
    mask[0, 0] = mask[0, 2] = mask[1, 2] = True  # a quarter of the first input pixel, half of the second
    assert geometry.mask_to_input(mask).tolist() == [[False, True], [False, False]]


def test_a_mask_of_one_pixel_does_not_vanish() -> None:
    geometry = Geometry.fit(900, 900, Preprocess((30, 30), 30))
    mask = np.zeros((900, 900), bool)
    mask[455, 123] = True
    assert np.argwhere(geometry.mask_to_input(mask)).tolist() == [[15, 4]]


def test_a_mask_outside_the_window_is_empty_at_the_input() -> None:
    geometry = Geometry.fit(100, 200, Preprocess((50, 50), 50))
    mask = np.zeros((100, 200), bool)
    mask[:, :40] = True
    assert not geometry.mask_to_input(mask).any()
    assert geometry.box_to_input((0, 0, 40, 100)) is None


def test_a_mask_is_black_on_added_border() -> None:
    geometry = Geometry.fit(10, 20, Preprocess((20, 20), fit="pad"))
    assert geometry.mask_to_input(np.ones((10, 20), bool)).sum() == 200
    assert geometry.box_to_frame((0, 0, 20, 4)) is None


@given(
    height=odd_sides,
    width=odd_sides,
    preprocess=preprocesses,
    corners=st.lists(st.floats(0, 1), min_size=4, max_size=4),
)
@settings(max_examples=60, deadline=None)
def test_a_box_comes_back_where_the_window_did_not_cut_it(
    height: int, width: int, preprocess: Preprocess, corners: list[float]
) -> None:
    geometry = Geometry.fit(height, width, preprocess)
    (left, right), (top, bottom) = sorted(corners[:2]), sorted(corners[2:])
    box = geometry.box_to_frame(
        (left * geometry.size[1], top * geometry.size[0], right * geometry.size[1], bottom * geometry.size[0])
    )
    if box is None:
        return
    there = geometry.box_to_input(box)
    if there is None:  # thinner than a float can tell
        return
    np.testing.assert_allclose(geometry.box_to_frame(there), box, atol=1e-6)


def test_a_box_moves_as_its_pixels_do() -> None:
    geometry = Geometry.fit(100, 200, Preprocess((50, 50), 50))
    assert geometry.box_to_input((60, 20, 100, 40)) == (5, 10, 25, 20)
    assert geometry.box_to_input((0, 0, 200, 100)) == (0, 0, 50, 50)
    mask = np.zeros((100, 200), bool)
    mask[20:40, 60:100] = True
    rows, columns = np.nonzero(geometry.mask_to_input(mask))
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (5, 10, 25, 20)


@pytest.mark.parametrize("method", ["to_frame", "mask_to_frame", "map_to_input", "mask_to_input"])
def test_a_map_of_another_size_is_refused(method: str) -> None:
    with pytest.raises(ShapeError, match="expected"):
        getattr(Geometry.fit(40, 60, Preprocess((32, 32), 32)), method)(np.zeros((7, 7)))


def test_geometries_that_cannot_be_are_refused() -> None:
    with pytest.raises(ImageError, match="ribbon: it is so narrow"):
        Frame(picture(1, 200_000), "ribbon").input(Preprocess((224, 224), 256))
    assert Frame(picture(1, 200_000)).input(Preprocess((32, 32), fit="pad")).shape == (3, 32, 32)


# --- Frame as a value -------------------------------------------------------------------------------------------------


@given(height=st.integers(1, 40), width=st.integers(1, 40), fitted=st.booleans())
@settings(max_examples=20, deadline=None)
def test_a_frame_comes_back_from_json_and_from_copies_equal_and_read_only(
    height: int, width: int, fitted: bool
) -> None:
    frame = Frame(picture(height, width), "a picture", ("a note",))
    frame = frame.fitted(Preprocess((8, 8), 9)) if fitted else frame
    twins = [
        Frame.from_dict(json.loads(json.dumps(frame.to_dict()))),
        copy.deepcopy(frame),
        pickle.loads(pickle.dumps(frame)),
    ]
    for twin in twins:
        assert twin == frame
        assert hash(twin) == hash(frame)
        assert not twin.pixels.flags.writeable


def test_frames_are_equal_by_content() -> None:
    pixels = picture(5, 6)
    frame = Frame(pixels, "one")
    assert frame == Frame(pixels.copy(), "one")
    assert frame.fingerprint == Frame(pixels, "other name").fingerprint
    changed = pixels.copy()
    changed[0, 0, 0] ^= 1
    for other in (Frame(pixels, "two"), Frame(changed, "one"), Frame(pixels, "one", ("note",)), "one"):
        assert frame != other
    assert Frame(changed).fingerprint != frame.fingerprint


def test_writing_into_a_frame_is_an_error() -> None:
    frame = Frame(picture(5, 6))
    with pytest.raises(ValueError, match="read-only"):
        frame.pixels[0] = 0


@pytest.mark.parametrize("pixels", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_pixels_of_another_kind_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(ShapeError, match=r"Frame\.pixels"):
        Frame(pixels)


def test_a_thumbnail_keeps_the_sides_in_proportion_and_never_grows() -> None:
    frame = Frame(picture(300, 120), "long").fitted(Preprocess((32, 32), 40))
    small = frame.thumbnail(100)
    assert (small.height, small.width, small.name, small.geometry) == (100, 40, "long", None)
    np.testing.assert_array_equal(frame.thumbnail(1000).pixels, frame.pixels)
    assert frame.png_bytes().startswith(b"\x89PNG")
    assert repr(frame) == "Frame('long', 120 x 300 pixels)"


def test_model_input_is_shown_as_colours_with_its_normalisation_undone() -> None:
    preprocess = Preprocess((24, 24), 24, mean=MEAN, std=STD)
    frame = Frame(picture(24, 24))
    shown = Frame.from_tensor(frame.input(preprocess), "input", preprocess=preprocess)
    np.testing.assert_array_equal(shown.pixels, frame.pixels)
    assert shown.geometry == Geometry.identity(24, 24)
    assert shown.notes == ("It was given as model input: no resizing, no normalisation.",)


def test_model_input_of_unknown_range_is_stretched_and_says_so() -> None:
    values = torch.tensor([-2.0, 0.0, 2.0]).expand(3, 1, 3)
    shown = Frame.from_tensor(values)
    assert shown.pixels[0, :, 0].tolist() == [0, 128, 255]
    assert "stretched from -2..2" in shown.notes[0]
    assert Frame.from_tensor(torch.full((3, 2, 2), 7.0)).pixels.max() == 0
    np.testing.assert_array_equal(Frame.from_tensor(torch.full((3, 2, 2), 0.2)).pixels, 51)


def test_model_input_that_is_no_picture_is_refused() -> None:
    with pytest.raises(ShapeError, match="one picture"):
        Frame.from_tensor(torch.zeros(1, 3, 4, 4))
    with pytest.raises(ImageError, match="NaN"):
        Frame.from_tensor(torch.full((3, 4, 4), torch.nan))
