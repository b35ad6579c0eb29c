"""Search in two passes, where the second pass may depend on the outputs of the first one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from typing_extensions import override

from seq2seq.batch import Batch
from seq2seq.encoders.base import EncoderOutput
from seq2seq.model import Seq2Seq
from seq2seq.search.base import Hypothesis, Search
from seq2seq.search.teacher_forcing import saying


@dataclass(frozen=True, kw_only=True)
class SecondPass(Search):
    """Search by ``plain``, then again within a context that knows the best outputs of the first search.

    The options of ``Search`` are those of ``plain``.

    Args:
        plain: Search of both passes.
        change: Function from the model and a batch to the context of the second pass. The targets of the batch are the
            best outputs of the first pass.
    """

    plain: Search
    change: Callable[[Seq2Seq, Batch], AbstractContextManager[None]]

    @override
    def search(self, model: Seq2Seq, encoded: EncoderOutput, batch: Batch) -> list[list[Hypothesis]]:
        """Return the hypotheses of the second pass."""
        best = [hypotheses[0] for hypotheses in self.plain.search(model, encoded, batch)]
        with self.change(model, saying(batch, best)):
            return self.plain.search(model, encoded, batch)
