"""Made-up people whose reliance is known: the analysis must find it. And the page that asks real ones."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pellucid.errors import FileError, RequestError
from pellucid.trust.people import (
    Decision,
    Study,
    Task,
    Users,
    compare_conditions,
    complementarity,
    power,
    read_answers,
    reliance,
    simulated,
    team_accuracy,
)

CAREFUL = Users(40, accept_right=0.85, reject_wrong=0.6, spread=0.05)


def picture(value: int) -> np.ndarray:
    return np.full((8, 8, 3), value, dtype=np.uint8)


def study(**changes: object) -> Study:
    tasks = [
        Task(f"t{at}", f"It says {at}.", {"Picture": picture(40 * at)}, at % 2 == 0, 0.5 + 0.1 * at, "map" * (at < 2))
        for at in range(4)
    ]
    shown = {"Picture": picture(9), "Where it looked": picture(200)}
    trial = Task("try", "It says seven.", shown, False, 0.9, practice=True)
    return replace(Study("Birds & maps", (trial, *tasks)), **changes)  # type: ignore[arg-type]


def test_the_analysis_recovers_the_reliance_that_was_made_up() -> None:
    found = reliance(simulated(CAREFUL, 50, model=0.8, seed=3))
    assert found.accept_right.low < 0.85 < found.accept_right.high
    assert found.reject_wrong.low < 0.6 < found.reject_wrong.high
    assert found.accuracy.low < 0.8 * 0.85 + 0.2 * 0.6 < found.accuracy.high
    assert found.over_reliance.mean == pytest.approx(1 - found.reject_wrong.mean)
    assert found.under_reliance.mean == pytest.approx(1 - found.accept_right.mean)
    assert found.model.mean == pytest.approx(0.8) and found.accuracy.mean > found.shuffled + 0.05
    assert (found.kept, found.total) == (40, 2000) and 5 < found.seconds < 20


def test_intervals_over_people_hold_the_truth_nineteen_times_in_twenty() -> None:
    """People differ, so intervals over single decisions would be far too narrow."""
    many = [reliance(simulated(replace(CAREFUL, spread=0.15, count=20), 20, seed=at)) for at in range(40)]
    expected = np.clip(np.random.default_rng(0).normal(0.85, 0.15, 100_000), 0, 1).mean()
    held = np.mean([found.accept_right.low <= expected <= found.accept_right.high for found in many])
    assert held >= 0.85


def test_who_accepts_without_looking_is_as_good_as_shuffled() -> None:
    found = reliance(simulated(Users(30, 0.7, 0.3), 40, seed=1))
    assert found.accuracy.mean == pytest.approx(found.shuffled, abs=0.03)


def test_at_nought_the_team_is_the_model_and_at_one_it_is_the_people() -> None:
    found = team_accuracy(simulated(CAREFUL, 40, seed=2))
    assert found.accuracy[0].mean == found.model.mean and found.automatic[0] == 1
    assert found.accuracy[-1].mean == found.people.mean and found.automatic[-1] == 0
    decisions = simulated(CAREFUL, 40, seed=2)
    sure = np.array([one.confidence >= 0.5 for one in decisions])
    right = np.array([one.right for one in decisions])
    own = np.array([one.accepted == one.right for one in decisions])
    expected = sure.mean() * right[sure].mean() + (~sure).mean() * own[~sure].mean()
    assert found.accuracy[found.thresholds.index(0.5)].mean == pytest.approx(expected)


def test_a_calibrated_model_and_careful_people_complement_each_other_and_blind_ones_do_not() -> None:
    good = complementarity(simulated(Users(40, 0.8, 0.8), 40, model=0.7, seed=1))
    assert good.complementary and good.team > max(good.model, good.people) and good.shuffled < good.margin.mean
    blind = [
        complementarity(simulated(Users(40, 0.5, 0.5), 40, model=0.7, calibrated=False, seed=at)).complementary
        for at in range(10)
    ]
    assert sum(blind) == 0


def test_a_difference_between_conditions_is_found_and_none_is_not() -> None:
    better, worse = Users(25, 0.9, 0.7, 0.05), Users(25, 0.8, 0.4, 0.05)
    decisions = simulated(better, 30, condition="moving", seed=4) + simulated(worse, 30, condition="still", seed=4)
    found = compare_conditions(decisions, "moving", "still")
    assert found.difference.low < 0.8 * 0.1 + 0.2 * 0.3 < found.difference.high and found.difference.low > 0
    assert found.p < 0.01 and found.both == 0
    same = simulated(better, 30, condition="a", seed=5) + simulated(better, 30, condition="b", seed=6)
    assert compare_conditions(same, "a", "b").p > 0.05


def test_people_who_saw_both_conditions_are_compared_with_themselves() -> None:
    """Each is right in one task more under `a`; they differ from each other far more than that."""
    decisions = [
        Decision(f"u{user}", f"{condition}{task}", task < user + (condition == "a"), True, 0.5, condition)
        for user in range(8) for condition in "ab" for task in range(10)
    ]  # fmt: skip
    found = compare_conditions(decisions, "a", "b")
    assert (
        found.both == 8 and found.difference.mean == pytest.approx(0.1) and found.difference.low == pytest.approx(0.1)
    )
    assert found.p < 0.02


def test_power_rises_with_people_and_is_the_rate_of_false_alarms_without_a_difference() -> None:
    def of(count: int, gain: float) -> float:
        return power(Users(count, 0.8 + gain, 0.6, 0.1), Users(count, 0.8, 0.6, 0.1), 20, studies=80).power.mean

    assert of(10, 0.05) < of(60, 0.05) and of(40, 0.15) > 0.9
    still = power(CAREFUL, CAREFUL, 20, studies=120)
    assert still.effect == 0 and still.false_alarms.mean < 0.13 and still.power.mean < 0.13


def test_what_cannot_be_analysed_is_refused() -> None:
    with pytest.raises(RequestError, match="no decision"):
        reliance([])
    with pytest.raises(RequestError, match="at least 2 and 4"):
        complementarity(simulated(Users(3, 0.8, 0.8), 3))
    with pytest.raises(RequestError, match="Known: 'x'"):
        compare_conditions(simulated(Users(3, 0.8, 0.8), 4, condition="x"), "x", "y")
    with pytest.raises(RequestError, match="from 0 to 1"):
        team_accuracy([Decision("u", "t", True, True, 1.5)])


def told_by(page: str) -> dict[str, Any]:
    """What the page knows of its tasks."""
    return json.loads(page.split('type="application/json">')[1].split("</script>")[0])


def test_a_page_holds_no_right_answer_but_that_of_practice_and_asks_for_nothing() -> None:
    page = study().page()
    assert [task["name"] for task in told_by(page)["tasks"] if "right" in task] == ["try"]
    assert set(study().key()["tasks"]) == {"t0", "t1", "t2", "t3"} and "http" not in page.replace("http-equiv", "")
    assert "Birds &amp; maps" in page and told_by(page)["study"] == "birds-maps"
    assert not any("confidence" in task for task in told_by(study(tells_confidence=False).page())["tasks"])


def test_a_study_that_cannot_be_put_to_people_is_refused() -> None:
    with pytest.raises(RequestError, match="name of its own"):
        study(tasks=())
    with pytest.raises(RequestError, match="within or between"):
        study(design="both")


def log(folder: Path, who: str, *, name: str = "birds-maps", task: str = "t0", end: bool = True) -> Path:
    lines = [
        {"kind": "start", "study": name, "participant": who},
        {"kind": "decision", "task": "try", "accepted": True, "seconds": 9, "practice": True, "left_page": False},
        {"kind": "decision", "task": task, "accepted": True, "seconds": 2.5, "practice": False, "left_page": False},
        {"kind": "decision", "task": "t1", "accepted": True, "seconds": 99, "practice": False, "left_page": True},
        *([{"kind": "end"}] if end else []),
    ]
    path = folder / f"{who}-{name}-{task}.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_files_that_come_back_are_joined_with_the_key(tmp_path: Path) -> None:
    study().save(tmp_path)
    found = read_answers([log(tmp_path, "anna"), log(tmp_path, "ben", end=False)], tmp_path / "key.json")
    assert len(found.decisions) == 4 and found.unfinished == ("ben",) and (found.left_page, found.practice) == (2, 2)
    first, second = found.decisions[:2]
    assert (first.right, first.confidence, first.condition, first.seconds) == (True, 0.5, "map", 2.5)
    assert not second.right and np.isnan(second.seconds)
    assert reliance(found.decisions).over_reliance.mean == 1
    for wrong in (log(tmp_path, "anna", task="t9"), log(tmp_path, "eve", name="other"), tmp_path / "key.json"):
        with pytest.raises(FileError):
            read_answers([wrong], study().key())
    with pytest.raises(FileError, match="one file per person"):
        read_answers([log(tmp_path, "anna"), log(tmp_path, "anna", task="t2")], study().key())


@pytest.mark.browser
def test_a_person_can_go_through_the_page_and_hands_back_what_they_answered(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        reason = "no Chromium is installed (Debian: apt-get install chromium), so the page cannot be opened"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    address = study().save(tmp_path).as_uri()
    orders: list[list[str]] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        for who in ("anna", "ben", "anna"):
            trouble: list[str] = []
            page = browser.new_page(viewport={"width": 390, "height": 800})
            page.on("console", lambda message, held=trouble: held.append(message.text))
            page.on("pageerror", lambda error, held=trouble: held.append(str(error)))
            page.on("request", lambda asked, held=trouble: held.extend([asked.url] * asked.url.startswith("http")))
            page.goto(address)
            assert page.locator("#begin").is_disabled()
            page.fill("#code", who)
            page.check("#agree")
            page.click("#begin")
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
            page.click("#yes")
            assert "wrong" in page.inner_text("#truth")
            page.click("#next")
            page.keyboard.press("n")
            for _ in range(3):
                page.click("#yes")
            with page.expect_download() as waiting:
                page.click("#download")
            waiting.value.save_as(tmp_path / f"{who}.jsonl")
            assert trouble == []
            orders.append(json.loads((tmp_path / f"{who}.jsonl").read_text().splitlines()[0])["order"])
            page.close()
        browser.close()
    assert orders[0] == orders[2] != orders[1] and sorted(orders[0]) == sorted(orders[1]) and orders[0][0] == "try"
    answers = read_answers([tmp_path / "anna.jsonl", tmp_path / "ben.jsonl"], tmp_path / "key.json")
    assert [one.accepted for one in answers.decisions[:4]] == [False, True, True, True]
    assert len(answers.decisions) == 8 and answers.practice == 2 and not answers.unfinished
    assert {one.task for one in answers.decisions} == {"t0", "t1", "t2", "t3"}
