"""What the data side hands to the model side: token ids, masks, and nothing else.

Shapes: B sentences, S source tokens, T target tokens (both padded on the right).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

PAD, UNK, BOS, EOS = 0, 1, 2, 3
SPECIALS = ("<pad>", "<unk>", "<s>", "</s>")


@dataclass(frozen=True)
class Batch:
    """Tensors of B records.

    ``source`` (B, S) ends in ``</s>``; ``target`` (B, T+1) is ``<s> y_1 .. y_T`` with ``y_T = </s>``,
    so that the decoder reads ``target_in`` and is scored on ``target_out``. ``target`` is None
    where there is nothing to score (generation from new input).
    """

    source: Tensor  # (B, S) long
    index: Tensor  # (B,) long, the records' places in their split
    target: Tensor | None = None  # (B, T+1) long
    target_tokens: int = 0  # real tokens of target_out, counted on the host: no device sync

    @property
    def source_mask(self) -> Tensor:
        """(B, S) bool, True = real token."""
        return self.source != PAD

    @property
    def target_in(self) -> Tensor:
        """(B, T) what the decoder reads."""
        assert self.target is not None
        return self.target[:, :-1]

    @property
    def target_out(self) -> Tensor:
        """(B, T) what it should say; PAD where there is nothing to say."""
        assert self.target is not None
        return self.target[:, 1:]

    @property
    def target_mask(self) -> Tensor:
        """(B, T) bool, True = counts in the loss."""
        return self.target_out != PAD

    def __len__(self) -> int:
        return len(self.source)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """A copy on ``device``."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """A copy in page-locked memory (called by DataLoader)."""
        return self._each(Tensor.pin_memory)

    def _each(self, move: Callable[[Tensor], Tensor]) -> Batch:
        target = None if self.target is None else move(self.target)
        return Batch(move(self.source), move(self.index), target, self.target_tokens)
