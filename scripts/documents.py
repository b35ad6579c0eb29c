"""``scripts/benchmark.py documents``: time and memory of an update on one long document.

The compared sides differ in the self-attention of the encoder.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from math import log
from pathlib import Path
from statistics import median

from peers.benchmark_runner import Figures, Side, contest

GIBIBYTE = 2**30
SIDES = ("multi_head", "multi_head dropout=0", "longformer window.reach=128")
"""Default sides: full attention with dropout, full attention without dropout, and a window with global tokens.

Dropout acts on the weights, so full attention with dropout stores them; without dropout it does not.
"""


def measure(
    lengths: Sequence[int],
    sides: Sequence[str],
    rounds: int,
    threads: int,
    folder: Path,
    gibibytes: float,
    **task: object,
) -> list[Figures]:
    """Measure the sides one after the other, each in a process of its own.

    Args:
        lengths: Lengths of documents, in tokens.
        sides: Self-attentions of the encoder, as "NAME KEY=VALUE ...".
        rounds: Number of measured updates per side and length.
        threads: Number of CPU threads of each process.
        folder: Folder for the logs of the processes.
        gibibytes: Memory limit; a length whose expected memory is above it is not run.
        task: Further options of the worker (``peers.document``).

    Returns:
        Figures of each side and length; ``expected`` (bytes) instead of figures for a length that was not run.
    """
    found: list[Figures] = []
    for side in sides:
        seen: list[Figures] = []
        for length in sorted(set(lengths)):
            # Skip a length that does not fit into memory.
            if (expected := grown(seen, length)) > gibibytes * GIBIBYTE:
                found.append({"side": side, "length": length, "expected": expected})
                continue

            # Measure this length.
            about = {**task, "length": length, "model": f"S={length}"}
            command = (sys.executable, "-m", "peers.document", side)
            (result,) = contest([Side(side, "fp32", command)], about, rounds, threads, folder)
            result["seconds"] = median(done["seconds"] for done in result["rounds"])
            seen.append({**result, "length": length})
        found += seen
    return sorted(found, key=lambda result: (list(sides).index(result["side"]), result["length"]))


def grown(seen: Sequence[Figures], length: int) -> float:
    """Return the expected memory of a process at ``length``, in bytes.

    The memory of an update is extrapolated as a power of the length, fitted to the last two lengths. After one length
    the power is 2, the worst case; without any length the result is 0. Memory of the process beyond the allocated
    tensors (memory of kernels, gaps) grows with the same power.

    Args:
        seen: Figures of shorter lengths, in rising order: ``length``, ``peak``, ``before`` and perhaps ``resident``.
        length: Length of the document, in tokens.
    """
    # Nothing is known before the first length.
    if not seen:
        return 0.0

    # Fit the power to the last two lengths.
    last = seen[-1]
    power = 2.0
    if len(seen) > 1:
        power = log(last["peak"] / seen[-2]["peak"]) / log(last["length"] / seen[-2]["length"])

    # Memory before the update does not depend on the length.
    update = max(last["peak"], last.get("resident", 0) - last["before"])
    return float(last["before"] + update * (length / last["length"]) ** power)


def table(results: Sequence[Figures]) -> str:
    """Return the results as a table in Markdown.

    Args:
        results: Results of ``measure``.
    """
    head = ["encoder's self-attention", "S", "update, s", "allocated at most, GiB", "process at most, GiB"]
    lines = [f"| {' | '.join(head)} |", "| --- | ---: | ---: | ---: | ---: |"]
    for result in results:
        # A length that was not run has only an expected memory.
        if "expected" in result:
            cells = ["not run", "", f"about {result['expected'] / GIBIBYTE:.0f}, from shorter ones"]
        else:
            sizes = (f"{result[name] / GIBIBYTE:.2f}" for name in ("peak", "resident"))
            cells = [f"{result['seconds']:.1f}", *sizes]
        lines.append(f"| {' | '.join([result['side'], format(result['length'], ','), *cells])} |")
    return "\n".join(lines)
