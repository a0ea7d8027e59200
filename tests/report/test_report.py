"""Index and gallery of several explanations."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from pellucid.errors import RequestError
from pellucid.report import Card, Section, Skipped, gallery_sheet, render_index, write_gallery, write_index
from pellucid.results import Explanation
from tests.results.making import coffee, explanation, small_scene


@pytest.fixture(scope="module")
def stories() -> list[Explanation]:
    few = ("layer_cam", "occlusion")
    return [
        explanation(methods=few), explanation(coffee(), label="espresso", probability=0.9971, methods=few, beats=False),
        small_scene(),
    ]  # fmt: skip


def test_the_index_links_every_page_and_names_what_was_skipped(stories: list[Explanation], tmp_path: Path) -> None:
    cards = tuple(Card.of(story, f"{place}.html") for place, story in enumerate(stories))
    sections = [
        Section("Real photographs", "", cards[:2]),
        Section("Rendered scenes", "The truth is known.", cards[2:]),
    ]
    skipped = [Skipped("<broken>.jpg", "it is cut off.")]
    page = write_index(tmp_path / "index.html", sections, skipped=skipped, words="All of them.").read_text()
    for place, story in enumerate(stories):
        assert f'href="{place}.html"' in page and story.headline.replace("'", "&#39;") in page
    assert "&lt;broken&gt;.jpg" in page and "it is cut off." in page and "Rendered scenes" in page
    assert page.count("no map beat maps that know nothing") == 1
    assert page.count("<img") == 2 + 2 + 3


def test_an_index_of_nothing_but_skipped_files_is_a_page() -> None:
    assert "0 pictures, 1 skipped" in render_index([], skipped=[Skipped("a.jpg", "it is empty.")])


def test_a_card_is_small(stories: list[Explanation]) -> None:
    weight = sum(len(plate.uri) for plate in Card.of(stories[0], "x.html").plates)
    assert weight < 80_000, weight


def test_the_gallery_is_one_picture_of_fixed_width(stories: list[Explanation], tmp_path: Path) -> None:
    with Image.open(write_gallery(tmp_path / "gallery.png", stories)) as picture:
        assert picture.format == "PNG" and picture.width == 1600
    assert gallery_sheet(stories, columns=3).height < gallery_sheet(stories, columns=1).height
    with pytest.raises(RequestError):
        gallery_sheet([])
