"""One picture as the user has it, and the exact way from its pixels to the model's and back."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy.typing import ArrayLike
from PIL import Image
from scipy import sparse
from torch import Tensor

from pellucid.errors import ImageError, ShapeError
from pellucid.values import Preprocess

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels, half-open: a box (0, 0, width, height) is the whole picture."""

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_MOST_RESIZED_PIXELS = 200_000_000  # a ribbon of 2 x 100 000 pixels would otherwise be blown up to terabytes


@dataclass(frozen=True)
class Geometry:
    """How original pixels became input pixels: resized as a whole, then a window of that was cut out or padded.

    original: rows and columns of the picture; resized: after the resize
    offset:   first row and column of the window in the resized picture; negative where border was added
    size:     rows and columns of the window, which is the model input

    Coordinates are those of pixel edges: pixel `i` covers `i` to `i + 1` and has its centre at `i + 0.5`.
    """

    original: tuple[int, int]
    resized: tuple[int, int]
    offset: tuple[int, int]
    size: tuple[int, int]

    @staticmethod
    def identity(height: int, width: int) -> Geometry:
        """The geometry of a picture that is model input as it is."""
        return Geometry((height, width), (height, width), (0, 0), (height, width))

    @staticmethod
    def fit(height: int, width: int, preprocess: Preprocess) -> Geometry:
        """The geometry by which `preprocess` turns a picture of this size into model input.

        Lengths are rounded as torchvision (`crop`) and timm (`cover`, `pad`) round them, so that not a pixel differs.
        Raises ImageError for a picture so narrow that it would be resized to gigabytes.
        """
        resized = _resized(height, width, preprocess)
        if resized[0] * resized[1] > _MOST_RESIZED_PIXELS:
            raise ImageError(
                f"picture of {width} x {height} pixels",
                f"it is so narrow that resizing its shorter side would make it {resized[1]} x {resized[0]} pixels.",
                "Crop it first, or use Preprocess(fit='pad').",
            )
        size = preprocess.size or resized
        offset = (_window(resized[0], size[0]), _window(resized[1], size[1]))
        return Geometry((height, width), resized, offset, size)

    @property
    def is_identity(self) -> bool:
        return self == Geometry.identity(*self.original)

    @property
    def seen(self) -> Bool[np.ndarray, "height width"]:
        """True where the model saw the original pixel: its centre lies in the window."""
        return self._seen_along(0)[:, None] & self._seen_along(1)[None, :]

    def to_frame(self, values: Tensor | np.ndarray) -> Float[np.ndarray, "height width"]:
        """A map [h w] over the model input, laid back on the original pixels; 0 where the model saw nothing.

        Bilinear between the centres of input pixels, so a linear map stays linear. Where the picture had been
        enlarged, the bilinear surface is averaged over each original pixel, so that no input pixel is skipped.
        Raises ShapeError if the map is not at model input size.
        """
        array = _matrix(values, self.size, "The map").astype(np.float32)
        if self.is_identity:
            return array
        rows = _bilinear(self._centres(0), self._scale(0), self.size[0])
        columns = _bilinear(self._centres(1), self._scale(1), self.size[1])
        return np.ascontiguousarray((columns @ (rows @ array).T).T)

    def mask_to_frame(self, mask: Tensor | np.ndarray) -> Bool[np.ndarray, "height width"]:
        """The original pixels whose centre lies in an input pixel of the mask [h w]."""
        array = _matrix(mask, self.size, "The mask").astype(bool)
        rows, columns = (np.clip(np.floor(self._centres(axis)).astype(int), 0, self.size[axis] - 1) for axis in (0, 1))
        return array[np.ix_(rows, columns)] & self.seen

    def map_to_input(self, values: Tensor | np.ndarray) -> Float[np.ndarray, "h w"]:
        """A map [height width] over the original pixels, averaged over each input pixel's area; 0 on added border."""
        array = _matrix(values, self.original, "The map").astype(np.float32)
        if self.is_identity:
            return array
        rows, columns = (
            _area(self.original[axis], self._scale(axis), self.offset[axis], self.size[axis]) for axis in (0, 1)
        )
        return np.ascontiguousarray((columns @ (rows @ array).T).T)

    def mask_to_input(self, mask: Tensor | np.ndarray) -> Bool[np.ndarray, "h w"]:
        """The input pixels at least half covered by a mask [height width] on the original picture.

        A mask too fine for that keeps the pixels it covers most, so that what the model saw never vanishes.
        """
        coverage = self.map_to_input(_matrix(mask, self.original, "The mask").astype(bool))
        covered = coverage >= 0.5 - 1e-6
        if covered.any() or coverage.max() <= 0:
            return covered
        return coverage >= coverage.max() - 1e-6

    def box_to_input(self, box: Box) -> Box | None:
        """A box on the original picture in input pixels, cut to the window; None if the model saw none of it."""
        (scale_y, scale_x), (top, left) = (self._scale(0), self._scale(1)), self.offset
        moved = (box[0] * scale_x - left, box[1] * scale_y - top, box[2] * scale_x - left, box[3] * scale_y - top)
        return _clipped(moved, self.size)

    def box_to_frame(self, box: Box) -> Box | None:
        """A box on the model input in original pixels, cut to the picture; None if it lies on added border."""
        (scale_y, scale_x), (top, left) = (self._scale(0), self._scale(1)), self.offset
        moved = (
            (box[0] + left) / scale_x, (box[1] + top) / scale_y, (box[2] + left) / scale_x, (box[3] + top) / scale_y,
        )  # fmt: skip
        return _clipped(moved, self.original)

    def to_dict(self) -> dict[str, list[int]]:
        return {name: list(getattr(self, name)) for name in ("original", "resized", "offset", "size")}

    @staticmethod
    def from_dict(values: Mapping[str, Sequence[int]]) -> Geometry:
        original, resized, offset, size = (
            (int(values[name][0]), int(values[name][1])) for name in ("original", "resized", "offset", "size")
        )
        return Geometry(original, resized, offset, size)

    def _scale(self, axis: int) -> float:
        return self.resized[axis] / self.original[axis]

    def _centres(self, axis: int) -> Float[np.ndarray, " original"]:
        """Where the centres of original pixels lie in the window, in input pixels."""
        return (np.arange(self.original[axis]) + 0.5) * self._scale(axis) - self.offset[axis]

    def _seen_along(self, axis: int) -> Bool[np.ndarray, " original"]:
        centres = self._centres(axis)
        return (centres >= 0) & (centres < self.size[axis])


@dataclass(frozen=True, eq=False, repr=False)
class Frame:
    """One picture as the user has it, upright and in RGB, with what had to be done to get there.

    pixels:   [height width 3], read-only
    notes:    sentences on what was changed or left out in reading ("Its alpha channel was laid on white.")
    geometry: how it becomes model input; None until `fitted` to a model
    """

    pixels: UInt8[np.ndarray, "height width 3"]
    name: str = "picture"
    notes: tuple[str, ...] = ()
    geometry: Geometry | None = field(default=None)

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if self.pixels.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise ShapeError(
                "Frame.pixels", got=f"{list(shape)} of {self.pixels.dtype}", expected="[height width 3] of uint8"
            )
        if self.geometry is not None and self.geometry.original != shape[:2]:
            raise ShapeError("Frame.geometry", got=self.geometry.original, expected=f"the picture's size {shape[:2]}")
        if self.pixels.flags.writeable or self.pixels.base is not None:  # the caller may still write into his array
            own = np.array(self.pixels, order="C", copy=True)
            own.setflags(write=False)
            object.__setattr__(self, "pixels", own)

    @staticmethod
    def from_tensor(
        tensor: Float[Tensor, "3 h w"], name: str = "tensor", *, preprocess: Preprocess | None = None
    ) -> Frame:
        """A picture of what is model input already; nothing was resized, so the geometry is the identity.

        With `preprocess` its normalisation is undone for display. Without, values in 0..1 are shown as they are and
        others are stretched from their smallest to their largest; the notes say which.
        Raises ShapeError if it is not [3 h w], ImageError if a value is not finite.
        """
        if tensor.ndim != 3 or tensor.shape[0] != 3 or 0 in tensor.shape:
            raise ShapeError(f"Model input {name!r}", got=tuple(tensor.shape), expected="[3 height width], one picture")
        values = tensor.detach().to("cpu", torch.float32)
        if not bool(values.abs().amax().isfinite()):
            raise ImageError(name, "the tensor holds NaN or infinite values.", "Look where it was computed.")
        note = "It was given as model input: no resizing, no normalisation."
        if preprocess is not None:
            values = values * _channels(preprocess.std) + _channels(preprocess.mean)
        low, high = float(values.min()), float(values.max())
        if low < -0.02 or high > 1.02:  # bicubic overshoot and rounding are not worth stretching for
            values = (values - low) / (high - low)
            note += f" For display its values were stretched from {low:.3g}..{high:.3g}."
        pixels = values.clamp(0, 1).mul_(255).round_().to(torch.uint8).permute(1, 2, 0).numpy()
        return Frame(pixels, name, (note,), Geometry.identity(*pixels.shape[:2]))

    @property
    def height(self) -> int:
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        return self.pixels.shape[1]

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits that are the same for the same pixels, whatever the file was called."""
        digest = hashlib.blake2b(repr(self.pixels.shape).encode(), digest_size=8)
        digest.update(self.pixels.data)
        return digest.hexdigest()

    def fitted(self, preprocess: Preprocess) -> Frame:
        """The same picture with the geometry by which it becomes model input."""
        return replace(self, geometry=self._geometry_for(preprocess))

    def input(self, preprocess: Preprocess) -> Float[Tensor, "3 h w"]:
        """What the model gets: resized (Pillow, antialiased), cut or padded, in 0..1, normalised.

        Equal to the evaluation transforms of torchvision and timm. Added border is the mean colour for `pad` (timm)
        and black otherwise (torchvision).
        """
        geometry = self._geometry_for(preprocess)
        pixels = self.pixels
        if geometry.resized != geometry.original:
            size = (geometry.resized[1], geometry.resized[0])
            pixels = np.asarray(Image.fromarray(pixels).resize(size, _RESAMPLING[preprocess.interpolation]))
        border = [min(255, max(0, round(255 * value))) for value in preprocess.mean]
        border = border if preprocess.fit == "pad" else [0, 0, 0]
        window = _cut(pixels, geometry.offset, geometry.size, border)
        scaled = torch.from_numpy(window).permute(2, 0, 1).contiguous().to(torch.float32).div_(255)
        return scaled.sub_(_channels(preprocess.mean)).div_(_channels(preprocess.std))

    def tensor(self) -> Float[Tensor, "1 3 height width"]:
        """The picture as it is, in 0..1: a batch of one for nets that normalise inside."""
        return torch.from_numpy(self.pixels.copy()).permute(2, 0, 1)[None].float() / 255

    def thumbnail(self, side: int) -> Frame:
        """The picture shrunk so that its longer side is at most `side`; never enlarged. It has no geometry."""
        factor = min(1.0, side / max(self.height, self.width))
        size = (max(1, round(self.width * factor)), max(1, round(self.height * factor)))
        if size == (self.width, self.height):
            return replace(self, geometry=None)
        small = Image.fromarray(self.pixels).resize(size, Image.Resampling.LANCZOS)
        return Frame(np.asarray(small), self.name, self.notes)

    def png_bytes(self) -> bytes:
        """The picture as a PNG file."""
        buffer = io.BytesIO()
        Image.fromarray(self.pixels).save(buffer, format="PNG")
        return buffer.getvalue()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the pixels are a base64 PNG, so nothing is lost."""
        return {
            "name": self.name,
            "notes": list(self.notes),
            "geometry": self.geometry.to_dict() if self.geometry else None,
            "png": base64.b64encode(self.png_bytes()).decode("ascii"),
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Frame:
        """The frame that `to_dict` described. Raises ImageError if the PNG inside is damaged."""
        from pellucid.images.reading import read  # the reader makes Frames, so it cannot be imported on top

        pixels = read(base64.b64decode(values["png"]), name=str(values["name"])).pixels
        geometry = Geometry.from_dict(values["geometry"]) if values["geometry"] else None
        return Frame(pixels, str(values["name"]), tuple(values["notes"]), geometry)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Frame):
            return NotImplemented
        mine, yours = (self.name, self.notes, self.geometry), (other.name, other.notes, other.geometry)
        return mine == yours and np.array_equal(self.pixels, other.pixels)

    def __hash__(self) -> int:
        return hash((self.fingerprint, self.name, self.notes, self.geometry))

    def __reduce__(self) -> tuple[Any, ...]:
        return Frame, (self.pixels, self.name, self.notes, self.geometry)  # a copy is read-only again

    def __repr__(self) -> str:
        return f"Frame({self.name!r}, {self.width} x {self.height} pixels)"

    def _repr_png_(self) -> bytes:
        return self.thumbnail(512).png_bytes()

    def _geometry_for(self, preprocess: Preprocess) -> Geometry:
        try:
            return Geometry.fit(self.height, self.width, preprocess)
        except ImageError as error:
            raise ImageError(self.name, error.problem, error.remedy) from None


def _resized(height: int, width: int, preprocess: Preprocess) -> tuple[int, int]:
    resize, box = preprocess.resize, preprocess.box
    if box is not None:
        return box if preprocess.fit == "stretch" else _in_proportion(height, width, box, preprocess.fit == "cover")
    if resize is None:
        return height, width
    if isinstance(resize, tuple):
        return resize
    longer = int(resize * max(height, width) / min(height, width))  # cut off, not rounded, as torchvision does
    return (resize, longer) if height <= width else (longer, resize)


def _in_proportion(height: int, width: int, box: tuple[int, int], covers: bool) -> tuple[int, int]:
    """The size in proportion that just covers the box, or just lies inside; rounded to nearest, as timm does."""
    ratios = height / box[0], width / box[1]
    ratio = min(ratios) if covers else max(ratios)
    return max(1, round(height / ratio)), max(1, round(width / ratio))


def _window(resized: int, size: int) -> int:
    """First row (or column) of the centred window; negative if it is larger than the picture."""
    if size > resized:
        return -((size - resized) // 2)
    return round((resized - size) / 2)  # halves go to the even number, in torchvision and in timm


def _cut(
    pixels: UInt8[np.ndarray, "height width 3"], offset: tuple[int, int], size: tuple[int, int], border: list[int]
) -> UInt8[np.ndarray, "h w 3"]:
    window = np.empty((*size, 3), np.uint8)
    window[:] = np.array(border, np.uint8)
    (top, left), (height, width) = offset, pixels.shape[:2]
    bottom, right = min(height, top + size[0]), min(width, left + size[1])
    shown = pixels[max(0, top) : bottom, max(0, left) : right]
    window[max(0, -top) : bottom - top, max(0, -left) : right - left] = shown
    return window


def _bilinear(centres: Float[np.ndarray, " original"], scale: float, size: int) -> sparse.csr_matrix:
    """Weights [original, size] of a bilinear look-up at `centres`; rows whose centre lies outside are empty.

    With `scale` above 1 an original pixel spans several input pixels and the surface is integrated over that span.
    """
    span = scale if scale > 1 else 0.0
    taps = np.floor(centres - span / 2 - 0.5).astype(int)[:, None] + np.arange(int(np.ceil(span)) + 3)
    distance = centres[:, None] - (taps + 0.5)
    if span:
        weights = (_hat_below(distance + span / 2) - _hat_below(distance - span / 2)) / span
    else:
        weights = np.clip(1 - np.abs(distance), 0, None)
    weights[(centres < 0) | (centres >= size)] = 0
    return _sparse(weights, np.clip(taps, 0, size - 1), size)  # beyond its border the map goes on as it ends


def _hat_below(place: Float[np.ndarray, "original tap"]) -> Float[np.ndarray, "original tap"]:
    """The area of the bilinear hat (1 at 0, nothing beyond 1) that lies below `place`."""
    place = np.clip(place, -1, 1)
    return np.where(place < 0, (1 + place) ** 2 / 2, 1 - (1 - place) ** 2 / 2)


def _area(original: int, scale: float, offset: int, size: int) -> sparse.csr_matrix:
    """Weights [size, original]: the part of each input pixel's area that each original pixel covers."""
    edges = np.clip((np.arange(size + 1) + offset) / scale, 0, original)
    low, high = edges[:-1, None], edges[1:, None]
    taps = np.floor(low).astype(int) + np.arange(int(np.ceil(1 / scale)) + 2)
    weights = np.clip(np.minimum(high, taps + 1) - np.maximum(low, taps), 0, None) * scale
    return _sparse(weights, taps, original)


def _sparse(weights: np.ndarray, columns: np.ndarray, width: int) -> sparse.csr_matrix:
    rows = np.broadcast_to(np.arange(len(weights))[:, None], weights.shape)
    kept = weights > 0
    values = weights[kept].astype(np.float32)
    return sparse.csr_matrix((values, (rows[kept], columns[kept])), shape=(len(weights), width))


def _clipped(box: Box, size: tuple[int, int]) -> Box | None:
    height, width = size
    left, right = (float(min(max(edge, 0), width)) for edge in (box[0], box[2]))
    top, bottom = (float(min(max(edge, 0), height)) for edge in (box[1], box[3]))
    return (left, top, right, bottom) if left < right and top < bottom else None


def _matrix(values: Tensor | ArrayLike, size: tuple[int, int], what: str) -> np.ndarray:
    array = values.detach().cpu().float().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.shape != tuple(size):
        raise ShapeError(what, got=array.shape, expected=f"[{size[0]} {size[1]}], rows and columns")
    return array


def _channels(values: Sequence[float]) -> Float[Tensor, "3 1 1"]:
    return torch.tensor(values, dtype=torch.float32)[:, None, None]
