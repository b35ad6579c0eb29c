"""Sides that take turns: each a process that stays warm, and sleeps while another is measured."""

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
    """Who is measured, in what precision, and the command that starts it."""

    name: str
    precision: str
    command: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.precision}"


class Worker:
    """The process of a side: it works from a line that it is sent to the line that it then says."""

    def __init__(self, side: Side, task: Figures, threads: int, log: Path) -> None:
        self.side, self.log = side, log
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
        """Says a line to it."""
        assert self.process.stdin is not None
        try:
            print(json.dumps(said), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            self._ended()

    def receive(self) -> Figures:
        """Waits for its next line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self._ended()
        figures: Figures = json.loads(line)
        return figures

    def _ended(self) -> NoReturn:
        code = self.process.wait()
        said = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        last = said[-1] if said else "it said nothing"
        refused = last.partition(f"{UserError.__name__}: ")[2]  # what a user can mend, the exception's name left out
        raise UserError(f"{self.side}: {refused}" if refused else f"{self.side} ended with {code}: {last}")


def contest(sides: Sequence[Side], task: Figures, rounds: int, threads: int, folder: Path) -> list[Figures]:
    """For each side what it says of itself, and its ``rounds``, which the sides run in turn."""
    with ExitStack() as stack:
        workers, about = list[Worker](), list[Figures]()
        for side in sides:  # one after the other: none warms up while another does
            workers.append(stack.enter_context(_working(side, task, threads, folder)))
            about.append(workers[-1].receive())
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
    """A worker until the block ends."""
    worker = Worker(side, task, threads, folder / f"{task['model']} {side}.log")
    try:
        yield worker
    finally:
        worker.process.kill()
        worker.process.communicate()


def compare(results: list[Figures]) -> None:
    """Adds each side's median speeds, and to ours the ratio of tokens/s to the peer's, round by round."""
    for result in results:
        for unit in ("tokens", "sentences"):
            if unit in result["rounds"][0]:
                result[f"{unit}_per_second"] = median(r[unit] / r["seconds"] for r in result["rounds"])
    for peer in (result for result in results if result["side"] == PEER):
        for result in (result for result in results if result is not peer):
            pairs = zip(result["rounds"], peer["rounds"], strict=True)
            ratios = [a["tokens"] / a["seconds"] * b["seconds"] / b["tokens"] for a, b in pairs]
            result["ratio"] = {"min": min(ratios), "median": median(ratios), "max": max(ratios)}
