"""Reading pictures: what goes in is made here, so what must come out is known."""

from __future__ import annotations

import io
import os
import struct
import threading
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile

from pellucid.errors import ImageError
from pellucid.images import Frame, find, read, read_many


def scene(height: int = 24, width: int = 40) -> np.ndarray:
    """Smooth colours without symmetry, so that a flip or a turn cannot pass unseen."""
    row, column = np.mgrid[0:height, 0:width]
    red, green, blue = 255 * row / height, 255 * column / width, 127 + 100 * np.sin(row / 5 + column / 9)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(header: tuple[int, int, int, int], rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG written by hand: width, height, depth, colour type; rows with their filter bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    start = chunk(b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0))
    middle = b"".join(chunk(kind, body) for kind, body in chunks)
    return b"\x89PNG\r\n\x1a\n" + start + middle + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


LOSSLESS = {
    "PNG": {}, "BMP": {}, "TIFF": {}, "PPM": {}, "QOI": {},
    "WEBP": {"lossless": True}, "JPEG2000": {"irreversible": False},
}  # fmt: skip


@pytest.mark.parametrize("kind", LOSSLESS)
def test_a_lossless_file_gives_back_its_pixels(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"scene.{kind.lower()}"
    path.write_bytes(encoded(Image.fromarray(scene()), kind, **LOSSLESS[kind]))
    frame = read(path)
    assert (frame.name, frame.notes) == (path.name, ())
    np.testing.assert_array_equal(frame.pixels, scene())
    assert not frame.pixels.flags.writeable
    assert read(str(path)) == frame


@pytest.mark.parametrize("kind", ["JPEG", "AVIF", "WEBP"])
def test_a_lossy_file_comes_close(kind: str) -> None:
    off = np.abs(read(encoded(Image.fromarray(scene()), kind, quality=95)).pixels.astype(int) - scene()).mean()
    assert off < 4, f"mean difference {off}"


# --- many hands, one picture ------------------------------------------------------------------------------------------

HOLDERS: dict[str, Callable[[np.ndarray], object]] = {
    "bytes": lambda pixels: encoded(Image.fromarray(pixels), "PNG"),
    "bytearray": lambda pixels: bytearray(encoded(Image.fromarray(pixels), "PNG")),
    "Pillow": Image.fromarray,
    "uint8": lambda pixels: pixels,
    "uint16": lambda pixels: pixels.astype(np.uint16) * 257,
    "float64": lambda pixels: pixels / 255,
    "float16 within rounding": lambda pixels: (pixels / 255).astype(np.float16).astype(np.float32) * np.float32(1.0005),
    "channels first": lambda pixels: np.moveaxis(pixels, -1, 0),
    "a view turned over": lambda pixels: pixels[::-1][::-1],
    "tensor of uint8": lambda pixels: torch.from_numpy(pixels.copy()).permute(2, 0, 1),
    "tensor with a graph": lambda pixels: (torch.from_numpy(pixels / 255).permute(2, 0, 1)).requires_grad_() * 1,
    "Frame": lambda pixels: Frame(pixels, "scene"),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_every_holder_of_the_same_pixels_gives_the_same_pixels(holder: str) -> None:
    np.testing.assert_array_equal(read(HOLDERS[holder](scene())).pixels, scene())  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 1), (1, 9, 7)])
def test_a_grey_array_has_three_equal_channels(shape: tuple[int, ...]) -> None:
    grey = np.arange(63, dtype=np.uint8)
    np.testing.assert_array_equal(read(grey.reshape(shape)).pixels, np.repeat(grey.reshape(9, 7, 1), 3, axis=2))


def test_booleans_are_black_and_white() -> None:
    assert read(np.eye(4, dtype=bool)).pixels[:2, :2, 0].tolist() == [[255, 0], [0, 255]]


def test_the_callers_array_and_picture_stay_as_they_were() -> None:
    array = scene()
    frame = read(array)
    array[:] = 0
    np.testing.assert_array_equal(frame.pixels, scene())
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.open(io.BytesIO(encoded(Image.fromarray(scene()), "JPEG", exif=exif)))
    assert (read(image).height, image.size, image.getexif()[0x0112]) == (40, (40, 24), 6)


def test_a_name_can_be_given() -> None:
    assert read(scene(), name="bird").name == "bird"


# --- orientation, depth, colour, transparency, time -------------------------------------------------------------------

TURNS = {  # what the camera stored, given how the scene stands upright (EXIF 2.3, tag 274)
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: upright.transpose(1, 0, 2)[::-1],
    7: lambda upright: upright.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda upright: upright.transpose(1, 0, 2)[:, ::-1],
}


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", TURNS)
def test_a_picture_held_sideways_is_turned_upright(kind: str, orientation: int) -> None:
    stored = Image.fromarray(np.ascontiguousarray(TURNS[orientation](scene())))
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(read(encoded(stored, kind, exif=exif, **LOSSLESS[kind])).pixels, scene())


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_an_impossible_orientation_is_left_aside(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(read(encoded(Image.fromarray(scene()), "PNG", exif=exif)).pixels, scene())


def test_damaged_exif_is_noted_and_the_picture_read() -> None:
    data = encoded(Image.fromarray(scene()), "JPEG", exif=b"Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\x00\x05garbage")
    frame = read(data)
    assert frame.pixels.shape == scene().shape
    assert frame.notes == ("Its metadata is damaged and was left aside.",)


DEEP = np.array([[0, 256, 257], [32768, 65279, 65535]], np.uint16)
DEEP_SCALED = np.rint(DEEP / 257).astype(np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_of_grey_are_scaled_not_clipped(kind: str) -> None:
    np.testing.assert_array_equal(read(encoded(Image.fromarray(DEEP), kind)).pixels[:, :, 1], DEEP_SCALED)


def test_big_endian_sixteen_bits_are_scaled_too() -> None:
    image = Image.frombytes("I;16B", (3, 2), DEEP.astype(">u2").tobytes())
    np.testing.assert_array_equal(read(image).pixels[:, :, 0], DEEP_SCALED)
    np.testing.assert_array_equal(read(DEEP.astype(">u2")).pixels[:, :, 0], DEEP_SCALED)


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_sixteen_bits_of_colour_are_scaled_not_clipped(colour_type: int, channels: int) -> None:
    values = np.repeat(DEEP[:, :, None], channels, axis=2).astype(">u2")
    if channels != 3:
        values[:, :, -1] = 65535
    rows = b"".join(b"\x00" + row.tobytes() for row in values)
    got = read(png((3, 2, 16, colour_type), rows)).pixels
    off = np.abs(got.astype(int) - DEEP_SCALED[:, :, None]).max()
    assert off <= 1, f"off by {off} of 255"  # Pillow keeps the high byte, which may be one lower


@pytest.mark.parametrize(
    ("values", "expected", "note"),
    [
        (np.array([[0, 100, 255]], np.int32), [0, 100, 255], "0 (black) to 255"),
        (np.array([[0, 32896, 65535]], np.int32), [0, 128, 255], "0 (black) to 65535"),
        (np.array([[-1000, 0, 1000]], np.int32), [0, 128, 255], "stretched from -1000"),
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255], "0 (black) to 1 (white)"),
        (np.array([[0, 127.6, 255]], np.float32), [0, 128, 255], "0 (black) to 255"),
        (np.array([[-3, 0, 3]], np.float32), [0, 128, 255], "stretched from -3"),
    ],
)
def test_grey_of_unstated_depth_is_scaled_by_its_range_and_says_so(
    values: np.ndarray, expected: list[int], note: str
) -> None:
    frame = read(Image.fromarray(values))
    assert frame.pixels[0, :, 0].tolist() == expected
    assert note in frame.notes[0]


def test_one_bit_and_palette_become_rgb() -> None:
    checks = np.indices((6, 8)).sum(axis=0) % 2 == 0
    np.testing.assert_array_equal(read(encoded(Image.fromarray(checks), "PNG")).pixels[:, :, 2], checks * 255)
    palette = Image.fromarray(scene()).quantize(16)
    np.testing.assert_array_equal(read(encoded(palette, "PNG")).pixels, np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("mode", ["LAB", "HSV", "YCbCr"])
def test_other_colour_spaces_come_back_to_rgb(mode: str) -> None:
    image = Image.fromarray(scene())
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(image, *profiles, outputMode="LAB")
    else:
        image = image.convert(mode)
    off = np.abs(read(image).pixels.astype(int) - scene())
    assert off.mean() < 3, f"mean difference {off.mean()}, largest {off.max()}"


def test_cmyk_becomes_rgb_and_says_so() -> None:
    inks = Image.fromarray(scene()).convert("CMYK")
    frame = read(encoded(inks, "TIFF"))
    np.testing.assert_array_equal(frame.pixels, scene())
    assert "CMYK" in frame.notes[0]


def test_an_adobe_jpeg_of_inverted_inks_is_not_a_negative() -> None:
    off = np.abs(
        read(encoded(Image.fromarray(scene()).convert("CMYK"), "JPEG", quality=95)).pixels - scene().astype(int)
    )
    assert off.mean() < 4, f"mean difference {off.mean()}"


def half_clear() -> np.ndarray:
    """Black, with alpha from clear at the left to solid at the right: on white its grey is 255 - alpha."""
    pixels = np.zeros((5, 256, 4), np.uint8)
    pixels[:, :, 3] = np.arange(256)
    return pixels


def palette_with_alpha() -> Image.Image:
    image = Image.new("P", (256, 5))
    image.putpalette([0, 0, 0] * 256)
    image.putalpha(Image.fromarray(half_clear()[:, :, 3]))
    assert image.mode == "PA"
    return image


TRANSPARENT: dict[str, Callable[[], object]] = {
    "RGBA png": lambda: encoded(Image.fromarray(half_clear()), "PNG"),
    "RGBA webp": lambda: encoded(Image.fromarray(half_clear()), "WEBP", lossless=True, exact=True),
    "LA png": lambda: encoded(Image.fromarray(half_clear()).convert("LA"), "PNG"),
    "array of four channels": half_clear,
    "tensor of four channels": lambda: torch.from_numpy(half_clear()).permute(2, 0, 1),
    "RGBA Pillow": lambda: Image.fromarray(half_clear()),
    "PA Pillow": lambda: palette_with_alpha(),
}


@pytest.mark.parametrize("case", TRANSPARENT)
def test_transparent_pixels_are_laid_on_white_and_it_is_said(case: str) -> None:
    frame = read(TRANSPARENT[case]())  # type: ignore[arg-type]
    np.testing.assert_array_equal(frame.pixels[2, :, 0], 255 - np.arange(256))
    assert frame.notes == ("Its transparent parts were laid on white.",)


def test_an_alpha_channel_that_hides_nothing_is_dropped_in_silence() -> None:
    solid = np.dstack([scene(), np.full(scene().shape[:2], 255, np.uint8)])
    assert read(solid) == Frame(scene(), "array")


@pytest.mark.parametrize(
    ("header", "row", "transparency"),
    [
        ((2, 1, 8, 3), b"\x00\x01", b"\x00\xff"),  # palette
        ((2, 1, 8, 0), b"\x07\x14", b"\x00\x07"),  # grey
        ((2, 1, 8, 2), b"\x07\x07\x07\x14\x14\x14", b"\x00\x07\x00\x07\x00\x07"),  # RGB
        ((2, 1, 16, 0), b"\x07\x01\x14\x14", b"\x07\x01"),  # deep grey
        ((2, 1, 16, 2), b"\x07\x01" * 3 + b"\x14\x14" * 3, b"\x07\x01" * 3),  # deep RGB
        ((2, 1, 1, 0), b"\x40", b"\x00\x00"),  # one bit: 0 is clear, 1 is white
    ],
)
def test_one_clear_colour_is_laid_on_white(header: tuple[int, int, int, int], row: bytes, transparency: bytes) -> None:
    chunks = [(b"PLTE", b"\x07\x07\x07\x14\x14\x14")] if header[3] == 3 else []
    frame = read(png(header, b"\x00" + row, *chunks, (b"tRNS", transparency)))
    second = 255 if header[2] == 1 else 20
    assert frame.pixels[0, :, 0].tolist() == [255, second]
    assert frame.notes == ("Its transparent parts were laid on white.",)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_is_taken_and_it_is_said(kind: str) -> None:
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
    frames = [Image.new("RGB", (12, 8), colour) for colour in colours]
    frame = read(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **LOSSLESS.get(kind, {})))
    assert frame.pixels[4, 6].tolist() == list(colours[0])
    assert frame.notes == (
        "It has several pages; the first was taken."
        if kind == "TIFF"
        else "It is animated; its first frame was taken.",
    )


# --- what cannot be read ----------------------------------------------------------------------------------------------


def huge_png(width: int, height: int) -> bytes:
    """A header that promises a giant, with next to nothing behind it: decoding would take gigabytes."""
    return png((width, height, 8, 2), b"\x00" * 64)


BAD: dict[str, tuple[object, str]] = {
    "no bytes": (b"", "0 bytes"),
    "text": (b"This is no picture at all, just a text.", "not a picture but a text"),
    "web page": (b"<!DOCTYPE html><html>404</html>", "web page"),
    "drawing": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    "document": (b"%PDF-1.7 ...", "PDF"),
    "program for a printer": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "PostScript"),
    "noise": (bytes(range(128, 256)) * 4, "not a picture"),
    "header alone": (b"\x89PNG\r\n\x1a\n", "damaged or cut off"),
    "over the limit": (huge_png(20_000, 20_000), "400 million pixels; the limit is 100"),
    "bomb": (huge_png(2_000_000, 2_000_000), "million pixels; the limit is 100"),
    "file without area": (png((0, 5, 8, 2), b""), "no area|damaged"),
    "array without area": (np.zeros((0, 5, 3), np.uint8), "no area"),
    "Pillow without area": (Image.new("RGB", (0, 5)), "no area"),
    "tensor without area": (torch.zeros(3, 4, 0), "no area"),
    "one dimension": (np.zeros(5, np.uint8), r"shape is \[5\]"),
    "a batch of arrays": (np.zeros((2, 8, 8, 3), np.uint8), "batch"),
    "a batch of tensors": (torch.zeros(2, 3, 8, 8), "batch"),
    "five channels": (np.zeros((8, 8, 5), np.uint8), "a picture is"),
    "two channels": (torch.zeros(2, 8, 8), "a picture is"),
    "either way round": (np.zeros((3, 7, 3), np.uint8), "channel height width"),
    "NaN": (np.full((4, 4), np.nan), "NaN or infinite"),
    "infinity": (torch.full((3, 4, 4), torch.inf), "NaN or infinite"),
    "NaN in Pillow": (Image.fromarray(np.full((4, 4), np.nan, np.float32)), "NaN or infinite"),
    "floats to 255": (np.full((4, 4, 3), 200.0), "Divide by 255"),
    "normalised": (np.full((4, 4, 3), -1.5), "Undo its normalisation"),
    "64-bit integers": (np.zeros((4, 4, 3), np.int64), "which value is white"),
    "objects": (np.full((4, 4), "a", object), "which value is white"),
    "complex numbers": (np.zeros((4, 4), complex), "which value is white"),
    "None": (None, "is not a picture"),
    "a number": (7, "is not a picture"),
    "a list": ([b""], "read_many"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_picture_is_refused_with_the_reason(case: str) -> None:
    source, reason = BAD[case]
    with pytest.raises(ImageError, match=reason) as caught:
        read(source, name="holiday")  # type: ignore[arg-type]
    assert caught.value.name == "holiday"
    assert caught.value.remedy


def test_bad_places_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "letter.jpg").write_text("Dear Sir or Madam,\nno picture here.")
    os.mkfifo(tmp_path / "pipe.png")
    for place, reason in {
        tmp_path / "empty.jpg": "empty",
        tmp_path / "letter.jpg": "but a text",
        tmp_path / "missing.jpg": "no such file",
        tmp_path / "nowhere" / "missing.jpg": "does not exist either",
        tmp_path: "is a folder",
        tmp_path / "pipe.png": "not a regular file",
        Path("a\0b.png"): "no such file",
        Path("x" * 5000): "no such file",
    }.items():
        with pytest.raises(ImageError, match=reason) as caught:
            read(place)
        assert str(place) in str(caught.value), f"{reason}: the error does not name {place}"
    with pytest.raises(ImageError, match="nothing is downloaded"):
        read("https://example.org/cat.jpg")
    with pytest.raises(ImageError, match="no such file"):
        read("")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_locked_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "locked.png"
    path.write_bytes(encoded(Image.fromarray(scene()), "PNG"))
    path.chmod(0)
    with pytest.raises(ImageError, match="permissions"):
        read(path)


FORMATS = {
    "JPEG": {}, "progressive": {"progressive": True}, "PNG": {}, "GIF": {}, "WEBP": {}, "BMP": {},
    "TIFF": {}, "PPM": {}, "JPEG2000": {}, "AVIF": {}, "QOI": {},
}  # fmt: skip


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_cut_short_is_never_half_a_picture(kind: str, lenient: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Either the cut only took the trailer and every pixel is right, or it is an error; also if Pillow is lenient."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)
    data = encoded(Image.fromarray(scene(60, 80)), "JPEG" if kind == "progressive" else kind, **FORMATS[kind])
    whole = read(data).pixels
    for cut in [len(data) * part // 12 for part in range(1, 12)] + [len(data) - 1]:
        with suppress(ImageError):
            assert np.array_equal(read(data[:cut]).pixels, whole), (
                f"{kind} cut at {cut} of {len(data)} gave other pixels"
            )
    assert lenient == ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_damaged_bytes_give_a_picture_or_an_image_error_and_no_warning(kind: str, seed: int) -> None:
    data = bytearray(encoded(Image.fromarray(scene()), kind))
    random = np.random.default_rng(seed)
    for place in random.integers(0, len(data), size=6):
        data[place] = random.integers(256)
    with suppress(ImageError):
        read(bytes(data), limit_megapixels=1)


def test_the_limit_can_be_raised_beyond_pillows_own_without_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    data = encoded(Image.fromarray(scene()), "PNG")  # 960 pixels, far over twice the limit
    np.testing.assert_array_equal(read(data).pixels, scene())
    with pytest.raises(ImageError, match=r"limit is 0\.0005"):
        read(data, limit_megapixels=0.0005)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_eight_threads_read_the_same() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    data = encoded(Image.fromarray(scene()), "PNG", exif=exif)
    expected, got = read(data), []
    threads = [threading.Thread(target=lambda: got.extend(read(data) for _ in range(20))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 160
    assert all(frame == expected for frame in got)


# --- finding ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for name in ["b.png", "a.JPG", "sub/c.webp", "sub/deep/d.png", ".hidden/e.png", ".f.png", "notes.txt", "raw.dat"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(Image.fromarray(scene()), "PNG"))
    (tmp_path / "void").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", ["a.JPG", "b.png", "sub/c.webp", "sub/deep/d.png"]),
        ("sub", ["sub/c.webp", "sub/deep/d.png"]),
        ("*", ["a.JPG", "b.png"]),
        ("*.png", ["b.png"]),
        ("**/*.png", ["b.png", "sub/deep/d.png"]),
        ("*.dat", ["raw.dat"]),
        ("notes.txt", ["notes.txt"]),
    ],
)
def test_files_folders_and_globs_lead_to_pictures(album: Path, pattern: str, expected: list[str]) -> None:
    assert [path.relative_to(album).as_posix() for path in find(album / pattern)] == expected


def test_no_file_comes_twice_and_the_order_is_kept(album: Path) -> None:
    found = find([album / "sub", album / "b.png", f"{album}/**/*.png"])
    assert [path.name for path in found] == ["c.webp", "d.png", "b.png"]


@pytest.mark.parametrize(
    ("pattern", "reason"), [("void", "holds no picture"), ("*.gif", "no file matches"), ("no.png", "no such file")]
)
def test_a_pattern_that_leads_nowhere_is_an_error(album: Path, pattern: str, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        find([album / "b.png", album / pattern])
    with pytest.raises(ImageError, match="none were named"):
        find([])


def test_a_file_with_a_bracket_in_its_name_is_that_file(tmp_path: Path) -> None:
    path = tmp_path / "cat[1].png"
    path.write_bytes(encoded(Image.fromarray(scene()), "PNG"))
    assert find(path) == [path]


def test_many_are_read_from_a_mixed_list(album: Path) -> None:
    frames = read_many([album / "sub", scene(), Image.fromarray(scene())])
    assert [frame.name for frame in frames] == ["c.webp", "d.png", "array", "picture"]
    assert read_many(scene()) == [read(scene())]
