"""How well each alternative context explains the words that a decoder reads.

Shapes: B batch, T steps of a call of the decoder, J alternatives, C context width, D features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.layers.output import OutputLayer

READOUTS = "readouts"
"""Name in ``DecoderState.tensors`` of the readouts (B, J, D) of the last step."""


@dataclass
class WordEvidence:
    """Evidence of one call of a decoder, for mechanisms that need it (``seq2seq.attention.types.Evidence``).

    A mechanism may ask for all T steps at once, or for some steps after the others.
    """

    output: OutputLayer
    tokens: Tensor  # (B, T) long, the words that the call reads, all in the vocabulary
    last: Tensor | None  # (B, J, D) readouts of the step before; None before the first word
    norm: Callable[[Tensor], Tensor] = field(default_factory=nn.Identity)  # last step of a readout
    parts: list[Tensor] = field(default_factory=list)  # (B, t, J, D) readouts of the steps so far

    def __call__(self, read: Callable[[Tensor], Tensor], contexts: Tensor) -> Tensor:
        """Return log p(y_{t-1} | alternative j of step t-1) (B, t, J) of the next t steps; 0 before the first word.

        Args:
            read: Function from contexts (B, t, J, C) to features (B, t, J, D), before ``norm``.
            contexts: Alternative contexts of the next t steps.
        """
        readouts = self.norm(read(contexts))
        first = sum(part.shape[1] for part in self.parts)
        tokens = self.tokens[:, first : first + readouts.shape[1]]
        self.parts.append(readouts)
        # The word that a step reads was predicted by the readouts of the step before.
        before = readouts[:, :-1]
        if self.last is not None:
            before = torch.cat((self.last.unsqueeze(1), before), 1)
        self.last = readouts[:, -1]
        unknown = tokens.shape[1] - before.shape[1]
        return F.pad(self.output.log_likelihoods(before, tokens[:, unknown:]), (0, 0, unknown, 0))

    @property
    def readouts(self) -> Tensor | None:
        """Readouts of all steps so far (B, t, J, D); None where no mechanism asked for evidence."""
        return torch.cat(self.parts, 1) if self.parts else None

    def state(self) -> dict[str, Tensor]:
        """Return what the next call needs, for ``DecoderState.tensors``."""
        return {} if self.last is None else {READOUTS: self.last}
