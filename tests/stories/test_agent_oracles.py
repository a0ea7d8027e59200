"""The agent on units whose meaning is known, with its journal, its budget and policies that misbehave."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pellucid as pl
from pellucid.errors import FileError, PellucidError, RequestError
from pellucid.language.conditions import condition_of
from pellucid.language.experiments import UnitAsked, answers_of, sign_flip_p
from pellucid.language.narrators import Chat
from pellucid.language.recipes import Recipe, facts_of, frames_of
from pellucid.results import Claim
from pellucid.stories.agent import Call, ChatPolicy, Finding, Scripted, Task, Turn, investigate, replay
from pellucid.stories.agent.biases import USUAL, BiasLaboratory, answering_by_lot
from pellucid.stories.agent.chatting import read_call
from pellucid.stories.agent.investigation import worked
from pellucid.stories.agent.journal import Journal, read
from pellucid.stories.agent.protocol import CONCLUDE, UNREAD
from pellucid.stories.agent.synthetic import SyntheticLaboratory
from pellucid.stories.agent.units import UnitLaboratory
from pellucid.subject import VisionModel
from tests.language.servers import serving

BARRED = 6  # the unit of planted_mixed's layer mono that fires on barred wings


@cache
def model() -> VisionModel:
    return pl.load("testbed:planted_mixed")


def task(**settings: Any) -> Task:
    usual: dict[str, Any] = {"paint": "coded", "pictures": 40, "seed": 960, "unit": BARRED, "layer": "mono"}
    return Task("unit", "testbed:planted_mixed", **{**usual, **settings})


class Saying:
    """A policy that makes these calls, and then no more."""

    name = "saying"

    def __init__(self, *calls: Call) -> None:
        self.calls = calls

    def act(self, task: Task, tools: Sequence[Any], turns: Sequence[Turn], left: Mapping[str, int]) -> Call:
        return self.calls[min(len(turns), len(self.calls) - 1)]


PICTURES = ["scene:960:0", "scene:960:1", "scene:960:2", "scene:960:3"]
TRY = Call("experiment", {"pictures": PICTURES, "edits": [{"wing": "barred"}, {"tail": "fanned"}]}, "is it the wing?")
END = Call(CONCLUDE, {"label": "barred wings", "description": "It is the wing.", "evidence": ["1.1"]})


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Finding, Path]:
    path = tmp_path_factory.mktemp("agent") / "unit.jsonl"
    return investigate(model(), task(), Saying(TRY, END), journal=path), path


# -- pictures as recipes ----------------------------------------------------------------------------------------------


def test_a_recipe_makes_the_same_picture_again_and_differs_only_in_what_it_changes() -> None:
    plain, changed = Recipe.read("scene:960:3"), Recipe.read("scene:960:3;tail=fanned;props=none")
    assert Recipe.read(changed.text) == changed and changed.text == "scene:960:3;tail=fanned;props=none"
    own = pl.testbed.scenes(960, [3], camera=0.0)
    assert np.array_equal(frames_of([plain])[0].pixels, own.pixels[0])
    assert facts_of([changed])[0]["tail"] == "fanned"
    grey = frames_of([plain.having({"grey": ""})])[0].pixels
    assert (grey[..., 0] == grey[..., 2]).all()


@pytest.mark.parametrize(
    "text",
    ["", "scene:1", "scene:a:b", "scene:1:2;soul=lost", "scene:1:2;wing=lost", "scene@moon:1:2", "/etc/passwd",
     "file:../../x", "photo:1:2;wing=barred", "scene:1:2;turn=500", "scene:1:2;hide=0,0,2,1", "scene:1:2;cue=moss",
     "scene:" + "9" * 500 + ":1"],
)  # fmt: skip
def test_what_is_no_recipe_is_refused(text: str) -> None:
    with pytest.raises(RequestError):
        Recipe.read(text)


LABELS = ("coral", "barred wings", "coral and dotted wings", "snow or standing", "either a plume or a fanned tail",
          "two of dotted wings, a fanned tail and a plume")  # fmt: skip


@pytest.mark.parametrize("label", LABELS)
def test_a_condition_can_be_made_true_and_false_and_reads_back(label: str) -> None:
    condition, rng = condition_of(label), np.random.default_rng(0)
    assert condition_of(condition.text).same(condition)
    made = 0
    for at in range(6):
        scene = Recipe("scene", (961, at))
        for wanted in (True, False):
            changed = condition.forced(scene, wanted, rng)
            if changed is not None:
                made += 1
                assert condition.holds(facts_of([changed])[0]) == wanted, changed.text
    assert made >= 10


@pytest.mark.parametrize("label", ["a soul", "coral or blue and teal", "either coral", "two of coral and blue"])
def test_what_cannot_be_tested_is_refused_with_the_grammar(label: str) -> None:
    with pytest.raises(RequestError):
        condition_of(label)


def test_signs_by_lot_give_the_p_that_is_counted_by_hand() -> None:
    assert sign_flip_p(np.array([1.0, 1.0, 1.0])) == pytest.approx(2 / 8)
    assert sign_flip_p(np.zeros(0)) == 1.0
    assert sign_flip_p(np.ones(20)) < 0.001


# -- units that are known ---------------------------------------------------------------------------------------------


def test_an_experiment_says_what_the_unit_does(told: tuple[Finding, Path]) -> None:
    rows = told[0].turns[0].result["rows"]
    asked = UnitAsked("mono", BARRED, "max", "coded")
    before = answers_of(model(), asked, [Recipe.read(one) for one in rows[1]["pictures"]]).values
    assert rows[1]["before"] == pytest.approx(before.mean(), rel=1e-4)
    assert rows[0]["after"] > 0.5 and all(gain == 0 for gain in rows[1]["gains"])
    changed = [one for one in PICTURES if facts_of([Recipe.read(one)])[0]["wing"] != "barred"]
    assert rows[0]["pictures"] == changed and rows[0]["skipped"] == len(PICTURES) - len(changed)


def test_a_right_label_stands_on_fresh_pictures_and_its_claims_can_be_rechecked(told: tuple[Finding, Path]) -> None:
    found = told[0]
    assert found.label == "barred wings" and found.status == "concluded"
    assert found.controls["the label"] == 1.0 > found.controls["random labels"]
    label, experiment = found.claims
    assert label.measured["auroc"] == 1.0 and experiment.measured["change"] == "the wing pattern barred"
    again = Claim.from_dict(label.to_dict()).recheck(model())
    assert (again.verdict, again.text) == ("verified", label.text)
    assert "AUROC on fresh pictures" in str(found) and json.dumps(found.to_dict())


def test_a_wrong_label_does_not_stand(told: tuple[Finding, Path]) -> None:
    wrong = Call(CONCLUDE, {"label": "a fanned tail", "description": "", "evidence": ["1.2"]})
    found = investigate(model(), task(), Saying(TRY, wrong))
    assert (found.label, found.proposed) == ("", "a fanned tail") and not found.beaten
    assert "no label that stands" in str(found)


@pytest.mark.parametrize("label", ["a plume", "dotted wings or moss", "coral and dotted wings"])
def test_the_scripted_policy_finds_one_thing_one_of_two_and_two_together(label: str) -> None:
    """docs/agent.md has the figures over planted and synthetic units."""
    lab = SyntheticLaboratory(pl.load("testbed:cnn"), Task("unit", "cnn", "features.3", pictures=60, seed=900),
                              condition_of(label))  # fmt: skip
    lab.__dict__["_names"] = []  # names without experiments need an encoder; the script does without
    found = worked(lab, Scripted(), journal=Journal())
    assert condition_of(found.proposed).same(condition_of(label)), found.proposed


def test_where_the_answers_are_dealt_by_lot_nothing_stands() -> None:
    lab = UnitLaboratory(model(), task(), blind=True)
    result, _ = lab.call(1, "foretell", {"label": "barred wings"})
    assert result["auroc"] < 0.7


# -- budget, errors, stopping -----------------------------------------------------------------------------------------


def test_every_forward_pass_is_paid_for_once_and_no_more_are_made_than_there_are() -> None:
    lab = UnitLaboratory(model(), task(passes=6))
    first, passes = lab.call(1, "measure", {"pictures": PICTURES})
    assert passes == 4 and len(first["answers"]) == 4
    assert lab.call(2, "measure", {"pictures": PICTURES})[1] == 0
    refused, passes = lab.call(3, "experiment", {"pictures": PICTURES, "edits": [{"wing": "another"}]})
    assert passes == 0 and "2 are left" in refused["error"] and lab.left == 2


BAD_CALLS = {
    "no tool": Call("import os", {"code": "os.remove('x')"}),
    "unread": Call(UNREAD, {}, "I think it likes birds."),
    "takes": Call("measure", {"pictures": PICTURES, "command": "rm"}),
    "missing": Call("measure", {}),
    "expected array": Call("measure", {"pictures": "all"}),
    "is no picture": Call("measure", {"pictures": ["/etc/passwd"]}),
    "no value": Call("experiment", {"pictures": PICTURES, "edits": [{"wing": "__class__"}]}),
    "expected 1 to": Call("exemplars", {"count": 10**6}),
    "No experiment is called": Call(CONCLUDE, {"label": "coral", "description": "", "evidence": ["9.9"]}),
    "rests on logged experiments": Call(CONCLUDE, {"label": "coral", "description": "", "evidence": []}),
    "not in": Call("draw", {"text": "a dragon", "count": 1}),
}


@pytest.mark.parametrize("why", BAD_CALLS)
def test_a_tool_that_cannot_says_why_and_the_run_goes_on(why: str) -> None:
    found = investigate(model(), task(turns=2), Saying(BAD_CALLS[why], TRY))
    assert found.errors == 1 and found.status == "out of turns" and found.turns[0].error
    assert found.turns[0].passes == 0 and found.turns[1].result["rows"]


def test_the_same_call_again_costs_nothing_and_a_policy_that_is_stuck_is_stopped() -> None:
    found = investigate(model(), task(), Saying(TRY))
    assert found.status == "policy failed" and len(found.turns) == 4
    assert [turn.passes > 0 for turn in found.turns] == [True, False, False, False]
    assert found.turns[1].result["same_as_turn"] == 1


def test_a_run_that_is_cancelled_keeps_what_it_found(tmp_path: Path) -> None:
    seen: list[Turn] = []
    found = investigate(model(), task(), Saying(TRY, END), journal=tmp_path / "half.jsonl", watch=seen.append,
                        cancelled=lambda: bool(seen))  # fmt: skip
    assert found.status == "cancelled" and len(found.turns) == 1 and not found.label
    assert replay(tmp_path / "half.jsonl", model=model()).same


def test_a_policy_that_fails_ends_its_run_and_no_more() -> None:
    class Failing(Saying):
        def act(self, *_: Any) -> Call:
            raise PellucidError("the server is gone")

    found = investigate(model(), task(), Failing())
    assert found.status == "policy failed" and "the server is gone" in str(found)


def test_a_unit_that_is_not_there_is_refused() -> None:
    with pytest.raises(RequestError, match="no 99"):
        investigate(model(), task(unit=99), Saying(END))
    with pytest.raises(RequestError):
        Task("poem", "cnn")


# -- the journal ------------------------------------------------------------------------------------------------------


def test_a_journal_run_again_gives_the_same_figures(told: tuple[Finding, Path]) -> None:
    again = replay(told[1], model=model())
    assert again.same and again.figures > 10 and again.label == "barred wings"
    assert read(told[1]).turns == told[0].turns


def test_a_figure_that_was_changed_is_found_by_turn_and_place(told: tuple[Finding, Path], tmp_path: Path) -> None:
    lines = told[1].read_text().splitlines()
    record = json.loads(lines[1])
    record["result"]["rows"][0]["after"] *= 1.1
    (tmp_path / "forged.jsonl").write_text("\n".join([lines[0], json.dumps(record), *lines[2:]]))
    found = replay(tmp_path / "forged.jsonl", model=model())
    assert [(one.turn, one.where) for one in found.differences] == [(1, "rows[0].after")]
    assert "turn 1, rows[0].after: was" in str(found)


def test_a_line_that_was_cut_short_is_left_out_and_what_is_no_journal_is_refused(
    told: tuple[Finding, Path], tmp_path: Path
) -> None:
    cut = tmp_path / "cut.jsonl"
    cut.write_text("\n".join(told[1].read_text().splitlines()[:2]) + '\n{"turn": 2, "tho')
    assert len(read(cut).turns) == 1 and read(cut).finding is None
    for text in ("", "poem", '{"format": "other"}', '{"format": "pellucid agent 1", "task": {}}'):
        cut.write_text(text)
        with pytest.raises(RequestError):
            read(cut)
    with pytest.raises(FileError, match="already"):
        investigate(model(), task(), Saying(END), journal=told[1])


# -- over real HTTP ---------------------------------------------------------------------------------------------------


def playing(request: dict[str, Any]) -> str:
    """A server's model that knows what to do by how much has been said, and says it in prose with JSON in it."""
    said = [json.loads(one["content"]) for one in request["messages"][2:] if one["role"] == "assistant"]
    if not said:
        return f"Let me see.\n```json\n{json.dumps({'tool': TRY.tool, 'arguments': TRY.arguments})}\n```"
    results = [json.loads(one["content"]) for one in request["messages"][2:] if one["role"] == "user"]
    best = max(results[0]["result"]["rows"], key=lambda row: row["after"] - row["before"])
    label = {"barred": "barred wings", "fanned": "a fanned tail"}[next(iter(best["change"].values()))]
    return json.dumps({"tool": CONCLUDE, "arguments": {"label": label, "description": "", "evidence": [best["row"]]}})


def test_a_model_on_a_server_experiments_by_the_same_protocol() -> None:
    with serving(playing) as server:
        found = investigate(model(), task(), ChatPolicy(Chat("small", url=server.url)))
    assert found.policy == "chat:small" and found.label == "barred wings"
    tools = {one["function"]["name"] for one in server.asked[0]["tools"]}
    assert {"exemplars", "experiment", CONCLUDE} <= tools
    assert "image_url" not in json.dumps(server.asked)


def test_a_model_that_only_chats_is_told_so_until_its_turns_are_spent() -> None:
    with serving(lambda request: f"I like birds, {len(request['messages'])} of them.") as server:
        found = investigate(model(), task(turns=3), ChatPolicy(Chat("chatty", url=server.url)))
    assert found.status == "out of turns" and found.errors == 3 and found.passes == 0
    assert "This is your last turn" in server.asked[-1]["messages"][-1]["content"]


def test_a_call_is_read_from_tool_calls_and_from_text() -> None:
    asked = {"tool_calls": [{"id": "1", "function": {"name": "guide", "arguments": "{}"}}], "content": "first"}
    assert read_call(asked) == Call("guide", {}, "first")
    assert read_call({"content": 'so {"a": 1} then {"tool": "guide", "arguments": {"x": 2}}'}) == Call(
        "guide", {"x": 2}
    )
    for content in (None, "", "{", '{"tool": 3}', "{" * 5000):
        assert read_call({"content": content}).tool == UNREAD
    broken = {"tool_calls": [{"function": {"name": "guide", "arguments": "{"}}], "content": None}
    assert read_call(broken).tool == UNREAD


def test_a_server_that_breaks_ends_the_run_with_its_name() -> None:
    with serving(playing, troubles=("401",)) as server:
        found = investigate(model(), task(), ChatPolicy(Chat("small", url=server.url, retries=0)))
    assert found.status == "policy failed" and "401" in found.trouble


# -- what a model should not go by ------------------------------------------------------------------------------------


def turned(net: str) -> dict[str, int]:
    lab = BiasLaboratory(pl.load(f"testbed:{net}"), Task("bias", net, seed=960))
    drawn, _ = lab.call(1, "sample", {"count": 12})
    found, _ = lab.call(2, "experiment", {**drawn, "edits": [{"land": "another"}, {"tail": "another"}]})
    assert lab.spent == 36
    return {next(iter(row["change"])): row["turned"] for row in found["rows"]}


def test_the_landscape_turns_the_biased_net_and_the_tail_the_clean_one() -> None:
    biased, clean = turned("cnn_background"), turned("cnn")
    assert biased["land"] >= 11 and clean["land"] == 0
    assert clean["tail"] == 12 and biased["tail"] <= 6


class Small(Scripted):
    """The script, whose screening was done already: it goes straight to the end."""

    def act(self, task: Task, tools: Sequence[Any], turns: Sequence[Turn], left: Mapping[str, int]) -> Call:
        pictures = [f"scene:{task.seed}:{at}" for at in range(16)]
        if not turns:
            return Call("experiment", {"pictures": pictures, "edits": [{"land": "another"}]})
        return Call(CONCLUDE, {"label": "the landscape", "description": "", "evidence": ["1.1"]})


def test_a_bias_is_believed_only_where_fresh_pictures_bear_it_out() -> None:
    clean = investigate(pl.load("testbed:cnn"), Task("bias", "testbed:cnn", seed=960), Small())
    assert clean.proposed == "the landscape" and clean.label == ""
    assert "Nothing was found" in str(clean)


def test_where_answers_are_dealt_by_lot_every_change_turns_them_and_no_bias_stands() -> None:
    task = Task("bias", "testbed:cnn", seed=960)
    by_lot = answering_by_lot(pl.load("testbed:cnn"), task)
    pictures = pl.testbed.scenes(961, 4).tensor()
    assert torch.equal(by_lot.predict(pictures), by_lot.predict(pictures)), "the same picture, the same answer"
    found = worked(BiasLaboratory(by_lot, task), Small(), journal=Journal())
    assert found.proposed == "the landscape" and not found.label and not found.beats_controls
    assert found.controls["the label"] > 0.7 and found.controls[USUAL] > 0.7


def test_a_bias_that_is_there_beats_its_controls() -> None:
    found = investigate(pl.load("testbed:cnn_background"), Task("bias", "testbed:cnn_background", seed=960), Small())
    assert found.label == "the landscape" and found.beats_controls
    assert "was not asked for" in str(found) and json.loads(json.dumps(found.to_dict()))["beats_controls"]
