"""A side of ``scripts/benchmark.py documents``: updates of a pointer-generator Transformer on one long document.

Run by it as ``python -m peers.document SIDE``.
"""

from __future__ import annotations

import platform
import resource
import sys
from typing import Any

import torch
from mechanism_speed import Trainee
from peers.timing import seconds
from peers.worker_protocol import Gate

from seq2seq.batch import BOS, EOS, SPECIALS, Batch, Copies
from seq2seq.runtime.memory import allocated, keep_freed

SENTENCE = 25  # tokens
SMALL = 256  # tokens of the document that warms up


def document(length: int, targets: int, vocabulary: int) -> Batch:
    """One record of random tokens, all of which can be copied."""
    source = torch.randint(len(SPECIALS), vocabulary, (1, length))
    target = torch.randint(len(SPECIALS), vocabulary, (1, targets + 1))
    source[0, -1], target[0, 0], target[0, -1] = EOS, BOS, EOS
    copies = Copies(source.masked_fill(source < len(SPECIALS), 0), 0)
    segments = torch.arange(length).unsqueeze(0) // SENTENCE
    return Batch(source, torch.zeros(1, dtype=torch.long), target, targets, segments, copies, ((),))


def overrides(line: str, extra: list[str]) -> list[str]:
    """``NAME KEY=VALUE ...`` of conf/self_attention in the encoder's slot."""
    name, *options = line.split()
    slot = [f"self_attention@encoder_self={name}", *(f"++encoder_self.{option}" for option in options)]
    return ["model=transformer", "data=toy_summarisation", *extra, *slot]


def work(gate: Gate, line: str) -> None:
    """Says what memory an update takes, then times one when it is told to."""
    keep_freed()  # as training does
    task: dict[str, Any] = gate.task
    vocabulary = task["vocabulary"]
    trainee = Trainee(overrides(line, task["overrides"]), vocabulary, vocabulary)
    trainee.update(document(SMALL, task["targets"], vocabulary))  # makes the optimiser's state
    long = document(task["length"], task["targets"], vocabulary)
    before = resident()
    gate.say(
        parameters=trainee.parameters,
        peak=allocated(lambda: trainee.update(long)),
        resident=resident(),
        before=before,
        threads=torch.get_num_threads(),
        versions={"Python": platform.python_version(), "torch": torch.__version__},
    )
    while True:
        gate.wait()
        gate.say(tokens=task["length"], seconds=seconds(lambda: trainee.update(long)))


def resident() -> int:
    """The most bytes of memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    work(Gate(), sys.argv[1])
