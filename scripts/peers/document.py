"""Worker of ``scripts/benchmark.py documents``: updates of a pointer-generator Transformer on one long document.

The benchmark runs it as ``python -m peers.document SIDE``.
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

SENTENCE = 25  # tokens per sentence
SMALL = 256  # tokens of the document for the warm-up


def document(length: int, targets: int, vocabulary: int) -> Batch:
    """Return a batch of one record of random tokens, which can all be copied.

    Args:
        length: Number of source tokens.
        targets: Number of target tokens.
        vocabulary: Size of the vocabulary.
    """
    source = torch.randint(len(SPECIALS), vocabulary, (1, length))
    target = torch.randint(len(SPECIALS), vocabulary, (1, targets + 1))
    source[0, -1], target[0, 0], target[0, -1] = EOS, BOS, EOS
    # Special tokens cannot be copied.
    copies = Copies(source.masked_fill(source < len(SPECIALS), 0), 0)
    segments = torch.arange(length).unsqueeze(0) // SENTENCE
    return Batch(source, torch.zeros(1, dtype=torch.long), target, targets, segments, copies, ((),))


def overrides(line: str, extra: list[str]) -> list[str]:
    """Return the options of ``train.py`` for a side.

    Args:
        line: Self-attention of the encoder, as "NAME KEY=VALUE ...".
        extra: Further options of ``train.py``.
    """
    name, *options = line.split()
    slot = [f"self_attention@encoder_self={name}", *(f"++encoder_self.{option}" for option in options)]
    return ["model=transformer", "data=toy_summarisation", *extra, *slot]


def work(gate: Gate, line: str) -> None:
    """Run the worker: report the memory of an update, then the time of one update per round.

    Args:
        gate: Connection to the benchmark.
        line: A side.
    """
    # Build the model and warm up.
    keep_freed()  # as training does
    task: dict[str, Any] = gate.task
    vocabulary = task["vocabulary"]
    trainee = Trainee(overrides(line, task["overrides"]), vocabulary, vocabulary)
    trainee.update(document(SMALL, task["targets"], vocabulary))  # creates the optimiser's state

    # Report memory.
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

    # Measure the rounds.
    while True:
        gate.wait()
        gate.say(tokens=task["length"], seconds=seconds(lambda: trainee.update(long)))


def resident() -> int:
    """Return the peak memory of this process, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    work(Gate(), sys.argv[1])
