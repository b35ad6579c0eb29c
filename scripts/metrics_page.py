"""Write the tables of docs/metrics.md from the table of metrics.

    python scripts/metrics_page.py           # write the page
    python scripts/metrics_page.py --check   # exit with 1 if the page differs from the table of metrics

The text above the first table is written by hand and stays unchanged.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import get_args

from seq2seq.files.writing import write_text
from seq2seq.metrics.metric import Group, Metric
from seq2seq.metrics.table import METRICS

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
MARK = "<!-- tables: python scripts/metrics_page.py -->"
TITLES = {
    "outputs": "Outputs",
    "likelihood": "Likelihood of references",
    "gold": "Attention against gold annotations",
    "attention": "Behaviour of attention",
    "faithfulness": "Faithfulness of attention",
}
BETTER = {True: "higher", False: "lower", None: ""}


def tables() -> str:
    """Return one table per group of metrics, in Markdown."""
    parts = []
    # Groups have the order of their type, metrics that of the table.
    for group in get_args(Group):
        rows = [row(metric) for metric in METRICS if metric.group == group]
        lines = ["| name | what it says | unit | better | needs |", "|---|---|---|---|---|", *rows]
        parts.append(f"## {TITLES[group]}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def row(metric: Metric) -> str:
    """Return the row of one metric, in Markdown.

    Args:
        metric: The metric.
    """
    cells = (f"`{metric.name}`", metric.description, metric.unit, BETTER[metric.higher_is_better], metric.needs)
    return f"| {' | '.join(cells)} |"


def page(text: str) -> str:
    """Return the page with current tables.

    Args:
        text: Text of the page.

    Raises:
        ValueError: The page has no line ``MARK``.
    """
    # Keep the text above the mark.
    above, mark, _ = text.partition(MARK)
    if not mark:
        raise ValueError(f"{PAGE} has no line {MARK}")
    return f"{above}{MARK}\n\n{tables()}"


def main() -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only check the page, write nothing")
    options = parser.parse_args()
    before = PAGE.read_text(encoding="utf-8")
    if options.check:
        return int(page(before) != before)
    write_text(PAGE, page(before))
    return 0


if __name__ == "__main__":
    sys.exit(main())
