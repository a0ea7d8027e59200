"""Captions say what is drawn, and can be read back."""

from __future__ import annotations

import pytest

from pellucid.errors import SceneError
from pellucid.testbed import captions, scenes
from pellucid.testbed.truth import another, twin


@pytest.mark.parametrize("style", captions.STYLES)
def test_reading_a_caption_gives_what_was_drawn(style: str) -> None:
    drawn = scenes(31, 10_000)
    known = set(captions.vocabulary())
    for said, attributes in zip(drawn.told(style), drawn.attributes, strict=True):
        stated = captions.parse(said)
        assert stated and stated.items() <= attributes.items(), said
        assert known.issuperset(said.split())
        assert len(said.split()) <= 33


def test_a_full_caption_states_everything_that_can_be_said() -> None:
    drawn = scenes(31, 300)
    for said, plume in zip(drawn.captions, drawn.fields["crest"], strict=True):
        assert len(captions.parse(said)) == 12 + plume


def test_missing_parts_are_not_spoken_of() -> None:
    drawn = scenes(32, 300, parts_missing=0.5)
    for style in ("full", "short"):
        for said, wing in zip(drawn.told(style), drawn.fields["has_wing"], strict=True):
            assert wing or "wing" not in captions.parse(said)


@pytest.mark.parametrize("name", ["wing", "tail", "crest", "beak", "body_hue", "bib_hue", "feet", "land"])
def test_the_twins_caption_differs_in_one_clause_only(name: str) -> None:
    drawn = scenes(33, 100)
    other = twin(drawn, **{name: another(drawn, name)})
    for style in ("full", "short"):
        for before, after in zip(drawn.told(style), other.told(style), strict=True):
            one, two = captions.parse(before), captions.parse(after)
            differing = {key for key in one.keys() | two.keys() if one.get(key) != two.get(key)}
            assert differing <= {name, *(("crest_hue",) if name == "crest" else ())}


def test_where_the_species_cannot_be_told_it_is_not_named() -> None:
    drawn = scenes(32, 300, mode="parts_missing")
    seen = (drawn.fields["has_wing"] & drawn.fields["has_tail"]).astype(bool)
    for said, told, attributes in zip(drawn.told("name"), seen, drawn.attributes, strict=True):
        stated = captions.parse(said)
        assert ("wing" in stated) == told and stated.items() <= attributes.items()


@pytest.mark.parametrize("task", ["species", "count", "side"])
@pytest.mark.parametrize("style", captions.STYLES)
def test_captions_of_flocks_are_true_and_can_be_read_back(task: str, style: str) -> None:
    drawn = scenes(34, 2000, mode="flock", task=task)
    known = set(captions.vocabulary())
    for said, facts in zip(drawn.told(style), captions.facts(drawn.fields), strict=True):
        stated = captions.parse(said)
        assert stated and stated.items() <= facts.items(), said
        assert known.issuperset(said.split())
        assert len(said.split()) <= 2 * 33 + 2


def test_left_of_is_said_of_the_leftmost_and_the_rightmost_bird() -> None:
    """Read off the pictures: no other bird's box has its middle further out."""
    drawn = scenes(35, 60, mode="flock")
    boxes = drawn.bird_boxes(whole=True)
    told = 0
    for at, said in enumerate(drawn.captions):
        if " left of " not in said:
            continue
        stated, attributes, told = captions.parse(said), drawn.attributes[at], told + 1
        hues = [attributes["body_hue"], *(attributes[f"bird{bird}_body_hue"] for bird in (1, 2, 3))]
        middles = {bird: boxes[at, bird, [0, 2]].mean() for bird in range(drawn.counts[at])}
        for side, ahead in (("left", min), ("right", max)):
            outermost = ahead(middles.values())
            possible = {hues[bird] for bird in middles if abs(middles[bird] - outermost) < 6}
            assert stated[f"{side}_body_hue"] in possible
    assert told > 30


def test_a_caption_of_two_landscapes_is_refused() -> None:
    two = "a blue bird , standing in a meadow left of a plum bird , standing {}"
    assert captions.parse(two.format("in a meadow"))["land"] == "meadow"
    with pytest.raises(SceneError, match="two landscapes"):
        captions.parse(two.format("at dusk"))


@pytest.mark.parametrize(
    "caption",
    [
        "",
        "a",
        "a blue bird with",
        "a blue bird with no",
        "a blue bird with a red bib",
        "the blue bird",
        "a blue bird , standing on the moon",
        "a pebble eagle",
        "a blue bird with a teal bib , a plum bib and no plume",
        "a blue bird facing left",
        "one birds",
        "five birds at dusk",
        "two birds in",
        "a blue bird left",
        "a blue bird left of",
        "a blue bird left of two birds",
    ],
)
def test_what_is_not_in_the_grammar_is_refused(caption: str) -> None:
    with pytest.raises(SceneError):
        captions.parse(caption)
