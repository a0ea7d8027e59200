"""Captions say what is drawn, and can be read back."""

from __future__ import annotations

import pytest

from pellucid.errors import SceneError
from pellucid.testbed import captions, scenes
from pellucid.testbed.truth import another, twin


@pytest.mark.parametrize("style", captions.STYLES)
def test_reading_a_caption_gives_what_was_drawn(style: str) -> None:
    drawn = scenes(31, 3000)
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
    ],
)
def test_what_is_not_in_the_grammar_is_refused(caption: str) -> None:
    with pytest.raises(SceneError):
        captions.parse(caption)
