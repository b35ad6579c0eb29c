"""Check that docs/reference/metrics.md agrees with the table of metrics."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from seq2seq.metrics.table import METRICS

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))  # `python scripts/metrics_page.py` does the same

import metrics_page


def test_the_page_is_current() -> None:
    text = metrics_page.PAGE.read_text(encoding="utf-8")
    assert metrics_page.page(text) == text, "run python scripts/metrics_page.py"
    for metric in METRICS:
        assert text.count(f"\n| `{metric.name}` |") == 1, metric.name


def test_text_written_by_hand_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "metrics.md"
    page.write_text(f"# By hand\n\n{metrics_page.MARK}\n| old |\n", encoding="utf-8")
    monkeypatch.setattr(metrics_page, "PAGE", page)
    monkeypatch.setattr(sys, "argv", ["metrics_page.py", "--check"])
    assert metrics_page.main() == 1 and "| old |" in page.read_text(encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["metrics_page.py"])
    assert metrics_page.main() == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# By hand\n") and "| old |" not in text and "| `bleu` |" in text


def test_a_page_without_the_mark_is_refused() -> None:
    with pytest.raises(ValueError, match="has no line"):
        metrics_page.page("# Metrics\n")
