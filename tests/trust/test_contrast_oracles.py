"""Maps of two classes: nets whose classes are known to lie apart, maps that are blind to the class, mixed-up ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import pellucid as pl
from pellucid.engine import look
from pellucid.errors import RequestError
from pellucid.registry import find_metric
from pellucid.stories.cases import paired_scenes
from pellucid.stories.contest import benchmark
from pellucid.stories.measure import Subject
from pellucid.stories.request import batches_of
from pellucid.subject import VisionModel, wrap
from pellucid.trust.contrast import class_discrimination, contrast_pointing_game
from pellucid.trust.ground import Ground
from pellucid.values import Class, Contrast, Target

SIZE = (15, 22)


class Colours(nn.Module):
    """How much red, green and blue there is, each a class."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.sum(dim=(-2, -1))


def painted() -> Tensor:
    """A red thing and a weaker blue one; the second picture has the red one alone."""
    inputs = torch.zeros(2, 3, *SIZE)
    inputs[:, 0, 2:6, 2:6], inputs[:1, 2, 9:13, 12:20] = 1.0, 0.4
    return inputs


def truth() -> Ground:
    shown = painted() > 0
    return Ground(shown[:, 0], shown[:, 0], rival=shown[:, 2], rivals=(Class(2), None))


def asked(model: VisionModel, *methods: str, known: Ground | None = None) -> Subject:
    inputs = painted()
    heats = {name: pl.attribute(model, inputs, name, target=0) for name in (*methods, "gradient")}
    return Subject(model, batches_of(model, inputs)[0], heats, look(model, inputs, Class(0)), known or truth())


@pytest.fixture
def model() -> VisionModel:
    return wrap(Colours().eval(), input_size=SIZE, labels=["red", "green", "blue"])


def test_maps_of_each_class_lie_on_their_own_thing_and_blind_ones_on_both_alike(model: VisionModel) -> None:
    """Gradient times input of a sum is the picture's own channel; the saliency of colours is the same everywhere."""
    found = asked(model, "gradient_x_input").measure(find_metric("class_discrimination"), {})
    assert found.values["gradient_x_input"][0] == 1.0 and found.values["gradient"][0] == 0.5
    for control in ("centre", "edge"):
        assert found.values[f"control {control}"][0] == 0.5
    assert math.isnan(float(found.values["gradient_x_input"][1])) and found.skipped == {1: "it shows one class only"}


def test_mixed_up_maps_are_wrong_twice_and_half_blind_ones_once() -> None:
    known = truth()
    assert known.rival is not None
    own, other = known.exact.float(), known.rival.float()

    def told(first: Tensor, second: Tensor) -> float:
        evidence = look(wrap(Colours(), input_size=SIZE), painted(), Class(0))
        return float(
            class_discrimination(evidence, {"map": first}, known, lambda **_: {"map": second}).values["map"][0]
        )

    assert told(own, other) == 1.0 and told(other, own) == 0.0 and told(own, own) == 0.5
    assert told(own, own + other) == 0.75 and told(-own, -other) == 0.5  # negative evidence says nothing


def test_without_a_second_class_there_is_nothing_to_tell_apart(model: VisionModel) -> None:
    metric = find_metric("class_discrimination")
    alone = asked(model, known=replace(truth(), rivals=(None, None))).measure(metric, {})
    assert alone.values["gradient"].isnan().all() and set(alone.skipped) == {0, 1}
    with pytest.raises(RequestError, match="second class in each picture"):
        asked(model, known=replace(truth(), rival=None)).measure(metric, {})


def test_what_all_classes_share_is_taken_away_before_pointing() -> None:
    """The brightest pixel is that of every class; beside it each has its own."""
    evidence = look(wrap(Colours(), input_size=SIZE), painted(), Class(0))
    shared = torch.zeros(2, *SIZE)
    shared[:, 14, 21] = 5.0
    own, other = shared + truth().exact.float(), shared + torch.zeros(2, *SIZE).index_fill(1, torch.tensor([0]), 0.7)

    def pointed(one: Tensor, rest: Tensor, others: int = 1) -> list[float]:
        targets: list[Sequence[Target]] = []

        def remake(**given: Sequence[Target]) -> dict[str, Tensor]:
            targets.append(given["targets"])
            return {"map": rest}

        found = contrast_pointing_game(evidence, {"map": one}, truth(), remake, others=others)
        assert targets == [[Class(2), Class(1)], [Class(1), Class(2)]][:others]
        return found.values["map"].tolist()

    assert pointed(own, other) == pointed(own, other, 2) == [1.0, 1.0]
    assert pointed(own, own) == [0.0, 0.0] and pointed(other, own) == [0.0, 0.0]


def test_other_classes_there_are_not_are_refused(model: VisionModel) -> None:
    metric = find_metric("contrast_pointing_game")
    for others in (0, 3):
        with pytest.raises(RequestError, match="expected 1 to 2, of class targets"):
            asked(model).measure(metric, {"others": others})
    by_logit = replace(asked(model), evidence=look(model, painted(), Contrast(0, 1)))
    with pytest.raises(RequestError, match="of class targets"):
        by_logit.measure(metric, {})


def test_the_second_class_is_another_question_than_the_least_likely_one(model: VisionModel) -> None:
    """Maps of 16 equal pixels of red, none of green and 32 of blue: their correlations have closed forms."""
    pixels, red, blue = SIZE[0] * SIZE[1], 16, 32
    apart = -red * blue / (red * (pixels - red) * blue * (pixels - blue)) ** 0.5
    subject, metric = asked(model, "gradient_x_input"), find_metric("class_sensitivity")
    second = subject.measure(metric, {"other": "second"}).values["gradient_x_input"]
    least = subject.measure(metric, {}).values["gradient_x_input"]
    assert second[0] == pytest.approx(apart) and least[0] == 0.0  # a flat map is like nothing
    with pytest.raises(RequestError, match="least or second"):
        subject.measure(metric, {"other": "next"})


@pytest.mark.parametrize("spec", ["testbed:cnn", "testbed:vit", "testbed:dual"])
def test_of_two_birds_a_map_that_is_blind_to_the_class_tells_nothing(spec: str) -> None:
    model = pl.load(spec)
    cases = paired_scenes(model, 30, 11)
    part = cases.part(range(len(cases.names))[:6])
    heats = {
        name: pl.attribute(model, part.batch.frames, name, target=list(part.targets))
        for name in ("gradient_x_input", "eigen_cam")
    }
    evidence = look(model, part.batch.inputs, list(part.targets))
    subject = Subject(model, part.batch, heats, evidence, part.truth)
    told = subject.measure(find_metric("class_discrimination"), {}).values
    pointed = subject.measure(find_metric("contrast_pointing_game"), {}).values
    assert set(told["eigen_cam"].tolist()) == {0.5} and set(pointed["eigen_cam"].tolist()) == {0.0}
    assert set(told["gradient_x_input"].tolist()) <= {0.0, 0.5, 1.0} and float(pointed["gradient_x_input"].mean()) > 0


def test_pairs_of_birds_make_a_board() -> None:
    board = benchmark(
        "testbed:cnn", "testbed:pairs", methods=["eigen_cam"], scenes=20, seed=11,
        metrics=["class_discrimination", "strict_pointing_game"],
    )  # fmt: skip
    assert 0 < len(board.pictures) < board.total < 20
    assert set(board.entry("eigen_cam").values["class_discrimination"]) == {0.5}
    assert set(board.entry("oracle").values["strict_pointing_game"]) == {1.0}


def test_the_two_birds_of_a_pair_are_target_and_rival() -> None:
    cases = paired_scenes(pl.load("testbed:cnn"), 30, 11)
    part = cases.part(range(len(cases.names)))
    drawn = pl.testbed.scenes(11, [int(name.split()[-1]) for name in cases.names], mode="flock")
    assert part.truth is not None and part.truth.rival is not None
    assert not bool((part.truth.exact & part.truth.rival).any())
    for at, (target, rival) in enumerate(zip(part.targets, part.truth.rivals, strict=True)):
        assert {target, rival} == {Class(int(label)) for label in drawn.bird_labels[at, :2]}
        assert int(drawn.counts[at]) == 2 and bool(part.truth.exact[at].any())
    assert torch.equal(part.truth.exact | part.truth.rival, torch.from_numpy(drawn.objects))
