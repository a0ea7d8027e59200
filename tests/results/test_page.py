"""The page of one picture as text: complete, safe and self-contained."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from pellucid.canvas.words import title
from pellucid.results import Explanation, Prediction
from pellucid.results.page import render
from tests.results.making import explanation, heatmaps, small_scene


@pytest.fixture(scope="module")
def story() -> Explanation:
    return explanation()


@pytest.fixture(scope="module")
def page(story: Explanation) -> str:
    return render(story)


def text_of(page: str) -> str:
    class Words(HTMLParser):
        kept: list[str] = []
        silent = 0

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.silent += tag in ("style", "script", "title")

        def handle_endtag(self, tag: str) -> None:
            self.silent -= tag in ("style", "script", "title")

        def handle_data(self, data: str) -> None:
            if not self.silent:
                self.kept.append(data)

    reader = Words()
    reader.kept = []
    reader.feed(page)
    return " ".join(" ".join(reader.kept).split())


def test_the_page_says_everything_in_a_reader_s_order(page: str, story: Explanation) -> None:
    words = text_of(page)
    order = ["The model says", "Egyptian cat", "63% sure", story.headline, "The picture", "Where the answer came from",
             "What was found", "How far to trust this map", "asked 10 ways", "Technical details"]  # fmt: skip
    places = [words.index(part) for part in order]
    assert places == sorted(places), dict(zip(order, places, strict=True))


def test_every_claim_stands_there_with_its_figures_and_verdict(page: str, story: Explanation) -> None:
    words = text_of(page)
    for claim in story.claims:
        assert claim.text in words
        for name, figure in claim.figures.items():
            assert f"{name} {figure}" in words
    assert page.count("<s>") == 1 and "could not be tested" in page


def test_the_page_asks_for_nothing_from_outside_and_is_small(page: str) -> None:
    assert not re.search(r"""(?:src|href|url)\s*[=(]\s*["']?\s*(?!data:|#)[a-z]+:?//""", page)
    assert "default-src 'none'" in page
    assert len(page.encode()) < 3_000_000, len(page)


def test_the_technical_details_are_enough_to_do_it_again(page: str) -> None:
    words = text_of(page)
    for part in ("blocks.6.0", "last layer that still lies on a grid", "9f2c51d07ab3e844", "demo:efficientnet_lite0",
                 "seed 0", "forwards 372", "torch 2.15.0", "chefer was left out"):  # fmt: skip
        assert part in words, part


def test_a_map_that_beats_nothing_is_said_to_plainly() -> None:
    words = text_of(render(explanation(beats=False)))
    assert "no better than the centre of the picture" in words and "do not rely on it" in words


def test_words_from_outside_stay_words(story: Explanation) -> None:
    evil = '"><script>alert(1)</script>'
    spoiled = replace(
        story, predictions=(Prediction(0, evil, 0.5),), target_name=evil, notes=(evil,), plan=evil,
        frame=replace(story.frame, name=evil), heatmaps=(replace(story.chosen, about=evil, target_names=(evil,)),),
    )  # fmt: skip
    page = render(spoiled)
    assert page.count("<script>") == 1 and "alert(1)" in page  # the one is ours


def test_every_picture_has_words_for_those_who_cannot_see_it(page: str) -> None:
    alts = re.findall(r"<img [^>]*alt=\"([^\"]*)\"", page)
    assert len(alts) == 13 and sum(alt == "" for alt in alts) == 1  # the layer that wipes repeats the picture
    assert any("strongest" in alt and "from the left" in alt for alt in alts)


def test_the_truth_stands_beside_where_it_is_known(page: str) -> None:
    words = text_of(render(small_scene()))
    assert "The right answer, which is known here" in words and "the yellow head" in words
    assert "The strongest point of the map lies inside" in words and "right answer, which" not in text_of(page)


def test_a_flat_map_and_a_failed_one_are_marked(story: Explanation) -> None:
    flat = replace(heatmaps("gradient"), values=heatmaps("gradient").values * 0)
    words = text_of(render(replace(story, heatmaps=(story.chosen, flat))))
    assert "It is flat: it says the same of every place." in words
    assert "Maps that failed a check of their own: Gradient." in words


def test_the_target_is_named_where_it_is_not_the_answer(story: Explanation, page: str) -> None:
    assert "This page explains" in text_of(render(replace(story, target_name="tabby cat")))
    assert "This page explains" not in text_of(page)


def test_maps_that_change_places_with_the_fill_are_named_and_one_fill_is_called_not_varied() -> None:
    story = explanation()
    rows = [{**row, "places": [1, 4, 2] if at == 0 else [2, 1, 1]} for at, row in enumerate(story.choice.table)]
    page = render(replace(story, choice=replace(story.choice, table=tuple(rows))))
    assert f"{title(rows[0]['method'])} (place 1 to 4)." in page
    alone = [{**row, "spread": None} for row in story.choice.table]
    page = render(replace(story, choice=replace(story.choice, table=tuple(alone))))
    assert "which was not varied, so there are no whiskers" in page and "change places" not in page
