"""Every sentence names its figures, and its test gives the same figures again, or others for another model."""

from __future__ import annotations

import copy
import io
import json
import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

import pellucid as pl
from pellucid.errors import RequestError, ShapeError, UnknownClass
from pellucid.language import check, templates, wording
from pellucid.language.templates import Topic
from pellucid.registry import claim_tests
from pellucid.results import Claim, Prediction
from pellucid.results.claim import VERDICTS
from pellucid.subject import VisionModel, wrap
from pellucid.trust.sanity import randomise
from pellucid.values import Call, Class, Contrast, Seed
from tests.guests import unchanged
from tests.oracles.nets import LinearPicture, pictures

KINDS = {
    "prediction": ("label", "value"),
    "removal": ("before", "after", "random", "share"),
    "survival": ("before", "after", "random", "share"),
    "runner_up": ("lead", "lead_after", "lead_random", "second"),
    "agreement": ("correlation", "lowest", "count"),
}
EVERY = [(kind, scene) for kind in KINDS for scene in (0, 1)]


@cache
def model() -> VisionModel:
    return pl.load("testbed:cnn")


@cache
def background() -> VisionModel:
    """The same architecture, trained where the background tells the class."""
    return pl.load("testbed:cnn_background")


@cache
def story(scene: int) -> dict[str, Claim]:
    frames = pl.testbed.scenes(7, 2).frames()
    answer = pl.explain(model(), frames[scene], methods=["layer_cam", "gradient_x_input"])
    return {claim.test: claim for claim in answer.claims}


@cache
def forgetful() -> VisionModel:
    """The same architecture with random weights."""
    network = copy.deepcopy(model().module)
    assert network is not None
    for place, module in enumerate(network.modules()):
        if list(module.parameters(recurse=False)):
            randomise(module, Seed(5).child(place))
    return model().with_module(network)


def figures(claim: Claim) -> dict[str, object]:
    return {name: claim.measured[name] for name in KINDS[claim.test]}


def test_every_sentence_of_an_explanation_is_tried_here() -> None:
    assert set(KINDS) == set(story(0)) <= set(claim_tests())


@pytest.mark.parametrize(("kind", "scene"), EVERY)
def test_a_claim_has_a_verdict_and_its_figures_stand_in_the_sentence(kind: str, scene: int) -> None:
    claim = story(scene)[kind]
    assert claim.verdict in VERDICTS and claim.verdict == "verified"  # what is said of a model is true of it
    assert set(KINDS[kind]) <= set(claim.measured)
    shown = [(name, form) for name, form in re.findall(r"{(\w+):([^}]+)}", claim.template)]
    assert shown
    for name, form in shown:
        assert isinstance(claim.measured[name], (int, float))
        assert format(claim.measured[name], form) in claim.text
    assert "{" not in claim.text and "nan" not in claim.text


@pytest.mark.parametrize(("kind", "scene"), EVERY)
def test_the_same_model_gives_the_same_verdict_and_figures(kind: str, scene: int) -> None:
    claim = story(scene)[kind]
    again = claim.recheck(model())
    assert (again.verdict, again.text) == (claim.verdict, claim.text)
    assert again.measured == pytest.approx(claim.measured) if kind == "agreement" else again.measured == claim.measured


@pytest.mark.parametrize(("kind", "scene"), EVERY)
def test_a_claim_from_a_file_can_be_checked_again(kind: str, scene: int) -> None:
    claim = story(scene)[kind]
    opened = Claim.from_dict(json.loads(json.dumps(claim.to_dict())))
    assert (opened.text, opened.verdict, opened.frame) == (claim.text, claim.verdict, claim.frame)
    again = opened.recheck(model())
    assert (again.verdict, again.text) == (claim.verdict, claim.text)
    assert figures(again) == pytest.approx(figures(claim))
    assert Claim.from_dict(again.to_dict()).to_dict() == again.to_dict()


@pytest.mark.parametrize(("kind", "scene"), EVERY)
@pytest.mark.parametrize("which", ["background", "random weights"])
def test_another_model_gives_other_figures(kind: str, scene: int, which: str) -> None:
    claim = story(scene)[kind]
    other = background() if which == "background" else forgetful()
    again = claim.recheck(other)
    now, before = figures(again), figures(claim)
    unalike = [name for name in now if name not in ("count", "share") and now[name] != before[name]]
    assert unalike and again.text != claim.text
    assert again.verdict in VERDICTS


@pytest.mark.parametrize("scene", [0, 1])
def test_what_the_model_knew_is_refuted_for_one_that_knows_nothing(scene: int) -> None:
    claims = story(scene)
    assert claims["prediction"].recheck(forgetful()).verdict == "refuted"
    assert claims["prediction"].recheck(background()).verdict == "refuted"


def test_checking_again_leaves_claim_and_model_as_they_were() -> None:
    network = model().module
    assert network is not None
    for claim in story(0).values():
        before = json.dumps(claim.to_dict(), sort_keys=True)
        with unchanged(network):
            claim.recheck(model())
        claim.recheck(forgetful())
        assert json.dumps(claim.to_dict(), sort_keys=True) == before


# -- what was claimed, and what is measured now -----------------------------------------------------------------------


def as_told(claim: Claim) -> dict[str, object]:
    return {"text": claim.text, "verdict": claim.verdict, "measured": dict(claim.measured), "kind": claim.predicate}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", ["itself", "background"])
def test_checking_again_and_again_gives_the_same_answer(kind: str, which: str) -> None:
    claim, other = story(0)[kind], model() if which == "itself" else background()
    once = claim.recheck(other)
    twice = once.recheck(other)
    filed = Claim.from_dict(json.loads(json.dumps(twice.to_dict()))).recheck(other)
    assert as_told(once) == as_told(twice) == as_told(filed)
    if which == "itself":
        assert once.verdict == claim.verdict == "verified"


@pytest.mark.parametrize("kind", KINDS)
def test_another_model_in_between_leaves_no_trace(kind: str) -> None:
    claim = story(0)[kind]
    back = claim.recheck(background()).recheck(forgetful()).recheck(model())
    assert as_told(back) == as_told(claim.recheck(model()))
    assert back.original is claim


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_claimed_is_kept_beside_what_is_measured_now(kind: str) -> None:
    claim = story(0)[kind]
    again = claim.recheck(background())
    assert again.first is claim and claim.first is claim and claim.original is None
    opened = Claim.from_dict(json.loads(json.dumps(again.to_dict())))
    assert opened.original is not None and as_told(opened.original) == as_told(claim)
    assert (opened.text, opened.verdict) == (again.text, again.verdict)
    assert opened.to_dict() == again.to_dict()


@pytest.mark.parametrize("scene", [0, 1])
def test_the_words_are_those_of_the_figures_measured_now(scene: int) -> None:
    """On a net that looks at the background; the figures decide which sentence it must be."""
    other = background()
    now = {kind: claim.recheck(other) for kind, claim in story(scene).items()}
    found = now["removal"].measured
    drop, by_chance = found["before"] - found["after"], found["before"] - found["random_worst"]
    holds = drop > by_chance and drop > 0
    assert ("rests most on" in now["removal"].text, "no further than" in now["removal"].text) == (holds, not holds)
    assert now["removal"].verdict == ("verified" if holds else "refuted")
    suffices = now["survival"].measured["after"] > now["survival"].measured["random_best"]
    assert ("no more than a random region" in now["survival"].text) == (not suffices)
    agrees = now["agreement"]
    assert agrees.template == wording.agreement(agrees.measured["correlation"])
    moved = abs(agrees.measured["correlation"] - story(scene)["agreement"].measured["correlation"])
    assert agrees.verdict == ("verified" if moved <= 0.1 else "refuted")


def constant(index: int, value: float, like: VisionModel) -> VisionModel:
    """A black box that gives one class that probability, whatever it is shown."""

    def answer(inputs: Tensor) -> Tensor:
        row = torch.full((len(like.labels),), (1 - value) / (len(like.labels) - 1))
        row[index] = value
        return row.expand(len(inputs), -1)

    return wrap(
        answer, preprocess=like.preprocess, labels=list(like.labels), activation="probabilities", input_size=(64, 64)
    )


def test_a_refuted_prediction_stays_refuted_however_often_it_is_asked() -> None:
    """It was claimed with its own probability; that of an earlier recheck is not what it is held to."""
    claim = story(0)["prediction"]
    index, value = int(claim.arguments["index"]), float(claim.measured["value"])
    again = claim
    for _ in range(3):
        again = again.recheck(constant(index, value - 0.3, model()))
        assert again.verdict == "refuted" and again.measured["value"] == pytest.approx(value - 0.3)
    drifting = claim
    for step in range(1, 4):  # each step is small, but the third is too far from what was claimed
        drifting = drifting.recheck(constant(index, value - 0.009 * step, model()))
        assert drifting.verdict == ("verified" if step < 3 else "refuted")
    assert again.recheck(model()).verdict == "verified"


class Weighted(nn.Module):
    """Class 1 is the picture times fixed weights, the same for all colours; class 0 is nothing."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, inputs: Tensor) -> Tensor:
        total = (inputs * self.weights).sum(dim=(1, 2, 3))
        return torch.stack([total * 0, total], dim=1)


def test_an_agreement_is_worded_by_the_correlation_measured_now() -> None:
    """Gradient w against gradient times input w x: with w = x both rise with x, with w = 1 / sqrt(x) one falls."""
    picture = torch.linspace(0.1, 1, 12 * 14).view(1, 1, 12, 14).expand(1, 3, 12, 14)
    rising, falling = (
        wrap(Weighted(weights), input_size=(12, 14)) for weights in (picture[0, 0], picture[0, 0] ** -0.5)
    )
    topic = Topic(rising, pl.Frame.from_tensor(picture[0]), Class(1), 0, input=picture[0].numpy())
    maps = [picture[0, 0], 3 * picture[0, 0] ** 2]
    claim = templates.agreeing(topic, {"gradient": {}, "gradient_x_input": {}}, None, maps)
    assert "largely agree" in claim.text and claim.measured["correlation"] == pytest.approx(1)
    same, other = claim.recheck(rising), claim.recheck(falling)
    assert (same.text, same.verdict) == (claim.text, "verified")
    assert other.measured["correlation"] == pytest.approx(-1)
    assert "hardly agree" in other.text and "-1.00" in other.text and other.verdict == "refuted"
    assert other.original is not None and "largely agree" in other.original.text
    assert "hardly agree" in other.recheck(falling).text and "largely agree" in other.recheck(rising).text


# -- a model whose every figure is known ----------------------------------------------------------------------------


class OneCorner(nn.Module):
    """Class 1 is the mean of the upper left 4 x 4 pixels times ten; classes 0 and 2 are constants."""

    def forward(self, inputs: Tensor) -> Tensor:
        corner = inputs[:, :, :4, :4].mean(dim=(1, 2, 3)) * 10
        return torch.stack([torch.ones_like(corner), corner, torch.zeros_like(corner)], dim=1)


def corner_topic(
    network: nn.Module | None = None, labels: list[str] | None = None
) -> tuple[Topic, np.ndarray, np.ndarray]:
    """The topic, the corner that decides, and a patch of that size that does not."""
    picture = torch.zeros(1, 3, 16, 16)
    picture[:, :, :4, :4] = 1
    wrapped = wrap(network or OneCorner(), input_size=(16, 16), activation="none", labels=labels)
    frame = pl.Frame.from_tensor(picture[0], "corner")
    topic = Topic(wrapped, frame, Class(1), 0, input=picture[0].numpy())
    right, wrong = np.zeros((16, 16), dtype=bool), np.zeros((16, 16), dtype=bool)
    right[:4, :4], wrong[6:10, 6:10] = True, True
    return topic, right, wrong


def test_removing_the_cause_takes_all_of_it_and_removing_anything_else_nothing() -> None:
    topic, right, wrong = corner_topic()
    fill = 10 * 16 / 256  # the picture's mean colour, as the model sees it
    held = templates.removed(topic, right, "mean")
    assert (held.predicate, held.verdict) == ("region_matters", "verified")
    assert held.measured["before"] == pytest.approx(10) and held.measured["after"] == pytest.approx(fill)
    assert held.measured["random"] == pytest.approx(10) and held.measured["share"] == 16 / 256
    denied = templates.removed(topic, wrong, "mean")
    assert (denied.predicate, denied.verdict) == ("not_region_matters", "verified")
    assert denied.measured["after"] == pytest.approx(10) and "no further than" in denied.text
    assert denied.recheck(topic.model).verdict == "verified"


def test_the_cause_alone_leaves_all_of_it_and_anything_else_alone_nothing() -> None:
    topic, right, wrong = corner_topic()
    held, denied = templates.survives(topic, right, "mean"), templates.survives(topic, wrong, "mean")
    assert (held.predicate, held.verdict) == ("region_suffices", "verified")
    assert held.measured["after"] == pytest.approx(10) and held.measured["random_best"] == pytest.approx(10 / 16)
    assert (denied.predicate, denied.verdict) == ("not_region_suffices", "verified")
    assert denied.measured["after"] == pytest.approx(10 / 16)


def test_a_region_that_leaves_little_is_not_said_to_keep_the_answer() -> None:
    """More than at random, but less than half: a quarter of the corner leaves a quarter of the score."""
    topic, right, _ = corner_topic()
    quarter = right & (np.arange(16) < 2)[:, None] & (np.arange(16) < 2)
    kept, left = templates.survives(topic, right, "black"), templates.survives(topic, quarter, "black")
    assert kept.predicate == left.predicate == "region_suffices"
    assert "keeps" in kept.text and kept.measured["after"] == pytest.approx(10)
    assert "not enough" in left.text and "even less" in left.text and left.measured["after"] == pytest.approx(2.5)


def test_the_lead_turns_over_where_the_cause_goes() -> None:
    topic, right, wrong = corner_topic()
    held = templates.separated(topic, Contrast(1, 0), right, "mean")
    assert (held.predicate, held.verdict) == ("separates", "verified")
    assert held.measured["lead"] == pytest.approx(9) and held.measured["lead_after"] == pytest.approx(10 / 16 - 1)
    assert held.measured["overtaken"] is True and "turns over" in held.text
    kept = templates.separated(topic, Contrast(1, 2), right, "mean")
    assert kept.measured["overtaken"] is False and "shrinks from 10.0 to 0.6" in kept.text
    denied = templates.separated(topic, Contrast(1, 0), wrong, "mean")
    assert (denied.predicate, denied.verdict) == ("not_separates", "verified")


def test_the_class_compared_is_called_what_it_is() -> None:
    """Class 0 scores 1, class 1 what it finds in the corner, class 2 nothing."""
    topic, right, _ = corner_topic(labels=["plain", "corner", "none"])
    second = templates.separated(topic, Contrast(1, 0), right, "black")
    first = templates.separated(replace(topic, target=Class(0)), Contrast(0, 1), right, "black")
    third = templates.separated(topic, Contrast(1, 2), right, "black")
    assert second.text.startswith("The runner-up is “plain” (1.00). The two are separated most by")
    assert first.text.startswith("The model's answer is “corner” (10.00). No single region was found")
    assert third.text.startswith("Compared is “none” (0.00), which is neither the answer nor the runner-up here.")

    class Third(OneCorner):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs) + torch.tensor([0.0, 0.0, 2.0])

    again = second.recheck(wrap(Third(), input_size=(16, 16), activation="none", labels=["plain", "corner", "none"]))
    assert again.text.startswith("Compared is “plain”") and again.verdict == "refuted"


def test_a_denial_is_refuted_by_a_model_for_which_the_region_does_matter() -> None:
    class Middle(OneCorner):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs.roll((-6, -6), (2, 3)) + 1)  # its corner is the patch in the middle

    topic, right, wrong = corner_topic()
    denied = templates.removed(topic, wrong, "noise")
    assert denied.predicate == "not_region_matters"
    other = wrap(Middle(), input_size=(16, 16), activation="none")
    held = templates.removed(topic, right, "noise").recheck(other)
    assert held.verdict == "refuted"  # and the other way about
    bright = np.asarray(topic.input).copy()
    bright[:, 6:10, 6:10] = 5
    moved = replace(denied, arguments={**denied.arguments, "input": bright, "fill": "black"})
    assert moved.recheck(other).verdict == "refuted" and moved.recheck(topic.model).verdict == "verified"


def test_figures_that_are_no_numbers_leave_a_claim_unverifiable() -> None:
    class Nowhere(OneCorner):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs) * float("nan")

    topic, right, _ = corner_topic()
    nowhere = wrap(Nowhere(), input_size=(16, 16), activation="none")
    for claim in (
        templates.removed(topic, right, "mean"),
        templates.survives(topic, right, "mean"),
        templates.separated(topic, Contrast(1, 0), right, "mean"),
    ):
        assert claim.recheck(nowhere).verdict == "unverifiable"


def test_outputs_without_a_probability_are_not_written_in_per_cent() -> None:
    topic, right, _ = corner_topic()
    first = Prediction(1, topic.model.labels.name(1), 10.0)
    claims = [templates.predicted(topic, first), templates.survives(topic, right, "mean")]
    assert "with a score of 10.00" in claims[0].text
    assert "10.00" in claims[1].text and not any("%" in claim.text for claim in claims)


def test_how_sure_a_prediction_is_follows_the_figure_beside_it() -> None:
    claim = story(0)["prediction"]
    for value, words in (
        (0.99, "almost certainly"),
        (0.8, "quite surely"),
        (0.6, "more likely than not"),
        (0.3, "not"),
    ):

        def surely(inputs: Tensor, value: float = value) -> Tensor:
            index, count = int(claim.arguments["index"]), len(model().labels)
            row = torch.full((count,), (1 - value) / (count - 1))
            row[index] = value
            return row.expand(len(inputs), -1)

        other = wrap(
            surely, preprocess=model().preprocess, labels=list(model().labels), activation="probabilities",
            input_size=(64, 64),
        )  # fmt: skip
        again = claim.recheck(other)
        assert words in again.text and f"({value:.0%})" in again.text


def test_a_refuted_sentence_is_struck_out_and_what_is_true_now_stands_beside_it() -> None:
    topic, right, _ = corner_topic()
    claim = templates.removed(topic, right, "mean")

    class Blind(OneCorner):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs * 0 + 1)

    again = claim.recheck(wrap(Blind(), input_size=(16, 16), activation="none"))
    assert (again.verdict, again.predicate) == ("refuted", "not_region_matters")
    assert "rests most on" in claim.text and "no further than" in again.text
    page = str(again.fragment())
    assert f"<s>{claim.text}</s>" in page and f"Measured again:</span> {again.text}" in page
    assert "Measured again" not in str(claim.fragment()) + str(claim.recheck(topic.model).fragment())
    with io.StringIO() as written:
        Console(file=written, width=400).print(again)
        assert claim.text in written.getvalue() and f"Measured again: {again.text}" in written.getvalue()


def test_a_class_is_found_again_by_its_name_where_classes_stand_in_another_order() -> None:
    class Shuffled(OneCorner):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs)[:, [2, 0, 1]]

    topic, right, _ = corner_topic(labels=["plain", "corner", "none"])
    made = [
        templates.predicted(topic, Prediction(1, "corner", 10.0)), templates.removed(topic, right, "mean"),
        templates.separated(topic, Contrast(1, 0), right, "mean"),
    ]  # fmt: skip
    moved = wrap(Shuffled(), input_size=(16, 16), activation="none", labels=["none", "plain", "corner, the bright one"])
    for claim in made:
        assert claim.recheck(moved).verdict == "verified"
        assert claim.recheck(moved).measured.get("before") == claim.measured.get("before")
    assert "“corner, the bright one”" in made[1].recheck(moved).text
    strange = wrap(OneCorner(), input_size=(16, 16), activation="none", labels=["a", "b", "c"])
    assert made[0].recheck(strange).verdict == "refuted"
    with pytest.raises(UnknownClass, match="no class 'corner'"):
        made[1].recheck(strange)


def test_a_region_is_found_again_where_the_picture_is_read_in_another_size() -> None:
    """A quarter of the picture stays that quarter, for a model that sees twice as many pixels."""

    class Quarter(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            corner = inputs[:, :, : inputs.shape[2] // 2, : inputs.shape[3] // 2].mean(dim=(1, 2, 3)) * 10
            return torch.stack([torch.ones_like(corner), corner], dim=1)

    pixels = np.zeros((48, 48, 3), np.uint8)
    pixels[:24, :24] = 255
    small, large = (
        wrap(Quarter(), preprocess=pl.Preprocess(size=(side, side), fit="stretch", interpolation="nearest"))
        for side in (16, 32)
    )
    assert small.preprocess is not None
    topic = Topic(small, pl.Frame(pixels).fitted(small.preprocess), Class(1), 0)
    mask = np.zeros((16, 16), dtype=bool)
    mask[:8, :8] = True
    claim = templates.removed(topic, mask, "black")
    again = claim.recheck(large)
    assert again.verdict == claim.verdict == "verified"
    assert again.measured["share"] == claim.measured["share"] == 1 / 4
    assert again.measured["before"] == pytest.approx(claim.measured["before"])
    with pytest.raises(ShapeError, match="region"):
        replace(claim, frame=None, arguments={**claim.arguments, "input": np.zeros((3, 32, 32), np.float32)}).recheck(
            large
        )


@pytest.mark.parametrize(("index", "words"), [(1, "The answer “corner” rests"), (2, "The class “none” rests")])
def test_the_sentence_says_whether_the_target_is_the_answer(index: int, words: str) -> None:
    """Where another class is explained than the one ranked first, it is not called the answer."""

    class Both(OneCorner):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs)[:, [0, 1, 1]] * torch.tensor([1.0, 1.0, 0.5])

    topic, right, _ = corner_topic(Both(), labels=["plain", "corner", "none"])
    assert templates.removed(replace(topic, target=Class(index)), right, "mean").text.startswith(words)


def test_no_sentence_begins_with_a_small_letter() -> None:
    """Labels are often written small, so none may stand first."""
    topic, right, wrong = corner_topic(labels=["plain", "corner", "none"])
    unit = replace(topic, target=Call(lambda value: value[:, 1], name="mine"))
    claims = [*story(0).values(), *story(1).values()]
    for one in (topic, replace(topic, target=Class(0)), unit):
        claims.append(templates.predicted(one, Prediction(1, "corner", 10.0)))
        for mask in (right, wrong):
            claims += [templates.removed(one, mask, "mean"), templates.survives(one, mask, "mean")]
            claims.append(templates.separated(one, Contrast(1, 0), mask, "mean"))
    texts = {claim.text for claim in claims} | {
        wording.UNMEASURED, wording.NO_NUMBER, *(wording.agreement(value) for value in (1, 0.5, 0.2, 0)),
    }  # fmt: skip
    assert len(texts) > 15
    for text in texts:
        starts = re.findall(r"(?:^|[.!?] )\W*(\w)", text)
        assert starts and not [letter for letter in starts if letter.islower()], text


# -- parts ----------------------------------------------------------------------------------------------------------


def test_agreement_of_equal_opposite_and_unrelated_maps() -> None:
    ramp = torch.arange(30.0).view(5, 6)
    assert check.rank_agreement(["a", "b"], [ramp, ramp.exp()])[0] == pytest.approx(1)
    assert check.rank_agreement(["a", "b"], [ramp, -ramp])[0] == pytest.approx(-1)
    mean, lowest, pair = check.rank_agreement(["a", "b", "c"], [ramp, ramp**2, -ramp])
    assert mean == pytest.approx(-1 / 3) and lowest == pytest.approx(-1) and pair == ("a", "c")


@pytest.mark.parametrize(
    ("correlation", "words"),
    [(1.0, "largely agree"), (0.5, "agree in part"), (0.2, "agree a little"), (0.0, "hardly"), (-1.0, "hardly")],
)
def test_how_far_methods_agree_is_said_in_words(correlation: float, words: str) -> None:
    assert words in wording.agreement(correlation)


def test_random_regions_have_the_shape_and_size_of_the_one_they_stand_for() -> None:
    mask = torch.zeros(16, 20, dtype=torch.bool)
    mask[2:6, 3:8] = True
    moved = list(check.shifted(mask, 5, Seed(0)))
    assert all(int(one.sum()) == 20 and not torch.equal(one, mask) for one in moved)
    again = list(check.shifted(mask, 5, Seed(0)))
    assert all(torch.equal(one, other) for one, other in zip(moved, again, strict=True))
    shapes = {tuple(torch.fft.fft2(one.float()).abs().round(decimals=3).flatten().tolist()) for one in [mask, *moved]}
    assert len(shapes) == 1  # a shift changes no magnitude of the spectrum


def test_a_claim_about_a_tensor_keeps_it_and_can_be_checked_from_a_file() -> None:
    under_study = wrap(LinearPicture(12, 14), input_size=(12, 14))
    answer = pl.explain(under_study, pictures(1), target=2, methods=["gradient_x_input", "saliency"])
    assert answer.claims
    for claim in answer.claims:
        again = Claim.from_dict(json.loads(json.dumps(claim.to_dict()))).recheck(under_study)
        assert (again.verdict, again.text) == (claim.verdict, claim.text)


def test_a_claim_without_a_picture_or_with_an_unknown_test_is_refused() -> None:
    claim = story(0)["prediction"]
    with pytest.raises(RequestError, match="no picture of its own"):
        replace(claim, frame=None).recheck(model())
    with pytest.raises(RequestError, match="No claim test is called 'guess'"):
        replace(claim, test="guess").recheck(model())
