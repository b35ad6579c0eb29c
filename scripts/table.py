"""Runs as one Markdown table: python scripts/table.py DIR ... > table.md

Every ``results.json`` below the directories is one run; runs that differ only in the seed share a row, as mean ± sample
standard deviation.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

COLUMNS = {"bleu": "BLEU", "aer": "AER", "attention_entropy": "entropy (nats)"}


def main() -> None:
    """Reads, groups, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("directories", nargs="+", type=Path, metavar="DIR", help="a run, or a folder of runs")
    parser.add_argument("--split", default="test")
    options = parser.parse_args()
    rows: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for path in found(options.directories):
        results = json.loads(path.read_text(encoding="utf-8"))
        if options.split not in results:
            sys.exit(f"{path} has no split {options.split}; it has {', '.join(set(results) - {'run'})}")
        rows[name(path.parent)].append(results)
    print("| data | model | attention | self-attention | parameters |", " | ".join(COLUMNS.values()), end="")
    print(" | seeds | training s |")
    print("|---|---|---|---|---:|" + "---:|" * (len(COLUMNS) + 2))
    for key, runs in sorted(rows.items()):
        figures = [summary([run[options.split].get(metric) for run in runs]) for metric in COLUMNS]
        seeds = ", ".join(str(run["run"]["seed"]) for run in runs)
        seconds = summary([{"score": run["run"]["training"]["seconds"]} for run in runs], 0)
        parameters = f"{runs[0]['run']['parameters']:,}"
        print("|", " | ".join([*key, parameters, *figures, seeds, seconds]), "|")


def found(directories: Iterable[Path]) -> list[Path]:
    """The results.json of each finished run below the directories."""
    paths = []
    for folder in directories:
        below = [path for path in sorted(folder.rglob("results.json")) if "evaluations" not in path.parts]
        if not below:
            there = (
                f"no results.json below {folder}: is the run finished?"
                if folder.exists()
                else f"{folder}: no such folder"
            )
            sys.exit(there)
        paths += below
    return list(dict.fromkeys(paths))


def name(run: Path) -> tuple[str, str, str, str]:
    """Data, model, attention and self-attention, as they were chosen."""
    choices = OmegaConf.load(run / ".hydra" / "hydra.yaml").hydra.runtime.choices
    slots = ("self_attention", "self_attention@encoder_self", "self_attention@decoder_self")
    chosen = [f"{slot.partition('@')[2]} {choices[slot]}".strip() for slot in slots if choices.get(slot)]
    return choices.data, choices.model, choices.attention, ", ".join(chosen)


def summary(scores: list[dict[str, float] | None], digits: int = 3) -> str:
    """Mean ± sd, or a dash where a run has no such figure."""
    values = [score["score"] for score in scores if score is not None]
    if len(values) < len(scores):
        return "–"
    digits = 1 if digits and max(values) > 10 else digits
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


if __name__ == "__main__":
    main()
