"""Every sentence names its figures, and its test gives the same figures again, or others for another model."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pellucid as pl
from pellucid.errors import RequestError
from pellucid.language import check, templates
from pellucid.language.templates import Topic
from pellucid.registry import claim_tests
from pellucid.results import Claim, Prediction
from pellucid.results.claim import VERDICTS
from pellucid.subject import VisionModel, wrap
from pellucid.trust.sanity import randomise
from pellucid.values import Class, Contrast, Seed
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


def test_every_registered_test_has_its_sentence_here() -> None:
    assert set(KINDS) == set(claim_tests()) == set(story(0))


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
    other = pl.load("testbed:cnn_background") if which == "background" else forgetful()
    again = claim.recheck(other)
    now, before = figures(again), figures(claim)
    unalike = [name for name in now if name not in ("count", "share") and now[name] != before[name]]
    assert unalike and again.text != claim.text
    assert again.verdict in VERDICTS


@pytest.mark.parametrize("scene", [0, 1])
def test_what_the_model_knew_is_refuted_for_one_that_knows_nothing(scene: int) -> None:
    claims = story(scene)
    assert claims["prediction"].recheck(forgetful()).verdict == "refuted"
    assert claims["prediction"].recheck(pl.load("testbed:cnn_background")).verdict == "refuted"


def test_checking_again_leaves_claim_and_model_as_they_were() -> None:
    network = model().module
    assert network is not None
    for claim in story(0).values():
        before = json.dumps(claim.to_dict(), sort_keys=True)
        with unchanged(network):
            claim.recheck(model())
        claim.recheck(forgetful())
        assert json.dumps(claim.to_dict(), sort_keys=True) == before


# -- a model whose every figure is known ----------------------------------------------------------------------------


class OneCorner(nn.Module):
    """Class 1 is the mean of the upper left 4 x 4 pixels times ten; classes 0 and 2 are constants."""

    def forward(self, inputs: Tensor) -> Tensor:
        corner = inputs[:, :, :4, :4].mean(dim=(1, 2, 3)) * 10
        return torch.stack([torch.ones_like(corner), corner, torch.zeros_like(corner)], dim=1)


def corner_topic(network: nn.Module | None = None) -> tuple[Topic, np.ndarray, np.ndarray]:
    """The topic, the corner that decides, and a patch of that size that does not."""
    picture = torch.zeros(1, 3, 16, 16)
    picture[:, :, :4, :4] = 1
    wrapped = wrap(network or OneCorner(), input_size=(16, 16), activation="none")
    frame = pl.Frame.from_tensor(picture[0], "corner")
    topic = Topic(wrapped, frame, Class(1), "corner", 0, unit="score", input=picture[0].numpy())
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
    assert words in templates.agreement_sentence(correlation)


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


def test_the_headline_says_only_what_held() -> None:
    topic, right, wrong = corner_topic()
    matters, not_matters = templates.removed(topic, right, "mean"), templates.removed(topic, wrong, "mean")
    first = templates.predicted(topic, Prediction(1, topic.model.labels.name(1), 10.0))
    because = templates.headline([first, matters], "corner")
    assert because == f"“{first.measured['label']}”, because of {matters.measured['region']}"
    assert templates.headline([first, not_matters], "corner") == f"“{first.measured['label']}”"
    assert templates.headline([replace(first, verdict="refuted")], "corner") == "“corner”"


def test_a_claim_without_a_picture_or_with_an_unknown_test_is_refused() -> None:
    claim = story(0)["prediction"]
    with pytest.raises(RequestError, match="no picture of its own"):
        replace(claim, frame=None).recheck(model())
    with pytest.raises(RequestError, match="No claim test is called 'guess'"):
        replace(claim, test="guess").recheck(model())
