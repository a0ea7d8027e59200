"""Our pages in a real browser: quiet, self-contained, whole at every width, in the dark and on paper."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from pellucid.report import Card, Section, Skipped, write_index
from tests.results.making import board, explanation, small_scene

WIDTHS = (1440, 390)
PAGES = ("photograph.html", "scene.html", "index.html", "board.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if found is None:
        reason = "no Chromium is installed (Debian: apt-get install chromium), so the pages cannot be opened"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    stories = {"photograph.html": explanation(), "scene.html": small_scene()}
    for name, story in stories.items():
        story.save(folder / name)
    board().save(folder / "board.html")
    cards = tuple(Card.of(story, name) for name, story in stories.items())
    skipped = [
        Skipped("a_very_long_name_of_a_file_that_no_line_can_hold_without_breaking_it_somewhere.jpg", "it is empty.")
    ]
    write_index(folder / "index.html", [Section("Pictures", "Two of them.", cards)], skipped=skipped)
    return folder


def opened(browser: Browser, path: Path, width: int, scheme: str = "light") -> tuple[Page, list[str]]:
    """The page, and everything it complained about or asked for."""
    trouble: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page.on("console", lambda message: trouble.append(f"console {message.type}: {message.text}"))
    page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
    page.on(
        "request",
        lambda request: trouble.append(request.url[:80]) if not request.url.startswith(("file:", "data:")) else None,
    )
    page.goto(path.as_uri())
    return page, trouble


def _outside(address: str) -> list[str]:
    return [] if address.startswith(("file:", "data:")) else [address[:80]]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_quiet_self_contained_and_fits_its_window(
    browser: Browser, folder: Path, name: str, width: int
) -> None:
    page, trouble = opened(browser, folder / name, width)
    assert trouble == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    beyond = page.evaluate(
        "w => [...document.querySelectorAll('main *')]"
        ".filter(e => !e.closest('.scroll') && e.getBoundingClientRect().right > w + 1)"
        ".map(e => e.tagName + '.' + (e.getAttribute('class') || ''))", width,
    )  # fmt: skip
    assert beyond == []
    assert page.evaluate("[...document.images].every(i => i.complete && (i.naturalWidth > 0 || i.hidden))")
    page.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_answer_the_headline_and_the_map_are_seen(browser: Browser, folder: Path, width: int) -> None:
    page, _ = opened(browser, folder / "photograph.html", width)
    for part in (
        "h1",
        "#headline",
        "#picture",
        "#map",
        ".legend",
        ".claims",
        ".comparison",
        ".curves",
        ".gallery",
        ".facts",
    ):
        assert page.locator(part).first.is_visible(), part
    picture, drawn = page.locator("#picture").bounding_box(), page.locator("#map").bounding_box()
    assert picture is not None and drawn is not None and abs(picture["width"] - drawn["width"]) < 1
    if width > 1000:
        assert picture["y"] == drawn["y"] and picture["y"] + picture["height"] < 900, "both are on the first screen"
    page.close()


def test_the_figures_of_a_claim_come_with_the_keyboard(browser: Browser, folder: Path) -> None:
    page, _ = opened(browser, folder / "photograph.html", 1440)
    claim = page.locator(".claims .claim").first
    shown = "e => getComputedStyle(e.querySelector('.figures')).opacity"
    assert claim.evaluate(shown) == "0"
    claim.focus()
    page.wait_for_timeout(250)
    assert claim.evaluate(shown) == "1"
    page.close()


def test_the_slider_wipes_from_the_map_to_the_picture(browser: Browser, folder: Path) -> None:
    page, trouble = opened(browser, folder / "photograph.html", 1440)
    page.locator("#wipe").fill("40")
    assert "60%" in page.locator("#above").evaluate("e => e.style.clipPath")
    assert page.locator("#above").evaluate("e => e.src === document.getElementById('picture').src")
    assert trouble == []
    page.close()


def test_a_method_of_the_gallery_can_be_seen_large(browser: Browser, folder: Path) -> None:
    page, trouble = opened(browser, folder / "photograph.html", 1440)
    button = page.locator(".gallery button[data-title='Occlusion']")
    button.focus()
    page.keyboard.press("Enter")
    assert page.locator("#method").inner_text() == "by Occlusion"
    assert "red: raised the answer" in page.locator("#plate .legend").inner_text()
    assert button.get_attribute("aria-pressed") == "true" and page.locator("[aria-pressed=true]").count() == 1
    page.locator(".gallery button").first.click()
    assert page.locator("#method").inner_text() == "by LayerCAM" and trouble == []
    page.close()


def test_a_board_sorts_by_the_measure_that_is_clicked_best_first(browser: Browser, folder: Path) -> None:
    page, trouble = opened(browser, folder / "board.html", 1440)
    names = "[...document.querySelectorAll('#board tbody th')].map(e => e.firstChild.textContent.trim())"
    by_pointing = page.evaluate(names)
    assert by_pointing[:3] == ["Oracle", "Strong", "Weak"]
    head = page.locator("#board thead th", has_text="Deletion")
    head.locator("button").click()
    assert page.evaluate(names)[:3] == ["Strong", "Oracle", "Centre of the picture"]
    assert head.get_attribute("aria-sort") == "ascending"  # less is better
    head.locator("button").press("Enter")
    assert page.evaluate(names)[0] == "Random map" and head.get_attribute("aria-sort") == "descending"
    page.locator("#board thead th").first.locator("button").click()
    assert page.evaluate(names) == by_pointing and trouble == []
    page.close()


def test_the_page_turns_dark_with_its_reader(browser: Browser, folder: Path) -> None:
    page, _ = opened(browser, folder / "photograph.html", 1440, "dark")
    red = page.evaluate("Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])")
    assert red < 40
    page.close()


@pytest.mark.parametrize("name", ["photograph.html", "board.html"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_words_have_contrast_enough_to_be_read(browser: Browser, folder: Path, scheme: str, name: str) -> None:
    """WCAG AA: 4.5 to 1 for every colour of letters on the paper."""
    page, _ = opened(browser, folder / name, 1440, scheme)
    worst = page.evaluate("""() => {
      const light = (text) => { const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map(Number)
        .map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
      const paper = light(getComputedStyle(document.body).backgroundColor);
      const written = [...document.querySelectorAll('main *, header *, footer *')]
        .filter((e) => e.textContent.trim() && (!(e instanceof SVGElement) || e.tagName === 'text'));
      return Math.min(...written.map((e) => {
        const style = getComputedStyle(e), ink = light(e instanceof SVGElement ? style.fill : style.color);
        return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05); }));
    }""")
    assert worst >= 4.5, worst
    page.close()


def test_the_page_prints_with_its_figures(browser: Browser, folder: Path, tmp_path: Path) -> None:
    page, _ = opened(browser, folder / "photograph.html", 1440, "dark")
    page.emulate_media(media="print")
    assert page.locator(".claims .figures").first.evaluate("e => getComputedStyle(e).opacity") == "1"
    assert not page.locator(".wipe").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.pdf(path=tmp_path / "page.pdf", format="A4", print_background=True)
    pdf = (tmp_path / "page.pdf").read_bytes()
    assert pdf.startswith(b"%PDF") and 2 <= pdf.count(b"/Type /Page\n") <= 8
    page.close()
