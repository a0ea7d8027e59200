"""A budget of memory that cannot hold one picture is refused before the first pass, and none that can."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

import pellucid as pl
from pellucid.engine import look
from pellucid.engine.least import least_bytes
from pellucid.errors import MemoryBudgetError
from pellucid.registry import find_method
from pellucid.values import Activation, Gradient, InputGradient, Layer

GIB = 2**30
SIZE = (64, 64)
QUICK = {
    "smoothgrad": {"samples": 2}, "integrated_gradients": {"steps": 2, "most_steps": 2}, "occlusion": {"window": 32},
}  # fmt: skip
KEEPING = ("gradient", "fullgrad", "smoothgrad", "integrated_gradients")


def peak(work: Callable[[], Any]) -> int:
    """The most bytes that torch's own allocator held at once during `work`."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        work()
    events: list[tuple[int, int]] = []

    def walk(event: Any) -> None:
        if event.name == "[memory]":
            events.append((event.start_time_ns, event.extra_fields.alloc_size))
        for child in event.children:
            walk(child)

    assert watched.profiler is not None
    for root in watched.profiler.kineto_results.experimental_event_tree():
        walk(root)
    held = most = 0
    for _, size in sorted(events):
        held += size
        most = max(most, held)
    return most


@pytest.mark.parametrize("spec", ["testbed:cnn", "testbed:vit"])
@pytest.mark.parametrize("method", [*KEEPING, "grad_cam", "occlusion"])
def test_what_is_said_to_be_needed_at_least_is_needed(method: str, spec: str) -> None:
    """The estimate lies below the measured peak, and not far below where a graph is kept."""
    model, picture = pl.load(spec), pl.testbed.scenes(5, 1).tensor()
    least = least_bytes(model, find_method(method).needs, SIZE)
    enough = (least + 1) / GIB
    work = lambda: pl.attribute(model, picture, method, memory=enough, **QUICK.get(method, {}))
    work()
    measured = peak(work)
    assert least <= measured, f"{least} bytes are asked for, {measured} are used"
    if method in KEEPING:
        assert measured <= 2.2 * least, f"{least} bytes are asked for, {measured} are used"


@pytest.mark.parametrize("method", ["grad_cam", "gradient", "fullgrad", "smoothgrad", "occlusion"])
def test_less_than_one_picture_needs_is_refused_and_the_advice_is_enough(method: str) -> None:
    model, picture = pl.load("testbed:cnn"), pl.testbed.scenes(5, 1).tensor()
    least = least_bytes(model, find_method(method).needs, SIZE)
    parameters = QUICK.get(method, {})
    with pytest.raises(MemoryBudgetError) as caught:
        pl.attribute(model, picture, method, memory=(least - 1) / GIB, **parameters)
    assert (caught.value.budget, caught.value.needed) == (least - 1, least)
    advised = float(str(caught.value).split("Allow ")[1].split()[0])
    assert least / GIB <= advised <= 1.11 * least / GIB
    pl.attribute(model, picture, method, memory=advised, **parameters)


def test_explain_refuses_too_and_says_what_would_fit() -> None:
    model, picture = pl.load("testbed:cnn"), pl.testbed.scenes(5, 1).tensor()
    with pytest.raises(MemoryBudgetError, match="budget is 512 KiB, and one picture takes at least") as caught:
        pl.explain(model, picture, memory=2**19 / GIB)
    assert "smaller model" in str(caught.value)
    assert "occlusion" in str(caught.value), "without gradients it would fit"
    pl.explain(model, picture, memory=2**19 / GIB, methods=["occlusion"], budget=20)


def test_nothing_is_refused_that_nobody_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of what is free is no promise: batches of one, and whatever the machine gives."""
    monkeypatch.setattr("pellucid.compute.memory._available", lambda _device: 1)
    heat = pl.attribute(pl.load("testbed:cnn"), pl.testbed.scenes(5, 1).tensor(), "gradient")
    assert heat.finite(0)


def test_of_a_black_box_nothing_is_known_so_nothing_is_refused() -> None:
    box = pl.wrap(lambda pictures: pictures.flatten(1)[:, :3], input_size=(16, 16))
    assert least_bytes(box, find_method("occlusion").needs, (16, 16)) == 0
    assert pl.attribute(box, torch.rand(1, 3, 16, 16), "occlusion", memory=1e-9).finite(0)


def test_the_footprint_of_a_small_net_is_counted_by_hand() -> None:
    """8 x 8 pixels: the graph keeps the input (3 channels) and the rectified map (4); flattening copies nothing."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 5)).eval()
    found = pl.wrap(net, input_size=(8, 8)).layers.footprint
    assert found.widest == 4 * 64 * 4
    assert found.graph == (3 + 4) * 64 * 4
    assert found.outputs == (3 * 4 * 64 + 5) * 4


@pytest.mark.parametrize("frozen", [True, False])
def test_no_graph_is_kept_below_the_layer_that_is_asked_for(frozen: bool) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 5)).eval()
    model = pl.wrap(net.requires_grad_(not frozen), input_size=(8, 8))
    footprint = model.layers.footprint
    assert least_bytes(model, [Activation, Gradient], (8, 8)) == 2 * footprint.widest
    assert least_bytes(model, [InputGradient], (8, 8)) == max(2 * footprint.widest, footprint.graph)


def test_letting_go_of_the_graph_keeps_what_was_asked() -> None:
    model, picture = pl.load("testbed:cnn"), pl.testbed.scenes(5, 1).tensor()
    evidence = look(model, picture, needs=[InputGradient])
    before, outputs = evidence.score(), evidence.output()
    evidence.release()
    spent = evidence.passes.cost
    assert torch.equal(evidence.score(), before) and torch.equal(evidence.output(), outputs)
    assert evidence.passes.cost == spent, "nothing runs again"
    assert isinstance(model.layers.default, Layer) and math.isfinite(float(before))
