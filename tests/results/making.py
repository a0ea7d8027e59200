"""Explanations as real ones look, made without any model: real photographs, invented maps."""

from __future__ import annotations

import numpy as np
import torch
from skimage import data

from pellucid.canvas.raster import png_bytes
from pellucid.images import Frame
from pellucid.results import Choice, Claim, Claims, Explanation, Heatmaps, ModelCard, Prediction, Score, Truth
from pellucid.results.leaderboard import Column, Entry, Example, Leaderboard
from pellucid.values import Check, Class, Layer, Preprocess, Region

CARD = ModelCard(
    name="efficientnet_lite0", spec="demo:efficientnet_lite0", fingerprint="9f2c51d07ab3e844", kind="EfficientNet",
    classes=1000, dtype="float32", default_layer="blocks.6.0",
    why_layer="It is the last layer that still lies on a grid (7 × 7), so it knows most and can still point.",
)  # fmt: skip
PICTURES = 40
PREPROCESS = Preprocess(size=(224, 224), resize=256, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
FRACTIONS = [index / 7 for index in range(8)]
PANEL = {
    "layer_cam": ("Each cell of each channel weighted by its own positive gradient, summed over channels.", False, 7),
    "grad_cam": ("Channels of the layer, weighted by their average gradient, summed and rectified.", False, 7),
    "occlusion": ("How far the score falls when a grey window covers each place.", True, 12),
    "hires_cam": ("Gradient times activation at every cell, summed over channels.", False, 7),
    "fullgrad": ("Input gradients and bias gradients of all layers, added up.", False, 56),
    "integrated_gradients": ("Gradients added up along the way from black to the picture.", True, 224),
    "smoothgrad": ("The gradient, averaged over noisy copies of the picture.", False, 224),
    "guided_backprop": ("The gradient, with everything negative held back on its way.", True, 224),
    "eigen_cam": ("The strongest pattern in the layer, whatever the class.", False, 7),
    "gradient": ("How much the score moves when a pixel does.", False, 224),
}


def cat() -> Frame:
    return Frame(data.chelsea(), "cat.png").fitted(PREPROCESS)


def coffee() -> Frame:
    return Frame(data.coffee(), "coffee.png").fitted(PREPROCESS)


def bump(centre: tuple[float, float], width: float, size: int = 224) -> np.ndarray:
    """A Gaussian on the model input, its centre in shares of the picture."""
    rows, columns = np.mgrid[:size, :size] / size
    return np.exp(-((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) / (2 * width**2))


def heatmaps(
    method: str = "layer_cam",
    frame: Frame | None = None,
    centre: tuple[float, float] = (0.42, 0.42),
    *,
    target: str = "Egyptian cat",
) -> Heatmaps:
    """One map of one method: a bump, coarse or grainy as that method's maps are."""
    about, signed, grain = PANEL[method]
    noise = np.random.default_rng(sum(map(ord, method)))
    size = (frame or cat()).geometry.size  # type: ignore[union-attr]
    values = bump(centre, 0.14, 224) + 0.5 * bump((centre[0] + 0.05, centre[1] + 0.26), 0.08, 224)
    coarse = torch.from_numpy(values)[None, None].float()
    coarse = torch.nn.functional.interpolate(coarse, size=(grain, grain), mode="area")
    rough = torch.from_numpy(noise.normal(size=(1, 1, grain, grain))).float()
    coarse = coarse * (1 + rough * 0.8) if grain > 100 else coarse + 0.06 * rough.clamp(0 if not signed else -2)
    coarse = coarse.clamp(min=0) if not signed else coarse - 0.25 * coarse.mean()
    full = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear", align_corners=False)[0]
    layer = (
        Layer("blocks.6.0", "map", "nchw", (7, 7), 0, 320, 1, "DepthwiseSeparableConv", 61, (1, 320, 7, 7))
        if grain == 7
        else None
    )
    gap = Check("completeness", True, 0.0004, "what the map adds up to differs from the change of the score by 0.04%.")
    checks = (
        Check("finite", True, None, "every value is a number."),
        *((gap,) if method == "integrated_gradients" else ()),
    )
    return Heatmaps(
        values=full, method=method, targets=(Class(285),), target_names=(target,), layer=layer, signed=signed,
        frames=(frame or cat(),), seed=0, checks=(checks,), parameters={}, model=CARD,
        versions={"pellucid": "0.1.0", "torch": "2.15.0"}, notes=(), cost={"forwards": 1, "backwards": 1}, about=about,
    )  # fmt: skip


def score(method: str, value: float, *, fractions: list[float] = FRACTIONS) -> Score:
    """Insertion minus deletion, with curves that belong to it roughly."""

    def fall(rate: float) -> list[list[list[float]]]:
        return [[[0.93 * float(np.exp(-rate * (1 + 0.15 * fill) * step)) for step in fractions]] for fill in range(3)]

    def rise(rate: float) -> list[list[list[float]]]:
        return [[list(reversed(fill[0]))] for fill in fall(rate)]

    return Score(
        metric="insertion_minus_deletion", method=method, values=(value,), random=(0.04,), centre=(0.31,), edge=(0.12,),
        spread=(0.05,), better="higher", fills=("blur", "mean", "noise"), order="signed, largest first",
        unit="area under the probability", notes=(),
        curves={
            "fractions": fractions, "deletion": fall(1 + 12 * value),
            "insertion": [[[0.93 * (1 - float(np.exp(-(1 + 9 * value) * step))) for step in fractions]]] * 3,
            "deletion_random": fall(3.2), "insertion_random": rise(3.2),
        },
    )  # fmt: skip


def explanation(
    frame: Frame | None = None, *, label: str = "Egyptian cat", probability: float = 0.634,
    centre: tuple[float, float] = (0.42, 0.42), methods: tuple[str, ...] = tuple(PANEL), beats: bool = True,
    truth: Truth | None = None, model: ModelCard = CARD,
) -> Explanation:  # fmt: skip
    """A whole explanation. beats=False: no map is better than the centre of the picture."""
    frame = frame or cat()
    maps = tuple(heatmaps(method, frame, centre, target=label) for method in methods)
    values = [0.52 - 0.045 * place if beats else 0.24 - 0.02 * place for place in range(len(maps))]
    table = [
        {"method": method, "score": value, "spread": 0.03 + 0.008 * place, "control": False}
        for place, (method, value) in enumerate(zip(methods, values, strict=True))
    ][:8]  # fmt: skip
    table += [
        {"method": name, "score": value, "spread": 0.02, "control": True}
        for name, value in (("centre", 0.31), ("edge", 0.12), ("random", 0.04))
    ]
    rest = [("tabby cat", 0.171), ("tiger cat", 0.121), ("lynx", 0.019), ("window screen", 0.004)]
    mask = np.zeros((frame.height, frame.width), dtype=bool)
    mask[: frame.height // 2, frame.width // 4 : frame.width // 2] = True
    region = Region(mask, "the upper left of the centre, 13% of the picture")
    claims = (
        Claim("The model says {label}, {probability:.0%} sure.", "predicted", "prediction",
              {"label": label, "probability": probability}, {"index": 285}, "verified"),
        Claim("Without {region}, {label} falls from {before:.0%} to {after:.0%}.", "region_matters", "removal",
              {"region": region.words, "label": label, "before": probability, "after": 0.083, "random_region": 0.571},
              {"region": region, "baseline": "blur", "target": Class(285), "seed": 0}, "verified"),
        Claim("That place alone keeps {label} at {after:.0%}.", "region_suffices", "alone",
              {"label": label, "after": 0.522, "share": 0.13}, {"region": region, "baseline": "blur"}, "verified"),
        Claim("The runner-up, {other}, looks at another place.", "contrast", "contrast",
              {"other": rest[0][0], "overlap": 0.84, "limit": 0.5}, {}, "refuted"),
        Claim("{agreeing} of {count} methods mark the same place first.", "agreement", "agreement",
              {"agreeing": 7, "count": len(maps), "rank_correlation": 0.61}, {}, "verified"),
        Claim("The ears matter to {label}.", "concept", "concept", {"label": label, "limit": 0.04}, {}, "unverifiable"),
    )  # fmt: skip
    choice = Choice(
        methods[0], "It carries most of the answer in the pixels it marks, on average over three ways to remove them.",
        values[0] - 0.04, values[0] - 0.31, values[0] - 0.12, beats, 1.0 if beats else 1 / 3, tuple(table),
    )  # fmt: skip
    others = [Prediction(281 + place, name, share) for place, (name, share) in enumerate(rest)]
    return Explanation(
        frame=frame, model=model, target=Class(285), target_name=label,
        predictions=(Prediction(285, label, probability), *others),
        heatmaps=maps, scores=tuple(score(method, value) for method, value in zip(methods[:4], values, strict=False)),
        claims=Claims(claims), notes=("chefer was left out: the model has no attention.",), truth=truth,
        cost={"forwards": 372, "backwards": 2, "seconds": 6.1},
        plan="One forward and one backward for the gradient and CAM family; 24 × 12 windows; 8 maps scored.",
        seed=0, versions={"pellucid": "0.1.0", "torch": "2.15.0", "timm": "1.0.31"}, choice=choice,
    )  # fmt: skip


def small_scene() -> Explanation:
    """A rendered scene of 64 x 64 pixels with its truth."""
    rng = np.random.default_rng(3)
    pixels = np.full((64, 64, 3), (150, 190, 170), dtype=np.uint8)
    pixels = np.clip(pixels + rng.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8)
    rows, columns = np.mgrid[:64, :64]
    body = (rows - 38) ** 2 / 160 + (columns - 30) ** 2 / 220 < 1
    head = (rows - 22) ** 2 + (columns - 42) ** 2 < 60
    pixels[body], pixels[head] = (200, 120, 60), (235, 200, 80)
    frame = Frame(pixels, "scene 7").fitted(Preprocess(size=(64, 64)))
    card = ModelCard("testbed:cnn", "testbed:cnn", "a1b2c3d4", "SmallNet", 6, "float32")
    truth = Truth(head, head, "the yellow head", ((34.0, 14.0, 50.0, 30.0),))
    story = explanation(
        frame, label="finch", probability=0.998, centre=(0.34, 0.62), methods=tuple(PANEL)[:6], truth=truth, model=card
    )
    hit = Score("pointing_game", "layer_cam", (1.0,), (0.04,), (0.0,), (0.0,), (0.0,), "higher", unit="share of hits")
    iou = Score(
        "mask_iou", "layer_cam", (0.62,), (0.04,), (0.05,), (0.06,), (0.0,), "higher", unit="intersection over union"
    )
    from dataclasses import replace

    return replace(story, scores=(*story.scores, hit, iou))


def values(mean: float, spread: float = 0.1, seed: int = 0) -> tuple[float, ...]:
    """Values around exactly this mean."""
    noise = np.random.default_rng(seed).normal(size=PICTURES)
    return tuple((mean + spread * (noise - noise.mean())).tolist())


def board() -> Leaderboard:
    nan = (float("nan"),) * PICTURES
    picture = png_bytes(np.full((8, 8, 3), 200, np.uint8))
    return Leaderboard(
        model=CARD, truth="testbed scenes of seed 7", pictures=tuple(f"scene {at}" for at in range(PICTURES)), total=50,
        columns=(
            Column("pointing_game", "higher", "Whether it hits.", "Zhang et al. 2018", truth=True),
            Column("deletion", "lower", "How fast it dies.", "Petsiuk et al. 2018"),
            Column("model_randomisation", "lower", "What is left.", "Adebayo et al. 2018", remakes=True, limit=0.5),
        ),
        entries=(
            Entry("weak", "method", {"pointing_game": values(0.41, seed=1), "deletion": values(0.5, seed=2),
                                     "model_randomisation": values(0.9)}, passes=3, seconds=0.001),
            Entry("strong", "method", {"pointing_game": values(0.8, seed=3), "deletion": values(0.1, seed=4),
                                       "model_randomisation": values(0.1)}, 226, 0.2, {"masks": 499}),
            Entry("oracle", "oracle", {"pointing_game": (1.0,) * PICTURES, "deletion": values(0.2, seed=5),
                                       "model_randomisation": nan}),
            Entry("centre", "control", {"pointing_game": values(0.4, seed=6), "deletion": values(0.3, seed=7),
                                        "model_randomisation": (1.0,) * PICTURES}),
            Entry("random", "control", {"pointing_game": values(0.1, seed=8), "deletion": values(0.6, seed=9),
                                        "model_randomisation": (0.0,) * PICTURES}),
        ),
        rank_by="pointing_game", cap=500, seed=7, left_out=(("score_cam", 513.0, "takes more than 500 passes"),),
        examples=(Example("scene 0", {"picture": picture, "strong": picture}),), notes=("a note",),
        versions={"pellucid": "0.1.0"},
    )  # fmt: skip
