"""The same nets from many seeds: one command, which may be killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pellucid.compute.train import Recipe
from pellucid.testbed import nets
from pellucid.testbed.nets import Card
from pellucid.testbed.train import FIRST_SEED, SHORT_PLANS, Plan, seedlings, seeds, train_seeds

TINY = Recipe(2, 1e-3, batch=16)


def test_every_seed_has_a_folder_and_every_net_a_file(tmp_path: Path) -> None:
    wanted = seedlings(tmp_path, count=20)
    assert len({seedling.path for seedling in wanted}) == 40
    assert wanted[0].path == tmp_path / f"seed-{FIRST_SEED}" / "cnn.safetensors"
    assert {seedling.name for seedling in wanted} == {"cnn", "cnn_background"} == set(SHORT_PLANS)


def test_what_is_there_is_kept_and_what_was_made_otherwise_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = {"cnn": replace(SHORT_PLANS["cnn"], recipe=TINY, pool=64)}
    monkeypatch.setattr(seeds, "SHORT_PLANS", tiny)
    monkeypatch.setattr(seeds, "measured", unmeasured)
    grown: list[int] = []
    true_grow = seeds.grow

    def grow(seedling: seeds.Seedling) -> None:
        grown.append(seedling.seed)
        true_grow(seedling)

    monkeypatch.setattr(seeds, "grow", grow)
    monkeypatch.setattr(seeds, "spread", here)
    cards = train_seeds(tmp_path, ["cnn"], count=2)
    assert [card.seed for card in cards] == grown == [FIRST_SEED, FIRST_SEED + 1]
    first = (tmp_path / f"seed-{FIRST_SEED}" / "cnn.safetensors").read_bytes()
    (tmp_path / f"seed-{FIRST_SEED + 1}" / "cnn.safetensors").unlink()
    train_seeds(tmp_path, ["cnn"], count=2)
    assert grown == [FIRST_SEED, FIRST_SEED + 1, FIRST_SEED + 1]
    monkeypatch.setattr(seeds, "SHORT_PLANS", {"cnn": replace(tiny["cnn"], recipe=replace(TINY, steps=3))})
    train_seeds(tmp_path, ["cnn"], count=1)
    assert grown[-1] == FIRST_SEED
    assert (tmp_path / f"seed-{FIRST_SEED}" / "cnn.safetensors").read_bytes() != first
    assert nets.card_of("cnn", tmp_path / f"seed-{FIRST_SEED}").recipe["steps"] == 3


def unmeasured(name: str, _: object, seed: int, plan: Plan) -> Card:
    return Card(name, (), 64, "", "", {}, seed, plan.to_dict())


def here(job: Callable[[object], None], items: Sequence[object], _: int) -> Iterator[tuple[int, None]]:
    """Does the work of many processes in this one."""
    for place, item in enumerate(items):
        yield place, job(item)
