"""Comparison of several programs that take turns.

Each program is a process that stays loaded and waits while another one is measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NoReturn

from seq2seq.errors import UserError

Figures = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
PEER = "JoeyNMT"


@dataclass(frozen=True)
class Side:
    """A program to measure.

    Attributes:
        name: Name in tables.
        precision: ``fp32`` or ``bf16``.
        command: Command line that starts the process.
    """

    name: str
    precision: str
    command: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.precision}"


class Worker:
    """The process of a side. It does one piece of work per line of input and answers with one line.

    Args:
        side: The side.
        task: Options of the work, sent as the first line.
        threads: Number of CPU threads.
        log: File for stderr of the process.
    """

    def __init__(self, side: Side, task: Figures, threads: int, log: Path) -> None:
        self.side, self.log = side, log
        # The peer's interpreter must not import this package.
        path = os.pathsep.join((f"{ROOT / 'scripts'}", *([] if side.name == PEER else [f"{ROOT}"])))
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                side.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": f"{threads}"},
            )
        self.send({**task, "precision": side.precision})

    def send(self, said: Figures) -> None:
        """Send one line to the process.

        Args:
            said: Content of the line, written as JSON.

        Raises:
            UserError: The process has ended.
        """
        assert self.process.stdin is not None
        try:
            print(json.dumps(said), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            self._ended()

    def receive(self) -> Figures:
        """Wait for the next line of the process and return its content.

        Raises:
            UserError: The process has ended.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self._ended()
        figures: Figures = json.loads(line)
        return figures

    def _ended(self) -> NoReturn:
        """Raise the error that ended the process, from its log."""
        code = self.process.wait()
        said = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        # Name the last line of the log, or the message for the user in it.
        last = said[-1] if said else "its log is empty"
        refused = last.partition(f"{UserError.__name__}: ")[2]  # the message of a UserError, without its name
        raise UserError(f"{self.side}: {refused}" if refused else f"{self.side} ended with exit code {code}: {last}")


def contest(sides: Sequence[Side], task: Figures, rounds: int, threads: int, folder: Path) -> list[Figures]:
    """Measure all sides; in each round they take turns.

    Args:
        sides: The sides.
        task: Options of the work, with ``model``, a name for progress messages.
        rounds: Number of rounds.
        threads: Number of CPU threads of each side.
        folder: Folder for the logs of the processes.

    Returns:
        For each side its name, precision, its description of itself, and ``rounds``, the figures of each round.
    """
    with ExitStack() as stack:
        workers, about = list[Worker](), list[Figures]()
        # Start the sides one after the other, so that no warm-up disturbs another.
        for side in sides:
            workers.append(stack.enter_context(_working(side, task, threads, folder)))
            about.append(workers[-1].receive())

        # Measure the rounds.
        done: list[list[Figures]] = [[] for _ in sides]
        for number in range(1, rounds + 1):
            for worker, figures in zip(workers, done, strict=True):
                worker.send({})
                figures.append(worker.receive())
                speed = figures[-1]["tokens"] / figures[-1]["seconds"]
                print(f"{task['model']} {number}/{rounds} {worker.side}: {speed:.0f} tokens/s", file=sys.stderr)
    return [
        {"side": side.name, "precision": side.precision, **said, "rounds": figures}
        for side, said, figures in zip(sides, about, done, strict=True)
    ]


@contextmanager
def _working(side: Side, task: Figures, threads: int, folder: Path) -> Iterator[Worker]:
    """Start a worker, and end its process at the end of the block."""
    worker = Worker(side, task, threads, folder / f"{task['model']} {side}.log")
    try:
        yield worker
    finally:
        worker.process.kill()
        worker.process.communicate()


def compare(results: list[Figures]) -> None:
    """Add median speeds to each side, and to ours the ratio to the peer's speed (tokens/s), by round.

    Args:
        results: Results of ``contest``, changed in place.
    """
    # Add median speeds.
    for result in results:
        for unit in ("tokens", "sentences"):
            if unit in result["rounds"][0]:
                result[f"{unit}_per_second"] = median(r[unit] / r["seconds"] for r in result["rounds"])

    # Add ratios to the peer.
    for peer in (result for result in results if result["side"] == PEER):
        for result in (result for result in results if result is not peer):
            pairs = zip(result["rounds"], peer["rounds"], strict=True)
            ratios = [a["tokens"] / a["seconds"] * b["seconds"] / b["tokens"] for a, b in pairs]
            result["ratio"] = {"min": min(ratios), "median": median(ratios), "max": max(ratios)}
