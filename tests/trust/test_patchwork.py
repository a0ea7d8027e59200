"""The interactive condition: what the page computes is what is computed here, and people's changes are kept."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pellucid.errors import RequestError, ShapeError
from pellucid.trust.people import Patchwork, Study, Task, Users, compare_conditions, read_answers, simulated
from pellucid.trust.people.analysis import Decision

GRID, KNOWN = (3, 4), 30


def patchwork(seed: int = 0, **changes: object) -> Patchwork:
    draw = np.random.default_rng(seed)
    pictures = draw.integers(0, 255, (KNOWN + 1, 16, 16, 3), dtype=np.uint8)
    settings = {
        "likeness": draw.random((KNOWN, 12)), "counterpart": draw.integers(0, 12, (KNOWN, 12)),
        "names": tuple(["wren", "swift", "lark"][at] for at in draw.integers(0, 3, KNOWN)), "among": 7, **changes,
    }  # fmt: skip
    return Patchwork(pictures[0], tuple(pictures[1:]), grid=GRID, **settings)  # type: ignore[arg-type]


def test_its_own_answer_sums_each_known_pictures_best_patches() -> None:
    work = patchwork()
    best = np.sort(np.rint(work.likeness * 10_000), axis=1)[:, -5:].sum(axis=1)
    found = work.answer()
    assert list(found.order) == sorted(range(KNOWN), key=lambda at: (-best[at], at))
    votes = [work.names[at] for at in found.order[:7]]
    assert votes.count(found.said) == max(map(votes.count, votes)) and found.share == votes.count(found.said) / 7


def test_a_chosen_patch_alone_decides() -> None:
    """Patch 4 is the same in all known wrens and in nobody else."""
    names = tuple(["wren", "swift", "lark"][at % 3] for at in range(KNOWN))
    likeness = np.random.default_rng(1).random((KNOWN, 12)) * 0.5
    likeness[:, 4] = [float(name == "wren") for name in names]
    work = patchwork(names=names, likeness=likeness)
    assert work.answer([4]).said == "wren" and work.answer([4]).share == 1.0
    assert set(work.answer([4]).order[:10]) == {at for at in range(KNOWN) if names[at] == "wren"}


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match="known, patch"):
        patchwork(likeness=np.ones((KNOWN, 5)), counterpart=np.zeros((KNOWN, 5), dtype=np.int64))
    with pytest.raises(RequestError, match="at most 5"):
        patchwork().answer([0, 1, 2, 3, 4, 5])
    with pytest.raises(RequestError, match="from 0 to 11"):
        patchwork().answer([12])


def study(design: str = "within") -> Study:
    tasks = [
        Task(f"{condition}{at}", f"It says {work.answer().said}.", {}, at == 0, 0.5, condition,
             patchwork=work.open() if condition == "dynamic" else work.locked())
        for at, work in enumerate([patchwork(3), patchwork(4)]) for condition in ("static", "dynamic")
    ]  # fmt: skip
    return Study("Patches", tuple(tasks), tells_confidence=False, design=design)


def chromium() -> str:
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if found is None:
        reason = "no Chromium is installed (Debian: apt-get install chromium), so the page cannot be opened"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    return found


@pytest.mark.browser
def test_who_only_looks_practises_by_looking(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    first, *others = study("between").tasks
    tasks = (replace(first, practice=True), replace(others[0], practice=True), *others[1:])
    address = replace(study("between"), tasks=tasks).save(tmp_path).as_uri()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        seen = {True: 0, False: 0}
        for who in range(4):
            page = browser.new_page()
            page.goto(address)
            page.fill("#code", f"u{who}")
            page.check("#agree")
            page.click("#begin")
            assert page.inner_text("#count") == "Practice, 1 of 2"
            editable = page.locator("#patchwork button.patch").count() > 0
            page.click("#yes")
            page.click("#next")
            assert (page.locator("#patchwork button.patch").count() > 0) == editable
            seen[editable] += 1
            page.close()
        browser.close()
    assert min(seen.values()) >= 1


@pytest.mark.browser
def test_the_page_answers_every_change_as_the_model_does_and_keeps_it(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    found = chromium()
    address = study().save(tmp_path).as_uri()
    works = {task.name: task.patchwork for task in study().tasks}
    trouble: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 900})
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda asked: trouble.extend([asked.url] * asked.url.startswith("http")))
        page.goto(address)
        page.fill("#code", "anna")
        page.check("#agree")
        page.click("#begin")
        order = page.evaluate("JSON.parse(document.getElementById('study').textContent).tasks.map((task) => task.name)")
        assert set(order) == set(works)
        cells = page.locator("#patchwork button.patch")
        clicked = ([5], [5, 0], [0], [0, 7, 3, 11, 2], [7, 3, 11, 2, 8])  # a sixth patch takes the first one's place
        clicks = (5, 0, 5, (7, 3, 11, 2), 8)
        opened = 0
        for _ in works:
            said = page.inner_text("#patchwork .now")
            name = next(
                name for name, work in works.items()
                if work is not None and work.told()["picture"] == page.get_attribute("#patchwork .asked img", "src")
                and work.editable == (cells.count() > 0)
            )  # fmt: skip
            work = works[name]
            assert work is not None and f"itself it says: {work.answer().said} (" in said
            assert page.locator("#patchwork .known figure").count() == 5
            if work.editable:
                opened += 1
                for chosen, click in zip(clicked, clicks, strict=True):
                    for patch in click if isinstance(click, tuple) else (click,):
                        cells.nth(patch).click()
                    answer = work.answer(chosen)
                    said = page.inner_text("#patchwork .now")
                    assert f"you chose it says: {answer.said} ({round(7 * answer.share)} of 7" in said, (chosen, said)
                    first = page.locator("#patchwork .known img").first.get_attribute("src")
                    assert first == work.told()["known"][answer.order[0]]
                    pressed = page.locator("#patchwork button.patch[aria-pressed=true]").count()
                    assert pressed == len(chosen)
                page.click("text=Its own patches again")
                assert f"itself it says: {work.answer().said} (" in page.inner_text("#patchwork .now")
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
            page.click("#yes")
        with page.expect_download() as waiting:
            page.click("#download")
        waiting.value.save_as(tmp_path / "anna.jsonl")
        browser.close()
    assert trouble == [] and opened == 2
    edits = [json.loads(line) for line in (tmp_path / "anna.jsonl").read_text().splitlines()]
    edits = [line for line in edits if line["kind"] == "edit"]
    assert len(edits) == 18 and edits[0]["patches"] == [5] and edits[-1]["patches"] == []
    found_answers = read_answers([tmp_path / "anna.jsonl"], tmp_path / "key.json")
    assert {(one.condition, one.edits) for one in found_answers.decisions} == {("static", 0), ("dynamic", 9)}


def test_looking_and_changing_are_compared_within_people() -> None:
    """The same people are right in one task of ten more where they may change the patches."""
    decisions = [
        Decision(f"u{user}", f"{condition}{task}", task < user + (condition == "dynamic"), True, 0.5, condition)
        for user in range(8) for condition in ("static", "dynamic") for task in range(10)
    ]  # fmt: skip
    found = compare_conditions(decisions, "dynamic", "static")
    assert found.both == 8 and found.difference.mean == pytest.approx(0.1) == pytest.approx(found.difference.low)
    made_up = [
        one for condition in ("dynamic", "static")
        for one in simulated(Users(18, 0.85, 0.5, 0.1), 40, condition=condition, seed=2)
    ]  # fmt: skip
    none = compare_conditions(made_up, "dynamic", "static")
    assert none.difference.low < 0 < none.difference.high
