"""Which support pixels a few-shot segmenter segments a query by: closed forms, and what is planted on the testbed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.testing import assert_close

import pellucid as pl
from pellucid.attribution.affinity import affinity
from pellucid.attribution.few_shot import Episode
from pellucid.errors import MethodUnavailable, RequestError, ShapeError
from pellucid.results.support_maps import SupportMaps
from pellucid.stories.few_shot import few_shot, matched, support_of
from pellucid.testbed import scenes
from pellucid.trust.support import compared

SIDE = 4


@dataclass(frozen=True)
class Given:
    """A matcher whose scores and logits are written down; `without` are its logits as each level is ablated."""

    scores: Sequence[Tensor]
    answer: Tensor
    without: Sequence[Tensor] = ()

    def levels(self) -> Sequence[Tensor]:
        return self.scores

    def logits(self) -> Tensor:
        return self.answer

    def ablate(self, level: int) -> Tensor:
        return self.without[level]


def one_pixel(row: int, column: int) -> Tensor:
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[row, column] = True
    return mask


def answer(foreground: float = 1.0) -> Tensor:
    return torch.stack([torch.zeros(SIDE, SIDE), torch.full((SIDE, SIDE), foreground)])


@pytest.mark.parametrize("softmax", [True, False])
def test_a_query_pixel_matched_to_one_support_pixel_has_that_as_its_map(softmax: bool) -> None:
    scores = torch.zeros(SIDE, SIDE, 2, SIDE, SIDE)
    scores[1, 2, 1, 3, 0] = 60.0 if softmax else 1.0
    if softmax:  # the others are matched to another support pixel, so that this one is alone
        scores[..., 0, 0, 0] += 60.0
        scores[1, 2, 0, 0, 0] = 0.0
    found = affinity(Given([scores], answer()), 1, one_pixel(1, 2), (SIDE, SIDE), softmax=softmax, weighting="mean")
    expected = torch.zeros(2, SIDE, SIDE)
    expected[1, 3, 0] = 1.0
    assert_close(found.values, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("softmax", [True, False])
def test_uniform_matching_gives_a_uniform_map(softmax: bool) -> None:
    scores = torch.full((3, 2, 2, 2, 2), 0.7)
    found = affinity(Given([scores], answer()), 1, answer()[1] > 0, (6, 5), softmax=softmax, weighting="mean")
    assert_close(found.values, torch.full((2, 6, 5), 1 / 60))


def test_maps_sum_to_one_over_all_shots_and_levels_and_are_not_negative() -> None:
    draw = torch.Generator().manual_seed(2)
    levels = [torch.randn(side, side, 3, side, side, generator=draw) for side in (2, 4)]
    found = affinity(Given(levels, answer()), 1, one_pixel(0, 3), (9, 7), weighting="mean")
    assert found.values.shape == (3, 9, 7) and float(found.values.min()) >= 0
    assert float(found.values.double().sum()) == pytest.approx(1, abs=1e-6)


def test_the_map_is_that_of_the_enlarged_maps_over_the_query_written_out() -> None:
    """Each support place's map over the query is enlarged, brought to sum 1 and averaged over the explained pixels."""
    draw = torch.Generator().manual_seed(4)
    scores = torch.randn(3, 2, 2, 2, 3, generator=draw).double()
    explained = torch.rand(7, 5, generator=draw) > 0.6
    matcher = Given([scores], torch.zeros(2, 7, 5))
    found = affinity(matcher, 1, explained, (2, 3), weighting="mean")
    shares = scores.flatten(2).softmax(dim=2).permute(2, 0, 1)[:, None]
    large = interpolate(shares, (7, 5), mode="bilinear", align_corners=False)[:, 0]
    large = large / (large.sum(dim=(1, 2), keepdim=True) + 1e-6)
    places = large[:, explained].mean(dim=1).view(2, 2, 3)
    assert_close(found.values, (places / places.sum()).float())


def test_scores_that_are_no_shares_are_refused_without_softmax() -> None:
    with pytest.raises(RequestError, match="negative in places"):
        affinity(Given([-torch.ones(1, 1, 1, 1, 1)], answer()), 1, one_pixel(0, 0), (SIDE, SIDE), softmax=False)
    with pytest.raises(RequestError, match="No pixel of the query"):
        affinity(Given([], answer()), 1, one_pixel(0, 0) & False, (SIDE, SIDE))
    with pytest.raises(RequestError, match="0 all over"):
        affinity(Given([torch.zeros(1, 1, 1, 1, 1)], answer()), 1, one_pixel(0, 0), (SIDE, SIDE), softmax=False)


@pytest.mark.untyped
def test_scores_of_another_shape_are_named() -> None:
    with pytest.raises(ShapeError, match="scores of a level"):
        affinity(Given([torch.ones(2, 2)], answer()), 1, one_pixel(0, 0), (SIDE, SIDE))


def test_a_level_weighs_as_much_as_its_ablation_takes_from_the_class() -> None:
    """Falls of 3, 1 and -2 (a level that spoke against the class) weigh 3/4, 1/4 and nothing."""
    levels = [torch.zeros(1, 1, 1, 1, 1)] * 3
    matcher = Given(levels, answer(1.0), [answer(-2.0), answer(0.0), answer(3.0)])
    found = affinity(matcher, 1, one_pixel(2, 2), (SIDE, SIDE))
    assert_close(found.weights, torch.tensor([0.75, 0.25, 0.0]))
    assert not found.blind
    blind = affinity(Given(levels, answer(), [answer()] * 3), 1, one_pixel(2, 2), (SIDE, SIDE))
    assert blind.blind and blind.weights.tolist() == pytest.approx([1 / 3] * 3)


def test_places_take_the_class_of_the_one_support_place_that_is_like_them() -> None:
    """Features are one-hot: the query shows the support's places in another order, and so its mask."""
    support = torch.eye(4).view(4, 2, 2)[None]
    order = [2, 0, 3, 1]
    query = torch.eye(4)[:, order].view(1, 4, 2, 2)
    marked = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    shares = torch.stack([1 - marked, marked])
    for deciding in ("matching", "prototypes"):
        held = Episode((query,), (support,), shares, (2, 2), deciding, temperature=0.02)
        expected = marked.flatten()[order].view(2, 2)
        assert_close(held.logits().softmax(dim=0)[1], expected, atol=1e-4, rtol=0)
        assert_close(held.ablate(0).softmax(dim=0)[1], torch.full((2, 2), 0.5))
    scores = Episode((query,), (support,), shares, (2, 2), temperature=0.5).levels()[0]
    assert_close(scores[0, 0, 0], torch.tensor([[0.0, 0.0], [2.0, 0.0]]))


# -- on the testbed ---------------------------------------------------------------------------------------------------

DRAWN = scenes(3000, 24)


def shots(query: int, count: int = 2) -> list[int]:
    """Scenes of the query's own species, from the ones that are no queries."""
    return [at for at in range(8, 24) if DRAWN.labels[at] == DRAWN.labels[query]][:count]


def wings(at: list[int]) -> list[np.ndarray]:
    return list(DRAWN.mask("wing")[at].astype(np.uint8))


def asked(**settings: Any) -> SupportMaps:
    inputs, at = DRAWN.tensor(), [19, 20]
    classes: Any = settings.pop("classes", ["wing"])
    return few_shot("testbed:segmenter", inputs[[7]], inputs[at], wings(at), classes=classes, **settings)


@pytest.mark.parametrize("name", ["testbed:segmenter", "testbed:cnn"])
def test_what_a_wing_is_matched_to_are_wings_of_its_species(name: str) -> None:
    """A map that knows nothing has 3 % on the wings, most of it lies there on the average of the segmenter's."""
    inside, area = [], []
    for query in (0, 1, 3, 5):
        at = shots(query)
        inputs = DRAWN.tensor()
        found = few_shot(name, inputs[[query]], inputs[at], wings(at), explained="truth", truth=wings([query])[0])
        assert found.inside() > 4 * found.area(), f"scene {query}: {found.inside():.2f} of {found.area():.2f}"
        inside.append(found.inside())
        area.append(found.area())
    assert np.mean(inside) > (0.5 if name == "testbed:segmenter" else 0.25), (
        f"{np.mean(inside):.2f}, {np.mean(area):.2f}"
    )


def test_two_classes_of_one_support_have_a_map_each() -> None:
    inputs, at = DRAWN.tensor(), [19, 20]
    both = [wing + 2 * tail.astype(np.uint8) for wing, tail in zip(wings(at), DRAWN.mask("tail")[at], strict=True)]
    found = few_shot("testbed:segmenter", inputs[[7]], inputs[at], both, classes=["wing", "tail"])
    wrong = float(found.values[0][torch.from_numpy(found.marked == 2)].sum())
    assert found.inside("wing") > 0.5 > 0.1 > wrong
    assert found.inside("tail") > 10 * found.area("tail")
    assert set(np.unique(found.said)) == {0, 1, 2}


def test_a_shot_that_shows_no_bird_is_matched_least() -> None:
    inputs = DRAWN.tensor()[[7, 19, 20]]
    inputs = torch.cat([inputs, inputs[:1].mean(dim=(2, 3), keepdim=True).expand(-1, -1, 64, 64)])
    marks = [*wings([19, 20]), np.zeros((64, 64), dtype=np.uint8)]
    found = few_shot("testbed:segmenter", inputs[:1], inputs[1:], marks)
    assert found.by_shot()[2] < min(found.by_shot()[:2]) / 2
    assert sum(found.by_shot()) == pytest.approx(1, abs=1e-5)


def test_deleting_what_is_matched_takes_the_segmentation_away_sooner_than_chance() -> None:
    """By the measures of `pellucid.trust.support`, which delete picture and mask together."""
    inputs, at = DRAWN.tensor(), [19, 20]
    support = support_of("testbed:segmenter", inputs[[7]], inputs[at], wings(at))
    curves = compared(support, {"affinity": asked().variant()}, steps=6, share=0.2)
    assert curves["affinity"]["deletion"].auc < curves["control random"]["deletion"].auc - 0.1
    assert curves["affinity"]["insertion"].auc > curves["control random"]["insertion"].auc + 0.1


def test_the_support_that_is_measured_is_segmented_as_the_story_segments_it() -> None:
    inputs, at = DRAWN.tensor(), [19, 20]
    held = support_of("testbed:segmenter", inputs[[7]], inputs[at], wings(at))
    logits = held.segment(held.images[None], held.masks[None])[0]
    assert np.array_equal(logits.argmax(dim=0).numpy(), asked().said)


def test_masked_and_signed_maps_follow_the_mask() -> None:
    found = asked()
    marked = torch.from_numpy(found.marked == 1)
    plain, masked, signed = (found.variant(kind=kind) for kind in ("plain", "masked", "signed"))
    assert_close(signed, torch.where(marked, plain, -plain))
    assert bool((masked <= plain + 1e-9).all()) and bool((masked[marked] > 0).all())
    assert not masked[:, :4, :4].any() and plain[:, :4, :4].any()
    wide = found.variant(kind="signed", dilated=2)
    assert int((wide > 0).sum()) > int((signed > 0).sum())


def test_a_matcher_of_ones_own_is_explained(tmp_path: Path) -> None:
    frames = DRAWN[[7, 19]].frames()
    scores = torch.zeros(8, 8, 1, 8, 8)
    scores[:, :, 0, 2, 3] = 50.0
    own = Given([scores], torch.stack([torch.zeros(64, 64), torch.ones(64, 64)]), [torch.zeros(2, 64, 64)])
    found = matched(own, frames[0], frames[1:], wings([19]), softmax=False)
    row, column = divmod(int(found.values[0, 0].argmax()), 64)
    assert (row // 8, column // 8) == (2, 3)
    assert found.levels == ("level 1",)
    assert np.array_equal(pl.open(found.save(tmp_path / "own.json")).marked, found.marked)


def test_support_maps_are_read_back_as_saved_and_draw_themselves(tmp_path: Path) -> None:
    found = asked()
    back = pl.open(found.save(tmp_path / "few.json"))
    assert_close(back.values, found.values, rtol=1e-3, atol=1e-6)
    assert np.array_equal(back.said, found.said) and back.classes == ("wing",) and back.levels == found.levels
    assert pl.open(back.save(tmp_path / "again.json")) == back
    assert found.save(tmp_path / "few.png").stat().st_size > 1000
    assert "segmented as wing" in found.save(tmp_path / "few.html").read_text()


def test_a_class_of_which_the_query_holds_nothing_is_told() -> None:
    inputs, at = DRAWN.tensor(), [19, 20]
    marks = [wing.copy() for wing in wings(at)]
    marks[0][0, 0] = 2  # one pixel of sky
    found = few_shot("testbed:segmenter", inputs[[7]], inputs[at], marks, classes=["wing", "sky"])
    assert not found.values[1].any() and "explained as sky" in found.notes[0] and "nothing as sky" in found.sentence


def test_what_cannot_be_explained_is_named() -> None:
    inputs, at = DRAWN.tensor(), [19, 20]
    empty = [np.zeros((64, 64), dtype=np.uint8)] * 2
    with pytest.raises(RequestError, match="No support pixel is marked"):
        few_shot("testbed:segmenter", inputs[[7]], inputs[at], empty)
    with pytest.raises(RequestError, match="2 pictures and 1 masks"):
        few_shot("testbed:segmenter", inputs[[7]], inputs[at], wings([19]))
    with pytest.raises(ShapeError, match="The mask of"):
        few_shot("testbed:segmenter", inputs[[7]], inputs[at], [mask[:9] for mask in wings(at)])
    with pytest.raises(RequestError, match="one picture; got 2"):
        few_shot("testbed:segmenter", inputs[[7, 6]], inputs[at], wings(at))
    with pytest.raises(MethodUnavailable, match="black box"):
        few_shot(lambda pictures: pictures.flatten(1), inputs[[7]], inputs[at], wings(at))
    with pytest.raises(MethodUnavailable, match="does not lie on a grid"):
        few_shot("testbed:cnn", inputs[[7]], inputs[at], wings(at), layers=["flatten"])
    for settings, told in (
        ({"explained": "some"}, "explained='some'"), ({"explained": "truth"}, "needs truth="),
        ({"weighting": "best"}, "weighting='best'"), ({"deciding": "guess"}, "deciding='guess'"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"classes": ["a", "a"]}, "different names"), ({"layers": []}, "layers is empty"),
    ):  # fmt: skip
        with pytest.raises(RequestError, match=told):
            asked(**settings)
    with pytest.raises(RequestError, match="too many pairs"):
        fine = torch.zeros(1, 1, 96, 96)
        Episode((fine,), (fine,), torch.zeros(2, 1, 96, 96), (96, 96))
    with pytest.raises(RequestError, match="There is no class 'tail'"):
        asked().variant("tail")
