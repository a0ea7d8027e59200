"""One safe reader for every kind of picture: it leaves as upright RGB, or with an error that says why."""

from __future__ import annotations

import glob
import os
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

import numpy as np
from jaxtyping import UInt8
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    QoiImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from torch import Tensor

from pellucid.errors import ImageError, RequestError
from pellucid.images.frame import Frame
from pellucid.values.place import leads_to, place_of

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | np.ndarray | Tensor | Frame
"""What `read` understands: a path, the bytes of a file, or pixels in the hands of Pillow, NumPy or torch."""

SUFFIXES = frozenset(
    (
        ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".webp", ".avif", ".bmp", ".dib",
        ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".qoi",
    )
)  # fmt: skip
"""File endings by which pictures are found in folders."""

# Only formats with a plain decoder and an unmistakable signature: others run programs (EPS) or accept nearly any bytes.
_PLUGINS = (
    JpegImagePlugin.JpegImageFile, PngImagePlugin.PngImageFile, GifImagePlugin.GifImageFile,
    WebPImagePlugin.WebPImageFile, BmpImagePlugin.BmpImageFile, TiffImagePlugin.TiffImageFile,
    PpmImagePlugin.PpmImageFile, Jpeg2KImagePlugin.Jpeg2KImageFile, AvifImagePlugin.AvifImageFile,
    QoiImagePlugin.QoiImageFile,
)  # fmt: skip
_FORMATS = tuple(cast("str", plugin.format) for plugin in _PLUGINS)
_FOREIGN = (
    (b"%PDF", "a PDF document", "Export its page as PNG."),
    (b"%!PS", "a PostScript drawing", "Export it as PNG."),
    (b"<svg", "an SVG drawing", "Export it as PNG."),
    (b"<?xml", "an XML text", "If it is an SVG drawing, export it as PNG."),
    (b"<!DOCTYPE", "a web page", "The download probably failed; get the picture itself."),
    (b"<html", "a web page", "The download probably failed; get the picture itself."),
    (b"PK\x03\x04", "a ZIP archive", "Unpack it first."),
    (b"8BPS", "a Photoshop document", "Export it as PNG."),
    (b"version https://git-lfs", "a Git LFS pointer, not the picture", "Run `git lfs pull`."),
)
_KNOWN = "Known are JPEG, PNG, GIF, WebP, BMP, TIFF, PPM, JPEG 2000, AVIF and QOI."
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112

_ON_WHITE = "Its transparent parts were laid on white."
_ONE = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image, np.ndarray, Tensor, Frame)
_FIRST_FRAME = "It is animated; its first frame was taken."
_FIRST_PAGE = "It has several pages; the first was taken."
_DAMAGED_METADATA = "Its metadata is damaged and was left aside."

T = TypeVar("T")

# What Pillow's decoders have been seen to raise on damaged bytes; all of it means the same to the reader.
_DECODER_ERRORS = (
    OSError, EOFError, ValueError, TypeError, SyntaxError, LookupError, ArithmeticError, AttributeError,
    AssertionError, RuntimeError, MemoryError, struct.error, zlib.error,
)  # fmt: skip

# Warnings are caught, and Pillow's leniency is switched off, through process-wide state; one of our threads at a time.
_global_state = threading.Lock()


def read(source: Source, *, name: str | None = None, limit_megapixels: float = 100) -> Frame:
    """One picture, upright, in RGB of 8 bits, with notes on what had to be changed for that.

    source: a path; the bytes of an image file; a Pillow image; a NumPy array [height width], [height width 1|3|4] or
            [3 height width] of uint8, uint16, bool or floats in 0..1; a torch tensor [1|3|4 height width] of the same.
            A Frame is handed back as it is
    name:   what the picture is called in results and errors; None takes the file's name
    limit_megapixels: larger pictures are refused, files by their header before anything is decoded

    Depths above 8 bits are scaled, not clipped. Transparent pictures are laid on white. Of an animation the first
    frame is taken. Raises ImageError, which names the picture, what is wrong with it and what to do.
    """
    if not limit_megapixels > 0:
        raise RequestError(f"limit_megapixels is {limit_megapixels}; expected a number above 0.")
    limit = limit_megapixels * 1e6
    match source:
        case Frame():
            return source
        case str() | os.PathLike():
            return _read_path(os.fspath(source), name, limit)
        case bytes() | bytearray() | memoryview():
            return _read_bytes(bytes(source), name or "bytes", limit)
        case Image.Image():
            return _read_pillow(source, name or _pillow_name(source), limit)
        case np.ndarray():
            return _read_array(_height_width_channel(source, name or "array"), name or "array", limit)
        case Tensor():
            return _read_tensor(source, name or "tensor", limit)
        case _:
            raise ImageError(
                name or type(source).__name__,
                f"a {type(source).__module__}.{type(source).__name__} is not a picture.",
                "Give a path, the bytes of an image file, a Pillow image, a NumPy array or a torch tensor; "
                "for several pictures use read_many.",
            )


def read_many(sources: Source | Iterable[Source], *, limit_megapixels: float = 100) -> list[Frame]:
    """All pictures of a list; strings in it may be files, folders or globs. Raises ImageError at the first bad one."""
    expanded: list[Source] = []
    several = isinstance(sources, Iterable) and not isinstance(sources, _ONE)
    for source in cast("Iterable[Source]", sources) if several else [cast("Source", sources)]:
        if isinstance(source, (str, os.PathLike)):
            expanded.extend(find(source))
        else:
            expanded.append(cast("Source", source))
    return [read(source, limit_megapixels=limit_megapixels) for source in expanded]


def find(patterns: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The picture files meant by files, folders (searched to the bottom) and globs (`**` allowed).

    A file that is named outright is taken whatever its ending. Folders and globs give files with an image ending
    (see SUFFIXES), hidden ones left out; a glob that itself names an ending (`*.dat`) gives all it matches. Sorted
    within each pattern; no file comes twice. Raises ImageError for a pattern that leads to no picture.
    """
    asked = [patterns] if isinstance(patterns, (str, os.PathLike)) else list(patterns)
    if not asked:
        raise ImageError("pictures", "none were named.", "Give at least one file, folder or glob.")
    found: dict[Path, None] = {}
    for pattern in asked:
        found.update(dict.fromkeys(_expand(os.fspath(pattern))))
    return list(found)


def _expand(pattern: str) -> list[Path]:
    if not pattern:  # Path("") is the current folder: an unset shell variable would explain all that lies there
        raise _missing(pattern)
    path = place_of(pattern)
    if leads_to(pattern) == "file":
        return [path]
    if leads_to(pattern) == "folder":
        files = [Path(folder) / file for folder, _, names in os.walk(path) for file in names]
        pictures = sorted(file for file in files if _is_picture(file.relative_to(path)))
        if not pictures:
            raise ImageError(pattern, "the folder holds no picture.", f"{_KNOWN} Files are chosen by their ending.")
        return pictures
    if glob.has_magic(pattern):
        return _expand_glob(pattern, str(path))
    raise _missing(pattern)


def _expand_glob(pattern: str, expanded: str) -> list[Path]:
    matches = glob.glob(expanded, recursive=True)  # noqa: PTH207  Path.glob refuses absolute patterns
    matched = sorted(path for path in map(Path, matches) if path.is_file())
    if not matched:
        raise ImageError(pattern, "no file matches.", "Check the folder and the ending.")
    suffix = Path(expanded).suffix
    if suffix and not glob.has_magic(suffix):
        return matched
    pictures = [path for path in matched if path.suffix.lower() in SUFFIXES]
    if not pictures:
        raise ImageError(pattern, f"it matches {len(matched)} files, none with a picture's ending.", _KNOWN)
    return pictures


def _is_picture(path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.parts)
    return path.suffix.lower() in SUFFIXES and not hidden


def _missing(path: str) -> ImageError:
    if "://" in path:
        return ImageError(path, "pictures are read from disk; nothing is downloaded.", "Save it to a file first.")
    folder = place_of(path).parent
    where = f"folder {str(folder)!r}" + (", which does not exist either" if leads_to(folder) == "nothing" else "")
    return ImageError(path or "''", "there is no such file.", f"Check the name; it was looked for in {where}.")


def _read_path(path: str, name: str | None, limit: float) -> Frame:
    place, found = place_of(path), leads_to(path)
    if not path or found == "nothing":
        raise _missing(path)
    if found == "folder":
        raise ImageError(path, "it is a folder.", "Use read_many to read every picture in it, or name one file.")
    if not place.is_file():
        raise ImageError(path, "it is not a regular file.", "Copy the picture to disk first.")
    if not place.stat().st_size:
        raise ImageError(path, "the file is empty (0 bytes).", "Copy or download it again.")
    try:
        with place.open("rb") as file:
            pixels, notes = _decode(file, path, limit)
    except OSError as error:
        raise ImageError(path, f"it cannot be opened: {error.strerror or error}.", "Check its permissions.") from error
    return Frame(pixels, name or place.name, notes)


def _read_bytes(data: bytes, name: str, limit: float) -> Frame:
    if not data:
        raise ImageError(name, "there are 0 bytes.", "Check where they come from; the file may be empty.")
    pixels, notes = _decode(BytesIO(data), name, limit)
    return Frame(pixels, name, notes)


def _decode(
    file: BinaryIO | BytesIO, name: str, limit: float
) -> tuple[UInt8[np.ndarray, "height width 3"], tuple[str, ...]]:
    image, notes = _quietly(lambda: _open(file, name))
    _check_size(image.size, name, limit)
    animated, more = _quietly(lambda: _is_animated(image, name))
    notes += more
    try:
        _load(image)
        turned, more = _upright(image)
        pixels, said = _rgb(turned, name)
    except ImageError:
        raise
    except _DECODER_ERRORS as error:
        raise _damaged(name, error) from error
    if animated:
        said = (_FIRST_PAGE if image.format == "TIFF" else _FIRST_FRAME, *said)
    return pixels, tuple(dict.fromkeys((*said, *notes, *more)))


def _open(file: BinaryIO | BytesIO, name: str) -> ImageFile.ImageFile:
    """What Pillow's own `open` does, without its size limit: that one warns, and is process-wide."""
    start = file.read(64)
    trouble: BaseException | None = None
    for kind in _FORMATS:
        factory, accepts = Image.OPEN[kind]
        if accepts is not None and accepts(start[:16]) is not True and not accepts(start[:16]):
            continue
        file.seek(0)
        try:
            return cast("Callable[[BinaryIO | BytesIO, str], ImageFile.ImageFile]", factory)(file, "")
        except Image.DecompressionBombError as error:
            raise ImageError(name, f"Pillow refuses it: {error}", "Scale it down first.") from error
        except _DECODER_ERRORS as error:  # a signature may fit by chance, so the next format is tried
            trouble = error
    if trouble is not None:
        raise _damaged(name, trouble) from trouble
    raise _foreign(start, name)


def _foreign(start: bytes, name: str) -> ImageError:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    for signature, what, remedy in _FOREIGN:
        if text[: len(signature)].lower() == signature.lower():
            return ImageError(name, f"it is {what}.", remedy)
    if start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"mif1", b"hevc"):
        return ImageError(name, "it is a HEIC picture, which cannot be decoded here.", "Save it as JPEG or PNG.")
    kind = " but a text" if _is_text(text) else ""
    return ImageError(name, f"it is not a picture{kind}, whatever its name.", _KNOWN)


def _is_text(start: bytes) -> bool:
    words = start.decode("utf-8", "ignore")
    at_most_one_letter_cut = len(words.encode()) >= len(start) - 3 > 0
    return at_most_one_letter_cut and "".join(words.split()).isprintable()


def _damaged(name: str, error: BaseException) -> ImageError:
    reason = str(error).strip().rstrip(".") or type(error).__name__
    return ImageError(name, f"the file is damaged or cut off ({reason}).", "Copy or download it again.")


def _check_size(size: tuple[int, int], name: str, limit: float) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(name, f"it has no area ({width} x {height} pixels).", "Look where it was made.")
    if width * height > limit:
        raise ImageError(
            name,
            f"it has {width} x {height} = {width * height / 1e6:.0f} million pixels; the limit is {limit / 1e6:g}.",
            "Scale it down, or raise the limit: read(..., limit_megapixels=...).",
        )


def _is_animated(image: ImageFile.ImageFile, name: str) -> bool:
    try:
        animated = bool(getattr(image, "is_animated", False)) and image.format != "MPO"
        if image.format == "TIFF":
            image.getexif()  # reads the tags here, where their warnings are caught
            image.seek(0)
        return animated
    except _DECODER_ERRORS as error:
        raise _damaged(name, error) from error


def _load(image: Image.Image) -> None:
    """Decodes the pixels; a file cut short is an error even where the process has told Pillow to be lenient."""
    if not ImageFile.LOAD_TRUNCATED_IMAGES:
        image.load()
        return
    with _global_state:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        try:
            image.load()
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = True


def _upright(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """The picture as its EXIF orientation says it was held. TIFF has been turned by Pillow, which drops the tag."""

    def orientation() -> object:
        try:
            return image.getexif().get(_ORIENTATION)
        except _DECODER_ERRORS as error:  # the pixels are sound; only what is written about them is not
            warnings.warn(f"EXIF data unreadable: {error}", stacklevel=1)
            return None

    said, notes = _quietly(orientation)
    turn = _TURNS.get(said) if isinstance(said, int) else None
    return (image.transpose(turn) if turn is not None else image), notes


def _quietly(work: Callable[[], T]) -> tuple[T, tuple[str, ...]]:
    """What `work` gives, and as notes what it would have warned of."""
    with _global_state, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = work()
    return result, (_DAMAGED_METADATA,) if caught else ()


def _rgb(image: Image.Image, name: str) -> tuple[UInt8[np.ndarray, "height width 3"], tuple[str, ...]]:
    if image.mode.startswith("I;16"):
        deep = np.asarray(image).astype(np.uint16)
        pixels, notes = _scaled_16(deep), ()
        clear = image.info.get("transparency")
        if isinstance(clear, int) and (deep == clear).any():
            pixels, notes = np.where(deep == clear, np.uint8(255), pixels), (_ON_WHITE,)
        return _grey(pixels), notes
    if image.mode in ("I", "F"):
        return _scaled_numbers(np.asarray(image), name)
    if image.has_transparency_data:
        return _on_white(image)
    notes = ("Its CMYK inks were converted to RGB without a colour profile.",) if image.mode == "CMYK" else ()
    return np.asarray(image.convert("RGB")), notes


def _on_white(image: Image.Image) -> tuple[UInt8[np.ndarray, "height width 3"], tuple[str, ...]]:
    see_through = image if image.mode == "RGBA" else _with_alpha(image)
    if see_through.getchannel("A").getextrema() == (255, 255):
        return np.asarray(see_through.convert("RGB")), ()
    white = Image.new("RGBA", see_through.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(white, see_through).convert("RGB")), (_ON_WHITE,)


def _with_alpha(image: Image.Image) -> Image.Image:
    clear = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(clear, tuple) and max(clear) > 255:
        image = image.copy()  # a 16-bit PNG names its clear colour in 16 bits; the pixels kept the high bytes
        image.info["transparency"] = tuple(value >> 8 for value in clear)
    if image.mode in ("La", "1"):
        image = image.convert("LA" if image.mode == "La" else "L")
    return image.convert("RGBA")


def _scaled_numbers(values: np.ndarray, name: str) -> tuple[UInt8[np.ndarray, "height width 3"], tuple[str, ...]]:
    """Grey values of unstated depth (32-bit integers, floats): the depth is inferred from their range, and said."""
    _check_finite(values, name)
    low, high = float(values.min()), float(values.max())
    if values.dtype.kind == "f" and low >= 0 and high <= 1:
        return _grey(_scaled_unit(values)), ("Its grey values are floats, taken as 0 (black) to 1 (white).",)
    if low >= 0 and high <= 255:
        return _grey(np.rint(values).astype(np.uint8)), ("Its grey values were taken as 0 (black) to 255 (white).",)
    if values.dtype.kind != "f" and low >= 0 and high <= 65535:
        return _grey(_scaled_16(values)), ("Its grey values were taken as 0 (black) to 65535 (white).",)
    stretched = (values.astype(np.float64) - low) / max(high - low, 1e-300)
    note = f"Its grey values were stretched from {low:g} (black) to {high:g} (white)."
    return _grey(_scaled_unit(stretched)), (note,)


def _pillow_name(image: Image.Image) -> str:
    return Path(str(getattr(image, "filename", "") or "picture")).name


def _read_pillow(image: Image.Image, name: str, limit: float) -> Frame:
    _check_size(image.size, name, limit)
    try:
        _load(image)
        own = image.copy()  # the caller's stays at its frame, with its EXIF
        turned, more = _upright(own)
        pixels, notes = _rgb(turned, name)
    except ImageError:
        raise
    except _DECODER_ERRORS as error:
        raise _damaged(name, error) from error
    return Frame(pixels, name, (*notes, *more))


def _read_tensor(tensor: Tensor, name: str, limit: float) -> Frame:
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3, 4):
        raise _wrong_shape(name, tuple(tensor.shape), "[3 height width] (or 1 or 4 channels)")
    values = tensor.detach().cpu()
    array = (values.float() if values.is_floating_point() else values).resolve_conj().numpy()
    return _read_array(np.moveaxis(array, 0, -1), name, limit)


def _height_width_channel(array: np.ndarray, name: str) -> np.ndarray:
    if array.ndim == 2:
        return array[:, :, None]
    if array.ndim != 3:
        raise _wrong_shape(name, array.shape, "[height width], [height width 3] or [3 height width]")
    channels_last, channels_first = array.shape[2] in (1, 3, 4), array.shape[0] in (1, 3, 4)
    if channels_last and array.shape[0] == 3:
        raise ImageError(
            name,
            f"its shape {list(array.shape)} can be read as [height width channel] and as [channel height width].",
            "Give PIL.Image.fromarray(array) for the first, torch.from_numpy(array) for the second.",
        )
    if channels_last:
        return array
    if channels_first:
        return np.moveaxis(array, 0, -1)
    raise _wrong_shape(name, array.shape, "[height width], [height width 3] or [3 height width]")


def _wrong_shape(name: str, shape: tuple[int, ...], expected: str) -> ImageError:
    batch = len(shape) == 4
    remedy = "It looks like a batch: give its pictures one by one." if batch else "Transpose or index it first."
    return ImageError(name, f"its shape is {list(shape)}; a picture is {expected}.", remedy)


def _read_array(array: np.ndarray, name: str, limit: float) -> Frame:
    _check_size((array.shape[1], array.shape[0]), name, limit)
    eight_bit = _eight_bit(array, name)
    channels = eight_bit.shape[2]
    if channels == 1:
        return Frame(_grey(eight_bit[:, :, 0]), name)
    if channels == 3:
        return Frame(eight_bit, name)
    pixels, notes = _on_white(Image.fromarray(np.ascontiguousarray(eight_bit)))
    return Frame(pixels, name, notes)


def _eight_bit(array: np.ndarray, name: str) -> UInt8[np.ndarray, "height width channel"]:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        return _scaled_16(array)
    if array.dtype.kind == "f":
        _check_finite(array, name)
        low, high = float(array.min()), float(array.max())
        if low < -1e-3 or high > 1 + 1e-3:  # beyond what resizing or rounding adds
            bytes_as_floats = low >= 0 and high <= 255
            remedy = "Divide by 255." if bytes_as_floats else "Undo its normalisation, or scale it to 0..1."
            raise ImageError(name, f"its floats run from {low:.4g} to {high:.4g}, outside 0..1.", remedy)
        return _scaled_unit(array)
    raise ImageError(
        name,
        f"numbers of type {array.dtype} do not say which value is white.",
        "Give uint8 (0..255), uint16 (0..65535), bool, or floats in 0..1.",
    )


def _check_finite(values: np.ndarray, name: str) -> None:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        raise ImageError(name, f"{count} of its values are NaN or infinite.", "Replace them, or look where they arise.")


def _scaled_16(values: np.ndarray) -> UInt8[np.ndarray, " *shape"]:
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 65535 / 255 is 257, so white stays white


def _scaled_unit(values: np.ndarray) -> UInt8[np.ndarray, " *shape"]:
    return np.rint(np.clip(values.astype(np.float64), 0, 1) * 255).astype(np.uint8)


def _grey(values: UInt8[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width 3"]:
    return np.repeat(values[:, :, None], 3, axis=2)
