"""Tests of the report in headless Chromium: every control works, and the page has no errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from seq2seq.cli import compare, hydra_app
from tests.browser import CHROMIUM, Page, chromium

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")]


@pytest.fixture(scope="module")
def file(sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "report"
    options = [f"runs={sweep}", f"output={out}", "samples=100"]
    (config,) = hydra_app.compose("compare", [hydra_app.as_override(option) for option in options])
    return compare.compare(config)


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with chromium() as page:
        yield page


@pytest.fixture
def tab(browser: Page, file: Path) -> Iterator[Page]:
    browser.resize(1200, 900)
    browser.open(file)
    browser.wait("document.querySelector('.explorer').dataset.ready")
    yield browser
    assert not browser.problems


def column(tab: Page, number: int) -> list[str]:
    """Return the texts of a column of the first table."""
    cells = f"[...document.querySelectorAll('#scores0 tbody tr')].map(row => row.cells[{number}].textContent)"
    texts: list[str] = json.loads(tab.run(f"JSON.stringify({cells})"))
    return texts


def test_a_click_on_a_heading_sorts_the_table(tab: Page) -> None:
    assert len(column(tab, 0)) == 3
    tab.move("#scores0 th:nth-child(1) button", click=True)
    names = column(tab, 0)
    assert names == sorted(names)
    tab.move("#scores0 th:nth-child(4) button", click=True)
    down = [float(cell.split()[0]) for cell in column(tab, 3)]
    assert down == sorted(down, reverse=True)
    assert tab.run("document.querySelector('#scores0 th:nth-child(4)').getAttribute('aria-sort')") == "descending"
    tab.move("#scores0 th:nth-child(4) button", click=True)
    assert [float(cell.split()[0]) for cell in column(tab, 3)] == sorted(down)


def test_controls_choose_examples_panels_layers_and_heads(tab: Page) -> None:
    assert tab.run("document.querySelectorAll('.panel').length") == 3
    tab.run("document.querySelector('.explorer').scrollIntoView()")
    first = tab.run("document.querySelector('.reference').textContent")
    tab.move(".explorer .bar button:last-of-type", click=True)
    tab.wait("document.querySelector('.explorer').dataset.ready === '2'")
    assert tab.run("document.querySelector('.reference').textContent") != first
    tab.run("document.querySelector('.explorer fieldset input').click()")
    tab.wait("document.querySelectorAll('.panel').length === 2")
    choose = "(select, value) => { select.value = value; select.dispatchEvent(new Event('change')); }"
    tab.run(f"({choose})(document.querySelectorAll('.explorer select')[0], 'cross.1')")
    tab.wait("[...document.querySelectorAll('.status')].some(p => p.textContent.includes('layer 2, mean of heads'))")
    tab.run(f"({choose})(document.querySelectorAll('.explorer select')[1], '1')")
    tab.wait("[...document.querySelectorAll('.status')].some(p => p.textContent.includes('layer 2, head 2'))")
    change = "(query, value) => { const e = document.querySelector(query); e.value = value; "
    change += "e.dispatchEvent(new Event('change')); }"
    tab.run(f"({change})('input[type=number]', 6)")
    tab.wait("document.querySelector('.explorer').dataset.ready === '6'")
    assert tab.run("document.querySelector('.explorer .bar button:last-of-type').disabled")
    find = "const e = document.querySelector('input[type=search]'); e.value = 'the'; "
    find += "e.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter'})); "
    shown = ["6"]
    for _ in range(2):  # each search finds the next example
        tab.run(f"(() => {{ {find} }})()")
        tab.wait(f"document.querySelector('.explorer').dataset.ready !== '{shown[-1]}'")
        shown.append(tab.run("document.querySelector('.explorer').dataset.ready"))
    assert len(set(shown)) == 3


def test_steps_are_chosen_by_mouse_and_by_key(tab: Page) -> None:
    tab.run("document.querySelector('.panel').scrollIntoView()")
    word = ".panel .tokens button:nth-of-type(1)"
    assert "all steps" in tab.run("document.querySelector('.panel .status').textContent")
    tab.move(word)
    tab.wait("!document.querySelector('.panel .status').textContent.includes('all steps')")
    tab.move("h1")
    tab.wait("document.querySelector('.panel .status').textContent.includes('all steps')")
    tab.run("document.querySelector('.panel').scrollIntoView()")
    tab.move(word, click=True)
    tab.move("h1")
    radios = "[...document.querySelectorAll('.panel [role=radio]')]"
    chosen = f"{radios}.findIndex(b => b.getAttribute('aria-checked') === 'true')"
    assert tab.run(chosen) == 0
    tab.press("ArrowRight")
    assert tab.run(chosen) == 1
    tab.press("End")
    assert tab.run(chosen) == tab.run("document.querySelector('.panel').querySelectorAll('[role=radio]').length") - 1
    tab.press("Home")
    assert tab.run(chosen) == 0
    tab.press("Escape")
    assert tab.run(chosen) == -1


def test_panels_with_the_same_output_change_their_step_together(tab: Page) -> None:
    tab.run("document.querySelector('.panel').scrollIntoView()")
    tab.move(".panel .tokens button:nth-of-type(1)", click=True)
    per_panel = (
        "[...document.querySelectorAll('.panel')].map(p => [[...p.querySelectorAll('[role=radio]')].map(b => "
        "b.textContent).join(' '), [...p.querySelectorAll('[role=radio]')].findIndex(b => "
        "b.getAttribute('aria-checked') === 'true')])"
    )
    first, *others = json.loads(tab.run(f"JSON.stringify({per_panel})"))
    assert first[1] == 0
    assert all((step == 0) == (text == first[0]) for text, step in others)


def test_shares_of_a_word_sum_to_100_percent(tab: Page, file: Path) -> None:
    """The status shows the largest share of the chosen row."""
    tab.run("document.querySelector('.panel').scrollIntoView()")
    tab.move(".panel .tokens button:nth-of-type(1)", click=True)
    titles = "[...document.querySelector('.panel').querySelectorAll('.tokens span')].map(s => parseFloat(s.title))"
    shares = json.loads(tab.run(f"JSON.stringify({titles})"))
    assert sum(shares) == pytest.approx(100, abs=len(shares))
    said = tab.run("document.querySelector('.panel .status').textContent")
    assert f"{max(shares):g}" in said.replace("\u00a0", " ")


def test_the_page_fits_small_screens_dark_mode_and_print(tab: Page, pictures: Path) -> None:
    for width, dark in ((390, False), (390, True), (1200, True)):
        tab.resize(width, 844, dark=dark)
        tab.screenshot(pictures / f"report_{width}_{'dark' if dark else 'light'}.png")
        assert tab.run("document.documentElement.scrollWidth <= innerWidth + 1")
    light = tab.run("getComputedStyle(document.body).backgroundColor")
    tab.resize(1200, 844)
    assert tab.run("getComputedStyle(document.body).backgroundColor") != light
    assert len(tab.ask("Page.printToPDF")["data"]) > 10_000


def test_controls_have_names_for_screen_readers(tab: Page) -> None:
    told = "e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.[0]?.textContent.trim()"
    some = "[...document.querySelectorAll('button, input, select, svg, [role=region]')]"
    unnamed = f"{some}.filter(e => !({told})).length"
    assert tab.run(unnamed) == 0
    assert tab.run("document.querySelectorAll('td .hidden').length") > 0
