"""Tests of the report that the README shows; they also take its pictures.

To take the pictures of the docs: `make test ARGS="-m browser -k published --pictures=docs"`
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import CHROMIUM, Page, chromium

DOCS = Path(__file__).parents[2] / "docs"
REPORT = DOCS / "toy_translation.html"
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")]


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    with chromium() as page:
        page.resize(1200, 900)
        page.open(REPORT)
        page.wait("document.querySelector('.explorer').dataset.ready")
        yield page
        assert not page.problems


def test_figures_in_the_docs_equal_those_of_the_report(tab: Page) -> None:
    """The table of ``results.md`` repeats the report's BLEU of eight mechanisms in both models."""
    cells = "[...document.querySelectorAll('#scores0 tbody tr')].map(row => [row.cells[0], row.cells[2]])"
    shown = dict(json.loads(tab.run(f"JSON.stringify({cells}.map(both => both.map(cell => cell.textContent)))")))
    section = (DOCS / "results.md").read_text(encoding="utf-8").partition("every mechanism in both models")[2]
    rows = [line.strip("| ").split(" | ") for line in section.partition("\n## ")[0].splitlines() if line[:1] == "|"]
    assert len(rows[2:]) == 8
    for name, rnn, _, _, transformer, *_ in rows[2:]:
        assert (rnn, transformer) == (shown[f"rnn {name}"], shown[f"transformer {name}"])


def test_pictures_of_the_report_can_be_taken(tab: Page, pictures: Path) -> None:
    """Take pictures of the table and of three mechanisms' attention at one word."""
    tab.screenshot(pictures / "report.png")
    names = ("rnn additive", "rnn local", "transformer multi_head")
    boxes = "[...document.querySelectorAll('.explorer fieldset label')]"
    for name in json.loads(tab.run(f"JSON.stringify({boxes}.map(label => label.textContent.trim()))")):
        box = f"{boxes}.find(label => label.textContent.trim() === {json.dumps(name)}).querySelector('input')"
        tab.run(f"(box => box.disabled || box.checked === {json.dumps(name in names)} || box.click())({box})")
    tab.wait("document.querySelectorAll('.panel').length === 3")
    assert tab.run("document.documentElement.scrollWidth <= innerWidth + 1")  # wide tables scroll inside the page
    tab.resize(1500, 760)
    tab.run("document.querySelector('.panel').scrollIntoView()")
    for panel in (1, 2, 3):
        tab.move(f".panel:nth-of-type({panel}) .tokens button:nth-of-type(2)", click=True)
    tab.screenshot(pictures / "explorer.png")
    assert all((pictures / name).stat().st_size > 20_000 for name in ("report.png", "explorer.png"))
