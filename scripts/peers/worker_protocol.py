"""What both sides of the benchmark share: a process that works when it is told to, and says what it did.

It speaks lines of JSON. In come the task, and then ``{}`` for each round; out go what it is, once it is warm, and then
each round's figures. Runs in the peer's interpreter too, so it needs nothing but the standard library.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any


class Gate:
    """The worker's end of the pipes. What libraries print goes to stderr."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self.task: dict[str, Any] = self.wait()

    def say(self, **figures: Any) -> None:
        """Tells the benchmark."""
        print(json.dumps(figures), file=self._out, flush=True)

    def wait(self) -> dict[str, Any]:
        """Sleeps until the benchmark says something."""
        line = sys.stdin.readline()
        if not line:  # it has gone
            raise SystemExit(0)
        said: dict[str, Any] = json.loads(line)
        return said


class Steps:
    """Stops a training loop between its steps: called with the target tokens of a batch as its step begins.

    A round lasts from the beginning of its first step to that of the step after its last, so that everything that
    the loop does is in it: batches, loss, gradients, update, bookkeeping.
    """

    def __init__(self, gate: Gate, **about: Any) -> None:
        """``about`` is what to say when the task's ``warmup`` steps are done."""
        self._gate, self._about = gate, about
        self._left, self._tokens, self._began = gate.task["warmup"], 0, 0.0

    def __call__(self, tokens: int) -> None:
        """A step of so many target tokens begins."""
        if not self._left:
            seconds = time.perf_counter() - self._began
            self._gate.say(**(self._about or {"tokens": self._tokens, "seconds": seconds}))
            self._about = {}
            self._gate.wait()
            self._left, self._tokens, self._began = self._gate.task["steps"], 0, time.perf_counter()
        self._left -= 1
        self._tokens += tokens
