"""Finished answers: frozen, equal to themselves from disk, refused when damaged."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.errors import FileError, RequestError, ShapeError
from pellucid.results import (
    Choice,
    Claim,
    Claims,
    Explanation,
    Heatmaps,
    ModelCard,
    Prediction,
    Result,
    Score,
    Truth,
    open_explanation,
)
from pellucid.values import Check, Class
from tests.results.making import CARD, explanation, heatmaps, score, small_scene


@pytest.fixture(scope="module")
def story() -> Explanation:
    return small_scene()


NOUNS: dict[str, Callable[[Explanation], Result]] = {
    "Explanation": lambda story: story,
    "Heatmaps": lambda story: story.chosen,
    "ModelCard": lambda story: story.model,
    "Score": lambda story: story.scores[0],
    "Prediction": lambda story: story.predictions[0],
    "Claim": lambda story: replace(story.claims[1], frame=story.frame),
    "Truth": lambda story: story.truth or pytest.fail("the scene has its truth"),
    "Choice": lambda story: story.choice,
}


@pytest.mark.parametrize("noun", NOUNS)
def test_a_result_comes_back_from_json_equal(noun: str, story: Explanation) -> None:
    result: Any = NOUNS[noun](story)
    back = type(result).from_dict(json.loads(json.dumps(result.to_dict(), allow_nan=False)))
    assert back == result and hash(back) == hash(result)


@pytest.mark.parametrize("noun", NOUNS)
def test_a_result_shows_itself_as_html_and_in_a_terminal(
    noun: str, story: Explanation, capsys: pytest.CaptureFixture[str]
) -> None:
    result = NOUNS[noun](story)
    markup = result._repr_html_()
    assert 'class="pellucid' in markup and "http" not in markup
    result.show()
    assert len(capsys.readouterr().out.strip()) > 5


@pytest.mark.parametrize("noun", NOUNS)
def test_a_result_saves_itself_by_suffix_and_refuses_others(noun: str, story: Explanation, tmp_path: Path) -> None:
    result = NOUNS[noun](story)
    assert json.loads(result.save(tmp_path / "new" / "one.json").read_text())["format"] == 1
    assert result.save(tmp_path / "one.html").read_text().startswith("<!doctype html>")
    with pytest.raises(RequestError, match=r"\.json or .*not as .xyz"):
        result.save(tmp_path / "one.xyz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "one.html"]


def test_an_explanation_opened_is_the_one_that_was_saved(story: Explanation, tmp_path: Path) -> None:
    opened = open_explanation(story.save(tmp_path / "scene.json"))
    assert opened == story and opened.headline == story.headline
    assert opened.frame == story.frame and (opened.chosen.on_frame() > 0).any()


def test_another_explanation_is_not_equal(story: Explanation) -> None:
    other = replace(story, seed=1)
    assert other != story and story != "a story"


def test_maps_of_gradients_keep_their_unit_on_disk(tmp_path: Path) -> None:
    heat = heatmaps("gradient")
    tiny = replace(heat, values=heat.values * 1e-12)
    story = replace(explanation(methods=("gradient",)), heatmaps=(tiny,))
    back = open_explanation(story.save(tmp_path / "x.json")).chosen.values
    assert torch.allclose(back, tiny.values, rtol=1e-3, atol=float(tiny.values.max()) * 1e-6)


def test_the_picture_is_kept_once_however_many_maps_there_are(tmp_path: Path) -> None:
    one, ten = explanation(methods=("layer_cam",)), explanation()
    assert len(ten.to_dict()["shelf"]["frames"]) == len(one.to_dict()["shelf"]["frames"]) == 1


def spoiled(record: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps({**record, **changes}).encode()


def with_map(record: dict[str, Any], values: dict[str, Any]) -> bytes:
    return spoiled(record, heatmaps=[{**record["heatmaps"][0], "values": values}])


DAMAGE: dict[str, tuple[Callable[[dict[str, Any]], bytes], str]] = {
    "empty": (lambda _: b"", "not complete JSON"),
    "cut off": (lambda record: json.dumps(record).encode()[:-100], "not complete JSON"),
    "not text": (lambda _: b"\x89PNG\r\n\x1a\n\xff\xfe", "not complete JSON"),
    "a list": (lambda _: b"[1, 2]", "not a result of pellucid"),
    "foreign": (lambda _: b'{"model": "x"}', "not a result of pellucid"),
    "nested too deep": (lambda _: b"[" * 100_000, "not complete JSON"),
    "newer": (lambda record: spoiled(record, format=99), "format 99"),
    "another kind": (lambda record: spoiled(record, pellucid="score"), "not an explanation"),
    "a key lost": (lambda record: json.dumps({**record, "heatmaps": None}).encode(), "damaged"),
    "no maps": (lambda record: spoiled(record, heatmaps=[]), "damaged"),
    "wrong kind of value": (lambda record: spoiled(record, predictions=7), "damaged"),
    "shelf without frames": (lambda record: spoiled(record, shelf={"frames": [], "models": []}), "damaged"),
    "a map of wrong length": (
        lambda record: with_map(record, {"shape": [1, 2, 2], "data": "AAA=", "exponent": 0}), "damaged",
    ),
    "a map that is no base64": (
        lambda record: with_map(record, {"shape": [1], "data": "!!", "exponent": 0}), "damaged",
    ),
    "an unknown target": (lambda record: spoiled(record, target={"kind": "wish"}), "damaged"),
    "a template that reaches into things": (
        lambda record: spoiled(record, claims=[{**record["claims"][0], "template": "{label.__class__}"}]), "damaged",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_or_foreign_file_is_refused_by_name(damage: str, story: Explanation, tmp_path: Path) -> None:
    spoil, words = DAMAGE[damage]
    record = json.loads(story.save(tmp_path / "good.json").read_bytes())
    (path := tmp_path / "bad.json").write_bytes(spoil(record))
    with pytest.raises(FileError, match=words) as caught:
        open_explanation(path)
    assert str(caught.value).startswith(str(path)) and caught.value.remedy


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"none\.json: it cannot be read"):
        open_explanation(tmp_path / "none.json")


def test_a_save_that_fails_leaves_the_old_file_and_no_other(
    story: Explanation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path := tmp_path / "one.json").write_text("old")

    def broken(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(FileError, match="No space left"):
        story.choice.save(path)
    assert path.read_text() == "old" and [entry.name for entry in tmp_path.iterdir()] == ["one.json"]


def test_a_result_cannot_be_changed(story: Explanation) -> None:
    with pytest.raises(FrozenInstanceError):
        story.seed = 3  # type: ignore[misc]


@pytest.mark.untyped
def test_maps_and_pictures_have_to_agree_in_number() -> None:
    heat = heatmaps()
    with pytest.raises(ShapeError, match="one per entry of frames"):
        replace(heat, frames=heat.frames * 2, targets=heat.targets * 2, target_names=heat.target_names * 2)
    with pytest.raises(ShapeError, match="batch height width"):
        replace(heat, values=torch.ones(3, 3))


def test_a_part_of_the_batch_keeps_what_belongs_to_it() -> None:
    heat = heatmaps()
    pair = replace(
        heat, values=torch.cat([heat.values, heat.values * 0]), frames=heat.frames * 2, targets=(Class(1), Class(2)),
        target_names=("a", "b"), checks=heat.checks * 2,
    )  # fmt: skip
    assert [pair[place].target_names for place in (0, 1, -1)] == [("a",), ("b",), ("b",)]
    assert pair[1:].flat(0) and not pair[0].flat() and not pair.passed(1) and pair.passed(0)
    with pytest.raises(IndexError):
        pair[2]


def test_a_map_lies_on_the_pixels_the_model_saw() -> None:
    """Model input is the centre of the picture: what it never saw stays zero."""
    heat = replace(heatmaps(), values=torch.ones(1, 224, 224))
    laid = heat.on_frame()
    geometry = heat.frames[0].geometry
    assert geometry is not None and laid.shape == (300, 451)
    assert np.allclose(laid[geometry.seen], 1) and (laid[~geometry.seen] == 0).all()


def test_kept_channels_are_summed_with_their_sign() -> None:
    heat = replace(heatmaps(), values=torch.stack([torch.full((224, 224), value) for value in (1.0, -3.0, 0.5)])[None])
    assert np.isclose(heat.on_frame()[150, 225], -1.5)


def test_a_map_fails_when_a_check_does_or_when_it_is_no_number() -> None:
    heat = heatmaps()
    assert heat.failure() == ""
    failed = replace(heat, checks=((Check("completeness", False, 0.4, "it misses 40%."),),))
    assert not failed.passed() and "it misses 40%" in failed.failure()
    broken = replace(heat, values=heat.values * float("nan"))
    assert not broken.passed() and "not numbers" in broken.failure()


@pytest.mark.parametrize(
    ("better", "value", "beats"),
    [("higher", 0.5, True), ("higher", 0.3, False), ("lower", 0.0, True), ("lower", 0.2, False)],
)
def test_a_score_beats_its_controls_only_when_it_beats_each(better: Any, value: float, beats: bool) -> None:
    one = Score("m", "x", (value,), (0.04,), (0.31,), (0.12,), better=better)
    assert one.beats_controls() is beats


def test_a_score_without_controls_beats_nothing() -> None:
    assert not Score("m", "x", (1.0,)).beats_controls()


def test_a_score_that_is_unknown_stays_unknown() -> None:
    back = Score.from_dict(Score("m", "x", (math.nan,), (0.0,)).to_dict())
    assert math.isnan(back.values[0]) and not back.beats_controls()


def test_a_curve_is_the_mean_over_its_fills() -> None:
    one = replace(score("x", 0.3), curves={"fractions": [0, 1], "deletion": [[[1.0, 0.0]], [[0.5, 0.5]]]})
    assert one.curve("deletion") == [0.75, 0.25] and one.curve("insertion") is None


def test_a_claim_says_what_was_measured() -> None:
    claim = Claim("{label} falls to {after:.0%}.", "p", "t", {"label": "cat", "after": 0.083}, verdict="verified")
    assert claim.text == "cat falls to 8%." and claim.figures == {"after": "0.083"}


@pytest.mark.untyped
def test_a_claim_names_only_what_was_measured() -> None:
    for template in ("{nothing}", "{label.__class__}", "{label[0]}", "{after:999999999}"):
        with pytest.raises(RequestError, match="asks for"):
            Claim(template, "p", "t", {"label": "cat", "after": 0.1})
    with pytest.raises(RequestError, match="expected verified, refuted, unverifiable"):
        Claim("x", "p", "t", verdict="maybe")  # type: ignore[arg-type]


def test_a_claim_is_rechecked_by_its_registered_test(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, story: Explanation
) -> None:
    def refute(model: object, claim: Claim) -> Claim:
        return replace(
            claim,
            verdict="refuted" if (model, claim.arguments["region"].mask.sum() > 0) == ("model", True) else "verified",
        )

    monkeypatch.setattr("pellucid.results.claim.claim_tests", lambda: {"removal": refute})
    from_disk = open_explanation(story.save(tmp_path / "s.json"))
    assert from_disk.claims[1].recheck("model").verdict == "refuted"
    with pytest.raises(RequestError, match="Known: removal"):
        from_disk.claims[0].recheck("model")


def test_the_headline_is_the_first_verified_claim_beyond_the_prediction(story: Explanation) -> None:
    assert story.headline == story.claims[1].text
    none = replace(story, claims=Claims(replace(claim, verdict="refuted") for claim in story.claims))
    assert none.headline == "The model sees “finch”, 99.8% sure. Nothing more about it could be verified."
    unsure = replace(none, predictions=(Prediction(285, "cat", math.nan),))
    assert unsure.headline == "The model sees “cat”. Nothing more about it could be verified."


def test_a_choice_that_loses_says_so_plainly() -> None:
    lost = Choice("x", "", 0.2, -0.07, 0.1, False)
    assert "no better than the centre of the picture" in lost.sentence and "−0.07" in lost.sentence
    assert "does better" in Choice("x", "", 0.2, 0.07, 0.1, True).sentence
    assert "not measured" in Choice("x", "").sentence


def test_a_prediction_without_probability_says_so() -> None:
    line = Prediction(3, "cat", math.nan)
    assert line.text == "cat, unknown" and math.isnan(Prediction.from_dict(line.to_dict()).probability)


def test_maps_are_saved_as_arrays_and_as_a_picture(tmp_path: Path) -> None:
    heat = heatmaps()
    with np.load(heat.save(tmp_path / "x.npz")) as kept:
        assert (kept["values"] == heat.values.numpy()).all() and str(kept["method"]) == "layer_cam"
    with Image.open(heat.save(tmp_path / "x.png")) as picture:
        assert min(picture.size) > 300


def test_a_truth_says_how_much_it_covers() -> None:
    assert Truth(np.eye(10) > 0, words="a diagonal").text == "a diagonal (10% of the picture)"


def test_a_model_card_keeps_every_field() -> None:
    assert ModelCard.from_dict(json.loads(json.dumps(CARD.to_dict()))) == CARD


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 1)])
def test_pictures_of_odd_shape_are_drawn_everywhere(shape: tuple[int, int], tmp_path: Path) -> None:
    from pellucid.images import Frame

    frame = Frame(np.full((*shape, 3), 90, dtype=np.uint8), "odd.png")
    heat = Heatmaps(torch.rand(1, *shape), "gradient", (Class(0),), ("x",), None, False, (frame,), model=CARD)
    story = replace(small_scene(), frame=frame, heatmaps=(heat,), truth=None)
    for suffix in ("html", "png", "json"):
        assert story.save(tmp_path / f"odd.{suffix}").stat().st_size > 100


def test_a_map_that_cannot_be_drawn_still_has_its_page(story: Explanation) -> None:
    broken = replace(story.chosen, values=story.chosen.values * float("nan"))
    page = replace(story, heatmaps=(broken, *story.heatmaps[1:]), truth=None)
    from pellucid.results.page import render

    assert "values that are not numbers" in render(page)
