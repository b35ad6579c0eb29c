"""Tests of the page of a document in a browser: mouse, keys, a phone, dark mode and no errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from seq2seq.plots.page import page
from tests.browser import CHROMIUM, Page, chromium
from tests.plots.test_page import shading

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")]
SEEN = shading(copied=[0.25, 1, 0, 0.5], origins=[1, -1, 0])


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def tab(browser: Page, tmp_path: Path) -> Page:
    browser.resize(1100, 800)
    file = tmp_path / "page.html"
    file.write_text(page(SEEN, "record 7"), encoding="utf-8")
    browser.open(file)
    browser.wait("document.getElementById('status').textContent")
    return browser


def status(tab: Page) -> str:
    return tab.run("document.getElementById('status').textContent")


def shades(tab: Page) -> list[float]:
    spans = tab.run("[...document.querySelectorAll('#document span')].map(s => +s.style.getPropertyValue('--w'))")
    return [round(shade, 2) for shade in spans]


def expected(rows: list[float]) -> list[float]:
    full = max(*rows, 3 / len(rows))
    return pytest.approx([weight / full for weight in rows], abs=0.011)


def test_the_mean_is_shown_first(tab: Page) -> None:
    assert status(tab).startswith("All words: most attention on sentence ")
    assert shades(tab) == expected(SEEN.weights.mean(0).tolist())
    assert not tab.problems


def test_weights_of_a_word_are_shown_while_the_mouse_points_at_it(tab: Page) -> None:
    tab.move("#words button:nth-of-type(2)")
    assert shades(tab) == expected(SEEN.weights[1].tolist())
    assert "copied 100" in status(tab) and "gold sentence: none" in status(tab)
    tab.move("h1")
    assert status(tab).startswith("All words")


def test_a_click_selects_a_word_and_a_second_click_deselects_it(tab: Page) -> None:
    for wanted in (True, False):
        tab.move("#words button:nth-of-type(3)", click=True)
        tab.move("h1")
        assert (shades(tab) == expected(SEEN.weights[2].tolist())) is wanted


def test_keys_step_through_the_words(tab: Page) -> None:
    chosen = "[...document.querySelectorAll('[role=radio]')].findIndex(b => b.getAttribute('aria-checked') == 'true')"
    places = []
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "End", "ArrowRight", "Home", "ArrowRight", "Escape"):
        tab.press(key)
        places.append(tab.run(chosen))
    assert places == [1, 2, 1, 3, 3, 0, 1, 0]
    assert tab.run("document.activeElement.id") == "mean"
    assert not tab.problems


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_scrolls_only_vertically(tab: Page, dark: bool, pictures: Path) -> None:
    tab.resize(360, 700, dark=dark)
    assert tab.run("document.documentElement.scrollWidth") <= 360
    ground = tab.run("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(22, 24, 28)" if dark else "rgb(255, 255, 255)")
    picture = pictures / f"document_phone_{'dark' if dark else 'light'}.png"
    tab.screenshot(picture)
    assert picture.stat().st_size > 1000
