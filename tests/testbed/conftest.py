"""Nets whose weights are built on demand are tested where they have been built; those that are shipped always are."""

from __future__ import annotations

import pytest

from pellucid.testbed import ARCHITECTURES
from pellucid.testbed.nets import built

ALWAYS = ("cnn", "vit", "cnn_background", "vit_background", "digits", "dual", "segmenter", "captioner")
UNBUILT = set(ARCHITECTURES) - set(ALWAYS) - set(built())
# Tests that need nets which their parameters do not name.
NEEDED = {
    "test_the_clean_encoder_reads_parts_and_the_biased_one_the_landscape": {"dual_background"},
    "test_the_detector_meets_its_card_on_fresh_flocks": {"detector"},
    "test_the_detector_finds_the_birds_where_they_are": {"detector"},
    "test_the_latent_numbers_are_about_standard_normal_together": {"vae"},
    "test_a_picture_becomes_48_numbers_and_comes_back": {"vae"},
    "test_the_generator_paints_the_same_from_the_same_seed": {"gan"},
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        called = getattr(item, "callspec", None)
        named = {value for value in called.params.values() if isinstance(value, str)} if called else set[str]()
        missing = (named | NEEDED.get(getattr(item, "originalname", ""), set())) & UNBUILT
        if missing and "tests/testbed/" in item.nodeid:
            commands = ", ".join(f"pellucid testbed train {name}" for name in sorted(missing))
            item.add_marker(pytest.mark.skip(reason=f"its weights are not built: {commands}"))
