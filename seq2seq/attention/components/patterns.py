"""Patterns: fixed windows over a sequence that attends to itself.

A pattern compares the positions of query i and value j in one sequence. A union of patterns is the OR of their masks.
Every query can see itself. In decoder self-attention all patterns also require j <= i.
Shapes: B batch, T queries, S memory positions, K keys.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import partial

import torch
from torch import Tensor
from typing_extensions import override

from seq2seq.attention.components import banded
from seq2seq.attention.components.windows import FastPath, Window, WindowMask
from seq2seq.attention.requirements import at_least_1
from seq2seq.attention.types import Memory, Query, SourceSpec
from seq2seq.errors import UserError

MIN_BANDED_LENGTH, MIN_PARTS = 256, 4  # shorter sequences are not split: there, masks are faster on a CPU
MIN_PART_SIZE = 16  # positions; smaller matrix products are inefficient


class Pattern(Window):
    """Base of patterns: a rule on pairs of positions.

    Args:
        query_dim: Q, width of the queries.
        heads: H, number of heads.
        source: Properties of the memory.
        **sizes: Options of the subclass that must be at least 1.

    Raises:
        UserError: The source is not that of self-attention, or has more than one axis; or a size is below 1.
    """

    def __init__(self, query_dim: int, heads: int, source: SourceSpec, **sizes: int) -> None:
        super().__init__(query_dim, heads, source)
        name = type(self).__name__
        # Check the source.
        if not source.is_self:
            raise UserError(
                f"the window {name} compares positions in one sequence, but source and target are two sequences; "
                "use it for self-attention, or use the window local_m"
            )
        if source.axes != 1:
            raise UserError(f"the window {name} needs positions in time; image regions have none")
        at_least_1(**sizes)
        self.causal = source.causal

    @abstractmethod
    def sees(self, i: Tensor, j: Tensor, extent: Tensor) -> Tensor:
        """Return the mask (B, T, S) of the pattern.

        Args:
            i: Positions of the queries (B, T, 1).
            j: Positions of the memory (B, 1, S).
            extent: Lengths of the sequences without padding (B, 1, 1).
        """

    @override
    def forward(self, query: Query, memory: Memory) -> WindowMask:
        places = memory.positions[:, None, :, 0]
        return WindowMask(self.sees(query.position[:, :, None], places, memory.extent[:, :, None]).unsqueeze(1))

    def _uses_bands(self, query: Query, memory: Memory, size: int) -> bool:
        """Return whether to split the sequence into parts of ``size`` positions."""
        # A part must be much shorter than the sequence, and the whole sequence must be here.
        is_long = memory.mask.shape[1] >= max(MIN_BANDED_LENGTH, MIN_PARTS * size)
        return is_long and banded.is_whole_sequence(query, memory)


class SlidingWindow(Pattern):
    """Window of the ``reach`` positions on each side of the query.

    |i - j| <= ``reach`` (Beltagy 2020, section 3.1).

    Args:
        query_dim, heads, source: As in ``Pattern``.
        reach: Largest distance, in positions.
    """

    def __init__(self, query_dim: int, heads: int, source: SourceSpec, *, reach: int = 8) -> None:
        super().__init__(query_dim, heads, source, reach=reach)
        self.radius = reach
        self.cache_window = 0, reach

    @override
    def sees(self, i: Tensor, j: Tensor, extent: Tensor) -> Tensor:
        return (i - j).abs() <= self.radius

    @override
    def fast_path(self, query: Query, memory: Memory) -> FastPath | None:
        # Each part, of the length of the reach, sees itself and its neighbours.
        size = max(self.radius, MIN_PART_SIZE)
        if not self._uses_bands(query, memory, size):
            return None
        return partial(banded.banded, mask=memory.mask, radius=self.radius, size=size, causal=self.causal)


class Dilated(Pattern):
    """Window with gaps: every r-th position on each side of the query.

    |i - j| <= ``reach`` r and (i - j) mod r = 0, r = ``dilation`` (Beltagy 2020, section 3.1).

    Args:
        query_dim, heads, source: As in ``Pattern``.
        reach: Number of positions on each side.
        dilation: r, distance between these positions.
    """

    def __init__(self, query_dim: int, heads: int, source: SourceSpec, *, reach: int = 4, dilation: int = 2) -> None:
        super().__init__(query_dim, heads, source, reach=reach, dilation=dilation)
        self.radius, self.dilation = reach, dilation
        self.cache_window = 0, reach * dilation

    @override
    def sees(self, i: Tensor, j: Tensor, extent: Tensor) -> Tensor:
        apart = i - j
        return (apart.abs() <= self.radius * self.dilation) & (apart % self.dilation == 0)

    @override
    def fast_path(self, query: Query, memory: Memory) -> FastPath | None:
        # It is a sliding window over every r-th position.
        size = max(self.radius, MIN_PART_SIZE)
        if not self._uses_bands(query, memory, size * self.dilation):
            return None
        fast_path = partial(banded.dilated, mask=memory.mask, radius=self.radius, dilation=self.dilation)
        return partial(fast_path, size=size, causal=self.causal)


class BlockLocal(Pattern):
    """Blocks of positions that see only their own block.

    floor(i / b) = floor(j / b), b = ``size`` (Liu 2018, arXiv:1801.10198, section 4.2.4).

    Args:
        query_dim, heads, source: As in ``Pattern``.
        size: b, positions in a block.
    """

    def __init__(self, query_dim: int, heads: int, source: SourceSpec, *, size: int = 8) -> None:
        super().__init__(query_dim, heads, source, size=size)
        self.size = size
        self.cache_window = 0, size - 1

    @override
    def sees(self, i: Tensor, j: Tensor, extent: Tensor) -> Tensor:
        return i // self.size == j // self.size

    @override
    def fast_path(self, query: Query, memory: Memory) -> FastPath | None:
        # Each part is a block that sees itself.
        if not self._uses_bands(query, memory, self.size):
            return None
        return partial(banded.blocked, mask=memory.mask, size=self.size, causal=self.causal)


class Random(Pattern):
    """The query's own position and K random positions (Zaheer 2020, arXiv:2007.14062, section 2).

    The paper draws blocks instead of positions.

    The k-th position of query i is floor(u_ik n), where n = i + 1 in decoder self-attention, else the sequence's true
    length. u (``max_length``, ``keys``) in [0, 1) is drawn once and stored as integers ``draws`` of unit 2^-31, which
    are the same in every precision. Positions after the last row of u use its rows again from the first.

    Args:
        query_dim, heads, source: As in ``Pattern``.
        keys: K, random positions of each query.
        max_length: Number of rows of u.
    """

    draws: Tensor

    def __init__(
        self, query_dim: int, heads: int, source: SourceSpec, *, keys: int = 3, max_length: int = 1024
    ) -> None:
        super().__init__(query_dim, heads, source, keys=keys, max_length=max_length)
        self.register_buffer("draws", torch.randint(2**31, (max_length, keys)))

    @override
    def sees(self, i: Tensor, j: Tensor, extent: Tensor) -> Tensor:
        seen = i == j
        for place in self.chosen(i, extent).unbind(-1):
            seen = seen | (place.unsqueeze(-1) == j)
        return seen

    def chosen(self, i: Tensor, extent: Tensor) -> Tensor:
        """Return the random positions (B, T, K) of each query.

        Args:
            i: Positions of the queries (B, T, 1).
            extent: Lengths of the sequences without padding (B, 1, 1).
        """
        # Scale the draws to 0..n-1 in integers, which are exact in every precision.
        draws = self.draws[i.squeeze(-1) % len(self.draws)]
        return (draws * (i + 1 if self.causal else extent)) >> 31


class _GlobalTokens(Pattern):
    """Base of patterns whose first ``tokens`` positions see all positions and are seen by all."""

    def __init__(self, query_dim: int, heads: int, source: SourceSpec, *, tokens: int, **sizes: int) -> None:
        super().__init__(query_dim, heads, source, tokens=tokens, **sizes)
        self.tokens = tokens

    @override
    def sees(self, i: Tensor, j: Tensor, extent: Tensor) -> Tensor:
        return (i < self.tokens) | (j < self.tokens) | self.local(i, j, extent)

    @abstractmethod
    def local(self, i: Tensor, j: Tensor, extent: Tensor) -> Tensor:
        """Return which other positions (B, T, S) are visible to a position that is not global; Args as in ``sees``."""


class Longformer(_GlobalTokens):
    """Sliding window with global tokens (Beltagy 2020, section 3.1).

    i < g or j < g or |i - j| <= ``reach``, g = ``tokens``. The paper chooses the global tokens by task (a question, a
    [CLS]); here they are the first tokens of a sentence. The paper's second projections for the rows of global tokens,
    which start as copies of the first ones, are left out: one set of projections serves all rows, as in BigBird.

    Args:
        query_dim, heads, source: As in ``Pattern``.
        tokens: g, number of global tokens.
        reach: Largest distance of the window, in positions.
    """

    def __init__(self, query_dim: int, heads: int, source: SourceSpec, *, tokens: int = 1, reach: int = 4) -> None:
        super().__init__(query_dim, heads, source, tokens=tokens, reach=reach)
        self.radius = reach
        self.cache_window = tokens, reach

    @override
    def local(self, i: Tensor, j: Tensor, extent: Tensor) -> Tensor:
        return (i - j).abs() <= self.radius

    @override
    def fast_path(self, query: Query, memory: Memory) -> FastPath | None:
        # Each part sees itself, its neighbours and the global tokens.
        size = max(self.radius, MIN_PART_SIZE)
        if not self._uses_bands(query, memory, size + self.tokens):
            return None
        fast_path = partial(banded.banded, mask=memory.mask, radius=self.radius, size=size)
        return partial(fast_path, causal=self.causal, tokens=self.tokens)


class BigBird(_GlobalTokens):
    """Global tokens, a sliding window and random keys (Zaheer 2020, arXiv:2007.14062, section 2).

    The union of ``Longformer`` and ``Random``. It is BigBird-ITC, whose global tokens belong to the sequence. It works
    on single tokens, where the paper works on blocks.

    Args:
        query_dim, heads, source: As in ``Pattern``.
        tokens: Number of global tokens.
        reach: Largest distance of the window, in positions.
        keys: Random positions of each query.
        max_length: Number of rows of random positions, as in ``Random``.
    """

    def __init__(
        self,
        query_dim: int,
        heads: int,
        source: SourceSpec,
        *,
        tokens: int = 2,
        reach: int = 2,
        keys: int = 3,
        max_length: int = 1024,
    ) -> None:
        super().__init__(query_dim, heads, source, tokens=tokens, reach=reach)
        self.radius = reach
        self.random = Random(query_dim, heads, source, keys=keys, max_length=max_length)

    @override
    def local(self, i: Tensor, j: Tensor, extent: Tensor) -> Tensor:
        return ((i - j).abs() <= self.radius) | self.random.sees(i, j, extent)
