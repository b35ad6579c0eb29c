"""Tests of the report's explorer in headless Chromium: sources that are a picture or a document, and a sentinel."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from seq2seq.cli import compare, hydra_app, train
from tests.browser import CHROMIUM, Page, chromium
from tests.conftest import TINY

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")]
CAPTIONS = ("data=toy_captioning", "attention=adaptive", "model.dim=16", "data.max_tokens=4096")
SUMMARIES = ("data=toy_summarisation", "attention=hierarchical", "data.max_tokens=2048", "decoding.min_length=4")

SHADE = """(canvas => {
  const copy = document.createElement('canvas');
  [copy.width, copy.height] = [canvas.width, canvas.height];
  const context = copy.getContext('2d', {willReadFrequently: true});
  context.drawImage(canvas, 0, 0);
  return [...context.getImageData(0, 0, copy.width, copy.height).data].filter((_, n) => n % 4 === 3);
})"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with chromium() as page:
        yield page


def open_report(browser: Page, folder: Path, *options: str) -> Page:
    """Train a small run, open its report and scroll to the explorer."""
    beside = [
        "training.faithfulness_examples=0",
        "training.num_plots=0",
        "training.metrics=[]",
        f"data.cache={folder / 'cache'}",
    ]
    (config,) = hydra_app.compose("train", [hydra_app.as_override(option) for option in (*TINY, *options, *beside)])
    train.train(config, folder / "run")
    asked = [f"runs={folder / 'run'}", f"output={folder / 'report'}", "samples=100"]
    (config,) = hydra_app.compose("compare", [hydra_app.as_override(option) for option in asked])
    browser.resize(1200, 900)
    browser.open(compare.compare(config))
    browser.wait("document.querySelector('.explorer').dataset.ready")
    browser.run("document.querySelector('.panel').scrollIntoView()")
    return browser


def choose_first_word(tab: Page) -> str:
    """Choose the first word of the output and return the text of the status."""
    tab.move(".panel .tokens button:nth-of-type(1)", click=True)
    tab.wait("!document.querySelector('.panel .status').textContent.includes('all steps')")
    status: str = tab.run("document.querySelector('.panel .status').textContent")
    return status.replace("\u00a0", " ")


def test_a_picture_is_bright_where_a_word_attends(browser: Page, tmp_path: Path, pictures: Path) -> None:
    tab = open_report(browser, tmp_path, *CAPTIONS)
    assert tab.run("document.querySelector('.picture img').naturalWidth") > 0
    alpha = f"JSON.stringify({SHADE}(document.querySelector('.picture canvas')))"
    over_all = json.loads(tab.run(alpha))
    said = choose_first_word(tab)
    of_word = json.loads(tab.run(alpha))
    assert min(of_word) < 60 < max(of_word)  # the most attended cell is clear, others are dark
    assert of_word != over_all
    assert "row " in said and "column " in said
    assert "outside the source " in said  # the sentinel's share
    shares = [float(share) for share in re.findall(r"([\d.]+) %", said)]
    assert 0 < sum(shares) <= 101
    tab.screenshot(pictures / "report_picture.png")
    assert not tab.problems


def test_a_document_is_shaded_by_sentence_and_by_word(browser: Page, tmp_path: Path, pictures: Path) -> None:
    tab = open_report(browser, tmp_path, *SUMMARIES)
    choose_first_word(tab)
    percent = "e => parseFloat(e.title)"
    blocks = json.loads(tab.run(f"JSON.stringify([...document.querySelectorAll('.panel .sentence')].map({percent}))"))
    words = "e => [...e.querySelectorAll('span')].map(s => parseFloat(s.title))"
    inside = json.loads(tab.run(f"JSON.stringify([...document.querySelectorAll('.panel .sentence')].map({words}))"))
    assert len(blocks) > 3
    for share, parts in zip(blocks, inside, strict=True):
        assert share == pytest.approx(sum(parts), abs=0.5 * (len(parts) + 1))
    assert sum(blocks) == pytest.approx(100, abs=len(blocks))
    tab.screenshot(pictures / "report_document.png")
    assert not tab.problems
