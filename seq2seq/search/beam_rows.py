"""Rows of a decoder state, and the hypotheses that they belong to while these move, split and finish.

The flat number of slot k of sentence b is b K + k.

Shapes: B sentences, K slots of a sentence (one hypothesis each), N rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seq2seq.decoders.base import DecoderState

_FULL = 0.9  # at this share of live rows or less, finished rows are dropped


class BeamRows:
    """Rows of the decoder state for the live slots, sentence by sentence.

    At first each sentence has one row, in slot 0. Finished rows are kept until they are a tenth of the batch: dropping
    one copies the source memory of all others, while moving rows within their sentences does not.

    Args:
        sentences: Number B of sentences.
        slots: Number K of slots of a sentence.
        device: Device of the decoder state.
    """

    def __init__(self, sentences: int, slots: int, device: torch.device) -> None:
        self.width = slots
        self.held = torch.ones(sentences, dtype=torch.long)  # number of rows of each sentence, on the host
        self.slots = torch.arange(sentences, device=device) * slots  # (N,) flat slot of each row
        self._row = self._reverse(sentences * slots)

    @property
    def sentence(self) -> Tensor:
        """Number of the sentence of each row (N,) long."""
        return self.slots // self.width

    def advance(self, live: Tensor, parent: Tensor | None = None) -> Move | None:
        """Assign rows to the hypotheses after a step.

        Reading ``live`` is the only time in a step at which the host waits for the device.

        Args:
            live: Slots with a live hypothesis (B, K) bool.
            parent: Slot of its sentence from which each hypothesis comes (B, K) long; None if all stay in their slots.

        Returns:
            The move that the decoder state must make, or None if no hypothesis is live.
        """
        live = live.cpu()
        wanted = live.sum(1)
        if not wanted.any():
            return None
        # Change the numbers of rows if a sentence needs more of them, or if many rows are finished.
        regroup = bool((wanted > self.held).any()) or int(wanted.sum()) <= _FULL * int(self.held.sum())
        if regroup:
            self.held = wanted
        elif parent is None:
            return Move()
        # Give the rows of a sentence to its live slots, then to finished ones.
        first = (~live).byte().argsort(dim=1, stable=True)
        flat = first + torch.arange(len(live)).unsqueeze(1) * self.width
        slots = flat[torch.arange(self.width) < self.held.unsqueeze(1)].to(self.slots.device)
        # Find the row from which each new row comes.
        before = slots if parent is None else slots // self.width * self.width + parent.flatten()[slots]
        index = self._row[before]
        self.slots = slots
        self._row = self._reverse(live.numel())
        return Move(index, regroup)

    def _reverse(self, places: int) -> Tensor:
        """Return the row of each flat slot (B K,); row 0 for a slot without one (a finished row may be any copy)."""
        row = self.slots.new_zeros(places)
        row[self.slots] = torch.arange(len(self.slots), device=row.device)
        return row


@dataclass(frozen=True)
class Move:
    """Source of each row of the next decoder state; without an index, all rows stay."""

    index: Tensor | None = None  # (N',) row from which each new row comes
    regroup: bool = False  # whether the number of rows of a sentence changes

    def state(self, state: DecoderState) -> DecoderState:
        """Return a decoder state with its rows moved.

        Args:
            state: Decoder state of N rows.
        """
        if self.index is None:
            return state
        return state.select(self.index) if self.regroup else state.reorder(self.index)

    def tensor(self, x: Tensor) -> Tensor:
        """Return a tensor with its rows moved.

        Args:
            x: Tensor (N, ...).
        """
        return x if self.index is None else x.index_select(0, self.index)
