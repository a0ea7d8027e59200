"""Pictures of the measures that train nets, leave out parts, or ask detectors and few-shot segmenters."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import torch
from jaxtyping import Bool, Float, Int64
from measure_charts import CONTROL, OTHER, RIGHT, Bar, Bars, Curves, Line, sheet
from torch import Tensor, nn

import pellucid as pl
from pellucid.canvas.words import title
from pellucid.compute.bootstrap import interval
from pellucid.compute.train import Recipe
from pellucid.results.retraining import Retraining
from pellucid.stories.interventions import TRUE_EFFECTS, part_protocol
from pellucid.testbed import nets
from pellucid.trust import retraining
from pellucid.trust.objects import Detect, Found, Target, object_curves, one_class_each
from pellucid.trust.support import Support
from pellucid.values import Seed

SIDE, PLACE, HALF = 8, (3, 4), 660
ONE_PIXEL = "Pictures of 8 x 8 pixels; the class is the sign of one of them, so the right map is known."
Maps = dict[str, Float[Tensor, "picture h w"]]


def roar() -> bytes:
    data = one_pixel()
    found = retraining.roar(*both(data), data, LINEAR, levels=(0.1, 0.3, 0.5, 0.7, 0.9), seeds=(0, 1))
    return sheet(
        "Remove and retrain: what is still learned without the first pixels; lower is better",
        ONE_PIXEL + " Two linear nets a point.",
        [levels_of(found, "share of the pixels removed, the first of the map first", data.chance)], "Bands hold 95 %.",
    )  # fmt: skip


def kar() -> bytes:
    data = one_pixel()
    found = retraining.kar(*both(data), data, LINEAR, levels=(0.05, 0.2, 0.4, 0.6, 0.8), seeds=(0, 1))
    return sheet(
        "Keep and retrain: what is learned from the first pixels alone; higher is better",
        ONE_PIXEL + " Two linear nets a point.",
        [levels_of(found, "share of the pixels kept, the first of the map first", data.chance)], "Bands hold 95 %.",
    )  # fmt: skip


def label_randomisation() -> bytes:
    recipe = retraining.FromScratch(two_layers, Recipe(150, 0.02, batch=40))
    found = retraining.label_randomisation(gradient_and_edges, one_pixel(40), recipe, explained=32)
    slope, edges = found.row(map="gradient"), found.row(map="control edge")
    rows = [
        Bar("gradient x input", slope["similarity"], RIGHT, slope["low"], slope["high"]),
        Bar("the picture itself as a map", edges["similarity"], CONTROL, edges["low"], edges["high"]),
    ]
    return sheet(
        "Does the map change when the classes were dealt out by lot? Lower is better",
        "A net of the right classes and one of permuted classes, both learned by heart from 40 small pictures.",
        [Bars(rows, "Rank correlation of the two nets' maps",
              mark=("gradient x input of two honest nets", slope["two honest nets"]))],
        "Whiskers hold 95 %.",
    )  # fmt: skip


def simulatability() -> bytes:
    data = one_pixel(12, noise=1.0)
    student = retraining.FromScratch(one_layer, Recipe(150, 0.05, batch=24))
    learned, held = both(data)
    learned["telling"], held["telling"] = (telling(labels) for labels in (data.labels, data.held_labels))
    found = retraining.simulatability(learned, held, data, student, share=1 / 64, seeds=(0, 1, 2))
    told = (
        ("right", "the pixel that decides", RIGHT), ("telling", "names the class by its side", OTHER),
        ("control random", "random map", CONTROL),
    )  # fmt: skip
    rows = {name: found.row(map=name) for name, _, _ in told}
    gains = [Bar(words, rows[name]["gain"], kind, rows[name]["low"], rows[name]["high"]) for name, words, kind in told]
    leaks = [Bar(words, rows[name]["leaking"], kind) for name, words, kind in told]
    return sheet(
        "Does a map help a student to foretell the model? Higher is better",
        "A linear student learns from twelve noisy pictures of 8 x 8 pixels in which one pixel decides.",
        [Bars(gains, "Gain over a student without maps", (-0.1, 0.5)),
         Bars(leaks, "Answers that the map's shape gives away: lower is better", mark=("chance", data.chance))],
        "Whiskers hold 95 %.",
    )  # fmt: skip


def alignment() -> bytes:
    data, masks, held = half_lit()
    net = LINEAR(data.pictures, data.labels, seed=0)
    makers = {"gradient": retraining.input_gradient, "gradient_x_input": retraining.gradient_times_input}
    found = retraining.alignment(net, data, masks, held, makers, Recipe(60, 0.05, batch=50), weights=(4.0,))
    charts: list[Bars] = []
    for name in makers:
        row = found.row(**{"trained for": name, "map": name, "measure": "mass"})
        charts.append(Bars([
            Bar("the net as it was", row["original"]),
            Bar("trained as long without a map", row["plain"], CONTROL),
            Bar("taught away from the truth", row["misaligned"]),
            Bar("taught towards it", row["aligned"]),
            Bar("gap", row["gap"], RIGHT, row["low"], row["high"]),
        ], f"{title(name)}: share of the map inside the truth"))  # fmt: skip
    return sheet(
        "How far can training move a map while the answers stay? A gap of 0 is best",
        "A linear net on pictures that are black in one half. Its weights there are free, so its gradient can be "
        "taught anything; gradient x input cannot.",
        charts, "Whiskers hold 95 %.",
    )  # fmt: skip


def consistency() -> bytes:
    data = one_pixel(80, noise=1.0)
    found = retraining.consistency(gradient_and_edges, data, LINEAR, explained=80)
    told = (("gradient", "gradient x input", RIGHT), ("control edge", "the picture itself as a map", CONTROL))
    rows = {name: found.row(map=name) for name, _, _ in told}
    near = [Bar(words, rows[name]["MeGe"], kind, rows[name]["low"], rows[name]["high"]) for name, words, kind in told]
    pairs = f"{found.facts['agreeing pairs']} pairs of maps agree, {found.facts['disagreeing pairs']} do not."
    return sheet(
        "Do nets of nearly the same pictures explain alike, and unlike where one is wrong? Higher is better",
        f"Four linear nets, each without a quarter of 80 noisy pictures of 8 x 8 pixels. {pairs}",
        [Bars(near, "MeGe: how near the maps are where both nets are right"),
         Bars([Bar(words, rows[name]["ReCo"], kind) for name, words, kind in told],
              "ReCo: how well their distance tells that from one net being wrong",
              mark=("gradient x input, pairs dealt out by lot", rows["gradient"]["by lot"]))],
        "Whiskers hold 95 %. A map that is always the same has a MeGe of 1 and a ReCo of 0.",
    )  # fmt: skip


def funnybirds() -> bytes:
    found = part_protocol(pl.load("testbed:cnn"), methods=["layer_cam", "gradient"], scenes=14, seed=1000)
    told = (
        (TRUE_EFFECTS, "true effects", RIGHT), ("layer_cam", "LayerCAM", OTHER), ("gradient", "gradient", OTHER),
        ("control random", "random map", CONTROL), ("control edge", "edges in the picture", CONTROL),
    )  # fmt: skip
    heads = {
        "com": "Completeness: does it name the parts that the model needs?",
        "cor": "Correctness: are they in the order of their effects?",
        "con": "Contrastivity: does the map change with the class?",
    }
    charts = [
        Bars([Bar(words, getattr(found.rows[name], said), kind) for name, words, kind in told], heading)
        for said, heading in heads.items()
    ]
    return sheet(
        "FunnyBirds' protocols on the testbed; higher is better",
        f"Parts of {found.kept} rendered birds that the testbed's convolutional net recognises are left out.", charts,
    )  # fmt: skip


def objects() -> bytes:
    shown, targets, inside = found_birds()
    draw = Seed(0).generator()
    maps = {
        "the bird": inside.float() + 0.01 * torch.rand(inside.shape, generator=draw),
        "the rest": 1 - inside.float() + 0.01 * torch.rand(inside.shape, generator=draw),
        "random": torch.rand(inside.shape, generator=draw),
    }
    kinds = dict(zip(maps, (RIGHT, OTHER, CONTROL), strict=True))
    grey = shown.mean(dim=(2, 3), keepdim=True).expand_as(shown)
    found = object_curves(detector(), shown, targets, maps, steps=11, fill=grey)
    charts: list[Curves] = []
    for said, heading in (("deletion", "Deletion: lower is better"), ("insertion", "Insertion: higher is better")):
        lines = [
            Line.of(name, [interval(point.numpy()) for point in getattr(curve, said).score.T], kinds[name])
            for name, curve in found.items()
        ]
        charts.append(Curves(
            next(iter(found.values())).fractions, lines, f"share of the picture {WAYS[said]}", heading,
            ((0.0, "0"), (1.0, "1")), width=HALF, keys=True,
        ))  # fmt: skip
    return sheet(
        "Does the score of one object follow what a map of it calls important?",
        f"The testbed's detector on {len(shown)} flocks; the score is overlap times confidence of the bird that was "
        "found surest.",
        charts, "Bands hold 95 %.",
    )  # fmt: skip


def support() -> bytes:
    images, masks, query, truth = colours_to_match()

    def segment(shots: Tensor, kept: Tensor) -> Tensor:
        weight = kept[:, :, None]
        prototype = (shots * weight).sum(dim=(1, 3, 4)) / weight.sum(dim=(1, 3, 4)).clamp(min=1e-6)
        likeness = 4 - 8 * (query[None] - prototype[:, :, None, None]).square().sum(dim=1)
        return torch.stack([torch.zeros_like(likeness), likeness], dim=1)

    held = Support(images, masks, segment, measure="miou", truth=truth)
    draw = Seed(1).generator()
    drawn = [torch.rand(masks.shape, generator=draw) for _ in range(20)]
    charts: list[Curves] = []
    for said, heading in (("deletion", "Deletion: lower is better"), ("insertion", "Insertion: higher is better")):
        right, wrong = (held.curve(values + 0.01 * drawn[0], said, steps=21) for values in (masks, 1 - masks))
        chance = torch.stack([held.curve(values, said, steps=21).values for values in drawn])
        lines = [
            Line("marked", right.values.tolist(), RIGHT),
            Line("not marked", wrong.values.tolist(), OTHER),
            Line.of("20 random", [interval(point.numpy()) for point in chance.T], CONTROL),
        ]
        charts.append(Curves(
            right.fractions, lines, f"share of the support {WAYS[said]}", heading, ((0.0, "0"), (1.0, "1")),
            width=HALF, keys=True,
        ))  # fmt: skip
    return sheet(
        "Do the marked support pixels cause what is segmented in the query?",
        "A segmenter that compares each query pixel with the mean colour under the masks of two support pictures; "
        "the value is the IoU with the true segmentation. A few marked pixels are enough, so insertion by chance "
        "is as good.",
        charts, "Bands hold 95 %.",
    )  # fmt: skip


# -- nets and pictures of which the answer is known --------------------------------------------------------------------

WAYS = {"deletion": "removed", "insertion": "shown"}


def one_layer() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 2))


def two_layers() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 32), nn.ReLU(), nn.Linear(32, 2))


LINEAR = retraining.FromScratch(one_layer, Recipe(40, 0.05, batch=64))


def signs(count: int, seed: int, noise: float) -> tuple[Float[Tensor, "picture 1 h w"], Int64[Tensor, "picture"]]:
    """Pictures of one colour whose class is the sign of one pixel; the others are noise."""
    labels = torch.arange(count) % 2
    shown = noise * torch.randn(count, 1, SIDE, SIDE, generator=Seed(seed).generator())
    shown[:, 0, PLACE[0], PLACE[1]] = 2.0 * labels - 1
    return shown, labels


def one_pixel(count: int = 300, noise: float = 0.1) -> retraining.Split:
    return retraining.Split(*signs(count, 1, noise), *signs(400, 2, noise))


def both(data: retraining.Split) -> tuple[Maps, Maps]:
    """The right map and a random one, of both parts."""
    learned, held = (
        {"right": torch.zeros(count, SIDE, SIDE),
         "control random": torch.rand(count, SIDE, SIDE, generator=Seed(count).generator())}
        for count in (len(data.pictures), len(data.held_out))
    )  # fmt: skip
    for maps in (learned, held):
        maps["right"][:, PLACE[0], PLACE[1]] = 1
    return learned, held


def telling(classes: Int64[Tensor, "picture"]) -> Float[Tensor, "picture h w"]:
    """A map that knows nothing of the picture and names the class by its side."""
    maps = torch.rand(len(classes), SIDE, SIDE, generator=Seed(7).generator())
    maps[classes == 0, :, : SIDE // 2] += 1
    maps[classes == 1, :, SIDE // 2 :] += 1
    return maps


def gradient_and_edges(
    net: nn.Module, pictures: Float[Tensor, "picture channel h w"], classes: Int64[Tensor, "picture"]
) -> Mapping[str, Float[Tensor, "picture h w"]]:
    slope = retraining.gradient_times_input(net, pictures, classes).detach()
    return {"gradient": slope, "control edge": pictures[:, 0].abs()}


def half_lit() -> tuple[retraining.Split, Bool[Tensor, "picture h w"], Bool[Tensor, "held h w"]]:
    """The class stands in the left half, which is the mask, and the right half is black."""
    parts: list[Tensor] = []
    for count, seed in ((100, 1), (60, 2)):
        shown, labels = signs(count, seed, 0.1)
        shown = shown.roll(-2, dims=3)
        shown[..., SIDE // 2 :] = 0
        parts += [shown, labels]
    masks, held = (torch.zeros(count, SIDE, SIDE, dtype=torch.bool) for count in (100, 60))
    masks[..., : SIDE // 2], held[..., : SIDE // 2] = True, True
    return retraining.Split(parts[0], parts[1], parts[2], parts[3]), masks, held


def levels_of(found: Retraining, axis: str, chance: float) -> Curves:
    """Accuracy over the levels of the right map and the random one, the whole pictures among them."""
    lines: list[Line] = []
    places: list[float] = []
    for name, words, kind in (("right", "the pixel that decides", RIGHT), ("control random", "random map", CONTROL)):
        points = sorted((row for row in found.details if row["map"] == name), key=lambda row: row["level"])
        places = [row["level"] for row in points]
        within = ([row["low"] for row in points], [row["high"] for row in points])
        lines.append(Line(f"{words}: {found.row(map=name)['area']:.2f}", [r["accuracy"] for r in points], kind, within))
    ticks = tuple((place, f"{place:.0%}") for place in places)
    return Curves(places, lines, axis, "Accuracy on held-out pictures; beside the names the area", ticks,
                  mark=("chance", chance))  # fmt: skip


@cache
def detector() -> Detect:
    """The testbed's detector as the measures ask for it."""
    net, _ = nets.load("detector")
    assert isinstance(net, nets.Detector)

    def detect(pictures: Tensor) -> list[Found]:
        return [one_class_each(one.boxes, one.scores, one.labels, 12) for one in net.detect(pictures)]

    return detect


def found_birds() -> tuple[Float[Tensor, "picture 3 h w"], list[Target], Bool[Tensor, "picture h w"]]:
    """Flocks in which the detector finds a bird, the surest bird of each, and its pixels."""
    flocks = pl.testbed.scenes(9, 6, mode="flock", size=128)
    shown, boxes, planes = flocks.tensor(), torch.from_numpy(flocks.bird_boxes()).float(), flocks.instances
    kept: list[int] = []
    targets: list[Target] = []
    inside: list[Tensor] = []
    for at, (found, confidence) in enumerate(detector()(shown)):
        if not len(found):
            continue
        best = int(confidence.amax(dim=1).argmax())
        bird = int((boxes[at] - found[best]).abs().sum(dim=1).argmin())
        left, top, right, bottom = found[best].tolist()
        kept.append(at)
        targets.append(Target((left, top, right, bottom), int(confidence[best].argmax())))
        inside.append(torch.from_numpy(planes[at, bird].copy()))
    return shown[kept], targets, torch.stack(inside)


def colours_to_match() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two support pictures with a marked red square on blue, their masks, a query of both colours and its truth."""
    noise = 0.15 * torch.randn(2, 3, 12, 12, generator=Seed(3).generator())
    images, masks = torch.zeros(2, 3, 12, 12), torch.zeros(2, 12, 12)
    images[:, 2] = 0.8
    for shot, (top, left) in enumerate(((2, 3), (5, 5))):
        masks[shot, top : top + 5, left : left + 5] = 1
    images[:, 0] += masks
    images[:, 2] -= 0.8 * masks
    query, truth = torch.zeros(3, 6, 10), torch.zeros(6, 10, dtype=torch.long)
    query[0, :, :4], query[2, :, 4:], truth[:, :4] = 1.0, 0.8, 1
    return (images + noise).clamp(0, 1), masks, query, truth
