"""The stories: what `explain` and `attribute` promise about order, cost, seeds and what is left out."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import pellucid as pl
from pellucid.errors import MethodUnavailable, RequestError, TargetError
from pellucid.stories import maps as maps_story
from pellucid.stories.maps import available
from pellucid.stories.panel import plan
from pellucid.values import Check, Rule

SIZE = (64, 64)
SPECS = ("testbed:cnn", "testbed:vit", "testbed:digits")
NETS = pytest.mark.parametrize("spec", SPECS)
PERTURBING = {"occlusion", "rise", "refined_occlusion", "lime", "kernel_shap", "c_lime", "exact_shapley", "owen",
              "sobol", "hsic", "regional_multiscale", "visual_precision_search"}  # fmt: skip


@cache
def net(spec: str = "testbed:cnn") -> pl.VisionModel:
    return pl.load(spec)


@cache
def scenes() -> Any:
    return pl.testbed.scenes(5, 3)


@cache
def story(spec: str = "testbed:cnn", budget: int = 400) -> pl.Explanation:
    """The explanation of the first scene; made once, since nothing may change it."""
    return explained(net(spec), scenes().frames()[0], budget=budget)


def explained(*arguments: Any, **options: Any) -> pl.Explanation:
    found = pl.explain(*arguments, **options)
    assert isinstance(found, pl.Explanation)
    return found


def black_box() -> pl.VisionModel:
    """The testbed's CNN as a function of which nothing is known but its answers."""
    module = net().module
    assert module is not None

    def answers(pictures: Tensor) -> Tensor:
        with torch.no_grad():
            return module(pictures)

    return pl.wrap(answers, preprocess=net().preprocess, labels=list(net().labels), input_size=SIZE, name="box")


def without_time(told: pl.Explanation) -> dict[str, Any]:
    record = told.to_dict()
    record["cost"] = {name: value for name, value in record["cost"].items() if name != "seconds"}
    return record


def gain(told: pl.Explanation, method: str) -> float:
    return next(row["score"] for row in told.choice.table if row["method"] == method and not row["control"])


# -- order ----------------------------------------------------------------------------------------------------------


@NETS
def test_maps_come_most_faithful_first_and_unscored_ones_last(spec: str) -> None:
    told = story(spec)
    scored = {row["method"] for row in told.choice.table if not row["control"]}
    order = [heat.method for heat in told.heatmaps]
    assert set(order[: len(scored)]) == scored
    gains = [gain(told, method) for method in order[: len(scored)]]
    assert gains == sorted(gains, reverse=True)
    assert told.chosen.method == told.choice.method == order[0]
    assert {row["method"] for row in told.choice.table if row["control"]} == {"random", "centre", "edge"}


@NETS
def test_the_choice_says_truly_whether_it_beats_the_controls(spec: str) -> None:
    told = story(spec)
    control = {row["method"]: row["score"] for row in told.choice.table if row["control"]}
    best = gain(told, told.choice.method)
    margins = told.choice.margins
    assert margins == pytest.approx({name: best - control[name] for name in margins})
    assert told.choice.beats_controls == all(margin > 0 for margin in margins.values())
    assert told.choice.beats_controls or told.choice.reason in told.notes


def test_a_map_that_fails_a_check_is_never_first(monkeypatch: pytest.MonkeyPatch) -> None:
    first = story().chosen.method
    checks = maps_story._checks  # pyright: ignore[reportPrivateUsage]

    def failing(evidence: Any, method: Any, *rest: Any) -> Any:
        found = checks(evidence, method, *rest)
        if method.name != first:
            return found
        return tuple((*row, Check("completeness", False, 1.0, "It does not add up.")) for row in found)

    monkeypatch.setattr(maps_story, "_checks", failing)
    told = explained(net(), scenes().frames()[0])
    assert told.chosen.method != first
    assert told.chosen.passed(0)
    scored = [row["method"] for row in told.choice.table if not row["control"]]
    assert [heat.method for heat in told.heatmaps].index(first) == len(scored) - 1, "behind every sound scored map"


def test_where_every_scored_map_fails_a_check_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        maps_story, "_checks", lambda evidence, *_: ((Check("finite", False, 1.0, "It is broken."),),) * len(evidence)
    )
    told = explained(net(), scenes().frames()[0], methods=["grad_cam"], budget=60)
    assert not told.choice.beats_controls
    assert "failed a check" in told.choice.reason
    assert told.choice.reason in told.notes


# -- cost -----------------------------------------------------------------------------------------------------------


@NETS
def test_the_default_costs_what_the_plan_says_and_no_more_than_the_budget(spec: str) -> None:
    told = story(spec)
    planned = plan(net(spec), SIZE, budget=400)
    assert told.cost["passes"] == told.cost["forwards"] + 2 * told.cost["backwards"]
    assert told.cost["passes"] == planned.passes == told.cost["planned"] <= 400
    assert told.plan == planned.text
    assert sum(passes for _, passes in planned.rows()) == planned.passes


@pytest.mark.parametrize("spec", ["testbed:cnn", "testbed:vit"])
@pytest.mark.parametrize("budget", [3, 10, 60, 100, 200])
def test_a_small_budget_is_kept_and_what_it_drops_is_said(spec: str, budget: int) -> None:
    told = story(spec, budget)
    planned = plan(net(spec), SIZE, budget=budget)
    assert told.cost["passes"] <= planned.passes <= budget
    assert planned.dropped
    assert set(planned.dropped) <= set(told.notes)
    assert all(sentence in told.plan for sentence in planned.dropped)


@pytest.mark.parametrize("spec", ["testbed:cnn", "testbed:vit"])
@pytest.mark.parametrize("budget", [6, 20, 60, 150, 400, 800, 1500, 4000])
def test_what_is_spent_is_what_was_planned(spec: str, budget: int) -> None:
    """Less only where integrated gradients were complete without the doublings that the plan allows for."""
    told = story(spec, budget)
    planned = {step.method: step.passes for step in plan(net(spec), SIZE, budget=budget).steps}
    spent = {heat.method: heat.cost["forwards"] + 2 * heat.cost["backwards"] for heat in told.heatmaps}
    assert set(spent) == set(planned)
    early = {name: passes - spent[name] for name, passes in planned.items() if passes and spent[name] != passes}
    assert set(early) <= {"integrated_gradients"} and all(saved > 0 for saved in early.values()), early
    assert told.cost["passes"] == told.cost["planned"] - sum(early.values()) <= budget


def test_a_larger_budget_buys_patience_where_a_method_may_need_it() -> None:
    steps = {
        budget: next(step for step in plan(net(), SIZE, budget=budget).steps if step.method == "integrated_gradients")
        for budget in (800, 1500, 4000)
    }
    assert [step.parameters["most_steps"] for step in steps.values()] == [50, 100, 200]
    assert [step.passes for step in steps.values()] == [151, 451, 1051], "3 passes a step, and the baseline"


def test_a_method_that_tries_every_channel_costs_as_many_passes_as_its_layer_has() -> None:
    layers = net().layers_at(SIZE)
    other = next(layer for layer in layers.grid_layers if layer.channels != layers.default.channels)  # type: ignore[union-attr]
    for layer in (layers.default, other):
        assert layer is not None
        (step,) = plan(net(), SIZE, budget=400, methods=["score_cam"], layer=layer.name).steps
        assert step.passes == layer.channels
        told = explained(net(), scenes().frames()[0], methods=["score_cam"], layer=layer.name, budget=60)
        assert told.chosen.cost["forwards"] == layer.channels
        assert told.cost["passes"] <= told.cost["planned"]


def test_each_thing_dropped_has_its_sentence() -> None:
    tiny, small, enough = story(budget=3), story(budget=200), story()
    assert "perturbation map" in " ".join(tiny.notes)
    assert "does not allow to score" in " ".join(tiny.notes)
    assert "not by measurement" in tiny.choice.reason
    assert not tiny.choice.beats_controls
    assert "one fill only" in " ".join(small.notes)
    assert not enough.notes


def test_a_budget_for_nothing_is_refused() -> None:
    for budget in (0, -1, 2.5, True):
        with pytest.raises(RequestError, match="budget="):
            pl.explain(net(), scenes().frames()[0], budget=budget)  # pyright: ignore[reportArgumentType]
    with pytest.raises(RequestError, match="allows for nothing"):
        pl.explain(net(), scenes().frames()[0], budget=2)


@NETS
def test_all_natural_methods_share_one_forward_and_one_backward(spec: str) -> None:
    natural = [
        name
        for name, method in available(net(spec), SIZE).items()
        if not callable(method.cost) and method.cost == 0 and not any(isinstance(need, Rule) for need in method.needs)
    ]
    found = pl.attribute(net(spec), scenes().frames()[:2], natural)
    assert list(found) == natural
    assert {"gradient", "grad_cam", "fullgrad", "eigen_cam"} <= set(natural)
    assert sum(heat.cost["forwards"] for heat in found.values()) == 1
    assert sum(heat.cost["backwards"] for heat in found.values()) == 1


def test_a_method_gives_the_same_map_alone_as_in_company() -> None:
    together = pl.attribute(net(), scenes().frames(), ["gradient", "grad_cam", "layer_cam"])
    for name, heat in together.items():
        alone = pl.attribute(net(), scenes().frames(), name)
        torch.testing.assert_close(heat.values, alone.values, rtol=1e-4, atol=1e-6)


# -- seeds, files, kinds of input -----------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_explanation() -> None:
    again = explained(net(), scenes().frames()[0])
    assert without_time(again) == without_time(story())
    other = explained(net(), scenes().frames()[0], seed=1)
    assert other.seed == 1
    assert other.choice != story().choice, "the random control follows from the seed"


@NETS
def test_what_is_opened_equals_what_was_saved(spec: str, tmp_path: Path) -> None:
    told = story(spec)
    told.save(tmp_path / "story.json")
    opened = pl.open(tmp_path / "story.json")
    assert opened == told
    assert opened.claims == told.claims
    opened.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "story.json").read_bytes()


def test_a_list_gives_a_list_and_one_picture_one_explanation() -> None:
    frames = scenes().frames()
    several = pl.explain(net(), frames[:2], methods=["grad_cam"], budget=60)
    assert isinstance(several, list)
    assert [one.frame.name for one in several] == [frame.name for frame in frames[:2]]
    alone = explained(net(), frames[1], methods=["grad_cam"], budget=60)
    assert without_time(alone) == without_time(several[1])


def test_a_float_tensor_is_model_input_as_it_is() -> None:
    batch = scenes().tensor()[:2]
    told = pl.explain(net(), batch, methods=["grad_cam"], budget=60)
    assert isinstance(told, list)
    assert [one.frame.name for one in told] == ["tensor 0", "tensor 1"]
    expected = net().probabilities(net().predict(batch)).max(dim=1)
    assert [one.answer.index for one in told] == expected.indices.tolist()
    assert [one.answer.probability for one in told] == pytest.approx(expected.values.tolist(), abs=1e-5)
    maps = pl.attribute(net(), batch, "grad_cam").values
    torch.testing.assert_close(torch.cat([one.chosen.values for one in told]), maps, rtol=1e-4, atol=1e-6)


def test_each_picture_may_have_a_target_of_its_own() -> None:
    frames = scenes().frames()
    names = [net().labels.name(index) for index in (0, 3, 7)]
    found = pl.attribute(net(), frames, "grad_cam", target=[0, names[1], pl.Class(7)])
    assert list(found.target_names) == names
    for index, target in enumerate((0, 3, 7)):
        alone = pl.attribute(net(), frames[index], "grad_cam", target=target)
        torch.testing.assert_close(found.values[index], alone.values[0], rtol=1e-4, atol=1e-6)
    told = pl.explain(net(), frames, target=[0, 3, 7], methods=["grad_cam"], budget=60)
    assert isinstance(told, list)
    assert [one.target_name for one in told] == names


def test_a_wrong_number_of_targets_is_refused() -> None:
    with pytest.raises(TargetError, match="2 targets for 3 pictures"):
        pl.attribute(net(), scenes().frames(), "grad_cam", target=[0, 1])
    with pytest.raises(RequestError, match="2 targets for 3 pictures"):
        pl.explain(net(), scenes().frames(), target=[0, 1])


# -- black boxes ----------------------------------------------------------------------------------------------------


def test_a_black_box_is_explained_by_covering_parts_of_the_picture_only() -> None:
    told = explained(black_box(), scenes().frames()[0])
    assert {heat.method for heat in told.heatmaps} <= PERTURBING
    assert told.cost["backwards"] == 0
    assert told.cost["passes"] <= told.cost["planned"] <= 400
    assert told.answer.label == story().answer.label
    same = next(heat for heat in story().heatmaps if heat.method == "refined_occlusion")
    torch.testing.assert_close(told.chosen.values, same.values, rtol=1e-3, atol=1e-4)


def test_a_black_box_says_how_much_it_needs_and_what_it_cannot() -> None:
    box = black_box()
    with pytest.raises(RequestError, match="at least 51 passes"):
        pl.explain(box, scenes().frames()[0], budget=40)
    assert explained(box, scenes().frames()[0], budget=51).cost["passes"] == 51
    with pytest.raises(MethodUnavailable, match="grad_cam"):
        pl.explain(box, scenes().frames()[0], methods=["grad_cam"])
    assert set(available(box, SIZE)) == PERTURBING | {"random", "centre", "edge"}


def test_a_map_that_failed_its_check_gives_way_even_to_one_that_was_not_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    model, frame = pl.load("testbed:cnn"), pl.testbed.scenes(5, 1).frames()[0]
    scored = {row["method"] for row in pl.explain(model, frame).choice.table if not row["control"]}
    monkeypatch.setattr(pl.Heatmaps, "passed", lambda heat, index: heat.method not in scored)
    story = pl.explain(model, frame)
    assert story.heatmaps[0].method == story.choice.method
    assert story.choice.method not in scored
    assert "failed a check" in story.choice.reason
    assert not story.choice.beats_controls
