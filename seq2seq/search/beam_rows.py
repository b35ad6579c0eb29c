"""Which hypothesis each row of a decoder's state belongs to, while hypotheses move, split and finish.

Shapes: B sentences, K slots a sentence (one hypothesis each), N rows; a slot's flat place is b K + k.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seq2seq.decoders.base import DecoderState

_FULL = 0.9  # below this share of live rows, the state is copied without the dead ones


class BeamRows:
    """Rows of the state for the live slots, sentence by sentence; at first one a sentence, in slot 0.

    Finished rows are kept until they are a tenth of the batch: dropping one copies the source memory of the others,
    moving rows within their sentences does not.
    """

    def __init__(self, sentences: int, slots: int, device: torch.device) -> None:
        self.width = slots
        self.held = torch.ones(sentences, dtype=torch.long)  # rows a sentence, on the host
        self.slots = torch.arange(sentences, device=device) * slots  # (N,) flat place of each row's hypothesis
        self._row = self._reverse(sentences * slots)

    @property
    def sentence(self) -> Tensor:
        """Return the sentence of each row, (N,)."""
        return self.slots // self.width

    def advance(self, live: Tensor, parent: Tensor | None = None) -> Move | None:
        """After a step: which slots live (B, K), and from which slot of its sentence each came (B, K).

        None once nothing lives. Reading ``live`` is the only time in a step that the host waits for the device.
        """
        live = live.cpu()
        wanted = live.sum(1)
        if not wanted.any():
            return None
        regroup = bool((wanted > self.held).any()) or int(wanted.sum()) <= _FULL * int(self.held.sum())
        if regroup:
            self.held = wanted
        elif parent is None:
            return Move()
        first = (~live).byte().argsort(dim=1, stable=True)  # the live, then the finished ones
        flat = first + torch.arange(len(live)).unsqueeze(1) * self.width
        slots = flat[torch.arange(self.width) < self.held.unsqueeze(1)].to(self.slots.device)
        before = slots if parent is None else slots // self.width * self.width + parent.flatten()[slots]
        index = self._row[before]
        self.slots = slots
        self._row = self._reverse(live.numel())
        return Move(index, regroup)

    def _reverse(self, places: int) -> Tensor:
        """(B K,) the row of each flat place; row 0 where it has none (a finished row may come from anywhere)."""
        row = self.slots.new_zeros(places)
        row[self.slots] = torch.arange(len(self.slots), device=row.device)
        return row


@dataclass(frozen=True)
class Move:
    """Where the rows of the next state come from; without an index, all stay."""

    index: Tensor | None = None  # (N',)
    regroup: bool = False  # the number of rows of some sentence changed

    def state(self, state: DecoderState) -> DecoderState:
        """Applied to a decoder's state."""
        if self.index is None:
            return state
        return state.select(self.index) if self.regroup else state.reorder(self.index)

    def tensor(self, x: Tensor) -> Tensor:
        """Applied to (N, ...)."""
        return x if self.index is None else x.index_select(0, self.index)
