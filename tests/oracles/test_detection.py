"""Boxes and regions as targets, and the methods for them, where the answer is known before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pellucid as pl
from pellucid.attribution.precision import Value, exactly, lazily
from pellucid.errors import MethodUnavailable, TargetError, UnknownClass
from pellucid.registry import find_method
from pellucid.subject import wrap
from pellucid.subject.places import Painting, Proposing, box_iou
from pellucid.values import Box, Pixels, Proposals, Target, target_from_dict
from pellucid.values.proposals import NOTHING, log_odds
from tests.oracles.asking import relative

SIDE = 32
CELL = (8, 16, 16, 24)  # left, top, right, bottom


class Lamp(nn.Module):
    """Finds two boxes, always the same; the first is as sure as its own 8 x 8 cell is bright."""

    def __init__(self, order: tuple[int, int] = (0, 1)) -> None:
        super().__init__()
        self.order = order
        self.shown = nn.Conv2d(3, 2, 1, bias=False)
        nn.init.constant_(self.shown.weight, 1.0)

    def forward(self, pictures: Tensor) -> Proposals:
        left, top, right, bottom = CELL
        light = self.shown(pictures)[:, 0, top:bottom, left:right].mean(dim=(1, 2)) * 8 - 12
        other = torch.full_like(light, -1.0)
        odds = torch.stack([torch.stack([light, other - 3], dim=1), torch.stack([other - 3, other], dim=1)], dim=1)
        boxes = torch.tensor([CELL, (0, 0, 6, 6)]).float().expand(len(pictures), 2, 4)
        row = list(self.order)
        return Proposals(boxes[:, row], torch.ones(len(pictures), 2), odds[:, row])


def lamp(order: tuple[int, int] = (0, 1)) -> pl.VisionModel:
    detector = Proposing(Lamp(order), lambda net, pictures: net(pictures), 2)
    return wrap(detector, input_size=(SIDE, SIDE), labels=["lamp", "corner"], activation="sigmoid", name="lamp")


def white(count: int = 1) -> Tensor:
    return torch.ones(count, 3, SIDE, SIDE)


# -- targets --------------------------------------------------------------------------------------------------------


def test_a_box_reads_the_proposal_that_fits_it_best_and_has_its_gradient() -> None:
    """Log odds are linear in the mean of the cell: each of its 3 x 64 numbers counts 8 / 64."""
    slope = pl.attribute(lamp(), white(), "gradient", target=Box((9, 15, 17, 23), "lamp"))
    left, top, right, bottom = CELL
    expected = torch.zeros(SIDE, SIDE)
    expected[top:bottom, left:right] = 8 / 64
    torch.testing.assert_close(slope.values[0], expected)


def test_a_box_that_no_proposal_touches_has_the_odds_of_nothing() -> None:
    proposals = Lamp()(white())
    target = Box((26, 26, 30, 30), 0, (), "proposals", 2)
    assert target(proposals.packed()).tolist() == [NOTHING]


@pytest.mark.parametrize("logits", [[0.5, -1.0, 2.0], [30.0, 0.0, -30.0], [0.0, 0.0, 0.0]])
def test_log_odds_are_those_of_the_softmax(logits: list[float]) -> None:
    values = torch.tensor(logits, requires_grad=True)
    exact = torch.tensor(logits, dtype=torch.float64)
    expected = torch.stack([exact[at] - exact[[one for one in range(3) if one != at]].logsumexp(0) for at in range(3)])
    found = log_odds(values)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    (slope,) = torch.autograd.grad(found.sum(), values)
    assert slope.isfinite().all()


def test_a_region_has_the_mean_logit_of_its_class_there() -> None:
    conv = nn.Conv2d(3, 4, 1)
    model = wrap(Painting(conv, lambda net, pictures: net(pictures), 4), input_size=(SIDE, SIDE))
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[4:9, 10:20] = True
    slope = pl.attribute(model, torch.rand(1, 3, SIDE, SIDE), "gradient_x_input", target=Pixels(mask, 2))
    assert torch.equal(slope.values[0] != 0, mask)
    inputs = torch.rand(1, 3, SIDE, SIDE)
    (target,) = model.resolve(Pixels(mask, 2), 1)
    expected = conv(inputs)[0, 2][mask].mean()
    torch.testing.assert_close(target(conv(inputs))[0], expected)


def test_the_answer_of_a_segmenter_is_the_share_of_the_picture_that_is_of_a_class() -> None:
    conv = nn.Conv2d(3, 4, 1)
    model = wrap(Painting(conv, lambda net, pictures: net(pictures), 4), input_size=(SIDE, SIDE), activation="softmax")
    inputs = torch.rand(2, 3, SIDE, SIDE)
    shares = conv(inputs).softmax(dim=1).mean(dim=(2, 3))
    torch.testing.assert_close(model.probabilities(model.predict(inputs)), shares)


def test_places_come_back_from_their_records() -> None:
    mask = torch.zeros(5, 6, dtype=torch.bool)
    mask[2] = True
    for target in (Box((1, 2, 3, 4), 2, (0.25, 0.5), "proposals", 2), Pixels(mask, 3, "pixels"), Pixels(None, 1)):
        again = target_from_dict(target.to_dict())
        assert again == target and hash(again) == hash(target)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (Box((5, 0, 5, 4), 0), "left < right"),
        (Box((0, 0, 5, 4), 0, (0.5,)), "2 classes"),
        (Pixels(None, 0), "testbed:segmenter"),
    ],
)
def test_places_that_cannot_be_are_refused(target: Target, words: str) -> None:
    with pytest.raises(TargetError, match=words):
        lamp().resolve(target, 1)


def test_a_classifier_finds_nothing_and_says_so() -> None:
    model = pl.load("testbed:cnn")
    with pytest.raises(TargetError, match="testbed:detector"):
        model.resolve(Box((0, 0, 5, 5), 0), 1)
    with pytest.raises(MethodUnavailable, match="picture as a whole"):
        model.finds(torch.rand(1, 3, 64, 64))
    with pytest.raises(UnknownClass):
        pl.load("testbed:detector").resolve(Box((0, 0, 5, 5), "penguin"), 1)


# -- the testbed's own nets -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def flock() -> tuple[pl.VisionModel, Tensor, list[Box]]:
    """Pictures of flocks, one row per detected box."""
    model = pl.load("testbed:detector")
    pictures = pl.testbed.scenes(77, 8, mode="flock", size=128).tensor()
    found = model.finds(pictures)
    rows = [row for row, boxes in enumerate(found) for _ in boxes]
    return model, pictures[rows], [box for boxes in found for box in boxes if isinstance(box, Box)]


def share_in_box(values: Tensor, box: Box) -> float:
    left, top, right, bottom = (max(0, round(side)) for side in box.sides)
    positive = values.clamp(min=0)
    return float(positive[top:bottom, left:right].sum() / positive.sum().clamp(min=1e-12))


def test_what_the_detector_finds_are_the_birds_that_are_there(flock: tuple[pl.VisionModel, Tensor, list[Box]]) -> None:
    model, _, _ = flock
    scenes = pl.testbed.scenes(77, 8, mode="flock", size=128)
    for boxes, truth, labels in zip(model.finds(scenes.frames()), scenes.bird_boxes(), scenes.bird_labels, strict=True):
        own = torch.from_numpy(truth[labels >= 0]).float()
        found = [box for box in boxes if isinstance(box, Box)]
        assert sorted(int(box.index) for box in found) == sorted(labels[labels >= 0].tolist())
        overlap = box_iou(torch.tensor([box.sides for box in found]), own)
        assert float(overlap.amax(dim=0).min()) > 0.5


@pytest.mark.parametrize("name", ["layer_cam", "hires_cam", "grad_cam", "gradient", "occlusion"])
def test_every_box_of_a_picture_has_its_own_map(name: str, flock: tuple[pl.VisionModel, Tensor, list[Box]]) -> None:
    """Birds fill 7 % of a flock each; of a map that looks at its own bird most lies there."""
    model, pictures, boxes = flock
    most = 4 if name == "occlusion" else len(boxes)
    pictures, boxes = pictures[:most], boxes[:most]
    heat = pl.attribute(model, pictures, name, target=boxes)
    inside = [share_in_box(values, box) for values, box in zip(heat.values, boxes, strict=True)]
    assert sum(inside) / len(inside) > 0.5, inside


def test_d_rise_peaks_in_the_box_and_asks_once_for_all_boxes_of_a_picture(
    flock: tuple[pl.VisionModel, Tensor, list[Box]],
) -> None:
    model, pictures, boxes = flock
    alone = {row for row in range(1, len(boxes)) if torch.equal(pictures[row], pictures[row - 1])}
    heat = pl.attribute(model, pictures[:8], "d_rise", target=boxes[:8], masks=600)
    pictures_asked = 8 - len([row for row in alone if row < 8])
    assert heat.cost["forwards"] * 8 == pytest.approx(600 * pictures_asked)
    hits = 0
    for values, box in zip(heat.values, boxes[:8], strict=True):
        row, column = divmod(int(values.argmax()), 128)
        left, top, right, bottom = box.sides
        hits += left <= column < right and top <= row < bottom
    assert hits >= 7, hits


# -- D-RISE ---------------------------------------------------------------------------------------------------------


def test_d_rise_is_highest_where_the_box_needs_its_light() -> None:
    heat = pl.attribute(lamp(), white(), "d_rise", target=Box(CELL, "lamp"), masks=1500, baseline="black", grid=8)
    left, top, right, bottom = CELL
    row, column = divmod(int(heat.values[0].argmax()), SIDE)
    assert top <= row < bottom and left <= column < right


def test_d_rise_of_the_detection_itself_has_likeness_1_when_everything_is_shown() -> None:
    """All masks full: the mean of 1 x likeness 1 over `keep`, everywhere."""
    model = lamp()
    ((first, *_),) = model.finds(white())
    heat = pl.attribute(model, white(), "d_rise", target=first, masks=20, keep=1 - 1e-9, least=0.0)
    torch.testing.assert_close(heat.values, torch.ones(1, SIDE, SIDE))


def test_the_order_of_proposals_means_nothing_to_d_rise() -> None:
    maps = [
        pl.attribute(lamp(order), white(), "d_rise", target=Box(CELL, 0), masks=60).values for order in ((0, 1), (1, 0))
    ]
    assert torch.equal(*maps)


def test_d_rise_of_a_missed_box_is_zero_where_nothing_like_it_is_ever_proposed() -> None:
    heat = pl.attribute(lamp(), white(), "d_rise", target=Box((24, 0, 32, 8), 0), masks=30)
    assert not heat.values.any()


def test_d_rise_of_a_class_is_rise_on_its_own_grid() -> None:
    inputs = torch.rand(1, 3, 64, 64)
    model = pl.load("testbed:cnn")
    own = pl.attribute(model, inputs, "d_rise", target=3, masks=40).values
    same = pl.attribute(model, inputs, "rise", target=3, masks=40, grid=16).values
    assert relative(own, same) < 1e-5


# -- visual precision search ----------------------------------------------------------------------------------------


def additive(weights: Tensor) -> Value:
    """A value that sums the weights of what is shown, and one less those of the rest."""
    total = float(weights.sum())

    def value(sets: Sequence[tuple[int, ...]]) -> Tensor:
        shown = torch.stack([weights[list(one)].sum() for one in sets])
        return torch.stack([shown / total, shown / total], dim=1)

    return value


def test_an_additive_value_orders_regions_by_their_weight_lazily_too() -> None:
    weights = torch.tensor([0.1, 0.4, 0.05, 0.3, 0.15])
    for search in (exactly(additive(weights), 5), lazily(additive(weights), 5)):
        assert search.order == (1, 3, 4, 0, 2)
        assert search.clue == pytest.approx((0.4, 0.7, 0.85, 0.95, 1.0))
        assert search.smallest(0.9) == 4 and not search.harmful
        sizes = search.attribution()
        assert sizes.tolist() == pytest.approx([0.3, 2.0, 0.1, 1.2, 0.6])
    assert exactly(additive(weights), 5).submodularity == pytest.approx(1.0)


def test_lazy_search_asks_for_less_and_finds_the_same_where_gains_shrink() -> None:
    """Cover of 40 points by 14 random sets: submodular, so that older gains are bounds."""
    covers = torch.rand(14, 40, generator=torch.Generator().manual_seed(3)) < 0.2
    asked: list[int] = []

    def value(sets: Sequence[tuple[int, ...]]) -> Tensor:
        asked.append(len(sets))
        covered = torch.stack([covers[list(one)].any(dim=0).float().mean() for one in sets])
        return torch.stack([covered, torch.zeros_like(covered)], dim=1)

    exact = exactly(value, 14)
    all_sets, asked[:] = sum(asked), []
    lazy = lazily(value, 14)
    assert all_sets == 14 * 15 // 2 and sum(asked) < all_sets
    assert lazy.value == pytest.approx(exact.value)
    assert exact.submodularity is not None and exact.submodularity >= 1 - 1e-6


def test_the_two_regions_of_an_and_come_first() -> None:
    """Each alone shows nothing, but without it nothing is left: collaboration finds the first, clue the second."""

    class Both(nn.Module):
        def forward(self, pictures: Tensor) -> Tensor:
            first, second = pictures[:, 0, :8, :8].mean(dim=(1, 2)), pictures[:, 0, 8:, 8:].mean(dim=(1, 2))
            chance = (first * second).clamp(1e-4, 1 - 1e-4)
            return torch.stack([1 - chance, chance], dim=1)

    numbers = torch.arange(16)[:, None] // 8 * 2 + torch.arange(16)[None] // 8
    heat = pl.attribute(Both(), torch.ones(1, 3, 16, 16), "visual_precision_search", target=1, segments=numbers,
                        baseline="black")  # fmt: skip
    order = next(check.words for check in heat.checks[0] if check.name == "regions in order")
    assert set(order.removeprefix("Regions in order: ").rstrip(".").split(", ")[:2]) == {"0", "3"}
    assert heat.values[0, 0, 0] > 0 and heat.values[0, -1, -1] > 0 == heat.values[0, 0, -1]


def test_a_region_that_speaks_against_the_target_is_named() -> None:
    weights = torch.tensor([0.9, -0.2, 0.3])
    search = exactly(additive(weights), 3)
    assert search.order == (0, 2, 1) and search.harmful == (1,)


@pytest.mark.parametrize("match", ["overlap", "class"])
def test_the_search_finds_the_box_with_few_regions(match: str, flock: tuple[pl.VisionModel, Tensor, list[Box]]) -> None:
    """Its own bird's regions come first: most of the map of a box lies there."""
    model, pictures, boxes = flock
    heat = pl.attribute(
        model, pictures[:2], "visual_precision_search", target=boxes[:2], segments=16, match=match, lazy=True
    )
    assert heat.cost["forwards"] <= find_method("visual_precision_search").passes(segments=16)
    for values, box in zip(heat.values, boxes[:2], strict=True):
        row, column = divmod(int(values.argmax()), 128)
        left, top, right, bottom = box.sides
        assert left - 8 <= column < right + 8 and top - 8 <= row < bottom + 8
        enough = next(check.value for check in heat.checks[0] if check.name == "smallest set")
        assert enough is not None and enough <= 6, enough


def test_a_region_of_the_segmenter_has_its_search_and_its_d_rise() -> None:
    model, pictures = pl.load("testbed:segmenter"), pl.testbed.scenes(5, 1).tensor()
    wing = next(target for target in model.finds(pictures)[0] if model.target_name(target).startswith("wing"))
    assert isinstance(wing, Pixels) and wing.mask is not None
    near = torch.nn.functional.max_pool2d(wing.mask[None].float(), 9, stride=1, padding=4)[0] > 0
    asked: dict[str, dict[str, Any]] = {"d_rise": {"masks": 400}, "visual_precision_search": {"segments": 12}}
    for name, parameters in asked.items():
        heat = pl.attribute(model, pictures, name, target=wing, **parameters)
        row, column = divmod(int(heat.values[0].argmax()), 64)
        assert near[row, column], name
        assert any(heat.checks)


def test_boxes_of_one_picture_share_the_passes_of_a_sliding_window(
    flock: tuple[pl.VisionModel, Tensor, list[Box]],
) -> None:
    """The same maps as each alone, up to rounding, for one forward a window instead of one a box."""
    model, pictures, boxes = flock
    assert torch.equal(pictures[0], pictures[1])
    both = pl.attribute(model, pictures[:2], "occlusion", target=boxes[:2], window=32, stride=32)
    assert both.cost["forwards"] == pytest.approx((16 + 2) / 2)
    for at in range(2):
        alone = pl.attribute(model, pictures[at : at + 1], "occlusion", target=boxes[at], window=32, stride=32)
        assert relative(both.values[at], alone.values[0]) < 1e-4
