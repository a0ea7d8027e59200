"""A second pair of eyes: reads every field of a scene from its picture, through nets that no captioner looks through.

The segmenter says which pixels are which part; a small head reads colours, sizes, places and two close-ups (wing and
beak) of those parts. The captioner, the dual encoder and the narrators of scenes share no weight with it, so that it
can check what they say. It reads pictures of single birds, 64 pixels a side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from pellucid.compute import train as training
from pellucid.errors import SceneError
from pellucid.testbed.fields import WORDS
from pellucid.testbed.nets import Segmenter, loaded
from pellucid.testbed.palette import PART_IDS
from pellucid.testbed.scene import scenes
from pellucid.values import Seed

NAME = "witness"
FIELDS = tuple(WORDS)
SIZE = 64
_WEIGHTS = Path(__file__).with_name("witness.safetensors")
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


@cache
def witness() -> Witness:
    """The one that comes along."""
    net = Witness()
    net.load_state_dict({key: value.float() for key, value in load_file(_WEIGHTS).items()})
    return net.eval()


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
    return loaded("segmenter", Segmenter)


@torch.no_grad()
def _segmented(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities of the parts at every pixel, and the segmenter's last features."""
    net = segmenter()
    fine = net.features(pictures)
    return net.head(fine).softmax(dim=1), fine


# -- how it came about ----------------------------------------------------------------------------------------------


def fit(*, seed: int = 0, count: int = 9000, steps: int = 3000, path: Path = _WEIGHTS) -> Witness:
    """Trains the head on fresh scenes and writes it to `path`, in half precision; two minutes on one core."""
    with training.one_thread():
        seen, wanted = _looked_at_scenes(seed, count)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = Witness()
            net.mean.copy_(seen.mean(dim=0))
            net.deviation.copy_(seen.std(dim=0) + 1e-3)
            _descend(net, seen, wanted, steps, seed)
    state = {key: value.half().contiguous() for key, value in net.state_dict().items()}
    save_file(state, path, metadata={"seed": str(seed), "scenes": str(count), "steps": str(steps)})
    path.chmod(0o644)  # safetensors lets only its owner read what it wrote
    return net.eval()


def _looked_at_scenes(seed: int, count: int) -> tuple[Tensor, Mapping[str, Int64[Tensor, "scene"]]]:
    seen: list[Tensor] = []
    facts: dict[str, list[np.ndarray]] = {name: [] for name in FIELDS}
    for first in range(0, count, _CHUNK):
        drawn = scenes(seed, range(first, min(first + _CHUNK, count)))
        seen.append(looked_at(drawn.tensor()))
        for name in FIELDS:
            facts[name].append(drawn.fields[name].astype(np.int64))
    return torch.cat(seen), {name: torch.from_numpy(np.concatenate(facts[name])) for name in FIELDS}


def _descend(net: Witness, seen: Tensor, wanted: Mapping[str, Tensor], steps: int, seed: int) -> None:
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, steps, pct_start=0.15)
    for rows in _batches(len(seen), steps, seed):
        crested = wanted["crest"][rows] > 0
        loss = torch.zeros(())
        for name, logits in net(seen[rows]).items():
            told = crested if name == "crest_hue" else torch.ones_like(crested)  # a plume that is not has no colour
            loss = loss + functional.cross_entropy(logits[told], wanted[name][rows][told])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


def _batches(count: int, steps: int, seed: int) -> Iterator[Int64[Tensor, "row"]]:
    generator = Seed(seed).child("witness").generator()
    for _ in range(steps):
        yield torch.randint(0, count, (128,), generator=generator)
