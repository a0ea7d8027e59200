"""Maps judged by leaving parts out: a net that is a sum of parts, and what the benchmark knows of a scene's parts."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import pellucid as pl
from pellucid.cli import app
from pellucid.errors import RequestError
from pellucid.stories.cases import SceneCases, fresh_scenes
from pellucid.stories.interventions import TRUE_EFFECTS, PartProtocol, part_protocol
from pellucid.subject import VisionModel
from pellucid.testbed.planted import codes, part_scores
from pellucid.testbed.truth import causal, place_of
from pellucid.trust.parts import painted, part_deletion_correlation


@pytest.fixture(scope="module")
def additive() -> VisionModel:
    return pl.load("testbed:planted_parts")


@pytest.fixture(scope="module")
def found(additive: VisionModel) -> PartProtocol:
    drawn = codes.coded_scenes(71, 14, mode="parts_missing", occlusion=0.0)
    return part_protocol(additive, methods=["gradient"], drawn=drawn, dilation=1)


def test_the_true_part_scores_of_an_additive_net_are_right_on_every_count(found: PartProtocol) -> None:
    row = found.rows[TRUE_EFFECTS]
    assert (row.sd, row.ts, row.d, row.csdc, row.pc) == pytest.approx((1, 1, 1, 1, 1))
    assert next(iter(found.rows)) == TRUE_EFFECTS
    assert found.independence == 1.0 and found.accuracy == 1.0 and 0 < found.kept < found.total


def test_methods_and_controls_stand_in_one_table_and_go_into_json(found: PartProtocol) -> None:
    assert set(found.rows) == {TRUE_EFFECTS, "gradient", "control random", "control centre", "control edge"}
    for name in ("control centre", "control edge"):
        assert found.rows[name].con == 0.0  # the same for every class
    for row in found.rows.values():
        assert row.mean == pytest.approx((row.com + row.cor + row.con) / 3)
        assert all(0 <= value <= 1 for value in (row.csdc, row.pc, row.dc, row.d, row.sd, row.ts))
    json.dumps(found.to_dict())


def test_scenes_know_what_each_part_is_worth_to_the_target(additive: VisionModel) -> None:
    drawn = codes.coded_scenes(72, 4)
    part = SceneCases(additive, drawn, "coded").part(range(4))
    assert part.truth is not None
    for at in range(4):
        known = part_scores().removal(drawn[at], int(drawn.labels[at]))
        for name in ("wing", "tail", "crest", "beak", "eye"):
            effect = float(part.truth.effects[name][at])
            if name == "crest" and not drawn.fields["crest"][at]:
                assert math.isnan(effect)
            else:
                assert effect == pytest.approx(float(known.get(name, np.zeros(1))[0]), abs=1e-4)
    masks = torch.stack(list(part.truth.parts.values()), dim=1)
    given = painted(torch.stack(list(part.truth.effects.values()), dim=1).nan_to_num(), masks)
    measured = part_deletion_correlation({"map": given}, part.truth)
    assert measured.values["map"].tolist() == pytest.approx([1.0] * 4)


def test_the_truth_of_the_model_is_where_it_reads() -> None:
    biased = pl.load("testbed:planted_spurious")
    drawn = codes.coded_scenes(73, 30, shortcut="background", strength=1.0)
    cases = SceneCases(biased, drawn, "coded", truth="model")
    part = cases.part(range(3))
    assert part.truth is not None and part.truth.background is not None and part.truth.distractors is not None
    kept = drawn[[int(name.split()[-1]) for name in cases.names[:3]]]
    land = torch.from_numpy(place_of(kept, "land"))
    assert bool((part.truth.exact | ~land).all())  # the landscape decides, so it is true
    assert not bool((part.truth.background & part.truth.exact).any())
    assert not bool((part.truth.distractors & part.truth.exact).any())


def test_on_a_net_that_reads_the_deciding_parts_both_truths_agree(additive: VisionModel) -> None:
    drawn = codes.coded_scenes(74, 3)
    part = SceneCases(additive, drawn, "coded", truth="model").part(range(3))
    assert part.truth is not None
    assert torch.equal(part.truth.exact, torch.from_numpy(causal(drawn)))


def test_truths_and_scenes_that_do_not_exist_are_refused(additive: VisionModel) -> None:
    with pytest.raises(RequestError, match="no truth 'wished'"):
        fresh_scenes(additive, 2, 2, "wished")
    with pytest.raises(RequestError, match="learned from"):
        part_protocol("testbed:cnn", scenes=2, seed=0)
    with pytest.raises(RequestError, match="does not classify"):
        part_protocol("testbed:digits", scenes=2)


def test_the_command_prints_a_table_of_methods() -> None:
    asked = ["testbed", "parts", "--scenes", "4", "--methods", "gradient"]
    shown = CliRunner().invoke(app, asked)
    assert shown.exit_code == 0, shown.output
    assert "control random" in shown.output and "true effects" in shown.output
