"""Nets trained again from their seeds meet their cards. Minutes of work: `make retrain` runs it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pellucid.testbed import nets
from pellucid.testbed.train import train

pytestmark = pytest.mark.skipif("PELLUCID_RETRAIN" not in os.environ, reason="takes minutes; `make retrain` runs it")


@pytest.mark.parametrize(("name", "steps"), [("cnn", 300), ("cnn_background", None), ("vit_background", None)])
def test_a_net_trained_again_meets_its_card(name: str, steps: int | None, tmp_path: Path) -> None:
    card, shipped = train(name, folder=tmp_path, steps=steps), nets.card_of(name)
    for word, share in shipped.accuracy.items():
        assert card.accuracy[word] == pytest.approx(share, abs=0.015), word
    if steps is None:  # the whole recipe: the same bytes on the machine that made the shipped file
        assert card.recipe == shipped.recipe
