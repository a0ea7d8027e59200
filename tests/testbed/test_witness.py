"""The independent reader is made from its seed like the other nets, and reads what its card says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import pellucid as pl
from pellucid.compute import train as training
from pellucid.errors import LoadError
from pellucid.testbed import nets, scenes
from pellucid.testbed.nets.witness import ANSWERS, FIELDS, Witness
from pellucid.testbed.train import accuracies, trained
from pellucid.testbed.witness import witness
from tests.testbed.breaking import broken_off_at_a_checkpoint


def test_its_card_tells_every_field_and_fresh_scenes_bear_it_out() -> None:
    net, card = nets.load("witness")
    assert set(card.accuracy) == {"fields_read", *FIELDS} and card.labels == ANSWERS
    fresh = accuracies("witness", net, 4000, 200)
    for field, share in card.accuracy.items():
        assert fresh[field] == pytest.approx(share, abs=0.025), field
    assert fresh["fields_read"] == pytest.approx(sum(fresh[field] for field in FIELDS) / len(FIELDS), abs=1e-4)


def test_the_one_that_comes_along_is_the_one_of_the_card() -> None:
    net, _ = nets.load("witness")
    pictures = scenes(4000, 3).tensor()
    assert isinstance(net, Witness) and witness().read(pictures) == net.read(pictures)
    assert witness() is witness()


def test_it_learns_the_same_way_every_time_and_better_with_every_step() -> None:
    one, other = (trained("witness", 1, steps=30, pool=64) for _ in range(2))
    assert one.course.losses == other.course.losses
    assert sum(one.course.losses[-5:]) < 0.8 * sum(one.course.losses[:5])
    for mine, yours in zip(one.net.state_dict().values(), other.net.state_dict().values(), strict=True):
        assert torch.equal(mine, yours)


def test_broken_off_it_goes_on_to_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_STEPS", 6)
    whole = trained("witness", 1, steps=16, pool=64, folder=tmp_path)
    with broken_off_at_a_checkpoint(monkeypatch):
        trained("witness", 1, steps=16, pool=64, folder=tmp_path)
    broken = trained("witness", 1, steps=16, pool=64, folder=tmp_path)
    assert whole.course.losses == broken.course.losses and not list(tmp_path.iterdir())
    for mine, yours in zip(whole.net.state_dict().values(), broken.net.state_dict().values(), strict=True):
        assert torch.equal(mine, yours)


def test_it_is_no_classifier() -> None:
    with pytest.raises(LoadError, match=r"reader.*testbed.nets.load\('witness'\)"):
        pl.load("testbed:witness")
