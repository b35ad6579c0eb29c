"""Greedy search: the most probable token at each step."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from typing_extensions import override

from seq2seq.batch import Batch
from seq2seq.encoders.base import EncoderOutput
from seq2seq.model import Seq2Seq
from seq2seq.search.base import Hypothesis, Search
from seq2seq.search.token_loop import chain


@dataclass(frozen=True, kw_only=True)
class Greedy(Search):
    """Greedy search: the most probable token at each step, and of equal ones the lowest id.

    The score is the log-probability.
    """

    @override
    def search(self, model: Seq2Seq, encoded: EncoderOutput, batch: Batch) -> list[list[Hypothesis]]:
        """Return one output for each sentence."""
        return [[output] for output in chain(self, model, encoded, most_probable)]


def most_probable(log_probs: Tensor, outputs: Tensor, step: int) -> Tensor:
    """Return the most probable token of each row (N,), and of equal ones the first.

    Args:
        log_probs: Log-probabilities (N, V).
        outputs: Numbers of the outputs (N,); the choice does not depend on them.
        step: Number of the step; the choice does not depend on it.
    """
    return log_probs.max(1).indices
