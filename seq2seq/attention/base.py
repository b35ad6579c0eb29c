"""The contract that every attention mechanism keeps. Its letters (B, T, S, H ...) are those of ``types.py``.

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

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from seq2seq.attention.component import AttentionComponent
from seq2seq.attention.types import AttentionOutput, AttentionState, Memory, Query, SourceSpec
from seq2seq.errors import UserError
from seq2seq.layers.dropout import dropout


class Attention(nn.Module, ABC):
    """Base of all mechanisms: ``prepare`` once a source, then ``forward`` for any number of queries.

    ``mass`` declares what a row of weights sums to; ``gradient`` whether back-propagation is exact.
    """

    mass: str = "one"  # one | at_most_one | free
    gradient: str = "exact"  # exact | surrogate
    context_dim: int
    terms: tuple[str, ...] = ()  # names of the loss terms that it can add; those of its parts stand there

    def __init__(self, query_dim: int, source: SourceSpec, *, dropout: float = 0.0) -> None:
        """Store what all mechanisms have; ``dropout`` acts on the weights, in ``apply_weights``."""
        super().__init__()
        if not 0.0 <= dropout <= 1.0:
            raise UserError(f"attention.dropout must lie in 0..1, got {dropout}")
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

    def apply_weights(self, weights: Tensor, query: Query) -> Tensor:
        """Return the weights to make the context of: those of ``query.weights_transform``, then dropout in training.

        Where ``need_weights`` is true, every context must be made of weights that went through here: interventions
        (``interventions.py``) rely on it.

        Args:
            weights: (B, T, S), (B, H, T, S) or (B, 1, H T, S); a sentinel's column may follow the S.
            query: the queries that the weights belong to.
        """
        if query.weights_transform is not None:
            weights = query.weights_transform(weights)
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

    def set_progress(self, progress: float) -> None:
        """Sets the buffers that change as training goes; called before each update, ``progress`` from 0 to 1."""
        for part in self.parts():
            part.set_progress(progress)

    def parts(self) -> Iterator[AttentionComponent]:
        """Scores, windows, normalisers, selections: whatever this mechanism is composed of."""
        return (module for module in self.modules() if isinstance(module, AttentionComponent))


AttentionFactory = Callable[[int, SourceSpec], Attention]
"""What ``conf/attention/NAME.yaml`` builds: (query_dim, source) -> mechanism."""


def build_attention(mechanism: AttentionFactory, query_dim: int, source: SourceSpec) -> Attention:
    """Builds a slot's mechanism. What it or a part of it refuses is told by keys that a user can type: window.reach of
    the encoder's slot is encoder_self.window.reach, attention/window=last is attention/window@encoder_self.window=last.
    """
    try:
        return mechanism(query_dim, source)
    except UserError as error:
        text = _OPTION.sub(f"{source.slot}.", str(error))
        if source.slot != "attention":
            text = re.sub(r"attention/(\w+)=", rf"attention/\1@{source.slot}.\1=", text)
        raise UserError(text) from error


_PARTS = "score|window|normalizer|selection|feature_map|word|sentence|chunk_score"
_OPTION = re.compile(rf"(?<![\w./@])(?:attention\.(?=\w)|(?=(?:{_PARTS})\.\w))")
