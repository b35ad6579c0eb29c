"""The contract that every attention mechanism keeps. Its letters (B, T, S, H ...) are those of ``types.py``.

The laws (``tests/attention/test_laws.py`` holds them over every file of ``conf/attention``):

1. one call over T queries equals any split of them chained through ``state``;
2. a query with nothing to attend gets zero context, zero weights and finite gradients;
3. weights are those really used: exactly 0 where masked, >= 0 unless ``mass`` is free, always (B, H, T, S);
4. outputs do not depend on padding, on neighbours in the batch, or on their order;
5. nothing lives on ``self`` between calls but parameters and named buffers;
6. decoders pass the same arguments to every mechanism;
7. every parameter that can matter receives a gradient.
"""

from __future__ import annotations

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

    ``mass`` declares what a row of weights sums to; ``gradient`` how the training loss teaches the weights:

    - exact: by back-propagation through them;
    - surrogate: by what was drawn, whose gradient is right on average, or by weights that evaluation does not use;
    - biased: by what was drawn, whose gradient is not that of the expected loss even on average.
    """

    mass: str = "one"  # one | at_most_one | free
    gradient: str = "exact"  # exact | surrogate | biased
    has_choice: bool = True  # False where every query reads one fixed position: there is no attention to measure
    context_dim: int
    terms: tuple[str, ...] = ()  # names of the loss terms that it can add; those of its parts stand there

    def __init__(self, query_dim: int, source: SourceSpec, *, dropout: float = 0.0) -> None:
        """Store what all mechanisms have; ``dropout`` acts on the weights, in ``apply_weights``."""
        super().__init__()
        if not 0.0 <= dropout <= 1.0:
            raise UserError(f"dropout={dropout} must lie in 0..1")
        self.dropout = dropout
        self.query_dim = query_dim
        self.source = source
        self.context_dim = source.width

    def prepare(self, memory: Memory) -> Memory:
        """Do the work that is needed once a source, such as projecting keys.

        Args:
            memory: values (B, S, V).

        Returns:
            The memory with ``prepared``, tensors whose first dimension is B.
        """
        return memory

    def extend(self, past: Memory | None, new: Memory, *, need_weights: bool = False) -> Memory:
        """Append ``new`` to the key-value cache of self-attention.

        What no query of ``new`` or later can reach may be folded or dropped.

        Args:
            past: the cache so far; None at the start.
            new: a prepared memory.
            need_weights: weights will be asked for, so nothing may be folded or dropped.
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
        """Return the state before the first query of a prepared memory; {} where nothing is carried."""
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
        """Attend from T queries, one or many, to a prepared memory.

        Args:
            query: vectors (B, T, Q) with their positions.
            memory: what ``prepare``, or ``extend``, returned.
            state: what ``initial_state`` or the last call returned.
            mask: (B, T, S), narrows further which positions each query may see.
            need_weights: return the weights too, and make every context of weights from ``apply_weights``.

        Returns:
            Contexts (B, T, C), weights (B, H, T, S) if asked for, and the new state.
        """

    def read_target(self, embedded: Tensor, mask: Tensor) -> Tensor | None:
        """Return ``Query.target`` for a whole target, in training: embedded (B, T, E), mask (B, T)."""
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
        """Reduce weights (B, H, T, S) to (B, T, S), for copying, AER and Pharaoh output: the mean over heads."""
        return weights.mean(1)

    def regulariser(self) -> dict[str, Tensor]:
        """Return loss terms of the parameters alone, {name: scalar}, added once an update: those of the parts."""
        return {name: term for part in self.parts() for name, term in part.regulariser().items()}

    def constrain(self) -> None:
        """Project parameters onto their allowed set. Called after each optimiser step."""
        for part in self.parts():
            part.constrain()

    def set_progress(self, progress: float) -> None:
        """Update the buffers that depend on the progress of training, 0 to 1. Called before each update."""
        for part in self.parts():
            part.set_progress(progress)

    def parts(self) -> Iterator[AttentionComponent]:
        """Return the scores, windows, normalisers, selections that this mechanism is composed of."""
        return (module for module in self.modules() if isinstance(module, AttentionComponent))


AttentionFactory = Callable[[int, SourceSpec], Attention]
"""What ``conf/attention/NAME.yaml`` builds: (query_dim, source) -> mechanism."""
