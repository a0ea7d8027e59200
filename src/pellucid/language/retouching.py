"""Pictures with one visual characteristic changed and the rest left alone, and random changes of the same size.

Nauta, Jutte, Provoost, Seifert. This Looks Like That, Because... Explaining Prototypes for Interpretable Image
Recognition. 2020.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.errors import RequestError
from pellucid.values import Seed

CHARACTERISTICS = ("hue", "saturation", "contrast", "texture", "shape")
SMOOTHERS = ("median", "nl_means")
SIGNS = (-1, 1)
_LUMA = (0.299, 0.587, 0.114)
_GREY = 0.02  # a picture whose largest difference between channels is below this has no hue

Pictures = Float[Tensor, "picture 3 height width"]


@dataclass(frozen=True)
class Levels:
    """How far each characteristic is changed, in either direction.

    hue:        share of the colour circle; saturation, contrast: share taken away or added
    smoother:   what takes texture away: `median` of a window, or `nl_means`, non-local means as the paper has it
    window:     side of the median's window in pixels
    strength:   h of non-local means, in 255ths
    amplitude:  pixels by which rows and columns are displaced; frequency: waves per pixel

    The numbers are those that the paper's code ships with, where they are jitter: here they are fixed, both ways. The
    median is ours: non-local means keeps what repeats, and so keeps stripes.
    """

    hue: float = 0.1
    saturation: float = 0.7
    contrast: float = 0.45
    smoother: str = "median"
    window: int = 7
    strength: float = 4.0
    amplitude: float = 4.0
    frequency: float = 0.05

    def __post_init__(self) -> None:
        shares = (self.hue, self.saturation, self.contrast, self.strength, self.amplitude, self.frequency)
        if self.smoother not in SMOOTHERS or self.window < 3 or self.window % 2 == 0 or min(shares) <= 0:
            raise RequestError(
                f"Levels of {self.smoother!r}, window {self.window}, {shares}; expected {' or '.join(SMOOTHERS)}, an "
                "odd window from 3 on, and all others above 0."
            )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Levels:
        """The levels that `to_dict` wrote."""
        return cls(**record)


SHIPPED = Levels()


def retouched(pictures: Pictures, characteristic: str, sign: int, levels: Levels = SHIPPED) -> Pictures:
    """The pictures, in 0..1, with one characteristic changed.

    sign: -1 takes away (hue: turns back, shape: bends one way), 1 adds (hue: turns on, shape: bends the other way)
    """
    if characteristic not in _CHANGES or sign not in SIGNS:
        raise RequestError(f"{characteristic!r}, sign {sign}; expected {', '.join(CHARACTERISTICS)}, and -1 or 1.")
    return _CHANGES[characteristic](pictures, sign, levels).clamp(0, 1)


def undefined(pictures: Pictures) -> Bool[np.ndarray, "picture"]:
    """Which pictures are grey: their hue cannot be turned, nor their colours made weaker or stronger."""
    largest = (pictures.amax(dim=1) - pictures.amin(dim=1)).flatten(1).amax(dim=1)
    return (largest < _GREY).cpu().numpy()


def at_random(pictures: Pictures, changed: Pictures, seed: Seed) -> Pictures:
    """The pictures with a random change of the same energy and the same frequencies as the one from them to `changed`.

    The phases of the change are drawn by lot, the same for the three channels, so that its colours stay its own while
    its places do not. What then leaves 0..1 is cut off, and the rest made stronger until the energy agrees.
    """
    wave = torch.fft.rfft2((changed - pictures).double())
    generator = seed.generator()
    noise = torch.fft.rfft2(torch.randn(len(pictures), 1, *pictures.shape[-2:], generator=generator).double())
    turned = wave * (noise / noise.abs().clamp(min=1e-12)).to(wave.device)
    change = torch.fft.irfft2(turned, s=pictures.shape[-2:]).to(pictures)
    wanted, gain = energy(pictures, changed), torch.ones(len(pictures), 1, 1, 1, device=pictures.device)
    for _ in range(4):
        got = energy(pictures, (pictures + gain * change).clamp(0, 1))
        gain = gain * (wanted / got.clamp(min=1e-12)).sqrt().clamp(max=2)[:, None, None, None]
    return (pictures + gain * change).clamp(0, 1)


def energy(pictures: Pictures, changed: Pictures) -> Float[Tensor, "picture"]:
    """Mean squared difference of each picture."""
    return ((changed - pictures) ** 2).flatten(1).mean(dim=1)


# -- the five ---------------------------------------------------------------------------------------------------------


def _hue(pictures: Pictures, sign: int, levels: Levels) -> Pictures:
    """Turned round the colour circle; value and saturation stay (HSV)."""
    value, low = pictures.amax(dim=1), pictures.amin(dim=1)
    spread = value - low
    red, green, blue = pictures.unbind(dim=1)
    safe = spread.clamp(min=1e-8)
    sector = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    turned = sector + 6 * sign * levels.hue

    def channel(shift: float) -> Tensor:
        at = (turned + shift) % 6
        return value - spread * torch.minimum(at, 4 - at).clamp(0, 1)

    return torch.stack([channel(5), channel(3), channel(1)], dim=1)


def _saturation(pictures: Pictures, sign: int, levels: Levels) -> Pictures:
    """Moved from, or to, the grey of each pixel's own brightness."""
    grey = _brightness(pictures)
    return grey + (1 + sign * levels.saturation) * (pictures - grey)


def _contrast(pictures: Pictures, sign: int, levels: Levels) -> Pictures:
    """Moved from, or to, the mean brightness of the picture."""
    mean = _brightness(pictures).mean(dim=(-2, -1), keepdim=True)
    return mean + (1 + sign * levels.contrast) * (pictures - mean)


def _texture(pictures: Pictures, sign: int, levels: Levels) -> Pictures:
    """Without what is finer than the smoother keeps, or with that twice."""
    smooth = _median(pictures, levels.window) if levels.smoother == "median" else _nl_means(pictures, levels.strength)
    return smooth if sign < 0 else 2 * pictures - smooth


def _shape(pictures: Pictures, sign: int, levels: Levels) -> Pictures:
    """Columns, then rows, displaced in waves by whole pixels, so that no colour is new; the border repeats."""
    rows, columns = pictures.shape[-2:]
    down, right = (torch.arange(length, device=pictures.device) for length in (rows, columns))
    bend = lambda along: (sign * levels.amplitude * torch.sin(2 * torch.pi * levels.frequency * along)).round().long()
    row = (down[:, None] + bend(right.double())[None]).clamp(0, rows - 1)
    column = (right[None] + bend(down.double())[:, None]).clamp(0, columns - 1)
    upright = pictures[:, :, row, right[None]]
    return upright[:, :, down[:, None], column]


_CHANGES: Mapping[str, Callable[[Pictures, int, Levels], Pictures]] = MappingProxyType(
    {"hue": _hue, "saturation": _saturation, "contrast": _contrast, "texture": _texture, "shape": _shape}
)


def _brightness(pictures: Pictures) -> Float[Tensor, "picture 1 height width"]:
    weights = torch.tensor(_LUMA, dtype=pictures.dtype, device=pictures.device)
    return torch.einsum("c, b c h w -> b h w", weights, pictures)[:, None]


def _median(pictures: Pictures, window: int) -> Pictures:
    from scipy.ndimage import median_filter

    smooth = median_filter(pictures.cpu().numpy(), size=(1, 1, window, window), mode="nearest")
    return torch.from_numpy(smooth).to(pictures)


def _nl_means(pictures: Pictures, strength: float) -> Pictures:
    from skimage.restoration import denoise_nl_means

    smooth = [
        denoise_nl_means(one, h=strength / 255, patch_size=7, patch_distance=10, channel_axis=-1)
        for one in pictures.cpu().permute(0, 2, 3, 1).numpy()
    ]
    return torch.from_numpy(np.stack(smooth)).permute(0, 3, 1, 2).to(pictures)
