"""Write the tables of docs/reference/metrics.md from the table of metrics.

    python scripts/metrics_page.py           # write the page
    python scripts/metrics_page.py --check   # exit with 1 if the page differs from the table

The text above the first table is written by hand and stays as it is.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import get_args

from seq2seq.files.writing import write_text
from seq2seq.metrics.metric import Group, Metric
from seq2seq.metrics.table import METRICS

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "metrics.md"
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
    """Return a Markdown table for each group of metrics."""
    parts = []
    for group in get_args(Group):
        rows = [row(metric) for metric in METRICS if metric.group == group]
        lines = ["| name | description | unit | better | needs |", "|---|---|---|---|---|", *rows]
        parts.append(f"## {TITLES[group]}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def row(metric: Metric) -> str:
    """Return the line of one metric in its table.

    Args:
        metric: Metric, or a family of metrics.
    """
    cells = (f"`{metric.name}`", metric.description, metric.unit, BETTER[metric.higher_is_better], metric.needs)
    return f"| {' | '.join(cells)} |"


def page(text: str) -> str:
    """Return a page with current tables.

    Args:
        text: Text of the page, whose part above the mark is kept.

    Raises:
        ValueError: The page has no mark.
    """
    # Replace all text below the mark.
    above, mark, _ = text.partition(MARK)
    if not mark:
        raise ValueError(f"{PAGE} has no line {MARK}")
    return f"{above}{MARK}\n\n{tables()}"


def main() -> int:
    """Write the page, or compare it with the table; return the exit code."""
    # Read the options.
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare the page and write nothing")
    options = parser.parse_args()

    # Compare or write the page.
    before = PAGE.read_text(encoding="utf-8")
    if options.check:
        return int(page(before) != before)
    write_text(PAGE, page(before))
    return 0


if __name__ == "__main__":
    sys.exit(main())
