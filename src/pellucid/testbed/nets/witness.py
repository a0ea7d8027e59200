"""The independent reader: every field of a scene from its picture, through nets that no captioner looks through.

The segmenter says which pixels are which part; a small head reads colours, sizes, places and two close-ups (wing and
beak) of those parts. The captioner, the dual encoder and the narrators of scenes share no weight with it, so that it
can check what they say. It reads pictures of single birds, 64 pixels a side.
"""

from __future__ import annotations

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pellucid.compute import train as training
from pellucid.errors import SceneError
from pellucid.testbed.fields import WORDS
from pellucid.testbed.nets.dense import Segmenter
from pellucid.testbed.palette import PART_IDS

FIELDS = tuple(WORDS)
ANSWERS = tuple(f"{name.replace('_', ' ')}: {word}" for name, words in WORDS.items() for word in words)
SIZE = 64
_BIRD = ("feet", "tail", "crest", "body", "bib", "wing", "head", "beak", "eye")
_CLOSE_UPS = {"wing": 0.26, "beak": 0.22}  # part -> half the side of the close-up, in half pictures
_CELLS = 14  # pixels a side of a close-up
_HIDDEN, _CHUNK = 96, 200
_WIDTH = 1929  # numbers that `_Parts` gives for a picture


class Witness(nn.Module):
    """Pictures in 0..1 to the words of every field, with their probabilities."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(_WIDTH))
        self.register_buffer("deviation", torch.ones(_WIDTH))
        self.head = nn.Sequential(
            nn.Dropout(0.1), nn.Linear(_WIDTH, _HIDDEN), nn.GELU(), nn.Dropout(0.2),
            nn.Linear(_HIDDEN, sum(map(len, WORDS.values()))),
        )  # fmt: skip

    def forward(self, seen: Float[Tensor, "batch feature"]) -> dict[str, Float[Tensor, "batch word"]]:
        """Logits of the words of each field, from what `looked_at` gives."""
        scaled = ((seen - self.mean) / self.deviation).clamp(-8, 8)
        return dict(zip(FIELDS, self.head(scaled).split([len(WORDS[name]) for name in FIELDS], dim=1), strict=True))

    @torch.no_grad()
    def read(self, pictures: Float[Tensor, "batch 3 height width"]) -> tuple[dict[str, dict[str, float]], ...]:
        """For every picture and field the probability of each word. Raises SceneError for pictures of another size."""
        if pictures.shape[1:] != (3, SIZE, SIZE):
            raise SceneError(f"The witness reads pictures of {SIZE} x {SIZE} pixels in colour, not {pictures.shape}.")
        told: list[dict[str, dict[str, float]]] = []
        with training.one_thread():
            for part in pictures.float().cpu().split(_CHUNK):
                shares = {name: logits.softmax(dim=1).tolist() for name, logits in self(looked_at(part)).items()}
                told += [
                    {name: dict(zip(WORDS[name], rows[at], strict=True)) for name, rows in shares.items()}
                    for at in range(len(part))
                ]
        return tuple(told)


def looked_at(pictures: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch feature"]:
    """What the segmenter's parts show: colour, texture, size, place and spread of each, and two close-ups."""
    parts, fine = _segmented(pictures)
    seen = torch.cat([pictures, fine], dim=1).flatten(2)
    shares = parts.flatten(2)
    inside = shares / (shares.sum(dim=2, keepdim=True) + 1e-3)
    means = torch.einsum("bpn,bcn->bpc", inside, seen)
    texture = torch.einsum("bpn,bcn->bpc", inside, seen[:, :3] ** 2) - means[..., :3] ** 2
    middles = torch.einsum("bpn,nc->bpc", inside, _places())
    side = torch.sign(middles[:, PART_IDS["head"], 0] - middles[:, PART_IDS["tail"], 0])  # 1 where it faces right
    form = _forms(shares, inside, middles, side)
    close = [_close_up(pictures, parts, middles, side, part) for part in _CLOSE_UPS]
    return torch.cat([*(one.flatten(1) for one in (means, texture, form, *close)), side[:, None]], dim=1)


def _forms(
    shares: Float[Tensor, "batch part pixel"],
    inside: Float[Tensor, "batch part pixel"],
    middles: Float[Tensor, "batch part 2"],
    side: Float[Tensor, "batch"],
) -> Float[Tensor, "batch part 8"]:
    """Size, place and spread of each part in units of the bird, as if it faced right; and where it stands as it is."""
    area = shares.mean(dim=2)
    unit = area[:, [PART_IDS[name] for name in _BIRD]].sum(dim=1).sqrt()[:, None]
    away = (middles - middles[:, PART_IDS["body"]][:, None]) / unit[..., None]
    reach = (_places()[None, None] - middles[:, :, None]) / unit[..., None, None]
    wide, high = reach[..., 0], reach[..., 1]
    across, up, slant = ((inside * product).sum(dim=2) for product in (wide**2, high**2, wide * high))
    mirrored = side[:, None]
    return torch.stack(
        [area / unit**2, (1000 * area + 0.01).log(), away[..., 0] * mirrored, away[..., 0], away[..., 1],
         across, up, slant * mirrored], dim=2,
    )  # fmt: skip


def _close_up(
    pictures: Float[Tensor, "batch 3 height width"],
    parts: Float[Tensor, "batch part height width"],
    middles: Float[Tensor, "batch part 2"],
    side: Float[Tensor, "batch"],
    part: str,
) -> Float[Tensor, "batch channel cell cell"]:
    """The surroundings of one part, turned to face right, with the segmenter's maps of it and of the head."""
    window, at = torch.zeros(len(pictures), 2, 3), middles[:, PART_IDS[part]] * 2 - 1 + 1 / SIZE
    window[:, 0, 0], window[:, 1, 1] = side * _CLOSE_UPS[part], _CLOSE_UPS[part]
    window[:, :, 2] = at
    grid = functional.affine_grid(window, [len(pictures), 1, _CELLS, _CELLS], align_corners=False)
    beside = parts[:, [PART_IDS[part], PART_IDS["head"]]] if part == "beak" else parts[:, :0]
    return functional.grid_sample(torch.cat([pictures, beside], dim=1), grid, align_corners=False)


@cache
def _places() -> Float[Tensor, "pixel 2"]:
    line = torch.arange(SIZE) / SIZE
    return torch.stack([line.repeat(SIZE), line.repeat_interleave(SIZE)], dim=1)


@cache
def segmenter() -> Segmenter:
    """The net that tells it which pixels are which part."""
    from pellucid.testbed.nets.catalogue import loaded  # which lists the witness too

    return loaded("segmenter", Segmenter)


@torch.no_grad()
def _segmented(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities of the parts at every pixel, and the segmenter's last features."""
    net = segmenter()
    fine = net.features(pictures)
    return net.head(fine).softmax(dim=1), fine
