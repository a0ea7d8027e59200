"""The benchmark exposes nets that read the background, and accuses no other: three of each from seeds of their own.

All forty take about an hour: `pellucid testbed train-seeds`, then `pellucid testbed alarms`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pellucid.errors import RequestError
from pellucid.stories.alarm import Alarm, alarms
from pellucid.testbed.train import seedlings

NETS = Path(__file__).parents[1] / "data" / "seeds"
SCENES = 16


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Alarm, ...]:
    return alarms(seedlings(NETS, count=3), scenes=SCENES)


def test_biased_nets_raise_the_alarm_and_clean_ones_do_not(found: tuple[Alarm, ...]) -> None:
    assert [one.planted for one in found].count(True) == 3 and len(found) == 6
    assert [one.raised for one in found] == [one.planted for one in found], found


def test_both_recognise_the_scenes_so_that_accuracy_tells_nothing(found: tuple[Alarm, ...]) -> None:
    assert all(one.scenes >= SCENES - 4 for one in found), found


def test_finished_nets_are_not_measured_again(tmp_path: Path) -> None:
    nets = seedlings(NETS, count=1)[:1]
    first = alarms(nets, scenes=2, folder=tmp_path)
    notes = (tmp_path / "alarms.jsonl").read_text()
    assert alarms(nets, scenes=2, folder=tmp_path) == first
    assert (tmp_path / "alarms.jsonl").read_text() == notes


def test_a_net_that_was_not_trained_is_named_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"seed-101.*train-seeds"):
        alarms(seedlings(tmp_path, count=1))
