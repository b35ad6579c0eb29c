"""``scripts/benchmark.py documents``: what an update on one long document takes, by the encoder's self-attention."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from math import log
from pathlib import Path
from statistics import median

from peers.benchmark_runner import Figures, Side, contest

GIBIBYTE = 2**30
SIDES = ("multi_head", "multi_head dropout=0", "longformer window.reach=128")
"""Full attention with dropout on its weights, which then exist; without, when they don't; window and global tokens."""


def measure(
    lengths: Sequence[int],
    sides: Sequence[str],
    rounds: int,
    threads: int,
    folder: Path,
    gibibytes: float,
    **task: object,
) -> list[Figures]:
    """One after the other, each in a process of its own; what would need more than ``gibibytes`` is not run."""
    found: list[Figures] = []
    for side in sides:
        seen: list[Figures] = []
        for length in sorted(set(lengths)):
            if (expected := grown(seen, length)) > gibibytes * GIBIBYTE:
                found.append({"side": side, "length": length, "expected": expected})
                continue
            about = {**task, "length": length, "model": f"S={length}"}
            command = (sys.executable, "-m", "peers.document", side)
            (result,) = contest([Side(side, "fp32", command)], about, rounds, threads, folder)
            result["seconds"] = median(done["seconds"] for done in result["rounds"])
            seen.append({**result, "length": length})
        found += seen
    return sorted(found, key=lambda result: (list(sides).index(result["side"]), result["length"]))


def grown(seen: Sequence[Figures], length: int) -> float:
    """Bytes of the process at ``length``: an update's share grows as from the last length but one to the last.

    After one length, as S^2 at worst; after none nothing is known, and 0 is told. What the process held beyond what was
    allocated (kernels' own memory, gaps) grows likewise.
    """
    if not seen:
        return 0.0
    last = seen[-1]
    power = 2.0
    if len(seen) > 1:
        power = log(last["peak"] / seen[-2]["peak"]) / log(last["length"] / seen[-2]["length"])
    update = max(last["peak"], last.get("resident", 0) - last["before"])
    return float(last["before"] + update * (length / last["length"]) ** power)


def table(results: Sequence[Figures]) -> str:
    """In Markdown."""
    head = ["encoder's self-attention", "S", "update, s", "allocated at most, GiB", "process at most, GiB"]
    lines = [f"| {' | '.join(head)} |", "| --- | ---: | ---: | ---: | ---: |"]
    for result in results:
        if "expected" in result:
            cells = ["not run", "", f"about {result['expected'] / GIBIBYTE:.0f}, from shorter ones"]
        else:
            sizes = (f"{result[name] / GIBIBYTE:.2f}" for name in ("peak", "resident"))
            cells = [f"{result['seconds']:.1f}", *sizes]
        lines.append(f"| {' | '.join([result['side'], format(result['length'], ','), *cells])} |")
    return "\n".join(lines)
