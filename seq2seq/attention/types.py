"""What passes between encoders, decoders and attention mechanisms.

Letters, used everywhere: B batch, T target positions (queries), S memory positions, H heads,
Q query width, V value width, C context width, P axes of position (1 in time, 2 on a grid).
Masks are boolean, True = may be attended to, and are only ever combined with ``&``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

AttentionState = dict[str, Tensor]
"""What a mechanism carries from one query to the next, by name: tensors whose first dimension is B.

Names that begin with ``transform.`` belong to a weights transform; mechanisms neither read nor write them.
"""

States = Literal["bounded", "normalised"]
"""What queries and memory are: states of an LSTM or GRU, bounded by tanh, or vectors of about unit variance on either
side, as layer norms and convolutions make them."""

WeightsTransform = Callable[[Tensor], Tensor]
"""Weights (B, T, S), (B, H, T, S) or (B, 1, H T, S) -> other weights of the same shape, to make the context of.

A sentinel's column may follow the S columns of the memory.
"""


@dataclass(frozen=True)
class SourceSpec:
    """What a mechanism attends over, known before any data, so that a mechanism can refuse what it can't serve."""

    width: int  # V
    axes: int = 1  # P
    segments: bool = False  # whether ``Memory.segments`` is given
    is_self: bool = False  # self-attention: queries and memory are one sequence, so their positions can be compared
    causal: bool = False  # decoder self-attention: the memory grows with the queries, and none may look ahead
    position: Literal["none", "rotary", "alibi"] = "none"  # relative positions that the slot wants inside the scores
    input_dim: int = 0  # E, the width of ``Query.input``; 0 where a decoder gives none
    states: States = "bounded"
    last: bool = True  # whether alternatives are read, as the last layer's are, and the target is known in training

    @property
    def slot(self) -> str:
        """Return the config key of this slot; ``self_attention`` sets both self slots."""
        return "decoder_self" if self.causal else "encoder_self" if self.is_self else "attention"


@dataclass(frozen=True)
class Memory:
    """What is attended over. Padding may stand anywhere: mechanisms read ``positions``, never ``arange(S)``."""

    values: Tensor  # (B, S, V)
    mask: Tensor  # (B, S) bool, True = real
    positions: Tensor  # (B, S, P) where each value stands
    extent: Tensor  # (B, P) the true size of the source along each axis
    segments: Tensor | None = None  # (B, S) sentence ids
    sections: Memory | None = None  # sentence states
    prepared: Mapping[str, Tensor] = field(default_factory=dict)  # what prepare() stored, leading dimension B

    @staticmethod
    def of(values: Tensor, mask: Tensor) -> Memory:
        """Build a memory along time: positions 0..S-1, extent the number of real values.

        Args:
            values: (B, S, V).
            mask: (B, S), True = real.
        """
        batch, length = mask.shape
        positions = torch.arange(length, device=mask.device).expand(batch, length).unsqueeze(-1)
        return Memory(values, mask, positions, mask.sum(1, keepdim=True))

    def select(self, index: Tensor) -> Memory:
        """Return the rows ``index`` of the batch, in that order."""
        return Memory(
            self.values.index_select(0, index),
            self.mask.index_select(0, index),
            self.positions.index_select(0, index),
            self.extent.index_select(0, index),
            None if self.segments is None else self.segments.index_select(0, index),
            None if self.sections is None else self.sections.select(index),
            {name: tensor.index_select(0, index) for name, tensor in self.prepared.items()},
        )


def sentence_means(values: Tensor, segments: Tensor, mask: Tensor) -> Memory:
    """Return the mean of each sentence's real words, as a memory of sentences.

    Args:
        values: (B, S, V).
        segments: (B, S) the number of the sentence that each word belongs to.
        mask: (B, S), True = real.
    """
    count = int(segments.max()) + 1 if segments.numel() else 1
    member = F.one_hot(segments, count).to(values.dtype) * mask.unsqueeze(-1)  # (B, S, N)
    size = member.sum(1)  # (B, N)
    return Memory.of(member.mT @ values / size.clamp(min=1.0).unsqueeze(-1), size > 0)


def select_rows(state: AttentionState, index: Tensor) -> AttentionState:
    """Return the rows ``index`` of the batch from each tensor of ``state``."""
    return {name: tensor.index_select(0, index) for name, tensor in state.items()}


@dataclass(frozen=True)
class Query:
    """Decoder states that attend, with their positions."""

    vector: Tensor  # (B, T, Q)
    position: Tensor  # (B, T) long, 0 for the first target token
    input: Tensor | None = None  # (B, T, E) what the decoder read at this step
    cell: Callable[[], Tensor] | None = None  # () -> (B, T, Q) an LSTM's cells, made only if called for
    target: Tensor | None = None  # (B, T, .) what ``read_target`` made of the whole target, in training only
    weights_transform: WeightsTransform | None = None  # an intervention, given only where ``need_weights`` is true

    def at(self, t: int) -> Query:
        """Return query t alone: T = 1."""
        step = slice(t, t + 1)
        cell = self.cell
        return Query(
            self.vector[:, step],
            self.position[:, step],
            None if self.input is None else self.input[:, step],
            None if cell is None else lambda: cell()[:, step],
            None if self.target is None else self.target[:, step],
            self.weights_transform,
        )


@dataclass(frozen=True)
class Alternatives:
    """J alternative contexts of a query: the output layer reads each one and combines the predictions p_j.

    ``mixture``: p = sum_j w_j p_j, the exact marginal. ``bound``: log p >= sum_j w_j log p_j, a lower bound to train
    with. ``sampled``: contexts drawn with log-probability ``log_weights``; their mean estimates the bound.
    """

    contexts: Tensor  # (B, T, J, C)
    log_weights: Tensor  # (B, T, J)
    kind: Literal["mixture", "bound", "sampled"] = "mixture"


@dataclass(frozen=True)
class AttentionOutput:
    """Output of an attention mechanism."""

    context: Tensor  # (B, T, C) the expectation, which input feeding reads
    weights: Tensor | None  # (B, H, T, S) before dropout; None unless asked for
    state: AttentionState
    sentinel: Tensor | None = None  # (B, H, T) mass outside the memory
    log_prob: Tensor | None = None  # (B, T) of sampled choices, summed over heads
    penalties: Mapping[str, Tensor] = field(default_factory=dict)  # {name: (B, T)}, unweighted
    alternatives: Alternatives | None = None  # read in the last layer only; earlier ones go on with ``context``

    def gated(self, share: Tensor) -> AttentionOutput:
        """Return the output with its contexts, alternatives included, multiplied by ``share`` (B, T, 1)."""
        alternatives = self.alternatives
        if alternatives is not None:
            alternatives = replace(alternatives, contexts=alternatives.contexts * share.unsqueeze(2))
        return replace(self, context=self.context * share, alternatives=alternatives)


def sum_terms(outputs: Iterable[AttentionOutput]) -> tuple[dict[str, Tensor], Tensor | None]:
    """Return the penalties and the log-probability of several slots, each summed over the slots."""
    penalties: dict[str, Tensor] = {}
    log_prob: Tensor | None = None
    for output in outputs:
        for name, value in output.penalties.items():
            penalties[name] = penalties[name] + value if name in penalties else value
        if output.log_prob is not None:
            log_prob = output.log_prob if log_prob is None else log_prob + output.log_prob
    return penalties, log_prob
