"""The report that the README shows, and its pictures: `make test ARGS="-m browser --pictures=docs"`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import CHROMIUM, Page, chromium

REPORT = Path(__file__).parents[2] / "docs" / "toy_translation" / "index.html"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium"),
    pytest.mark.skipif(not REPORT.exists(), reason="no report"),
]


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    with chromium() as page:
        page.resize(1200, 900)
        page.open(REPORT)
        page.wait("document.querySelector('.explorer').dataset.ready")
        yield page
        assert not page.problems


def test_its_table_is_of_the_same_figures(tab: Page) -> None:
    rows = (
        "[...document.querySelectorAll('#scores0 tbody tr')].map(r => [r.cells[0].textContent, +r.cells[2].dataset.v])"
    )
    shown = dict(json.loads(tab.run(f"JSON.stringify({rows})")))
    figures = json.loads((REPORT.parent / "comparison.json").read_text())["datasets"]["toy_translation"]
    assert shown == {name: pytest.approx(one["score"]) for name, one in figures["estimates"]["bleu"].items()}
    assert len(shown) > 60


def test_its_pictures(tab: Page, pictures: Path) -> None:
    """The table, and what three mechanisms say of one sentence, at one word."""
    tab.screenshot(pictures / "report.png")
    names = ("rnn additive", "rnn local", "transformer multi_head")
    boxes = "[...document.querySelectorAll('.explorer fieldset label')]"
    for name in json.loads(tab.run(f"JSON.stringify({boxes}.map(label => label.textContent.trim()))")):
        box = f"{boxes}.find(label => label.textContent.trim() === {json.dumps(name)}).querySelector('input')"
        tab.run(f"(box => box.disabled || box.checked === {json.dumps(name in names)} || box.click())({box})")
    tab.wait("document.querySelectorAll('.panel').length === 3")
    assert tab.run("document.documentElement.scrollWidth <= innerWidth + 1")  # tables scroll by themselves
    tab.resize(1500, 760)
    tab.run("document.querySelector('.panel').scrollIntoView()")
    for panel in (1, 2, 3):
        tab.move(f".panel:nth-of-type({panel}) .tokens button:nth-of-type(2)", click=True)
    tab.screenshot(pictures / "explorer.png")
    assert all((pictures / name).stat().st_size > 20_000 for name in ("report.png", "explorer.png"))
