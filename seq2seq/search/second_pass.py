"""Search in two passes, of which the second may depend on what the first one says."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from seq2seq.batch import Batch
from seq2seq.encoders.base import EncoderOutput
from seq2seq.model import Seq2Seq
from seq2seq.search.base import Hypothesis, Search
from seq2seq.search.teacher_forcing import saying


@dataclass(frozen=True, kw_only=True)
class SecondPass(Search):
    """Search by ``plain``, then once more within ``change(model, batch)``, whose targets are the best outputs.

    The options are those of ``plain``.
    """

    plain: Search
    change: Callable[[Seq2Seq, Batch], AbstractContextManager[None]]

    def search(self, model: Seq2Seq, encoded: EncoderOutput, batch: Batch) -> list[list[Hypothesis]]:
        """Return the hypotheses of the second pass."""
        best = [hypotheses[0] for hypotheses in self.plain.search(model, encoded, batch)]
        with self.change(model, saying(batch, best)):
            return self.plain.search(model, encoded, batch)
