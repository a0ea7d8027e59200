"""Self-explanations held against models whose truth is known: linear bags of regions, scenes, a server that lies."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import numpy as np
import pytest

import pellucid as pl
from pellucid.errors import RequestError
from pellucid.language.decisions import Decision, scene_decisions, vlm_as_model
from pellucid.language.narrators import Chat
from pellucid.language.self_explanations import (
    MODES,
    Elicitation,
    Mode,
    agreement,
    faithfulness,
    on_trial,
    rank_correlation,
    read_statement,
)
from pellucid.language.speakers import Guessing, Honest, Lying, Rounding, SelfDescribing, Served
from tests.language.servers import serving

COUNT = 6
NAMES = tuple(f"region {at}" for at in range(COUNT))


def linear(weights: np.ndarray, bias: float = 0.5) -> Decision:
    """Two classes; the first has the probability bias + the weights of the regions that are there."""

    def ask(present: np.ndarray) -> np.ndarray:
        first = bias + present @ weights
        return np.stack([first, 1 - first], axis=1)

    return Decision(NAMES, ask, ("yes", "no"))


@cache
def bags(count: int = 200) -> tuple[Decision, ...]:
    rng = np.random.default_rng(0)
    return tuple(linear(rng.normal(scale=0.08, size=COUNT)) for _ in range(count))


WEIGHTS = np.array([0.2, 0.15, -0.05, 0.1, -0.02, 0.0])


def test_true_scores_of_a_linear_model_have_the_figures_worked_out_by_hand() -> None:
    """Probability .3 + .38; without the first .48, so one region in six turns it, and the rank correlation is 1."""
    found = faithfulness(linear(WEIGHTS, 0.3), WEIGHTS)
    ordered = np.sort(WEIGHTS)[::-1]
    gone = np.cumsum(ordered)[:5]
    assert found["comprehensiveness"] == pytest.approx(gone.mean())
    assert found["sufficiency"] == pytest.approx((WEIGHTS.sum() - gone).mean())
    assert found["flips at once"] == 1.0 and found["share to flip"] == pytest.approx(1 / 6)
    assert found["rank correlation"] == pytest.approx(1.0)


def test_the_smallest_share_that_turns_the_answer_is_the_analytic_one() -> None:
    """From .63 (bias .4, regions .1, .08, .05, 0, 0, 0): .53 without one, .45 without two."""
    weights = np.array([0.05, 0.1, 0.0, 0.08, 0.0, 0.0])
    found = faithfulness(linear(weights, 0.4), weights)
    assert found["share to flip"] == pytest.approx(2 / 6) and found["flips at once"] == 0.0
    never = faithfulness(linear(weights, 0.7), weights)
    assert never["share to flip"] == 1.0


def test_no_order_does_better_than_the_true_one_nor_worse_than_its_reverse() -> None:
    decision = linear(WEIGHTS, 0.3)
    best, worst = faithfulness(decision, WEIGHTS), faithfulness(decision, -WEIGHTS)
    rng = np.random.default_rng(1)
    for _ in range(50):
        found = faithfulness(decision, rng.normal(size=COUNT))
        assert worst["comprehensiveness"] - 1e-9 <= found["comprehensiveness"] <= best["comprehensiveness"] + 1e-9
        assert best["sufficiency"] - 1e-9 <= found["sufficiency"] <= worst["sufficiency"] + 1e-9
        assert best["share to flip"] <= found["share to flip"]
    assert worst["rank correlation"] == pytest.approx(-1.0)


def test_occlusion_and_lime_find_the_weights_of_a_linear_model() -> None:
    decision = linear(WEIGHTS, 0.3)
    assert decision.occlusion() == pytest.approx(WEIGHTS)
    assert decision.lime(ridge=1e-9) == pytest.approx(WEIGHTS, abs=1e-6)


def test_agreement_is_what_is_counted_by_hand() -> None:
    """Top three {0, 1, 2} and {1, 0, 3}: two shared, none in its place, one of them with the same sign."""
    one, other = np.array([3.0, 2.0, 1.0, 0.0]), np.array([2.0, -3.0, 0.0, 1.0])
    found = agreement(one, other, 3)
    assert found["feature agreement"] == pytest.approx(2 / 3) and found["iou"] == pytest.approx(2 / 4)
    assert found["rank agreement"] == 0.0 and found["sign agreement"] == pytest.approx(1 / 3)
    assert agreement(one, one, 3) == pytest.approx(dict.fromkeys(found, 1.0))
    assert np.isnan(rank_correlation(one, np.ones(4)))


def test_the_speaker_who_tells_the_truth_beats_random_and_the_one_who_guesses_does_not() -> None:
    honest, guessing, lying = (on_trial(bags(), one) for one in (Honest(), Guessing(3), Lying()))
    assert honest.beats_random and honest.p < 0.01 and honest.scores["speaker"] == honest.scores["occlusion"]
    assert not guessing.beats_random and guessing.p > 0.1
    assert not lying.beats_random
    assert lying.scores["speaker"]["comprehensiveness"] < lying.scores["random"]["comprehensiveness"]
    assert "no better than importances drawn by lot" in str(guessing)
    assert honest.agrees["occlusion"]["spearman"] == pytest.approx(1.0)
    assert honest.accuracy != honest.accuracy and honest.consistent == 1.0


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_every_way_of_asking_is_asked_and_read(mode: Mode) -> None:
    asked = Elicitation(bags()[0], mode)
    order = [asked.prompt.index('"answer"'), asked.prompt.index('"scores"' if mode.format == "scores" else '"top"')]
    assert (order == sorted(order)) == mode.order.startswith("predict")
    trial = on_trial(bags()[:40], Honest(), mode)
    assert trial.read == 40 and trial.scores["speaker"]["comprehensiveness"] > 0
    assert json.loads(json.dumps(trial.to_dict()))["format"] == mode.format


def test_scores_in_steps_are_counted_as_steps() -> None:
    fine, coarse = on_trial(bags()[:40], Honest()), on_trial(bags()[:40], Rounding(Honest()))
    assert coarse.distinct < fine.distinct == COUNT
    assert coarse.scores["speaker"]["comprehensiveness"] <= fine.scores["speaker"]["comprehensiveness"]


BAD = {
    "no JSON object": "I am sure it is yes.",
    "scores are not of the features": '{"answer": "yes", "scores": {"region 0": 1}}',
    "a score is no number": json.dumps({"answer": "yes", "scores": dict.fromkeys(NAMES, 3)}),
    "is no class": json.dumps({"answer": "perhaps", "scores": dict.fromkeys(NAMES, 0.5)}),
}


@pytest.mark.parametrize("why", BAD)
def test_a_reply_that_cannot_be_read_is_counted_and_not_guessed(why: str) -> None:
    said = read_statement(BAD[why], Elicitation(bags()[0], Mode()))
    assert why in said.trouble and np.isnan(said.scores).all()
    listed = read_statement('{"answer": "yes", "top": ["region 0", "region 0"]}', Elicitation(bags()[0], MODES[1]))
    assert "one twice" in listed.trouble


class Hesitating:
    name = "hesitating"

    def __init__(self) -> None:
        self.asked = 0

    def tell(self, asked: Elicitation) -> str:
        self.asked += 1
        return "I would rather not say." if self.asked % 2 else Guessing(self.asked).tell(asked)


def test_refusals_are_in_the_result() -> None:
    trial = on_trial(bags()[:10], Hesitating())
    assert (trial.read, trial.cases, trial.troubles) == (5, 10, {"no JSON object": 5})
    assert on_trial(bags()[:4], Guessing(1), repeats=3).spread > 0.1 > on_trial(bags()[:4], Honest(), repeats=3).spread


# -- a vision model, and one that speaks ------------------------------------------------------------------------------


@cache
def scenes_asked() -> tuple[Any, tuple[Decision, ...]]:
    drawn = pl.testbed.scenes(950, 4, camera=0.0)
    return drawn, tuple(scene_decisions(pl.load("testbed:cnn"), drawn))


def test_what_decides_the_species_is_what_occlusion_says_of_the_clean_net() -> None:
    _, decisions = scenes_asked()
    trial = on_trial(decisions, Honest())
    assert trial.consistent == trial.accuracy == 1.0
    strongest = [one.names[int(one.occlusion().argmax())] for one in decisions]
    assert sum(name in ("wing", "tail", "plume", "head") for name in strongest) >= 3, strongest
    assert trial.scores["speaker"]["comprehensiveness"] > trial.scores["random"]["comprehensiveness"]


def test_the_vision_language_model_answers_as_it_scores_and_says_how_sure_it_is() -> None:
    net, _ = pl.testbed.nets.load("vlm")
    assert isinstance(net, pl.testbed.nets.VisionLanguage)
    drawn = pl.testbed.scenes(950, 1, camera=0.0)
    ask = vlm_as_model(net)
    model = pl.wrap(ask, labels=pl.testbed.TASKS["species"].labels, preprocess=pl.Preprocess(size=(64, 64)))
    (decision,) = scene_decisions(model, drawn)
    asked = Elicitation(decision, Mode())
    said = read_statement(SelfDescribing(net, [decision], drawn.tensor()).tell(asked), asked)
    whole = decision.probabilities(np.ones((1, len(decision.names)), dtype=bool))[0]
    assert said.answer == decision.labels[int(whole.argmax())] == drawn.names[0]
    assert not said.trouble and (said.scores <= 1).all() and said.scores.max() > 0.5
    assert whole.sum() == pytest.approx(1.0)


# -- over real HTTP ---------------------------------------------------------------------------------------------------


def replying(weights_of: dict[str, float]) -> Any:
    """A server's model that reads the features in the prompt and gives each its weight."""

    def say(request: dict[str, Any]) -> str:
        prompt = request["messages"][0]["content"]
        names = re.search(r"Features: (.*?)\. Say", prompt).group(1).split("; ")  # type: ignore[union-attr]
        labels = re.search(r"Classes: (.*?)\. Features", prompt).group(1).split(", ")  # type: ignore[union-attr]
        told = {name: weights_of[name] for name in names}
        return "Sure!\n" + json.dumps({"answer": labels[0], "scores": told})

    return say


def test_a_server_is_asked_in_words_and_its_scores_are_graded() -> None:
    decision = linear(WEIGHTS, 0.3)
    with serving(replying(dict(zip(NAMES, (5 * WEIGHTS).tolist(), strict=True)))) as server:
        true = on_trial([decision] * 3, Served(Chat("small", url=server.url)))
    with serving(replying(dict(zip(NAMES, (-5 * WEIGHTS).tolist(), strict=True)))) as server:
        lie = on_trial([decision] * 3, Served(Chat("small", url=server.url)))
    assert true.speaker == "chat:small" and true.scores["speaker"]["rank correlation"] == pytest.approx(1.0)
    worst = np.cumsum(np.sort(WEIGHTS))[:5].mean()
    assert lie.scores["speaker"]["comprehensiveness"] == pytest.approx(worst)
    assert lie.scores["speaker"]["comprehensiveness"] < true.scores["speaker"]["comprehensiveness"]
    assert "image_url" not in json.dumps(server.asked)


def test_a_trial_of_nothing_is_refused() -> None:
    with pytest.raises(RequestError):
        on_trial([], Honest())
    with pytest.raises(RequestError):
        Mode("sideways")
    with pytest.raises(RequestError):
        Decision(("one",), lambda present: present, ("a",))
