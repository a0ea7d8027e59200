"""The pictures of docs/planted.md, made by running the planted nets.

.venv/bin/python docs/planted_pictures.py               writes docs/images/planted/*.png
.venv/bin/python docs/planted_pictures.py hues path     only these
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn

import pellucid as pl
from pellucid.canvas import painting, raster
from pellucid.canvas.overlay import overlay
from pellucid.canvas.scales import scale
from pellucid.engine import Ablate, look
from pellucid.testbed import planted, truth
from pellucid.testbed.planted import Planted, Tiles, codes, gabor
from pellucid.testbed.scene import scenes

FOLDER = Path(__file__).parent / "images" / "planted"
SIDE, GAP, SEED = 200, 14, 12
COVER: dict[str, Any] = {"window": 20, "stride": 2, "baseline": "black"}  # a part and all: its evidence is in any pixel
Pixels = UInt8[np.ndarray, "height width 3"]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Draw the pictures of the page on planted nets.")
    parser.add_argument("names", nargs="*", choices=[*PICTURES, []], help="which; none is all")
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.names or PICTURES:
        block = painting.framed(PICTURES[name](), GAP)
        (options.out / f"{name}.png").write_bytes(raster.png_bytes(np.asarray(block)))
        print(options.out / f"{name}.png")
    return 0


# -- one picture per construction --------------------------------------------------------------------------------------


def hues() -> Image.Image:
    net, shown = planted.hues(), scenes(SEED, [3], flat=True)
    units = inside(net.module, shown.tensor(), "detect.units")[0]
    firing = [unit for unit in net.units if unit.fires(shown)[0]]
    maps = [seen(shown.pixels[0], units[unit.index], f"{unit.layer} {unit.index}: {unit.name}") for unit in firing[:5]]
    return painting.row([plain(shown.pixels[0], "flat scene"), *maps], GAP)


def edges() -> Image.Image:
    net, side = planted.edges(), 96
    places = np.arange(side) - side / 2 + 0.5
    squared = places[None] ** 2 + places[:, None] ** 2
    rings = np.where(squared < (side / 2) ** 2, 0.5 + 0.5 * np.cos(np.pi * squared / 180), 0.5)
    picture = torch.tensor(rings).float()[None, None].expand(1, 3, -1, -1)
    units = inside(net.module, picture, "units")[0]
    grey = (rings * 255).astype(np.uint8)[..., None].repeat(3, axis=-1)
    answers = [
        seen(grey, torch.nn.functional.pad(units[at], (2, 2, 2, 2)), unit.name) for at, unit in enumerate(net.units)
    ]
    kernels = [
        plain(coloured(kernel), f"its kernel, {d}°")
        for kernel, d in zip(gabor.kernels(), gabor.DIRECTIONS, strict=True)
    ]
    return painting.column(
        [
            painting.row([plain(grey, "rings of every direction"), *answers], GAP),
            painting.row([blank(), *kernels], GAP),
        ],
        GAP,
    )


def logic() -> Image.Image:
    net, shown = planted.logic(), codes.coded_scenes(SEED, [1, 4, 7, 10])
    logits = run(net.module, shown.tensor())
    paper = scenes(SEED, [1, 4, 7, 10]).pixels
    columns: list[Image.Image] = []
    for at in range(4):
        true = [label for label, value in zip(net.labels, logits[at], strict=True) if value == 1]
        told = [plain(paper[at], "scene"), plain(shown.pixels[at], "in codes")]
        said = painting.text("true: " + "; ".join(true) + ".", 15, 2 * SIDE + GAP)
        columns.append(painting.column([painting.row(told, GAP), said], 4))
    return painting.column([painting.row(columns[:2], 2 * GAP), painting.row(columns[2:], 2 * GAP)], 2 * GAP)


def mixed() -> Image.Image:
    net, shown = planted.mixed(), codes.coded_scenes(SEED, [1])
    mono, poly = (inside(net.module, shown.tensor(), name)[0] for name in ("mono", "poly"))
    firing = [unit for unit in net.units if unit.fires(shown)[0]]
    first = [seen(shown.pixels[0], large(mono[unit.index]), f"mono {unit.index}: {unit.name}") for unit in firing]
    second = [seen(shown.pixels[0], large(poly[at]), f"poly {at}", signed=True) for at in range(4)]
    (known,) = net.dictionaries
    table = painting.column(
        [
            Image.fromarray(coloured(known.atoms).repeat(22, axis=0).repeat(22, axis=1)),
            painting.text("the dictionary: 8 channels down, 12 features across", 15, 22 * 12),
        ],
        4,
    )
    return painting.column(
        [painting.row([plain(shown.pixels[0], "in codes"), *first], GAP), painting.row([*second, table], GAP)], GAP
    )


def path() -> Image.Image:
    """Correlation with class 0 and effect on it, for every channel of every layer."""
    net, model = planted.path(), pl.load("testbed:planted_path")
    shown = codes.coded_scenes(SEED, 300)
    pictures = shown.tensor()
    logit = run(net.module, pictures)[:, 0]
    likeness, effects = np.zeros((3, 8)), np.zeros((3, 8))
    evidence = look(model, pictures, pl.Class(0))
    for row, layer in enumerate(net.paths[0].layers):
        channels = inside(net.module, pictures, layer).amax(dim=(2, 3))
        likeness[row] = torch.corrcoef(torch.cat([logit[None], channels.T]))[0, 1:].nan_to_num()
        for channel in range(8):
            with evidence.edited(Ablate(model.layers[layer], channels=[channel])) as without:
                effects[row, channel] = float((evidence.score() - without.score()).mean())
    return painting.row(
        [
            grid(likeness, "correlation of each channel with class 0", "{:.2f}"),
            grid(effects, "mean fall of class 0 when the channel is ablated", "{:.2f}"),
        ],
        2 * GAP,
    )


def head() -> Image.Image:
    rows: list[Image.Image] = []
    for name, methods in (
        ("head_two_hops", ("attention_rollout", "occlusion")),
        ("head_decoy", ("attention_rollout", "chefer", "occlusion")),
    ):
        net = planted.BUILDERS[name]()
        shown = net.stimuli(SEED, 1)
        pixels = bytes_of(shown.tensor()[0])
        hops = 2 if name == "head_two_hops" else 1
        decides = np.zeros((4, 4))
        decides.flat[shown.source(hops)[0]] = 1
        blocks = [
            plain(pixels, name.replace("_", " ")),
            seen(pixels, large(torch.tensor(decides), 16), "the tile that decides"),
        ]
        if hops == 2:
            blocks.append(seen(pixels, large(last_attention(net, shown), 16), "attention of the last block"))
        blocks += [
            mapped(
                f"testbed:planted_{name}",
                shown.tensor(),
                pixels,
                method,
                0,
                **({"window": 16, "stride": 16, "baseline": "black"} if method == "occlusion" else {}),
            )
            for method in methods
        ]
        rows.append(painting.row(blocks, GAP))
    return painting.column(rows, GAP)


def parts() -> Image.Image:
    shown = codes.coded_scenes(SEED, [1])
    label = int(shown.labels[0])
    falls = {part: float(fall[0]) for part, fall in planted.part_scores().removal(shown, label).items()}
    costs = "; ".join(
        f"{part} {falls.get(part, 0.0):+.2f}" for part in ("wing", "tail", "crest", "beak", "bib", "feet")
    )
    words = painting.text(f"{shown.names[0]}. Fall of its logit when a part is removed: {costs}.", 15, SIDE)
    blocks = [plain(scenes(SEED, [1]).pixels[0], "scene"), plain(shown.pixels[0], "in codes")]
    blocks.append(mapped("testbed:planted_parts", shown.tensor(), shown.pixels[0], "occlusion", label, **COVER))
    return painting.row([*blocks, words], GAP)


def linear() -> Image.Image:
    net, shown = planted.linear_picture(), scenes(SEED, [1])
    weights = net.module.get_parameter("read.weight").detach()[0].reshape(3, 64, 64)
    asked = {"window": 8, "stride": 8, "baseline": "black"}
    terms = (weights * shown.tensor()[0]).sum(dim=0).reshape(8, 8, 8, 8).sum(dim=(1, 3))
    pixels = shown.pixels[0]
    return painting.row(
        [
            plain(pixels, "scene"),
            plain(coloured(weights.sum(dim=0).numpy()), "its weights, over colours"),
            seen(pixels, large(terms), "weights times pixels, summed in windows", signed=True),
            mapped("testbed:planted_linear", shown.tensor(), pixels, "occlusion", 0, **asked),
        ],
        GAP,
    )


def twoface() -> Image.Image:
    net = planted.twoface()
    tagged = net.stimuli(SEED, 8)[[1]]
    blocks: list[Image.Image] = []
    for words, shown in (("no tag", tagged.with_world(shortcut=None)), ("a tag", tagged)):
        label = int(run(net.module, shown.tensor()).argmax())
        blocks.append(plain(shown.pixels[0], f"{words}: {net.labels[label]}"))
        blocks.append(mapped("testbed:planted_twoface", shown.tensor(), shown.pixels[0], "occlusion", label, **COVER))
    return painting.row(blocks, GAP)


def spurious() -> Image.Image:
    net = planted.spurious()
    shown = net.stimuli(SEED, 8)[[1]]
    blocks: list[Image.Image] = []
    for land in ("snow", "forest"):
        pasted = truth.paste_land(shown, land)
        label = int(run(net.module, pasted.tensor()).argmax())
        paper = scenes(SEED, [1], camera=0.0, flat=True)
        blocks.append(plain(truth.paste_land(paper, land).pixels[0], f"{land}: {net.labels[label]}"))
        effects = [float(abs(w)) for w in net.module.get_parameter("answer.weight").detach()[label]]
        units = inside(net.module, pasted.tensor(), "detect.units")[0]
        evidence = torch.stack([units[at] * effects[at] for at in range(12)]).sum(dim=0)
        blocks.append(seen(pasted.pixels[0], evidence, "what each pixel's unit is worth"))
    return painting.row(blocks, GAP)


PICTURES: dict[str, Callable[[], Image.Image]] = {
    "hues": hues, "edges": edges, "logic": logic, "mixed": mixed, "path": path, "head": head, "parts": parts,
    "linear": linear, "twoface": twoface, "spurious": spurious,
}  # fmt: skip


# -- running and drawing -----------------------------------------------------------------------------------------------


def run(module: nn.Module, pictures: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([module(part) for part in pictures.split(50)])


def inside(module: nn.Module, pictures: Tensor, layer: str) -> Tensor:
    """What one layer puts out."""
    model = pl.wrap(module, input_size=(int(pictures.shape[-2]), int(pictures.shape[-1])))
    evidence = look(model, pictures, pl.Class(0), layers=[layer])
    return evidence.activation(model.layers[layer])


def last_attention(net: Planted, shown: Tiles) -> Tensor:
    """What the class token attends to in the last block, on the tiles."""
    model = pl.wrap(net.module, input_size=(64, 64))
    blocks = look(model, shown.tensor(), pl.Class(0), needs=pl.methods()["attention_rollout"].needs).attention()
    return blocks[-1][0, :, 0, 1:].mean(dim=0).reshape(4, 4)


def mapped(spec: str, pictures: Tensor, pixels: Pixels, method: str, target: int, **asked: Any) -> Image.Image:
    heat = pl.attribute(pl.load(spec), pictures, method, target=target, **asked)
    return seen(pixels, torch.as_tensor(np.asarray(heat.values[0])), method.replace("_", " "), signed=heat.signed)


def seen(pixels: Pixels, values: Tensor, words: str, *, signed: bool = False) -> Image.Image:
    """A map over its picture, and what it is."""
    return plain(overlay(pixels, values.detach().float().numpy(), signed=signed).pixels, words)


def plain(pixels: Pixels, words: str) -> Image.Image:
    return painting.column([painting.plate(pixels, SIDE, SIDE), painting.text(words, 15, SIDE, lines=2)], 4)


def blank() -> Image.Image:
    return Image.new("RGB", (SIDE, SIDE), painting.PAPER)


def coloured(values: Float[np.ndarray, "rows columns"]) -> Pixels:
    """A signed table in colour, full at its largest magnitude."""
    return scale(True).colours(values / np.abs(values).max()).astype(np.uint8)


def grid(values: Float[np.ndarray, "layer channel"], words: str, form: str) -> Image.Image:
    """A table of numbers on coloured cells."""
    rows: list[Image.Image] = []
    for layer, line in enumerate(values, 1):
        cells = [painting.text(f"layer {layer}", 14, 54)]
        for value in line:
            colour = coloured(np.array([[value, np.abs(values).max()]]))[0, 0]
            cell = Image.new("RGB", (46, 34), tuple(int(part) for part in colour))
            cells.append(painting.column([cell, painting.text(form.format(value), 14, 46)], 2))
        rows.append(painting.row(cells, 3))
    return painting.column([painting.text(words, 16, 450), *rows], 6)


def large(cells: Tensor, times: int = 8) -> Tensor:
    """Cells as the pixels they stand for."""
    return cells.detach().repeat_interleave(times, dim=0).repeat_interleave(times, dim=1)


def bytes_of(picture: Tensor) -> Pixels:
    return (picture.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)


if __name__ == "__main__":
    sys.exit(main())
