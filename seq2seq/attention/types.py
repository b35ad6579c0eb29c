"""Types that encoders, decoders and attention mechanisms pass to each other.

Letters, used everywhere: B batch, T target positions (queries), S memory positions, H heads,
Q query width, V value width, C context width, P axes of position (1 in time, 2 on a grid).
Masks are boolean: True means that a position may be attended to. Masks are combined only with ``&``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

AttentionState = dict[str, Tensor]
"""State that a mechanism passes from one query to the next: tensors by name, whose first dimension is B.

Names that begin with ``transform.`` belong to a weights transform; mechanisms neither read nor write them.
"""

States = Literal["bounded", "normalised"]
"""Kind of the vectors in queries and memory.

``bounded``: states of an LSTM or GRU, which tanh bounds. ``normalised``: queries or memory are vectors of about unit
variance, as layer norms and convolutions make them.
"""

WeightsTransform = Callable[[Tensor], Tensor]
"""Function from attention weights to other weights of the same shape, from which the context is computed.

The weights have shape (B, T, S), (B, H, T, S) or (B, 1, H T, S). A sentinel's column may follow the S columns of the
memory.
"""


Evidence = Callable[[Tensor], Tensor]
"""Function from the alternative contexts of T steps (B, T, J, C) to log p(y_{t-1} | context j of step t-1) (B, T, J).

y_{t-1} is the word that step t reads. Before the first word, the result is 0.
"""


@dataclass(frozen=True)
class SourceSpec:
    """Properties of the source that are known before any data, so that a mechanism can refuse an unsupported source."""

    width: int  # V
    axes: int = 1  # P
    segments: bool = False  # True where ``Memory.segments`` is given
    is_self: bool = False  # self-attention: queries and memory are one sequence, so their positions are comparable
    causal: bool = False  # decoder self-attention: the memory grows, and no query sees later positions
    position: Literal["none", "rotary", "alibi"] = "none"  # relative positions that the scores must include
    input_dim: int = 0  # E, the width of ``Query.input``; 0 where the decoder provides no input
    states: States = "bounded"
    copied: bool = False  # True where the decoder copies source words by this attention
    last: bool = True  # True in the last layer: alternatives are read, and the target is known in training

    @property
    def slot(self) -> str:
        """Config key of this slot; the config key ``self_attention`` sets both self-attention slots."""
        return "decoder_self" if self.causal else "encoder_self" if self.is_self else "attention"


@dataclass(frozen=True)
class Memory:
    """Values that queries attend to, with masks and positions.

    Padding may stand anywhere: mechanisms read ``positions`` and never assume ``arange(S)``.
    """

    values: Tensor  # (B, S, V)
    mask: Tensor  # (B, S) bool, True = real
    positions: Tensor  # (B, S, P) position of each value in the source
    extent: Tensor  # (B, P) size of the source along each axis, without padding
    segments: Tensor | None = None  # (B, S) index of each value's sentence
    sections: Memory | None = None  # states of the sentences
    prepared: Mapping[str, Tensor] = field(default_factory=dict)  # results of prepare(), first dimension B

    @staticmethod
    def of(values: Tensor, mask: Tensor) -> Memory:
        """Build a memory along time.

        Args:
            values: Values (B, S, V).
            mask: Mask (B, S), True = real.

        Returns:
            A memory with positions 0..S-1, whose extent is the number of real values.
        """
        batch, length = mask.shape
        positions = torch.arange(length, device=mask.device).expand(batch, length).unsqueeze(-1)
        return Memory(values, mask, positions, mask.sum(1, keepdim=True))

    def select(self, index: Tensor) -> Memory:
        """Return the rows ``index`` of the batch, in that order.

        Args:
            index: Row numbers (N,); a row may occur more than once.

        Returns:
            A memory with N rows.
        """
        # Select the rows of each tensor, and of the sentences.
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
    """Return a memory of sentences, in which each value is the mean of the sentence's real words.

    Args:
        values: Values of words (B, S, V).
        segments: Index of each word's sentence (B, S).
        mask: Mask of words (B, S), True = real.

    Returns:
        A memory of N sentences with values (B, N, V). A sentence without a real word is masked.
    """
    # Mark the sentence of each real word.
    count = int(segments.max()) + 1 if segments.numel() else 1
    member = F.one_hot(segments, count).to(values.dtype) * mask.unsqueeze(-1)  # (B, S, N)
    size = member.sum(1)  # (B, N)
    # An empty sentence has the mean 0 and is masked.
    return Memory.of(member.mT @ values / size.clamp(min=1.0).unsqueeze(-1), size > 0)


def select_rows(state: AttentionState, index: Tensor) -> AttentionState:
    """Return the rows ``index`` of the batch from each tensor of ``state``.

    Args:
        state: Tensors whose first dimension is B.
        index: Row numbers (N,); a row may occur more than once.

    Returns:
        A state whose tensors have N rows.
    """
    return {name: tensor.index_select(0, index) for name, tensor in state.items()}


@dataclass(frozen=True)
class Query:
    """Decoder states that attend, with their positions."""

    vector: Tensor  # (B, T, Q)
    position: Tensor  # (B, T) long, 0 for the first target token
    input: Tensor | None = None  # (B, T, E) input of the decoder at each step
    cell: Callable[[], Tensor] | None = None  # () -> (B, T, Q) LSTM cells, computed only when called
    target: Tensor | None = None  # (B, T, .) result of ``read_target``, in training only
    weights_transform: WeightsTransform | None = None  # an intervention, only where ``need_weights`` is true
    evidence: Evidence | None = None  # in the last layer: how well each alternative explains the words that are known

    def at(self, t: int) -> Query:
        """Return query t alone, with T = 1.

        Args:
            t: Index of the query, 0..T-1.
        """
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
    """J alternative contexts of each query.

    The output layer reads each context and combines the predictions p_j by ``kind``:

    - ``mixture``: p = sum_j w_j p_j, the exact marginal;
    - ``bound``: log p >= sum_j w_j log p_j, a lower bound for training;
    - ``sampled``: the contexts are drawn with log-probability ``log_weights``, and the mean of their log-probabilities
      estimates the bound.
    """

    contexts: Tensor  # (B, T, J, C)
    log_weights: Tensor  # (B, T, J)
    kind: Literal["mixture", "bound", "sampled"] = "mixture"
    transitions: Tensor | None = None  # (B, T, J, J) p(a_t = j | a_{t-1} = i); None where alignments are independent


@dataclass(frozen=True)
class AttentionOutput:
    """Output of an attention mechanism."""

    context: Tensor  # (B, T, C) expected context, which input feeding reads
    weights: Tensor | None  # (B, H, T, S) before dropout; None unless requested
    state: AttentionState
    sentinel: Tensor | None = None  # (B, H, T) weight on the sentinel, outside the memory
    log_prob: Tensor | None = None  # (B, T) log-probability of sampled positions, summed over heads
    penalties: Mapping[str, Tensor] = field(default_factory=dict)  # {name: (B, T)}, before loss weights
    alternatives: Alternatives | None = None  # read in the last layer only; earlier layers use ``context``

    def gated(self, share: Tensor) -> AttentionOutput:
        """Return the output with its contexts, alternatives included, multiplied by ``share``.

        Args:
            share: Factor of each query's contexts (B, T, 1).
        """
        alternatives = self.alternatives
        if alternatives is not None:
            alternatives = replace(alternatives, contexts=alternatives.contexts * share.unsqueeze(2))
        return replace(self, context=self.context * share, alternatives=alternatives)


def sum_terms(outputs: Iterable[AttentionOutput]) -> tuple[dict[str, Tensor], Tensor | None]:
    """Return the penalties and the log-probability, each summed over several attention slots.

    Args:
        outputs: Output of each slot.

    Returns:
        Penalties {name: (B, T)} and the log-probability (B, T); None where no slot sampled.
    """
    penalties: dict[str, Tensor] = {}
    log_prob: Tensor | None = None
    for output in outputs:
        # Add each term to that of the earlier slots.
        for name, value in output.penalties.items():
            penalties[name] = penalties[name] + value if name in penalties else value
        if output.log_prob is not None:
            log_prob = output.log_prob if log_prob is None else log_prob + output.log_prob
    return penalties, log_prob
