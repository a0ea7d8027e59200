"""What is said of the findings of a benchmark as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pellucid.results import Retraining
from pellucid.stories.findings import Findings, flips, how_far_bent
from pellucid.subject import load


def findings(count: int, lead: dict[str, float], seed: int) -> Findings:
    """`first` is better than `second` by the lead under that fill, `third` far below both, a control at the top."""
    noise = np.random.default_rng(seed)
    tables = {
        fill: {
            "first": (0.5 + by + 0.02 * noise.normal(size=count)).tolist(),
            "second": (0.5 + 0.02 * noise.normal(size=count)).tolist(),
            "third": [*(0.1 + 0.02 * noise.normal(size=count - 1)).tolist(), None],
            "control random": (0.9 - by + 0.02 * noise.normal(size=count)).tolist(),
        }
        for fill, by in lead.items()
    }
    return Findings({}, {}, {}, by_fill={"deletion": tables})


def test_methods_that_clearly_change_places_with_the_fill_are_named_and_no_others() -> None:
    parts = [findings(10, {"blur": 0.1, "mean": 0.08, "noise": -0.1}, seed) for seed in (3, 4)]
    (note,) = flips(parts, seed=5)
    assert note.startswith("deletion: ") and "first and second (blur, noise), first and second (mean, noise)" in note
    assert "third" not in note and "control" not in note and "(blur, mean)" not in note


def test_a_lead_that_chance_may_turn_is_no_flip() -> None:
    assert not list(flips([findings(12, {"blur": 0.004, "noise": -0.004}, 6)], seed=5))
    assert not list(flips([Findings({}, {}, {})], seed=5))


def test_a_board_is_told_how_far_training_bends_the_maps_of_the_very_net(tmp_path: Path) -> None:
    rows = [
        {"trained for": "gradient", "map": one, "measure": "mass", "original": 0.4, "misaligned": 0.1, "aligned": 0.8,
         "gap": 0.7}
        for one in ("gradient", "grad_cam")
    ]  # fmt: skip
    Retraining("alignment", "lower", tuple(rows), facts={"model": "testbed:cnn"}).save(tmp_path / "alignment.json")
    (note,) = how_far_bent(load("testbed:cnn"), (tmp_path / "elsewhere", tmp_path))
    assert "gradient from 10% to 80%, as it is 40%" in note and "grad_cam" not in note
    assert not list(how_far_bent(load("testbed:vit"), (tmp_path,)))
