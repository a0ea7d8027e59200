"""A picture cut into patches: along its colours (SLIC) or along a grid."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy import ndimage
from skimage import color, morphology, segmentation, transform
from torch import Tensor

from pellucid.errors import RequestError, ShapeError
from pellucid.images.frame import Frame
from pellucid.values import Preprocess

_USUAL, _GROWN = 224, 5  # pixels a side, and by which patches are grown there
_FINER = 4  # times as many patches before neighbours are joined


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


def merged(
    picture: Frame | UInt8[np.ndarray, "height width 3"] | Float[Tensor, "3 h w"],
    count: int,
    *,
    preprocess: Preprocess | None = None,
) -> Int[np.ndarray, "height width"]:
    """Exactly `count` connected patches, as far as there are pixels: neighbours of similar colour are joined.

    Four times as many superpixels are made, then the two neighbours whose union adds least to the squared differences
    of colours become one (Ward's criterion, in Lab), until `count` are left.
    """
    pixels = _pixels(picture, preprocess)
    labels = slic(pixels, _FINER * count)
    if labels.max() + 1 < count:
        rows = math.ceil(count**0.5)
        labels = grid(pixels.shape[0], pixels.shape[1], rows, math.ceil(count / rows))
    total = int(labels.max()) + 1
    colours = color.rgb2lab(pixels).reshape(-1, 3)
    sizes = np.bincount(labels.ravel(), minlength=total).astype(float)
    sums = np.stack([np.bincount(labels.ravel(), colours[:, axis], total) for axis in range(3)], axis=1)
    one, other = _neighbours(labels)
    owner = np.arange(total)
    for _ in range(total - min(count, total)):
        apart = np.square(sums[one] / sizes[one, None] - sums[other] / sizes[other, None]).sum(axis=1)
        best = int(np.argmin(sizes[one] * sizes[other] / (sizes[one] + sizes[other]) * apart))
        keep, gone = int(one[best]), int(other[best])
        owner[owner == gone] = keep
        sizes[keep] += sizes[gone]
        sums[keep] += sums[gone]
        one, other = np.where(one == gone, keep, one), np.where(other == gone, keep, other)
        one, other = one[one != other], other[one != other]
    return np.unique(owner[labels], return_inverse=True)[1].reshape(labels.shape)


def by_edges(
    picture: Frame | UInt8[np.ndarray, "height width 3"] | Float[Tensor, "3 h w"],
    scales: Sequence[float] = (50, 100, 150, 250, 500, 1200),
    *,
    preprocess: Preprocess | None = None,
) -> list[Bool[np.ndarray, "height width"]]:
    """The patches of several segmentations one over the other, each grown by a little: together they cover all pixels.

    The picture is brought to 224 x 224 pixels and colours from -1 to 1, cut along weak edges at every scale (larger
    scales give larger patches; blur of 0.8 pixels, at least 150 pixels each), brought back, and every patch is grown by
    a disk whose radius is 5 pixels where the picture has 224.

    Felzenszwalb and Huttenlocher, Efficient Graph-Based Image Segmentation, IJCV 2004; settings as in XRAI, ICCV 2019.
    """
    pixels = _pixels(picture, preprocess)
    height, width = pixels.shape[:2]
    colours = transform.resize(pixels, (_USUAL, _USUAL), order=1, anti_aliasing=True) * 2 - 1
    rows, columns = (np.arange(side) * _USUAL // side for side in (height, width))
    around = morphology.disk(max(1, round(_GROWN * min(height, width) / _USUAL)))
    found: list[np.ndarray] = []
    for scale in scales:
        labels = segmentation.felzenszwalb(colours, scale=scale, sigma=0.8, min_size=150, channel_axis=-1)
        own = labels[rows[:, None], columns[None, :]]
        found += [ndimage.binary_dilation(own == number, around) for number in np.unique(own)]
    return found


def _neighbours(labels: Int[np.ndarray, "height width"]) -> tuple[Int[np.ndarray, "pair"], Int[np.ndarray, "pair"]]:
    """Patches that share an edge of a pixel, each pair once."""
    beside = [
        np.stack([labels[:-1], labels[1:]]).reshape(2, -1),
        np.stack([labels[:, :-1], labels[:, 1:]]).reshape(2, -1),
    ]
    pairs = np.sort(np.concatenate(beside, axis=1), axis=0)
    pairs = np.unique(pairs[:, pairs[0] != pairs[1]], axis=1)
    return pairs[0], pairs[1]


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
