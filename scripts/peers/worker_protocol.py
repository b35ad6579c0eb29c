"""Protocol between the benchmark and its workers, used by all workers.

Messages are lines of JSON. The benchmark sends the task first, and then ``{}`` for each round. A worker sends a
description of itself after its warm-up, and then the figures of each round. The module also runs in the peer's
interpreter, so it uses only the standard library.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any


class Gate:
    """A worker's connection to the benchmark. Outputs of libraries go to stderr."""

    def __init__(self) -> None:
        # Keep stdout for messages, and send all other output to stderr.
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self.task: dict[str, Any] = self.wait()

    def say(self, **figures: Any) -> None:
        """Send a message to the benchmark.

        Args:
            figures: Content of the message.
        """
        print(json.dumps(figures), file=self._out, flush=True)

    def wait(self) -> dict[str, Any]:
        """Wait for a message of the benchmark and return it.

        Raises:
            SystemExit: The benchmark has ended.
        """
        line = sys.stdin.readline()
        # The benchmark has closed the pipe.
        if not line:
            raise SystemExit(0)
        said: dict[str, Any] = json.loads(line)
        return said


class Steps:
    """A function that stops a training loop between rounds; to be called at the start of each step.

    A round lasts from the start of its first step to the start of the step after its last, so that it contains all work
    of the loop: batches, loss, gradients, update and logs.

    Args:
        gate: Connection to the benchmark; its task has ``warmup`` and ``steps``, numbers of steps.
        about: Description of the worker, sent after the warm-up.
    """

    def __init__(self, gate: Gate, **about: Any) -> None:
        self._gate, self._about = gate, about
        self._left, self._tokens, self._began = gate.task["warmup"], 0, 0.0

    def __call__(self, tokens: int) -> None:
        """Count a step that starts; between rounds, send figures and wait.

        Args:
            tokens: Number of target tokens of the step's batch.
        """
        # The warm-up or a round is over.
        if not self._left:
            seconds = time.perf_counter() - self._began
            self._gate.say(**(self._about or {"tokens": self._tokens, "seconds": seconds}))
            self._about = {}
            self._gate.wait()
            self._left, self._tokens, self._began = self._gate.task["steps"], 0, time.perf_counter()

        # Count this step.
        self._left -= 1
        self._tokens += tokens
