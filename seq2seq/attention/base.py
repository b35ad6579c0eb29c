"""The contract that every attention mechanism keeps.

Letters, used everywhere: B batch, T target positions (queries), S memory positions, H heads,
Q query width, V value width, C context width, P axes of position (1 in time, 2 on a grid).
Masks are boolean, True = may be attended to, and are only ever combined with ``&``.

The laws (``tests/attention/test_laws.py`` holds them over every file of ``conf/attention``):

1. one call over T queries equals any split of them chained through ``state``;
2. a query with nothing to attend gets zero context, zero weights and finite gradients;
3. weights are those really used: >= 0, exactly 0 where masked, always (B, H, T, S);
4. outputs do not depend on padding, on neighbours in the batch, or on their order;
5. nothing lives on ``self`` between calls but parameters and named buffers;
6. decoders pass the same arguments to every mechanism;
7. every parameter that can matter receives a gradient.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.attention.requirements import AttentionComponent
from seq2seq.errors import UserError
from seq2seq.layers.dropout import dropout

AttentionState = dict[str, Tensor]


@dataclass(frozen=True)
class SourceSpec:
    """What a mechanism will attend over, known before any data: enough to refuse what it can't serve.

    ``is_self`` says that queries and memory are one sequence (self-attention): their positions can be compared;
    ``causal`` that this memory grows with the queries and none may look ahead (decoder self-attention);
    ``position`` which relative positions the slot wants inside the scores: ``rotary``, ``alibi`` or none.
    """

    width: int
    axes: int = 1
    segments: bool = False
    is_self: bool = False
    causal: bool = False
    position: Literal["none", "rotary", "alibi"] = "none"
    input_dim: int = 0  # E, the width of ``Query.input``; 0 where the asking side reads none
    last: bool = True  # whether alternatives are read, as the last layer's are, and the target is known in training


@dataclass(frozen=True)
class Memory:
    """What is attended over. Right-padded or not: nothing reads ``arange(S)``, all read ``positions``."""

    values: Tensor  # (B, S, V)
    mask: Tensor  # (B, S) bool, True = real
    positions: Tensor  # (B, S, P) where each value stands
    extent: Tensor  # (B, P) the true size of the source along each axis
    segments: Tensor | None = None  # (B, S) sentence ids
    sections: Memory | None = None  # sentence states
    prepared: Mapping[str, Tensor] = field(default_factory=dict)  # what prepare() stored, leading dimension B

    @staticmethod
    def of(values: Tensor, mask: Tensor) -> Memory:
        """A memory along time: positions 0..S-1, extent the number of real values."""
        batch, length = mask.shape
        positions = torch.arange(length, device=mask.device).expand(batch, length).unsqueeze(-1)
        return Memory(values, mask, positions, mask.sum(1, keepdim=True))

    def select(self, index: Tensor) -> Memory:
        """The rows ``index`` of the batch, in that order: all that search needs."""
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
    """The mean of each sentence's real words, as a memory of sentences: values (B, S, V), segments (B, S)."""
    count = int(segments.max()) + 1 if segments.numel() else 1
    member = F.one_hot(segments, count).to(values.dtype) * mask.unsqueeze(-1)  # (B, S, N)
    size = member.sum(1)  # (B, N)
    return Memory.of(member.mT @ values / size.clamp(min=1.0).unsqueeze(-1), size > 0)


def select(state: AttentionState, index: Tensor) -> AttentionState:
    """The rows ``index`` of a state."""
    return {name: tensor.index_select(0, index) for name, tensor in state.items()}


@dataclass(frozen=True)
class Query:
    """What asks: T decoder states and where they stand."""

    vector: Tensor  # (B, T, Q)
    position: Tensor  # (B, T) long, 0 for the first target token
    input: Tensor | None = None  # (B, T, E) what the decoder read at this step
    cell: Callable[[], Tensor] | None = None  # () -> (B, T, Q) an LSTM's cells, made only if called for
    target: Tensor | None = None  # (B, T, .) what ``read_target`` made of the whole target, in training only

    def at(self, t: int) -> Query:
        """Query t alone: T = 1."""
        place = slice(t, t + 1)
        cell = self.cell
        return Query(
            self.vector[:, place],
            self.position[:, place],
            None if self.input is None else self.input[:, place],
            None if cell is None else lambda: cell()[:, place],
            None if self.target is None else self.target[:, place],
        )


@dataclass(frozen=True)
class Alternatives:
    """Contexts that each could have been the one: p(y_t) is made of what the readout says to each of J.

    ``mixture``: p = sum_j w_j p_j, the exact marginal. ``bound``: log p >= sum_j w_j log p_j, a lower bound to train
    by. ``sampled``: contexts were drawn with log-probability ``log_weights``; their mean is an estimate of the bound.
    """

    contexts: Tensor  # (B, T, J, C)
    log_weights: Tensor  # (B, T, J)
    kind: Literal["mixture", "bound", "sampled"] = "mixture"


@dataclass(frozen=True)
class AttentionOutput:
    """What comes back."""

    context: Tensor  # (B, T, C) the expectation, which input feeding reads
    weights: Tensor | None  # (B, H, T, S) before dropout; None unless asked for
    state: AttentionState
    sentinel: Tensor | None = None  # (B, H, T) mass outside the memory
    log_prob: Tensor | None = None  # (B, T) of sampled choices, summed over heads
    penalties: Mapping[str, Tensor] = field(default_factory=dict)  # {name: (B, T)}, unweighted
    alternatives: Alternatives | None = None  # read in the last layer only; earlier ones go on with ``context``

    def gated(self, share: Tensor) -> AttentionOutput:
        """Contexts, and those that could have been the one, times ``share`` (B, T, 1)."""
        offered = self.alternatives
        if offered is not None:
            offered = replace(offered, contexts=offered.contexts * share.unsqueeze(2))
        return replace(self, context=self.context * share, alternatives=offered)


def reported(answers: Iterable[AttentionOutput]) -> tuple[dict[str, Tensor], Tensor | None]:
    """The penalties and the log-probability of several slots together, each a sum."""
    penalties: dict[str, Tensor] = {}
    log_prob: Tensor | None = None
    for answer in answers:
        for name, value in answer.penalties.items():
            penalties[name] = penalties[name] + value if name in penalties else value
        if answer.log_prob is not None:
            log_prob = answer.log_prob if log_prob is None else log_prob + answer.log_prob
    return penalties, log_prob


class Attention(nn.Module, ABC):
    """Base of all mechanisms: ``prepare`` once a source, then ``forward`` for any number of queries.

    ``mass`` declares what a row of weights sums to; ``gradient`` whether back-propagation is exact.
    """

    mass: str = "one"  # one | at_most_one | free
    gradient: str = "exact"  # exact | surrogate
    context_dim: int
    terms: tuple[str, ...] = ()  # names of the loss terms that it can add; those of its parts stand there

    def __init__(self, query_dim: int, source: SourceSpec, *, dropout: float = 0.0) -> None:
        """``dropout`` is the mechanism's own to apply, by ``drop``."""
        super().__init__()
        if not 0.0 <= dropout <= 1.0:
            raise UserError(f"dropout={dropout} must lie in 0..1")
        self.dropout = dropout
        self.query_dim = query_dim
        self.source = source
        self.context_dim = source.width

    def prepare(self, memory: Memory) -> Memory:
        """Per-source work, done once: projected keys, latents. (B, S, V) in, tensors of leading B stored."""
        return memory

    def extend(self, past: Memory | None, new: Memory, *, need_weights: bool = False) -> Memory:
        """Self-attention's memory after ``new`` (prepared) has joined ``past``: the key-value cache.

        It may fold or drop what no query of ``new`` or later can reach, except where ``need_weights`` will be asked.
        """
        if past is None:
            return new
        return Memory(
            torch.cat((past.values, new.values), 1),
            torch.cat((past.mask, new.mask), 1),
            torch.cat((past.positions, new.positions), 1),
            past.extent + new.extent,
            prepared={name: torch.cat((past.prepared[name], tensor), 1) for name, tensor in new.prepared.items()},
        )

    def initial_state(self, memory: Memory) -> AttentionState:
        """What is carried from query to query; {} where the mechanism keeps nothing."""
        return {}

    @abstractmethod
    def forward(
        self,
        query: Query,
        memory: Memory,
        state: AttentionState,
        *,
        mask: Tensor | None = None,
        need_weights: bool = False,
    ) -> AttentionOutput:
        """Contexts of T queries. ``mask`` (B, T, S) narrows further what each may see."""

    def read_target(self, embedded: Tensor, mask: Tensor) -> Tensor | None:
        """What ``Query.target`` should hold of a whole target, while training: embedded (B, T, E), mask (B, T)."""
        return None

    def drop(self, weights: Tensor) -> Tensor:
        """The weights that make a context, while training without some of them.

        All that make one pass through here where weights are asked for, (B, T, S), (B, H, T, S) or (B, 1, H T, S), a
        sentinel's behind the S: ``interventions`` puts others in their place.
        """
        return dropout(weights, self.dropout, self.training)

    def alignment(self, weights: Tensor) -> Tensor:
        """(B, H, T, S) -> (B, T, S), what copying, AER and Pharaoh output read: the mean over heads."""
        return weights.mean(1)

    def regulariser(self) -> dict[str, Tensor]:
        """Loss terms in the parameters alone, {name: scalar}, added once an update: those of the parts."""
        return {name: term for part in self.parts() for name, term in part.regulariser().items()}

    def constrain(self) -> None:
        """Puts parameters back into their set; called after each optimiser step."""
        for part in self.parts():
            part.constrain()

    def anneal(self, progress: float) -> None:
        """Sets the buffers that change as training goes; called before each update, ``progress`` from 0 to 1."""
        for part in self.parts():
            part.anneal(progress)

    def parts(self) -> Iterator[AttentionComponent]:
        """Scores, windows, normalisers, selections: whatever this mechanism is composed of."""
        return (module for module in self.modules() if isinstance(module, AttentionComponent))


AttentionFactory = Callable[[int, SourceSpec], Attention]
"""What ``conf/attention/NAME.yaml`` builds: (query_dim, source) -> mechanism."""
