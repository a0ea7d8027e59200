"""A picture cut into patches: along its colours (SLIC) or along a grid."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, UInt8
from skimage import segmentation
from torch import Tensor

from pellucid.errors import RequestError, ShapeError
from pellucid.images.frame import Frame
from pellucid.values import Preprocess


def slic(
    picture: Frame | UInt8[np.ndarray, "height width 3"] | Float[Tensor, "3 h w"],
    count: int = 50,
    *,
    compactness: float = 10.0,
    sigma: float = 1.0,
    preprocess: Preprocess | None = None,
) -> Int[np.ndarray, "height width"]:
    """About `count` connected patches of similar colour, numbered from 0 without gaps; the same ones each time.

    picture:     a Frame, its pixels, or one model input, whose normalisation `preprocess` undoes
    compactness: how much closeness counts against likeness of colour (in Lab); higher gives squarer patches
    sigma:       blur in pixels before clustering

    Achanta et al., SLIC Superpixels, TPAMI 2012.
    """
    if count < 1:
        raise RequestError(f"A picture cannot be cut into {count} patches; ask for at least 1.")
    pixels = _pixels(picture, preprocess)
    labels = segmentation.slic(
        pixels, n_segments=count, compactness=compactness, sigma=sigma, start_label=0, channel_axis=-1
    )
    return np.unique(labels, return_inverse=True)[1].reshape(pixels.shape[:2])


def grid(height: int, width: int, rows: int, columns: int) -> Int[np.ndarray, "height width"]:
    """Rectangles as equal as whole pixels allow, numbered row by row from 0; never more of them than pixels."""
    if rows < 1 or columns < 1:
        raise RequestError(f"A grid cannot have {rows} rows and {columns} columns; ask for at least 1 of each.")
    rows, columns = min(rows, height), min(columns, width)
    row, column = np.arange(height) * rows // height, np.arange(width) * columns // width
    return row[:, None] * columns + column[None, :]


def _pixels(picture: Frame | np.ndarray | Tensor, preprocess: Preprocess | None) -> UInt8[np.ndarray, "height width 3"]:
    if isinstance(picture, Frame):
        return picture.pixels
    if isinstance(picture, Tensor):
        return Frame.from_tensor(picture, preprocess=preprocess).pixels
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        got = f"{list(picture.shape)} of {picture.dtype}"
        raise ShapeError("The picture", got=got, expected="[height width 3] of uint8")
    return picture
