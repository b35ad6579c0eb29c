"""Contract of every attention mechanism. The letters (B, T, S, H ...) are those of ``types.py``.

Every mechanism obeys these laws, which ``tests/attention/test_laws.py`` checks for every file of ``conf/attention``:

1. One call with T queries gives the same as several calls with parts of them, chained through ``state``.
2. A query that can see nothing gets a zero context, zero weights and finite gradients.
3. The returned weights are those that the context is made of: exactly 0 where masked, >= 0 unless ``mass`` is
   ``free``, always of shape (B, H, T, S).
4. Outputs do not depend on padding, on the other rows of the batch, or on the order of the rows.
5. Between calls, ``self`` holds only parameters and named buffers.
6. Decoders pass the same arguments to every mechanism.
7. Every parameter that can influence the output receives a gradient.
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
    """Base of all mechanisms: call ``prepare`` once for a source, then ``forward`` for any number of queries.

    ``mass`` declares the sum of a row of weights. ``gradient`` declares how the training loss trains the weights:

    - exact: by back-propagation through the weights;
    - surrogate: by sampled positions, with a gradient that is right on average, or by weights that evaluation
      does not use;
    - biased: by a gradient that differs from that of the expected loss even on average, because of sampled positions or
      because it stops at earlier weights.

    Args:
        query_dim: Q, width of the queries.
        source: Properties of the memory that the mechanism attends to.
        dropout: Probability that ``apply_weights`` drops a weight in training, 0..1.

    Raises:
        UserError: ``dropout`` lies outside 0..1.
    """

    mass: str = "one"  # one | at_most_one | free
    gradient: str = "exact"  # exact | surrogate | biased
    has_choice: bool = True  # False where every query reads one fixed position, so that attention is not measured
    context_dim: int  # C
    terms: tuple[str, ...] = ()  # loss terms that the mechanism itself can add; its parts declare their own
    __call__: Callable[..., AttentionOutput]

    def __init__(self, query_dim: int, source: SourceSpec, *, dropout: float = 0.0) -> None:
        """Store the settings that all mechanisms share."""
        super().__init__()
        if not 0.0 <= dropout <= 1.0:
            raise UserError(f"dropout={dropout} must lie in 0..1")
        self.dropout = dropout
        self.query_dim = query_dim
        self.source = source
        self.context_dim = source.width

    def prepare(self, memory: Memory) -> Memory:
        """Compute what is needed once for each source, such as projected keys.

        Args:
            memory: Memory with values (B, S, V).

        Returns:
            The memory with its results in ``prepared``, tensors whose first dimension is B.
        """
        return memory

    def extend(self, past: Memory | None, new: Memory, *, need_weights: bool = False) -> Memory:
        """Append ``new`` to the key-value cache of self-attention.

        A mechanism may sum up or drop positions that no query of ``new`` or later can reach.

        Args:
            past: Cache so far; None at the start.
            new: Prepared memory to append.
            need_weights: Weights will be requested, so no position may be summed up or dropped.

        Returns:
            The cache with ``new`` at its end.
        """
        if past is None:
            return new
        # Concatenate both along S.
        return Memory(
            torch.cat((past.values, new.values), 1),
            torch.cat((past.mask, new.mask), 1),
            torch.cat((past.positions, new.positions), 1),
            past.extent + new.extent,
            prepared={name: torch.cat((past.prepared[name], tensor), 1) for name, tensor in new.prepared.items()},
        )

    def initial_state(self, memory: Memory) -> AttentionState:
        """Return the state before the first query.

        Args:
            memory: Prepared memory.

        Returns:
            Tensors by name, whose first dimension is B; {} where nothing is carried from query to query.
        """
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
            query: Query vectors (B, T, Q) with their positions.
            memory: Result of ``prepare`` or ``extend``.
            state: Result of ``initial_state``, or the state in the output of the last call.
            mask: Mask (B, T, S) that hides further positions from each query; None hides none.
            need_weights: Return the weights too, and pass the weights of every context through ``apply_weights``.

        Returns:
            Contexts (B, T, C), weights (B, H, T, S) if requested, and the new state.
        """

    def read_target(self, embedded: Tensor, mask: Tensor) -> Tensor | None:
        """Encode the whole target in training, for mechanisms that infer their alignment from it.

        Args:
            embedded: Decoder inputs (B, T, E).
            mask: Mask (B, T), True = real.

        Returns:
            ``Query.target`` (B, T, .); None where the mechanism does not read the target.
        """
        return None

    def apply_weights(self, weights: Tensor, query: Query) -> Tensor:
        """Apply ``query.weights_transform``, and dropout in training, to the weights that make the context.

        Where ``need_weights`` is true, the weights of every context must pass through this method: interventions
        (``interventions.py``) rely on it.

        Args:
            weights: Weights (B, T, S), (B, H, T, S) or (B, 1, H T, S); a sentinel's column may follow the S columns.
            query: Queries that the weights belong to.

        Returns:
            Weights of the same shape.
        """
        if query.weights_transform is not None:
            weights = query.weights_transform(weights)
        return dropout(weights, self.dropout, self.training)

    def alignment(self, weights: Tensor) -> Tensor:
        """Reduce the weights of all heads to one alignment, for copying, AER and Pharaoh output: the mean over heads.

        Args:
            weights: Weights (B, H, T, S).

        Returns:
            Alignment (B, T, S).
        """
        return weights.mean(1)

    def regulariser(self) -> dict[str, Tensor]:
        """Return loss terms of the parameters alone, {name: scalar}, added once for each update: those of the parts."""
        return {name: term for part in self.parts() for name, term in part.regulariser().items()}

    def constrain(self) -> None:
        """Project parameters onto their allowed set. Called after each optimiser step."""
        for part in self.parts():
            part.constrain()

    def set_progress(self, progress: float) -> None:
        """Update the buffers that depend on the progress of training. Called before each update.

        Args:
            progress: Share of training that is over, 0..1.
        """
        for part in self.parts():
            part.set_progress(progress)

    def parts(self) -> Iterator[AttentionComponent]:
        """Return the scores, windows, normalisers and selections of which this mechanism is composed."""
        return (module for module in self.modules() if isinstance(module, AttentionComponent))


AttentionFactory = Callable[[int, SourceSpec], Attention]
"""Function that ``conf/attention/NAME.yaml`` builds: (query_dim, source) -> mechanism."""
