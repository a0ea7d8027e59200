"""The page of cards says what the files of weights say."""

from __future__ import annotations

from pathlib import Path

from pellucid.testbed import ARCHITECTURES, nets
from pellucid.testbed.nets import in_markdown, in_words

BUILT = tuple(name for name in nets.built() if ARCHITECTURES[name].ships)
PAGE = Path(__file__).parents[2] / "docs" / "testbed-models.md"


def test_the_page_of_the_documentation_is_what_the_cards_say() -> None:
    """Made by `pellucid testbed cards --markdown > docs/testbed-models.md`."""
    assert PAGE.read_text(encoding="utf-8").rstrip() == in_markdown([nets.card_of(name) for name in BUILT])


def test_every_net_says_what_it_is_and_every_figure_what_it_measures() -> None:
    for name in BUILT:
        card = nets.card_of(name)
        words = in_words(card)
        assert ARCHITECTURES[name].about in words and f"seed {card.seed}" in words
        for share in card.accuracy.values():
            assert f"{share:.3f}" in words


def test_the_planted_cue_stands_in_the_card_of_every_biased_net() -> None:
    for name in BUILT:
        recipe = nets.card_of(name).recipe
        assert ("planted cue" in ARCHITECTURES[name].about) == ("shortcut" in recipe), name
        if "shortcut" in recipe:
            assert f"{recipe['strength']:.0%}" in ARCHITECTURES[name].about
