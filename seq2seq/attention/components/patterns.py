"""Patterns: windows fixed in advance, over a sequence that attends to itself.

They compare where query i and value j of one sequence stand; a union of patterns is the OR of their masks. Every query
may see itself. In a causal slot all are narrowed to j <= i. Shapes: B batch, T queries, S memory positions, K keys.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import partial

import torch
from torch import Tensor

from seq2seq.attention.components import banded
from seq2seq.attention.components.windows import FastPath, Window, WindowMask
from seq2seq.attention.requirements import at_least_1
from seq2seq.attention.types import Memory, Query, SourceSpec
from seq2seq.errors import UserError

MIN_BANDED_LENGTH, MIN_PARTS = 256, 4  # of a sequence that is cut: below, masks are faster on a CPU
MIN_PART_SIZE = 16  # positions: with fewer, a matrix product has nothing to do


class Pattern(Window):
    """A rule on pairs of places."""

    def __init__(self, query_dim: int, heads: int, source: SourceSpec, **sizes: int) -> None:
        super().__init__(query_dim, heads, source)
        name = type(self).__name__
        if not source.is_self:
            raise UserError(
                f"the window {name} compares places in one sequence, but source and target are not on one axis; "
                "choose it for self-attention, or the window local_m here"
            )
        if source.axes != 1:
            raise UserError(f"the window {name} runs along time; image regions have no such order")
        at_least_1(**sizes)
        self.causal = source.causal

    @abstractmethod
    def sees(self, i: Tensor, j: Tensor, extent: Tensor) -> Tensor:
        """Places i (B, T, 1), j (B, 1, S), true lengths (B, 1, 1) -> bool (B, T, S)."""

    def forward(self, query: Query, memory: Memory) -> WindowMask:
        """The same for all heads."""
        places = memory.positions[:, None, :, 0]
        return WindowMask(self.sees(query.position[:, :, None], places, memory.extent[:, :, None]).unsqueeze(1))

    def _uses_bands(self, query: Query, memory: Memory, size: int) -> bool:
        """Whether to go by parts of ``size`` places."""
        is_long = memory.mask.shape[1] >= max(MIN_BANDED_LENGTH, MIN_PARTS * size)
        return is_long and banded.is_whole_sequence(query, memory)


class SlidingWindow(Pattern):
    """|i - j| <= ``reach`` (Beltagy 2020, section 3.1)."""

    def __init__(self, query_dim: int, heads: int, source: SourceSpec, *, reach: int = 8) -> None:
        super().__init__(query_dim, heads, source, reach=reach)
        self.radius = reach
        self.cache_window = 0, reach

    def sees(self, i: Tensor, j: Tensor, extent: Tensor) -> Tensor:
        """Return whether ``j`` lies in the band around ``i``."""
        return (i - j).abs() <= self.radius

    def fast_path(self, query: Query, memory: Memory) -> FastPath | None:
        """Parts as long as the window reaches, each with its neighbours."""
        size = max(self.radius, MIN_PART_SIZE)
        if not self._uses_bands(query, memory, size):
            return None
        return partial(banded.banded, mask=memory.mask, radius=self.radius, size=size, causal=self.causal)


class Dilated(Pattern):
    """|i - j| <= ``reach`` r and (i - j) mod r = 0, r = ``dilation`` (Beltagy 2020, section 3.1)."""

    def __init__(self, query_dim: int, heads: int, source: SourceSpec, *, reach: int = 4, dilation: int = 2) -> None:
        super().__init__(query_dim, heads, source, reach=reach, dilation=dilation)
        self.radius, self.dilation = reach, dilation
        self.cache_window = 0, reach * dilation

    def sees(self, i: Tensor, j: Tensor, extent: Tensor) -> Tensor:
        """A band with gaps."""
        apart = i - j
        return (apart.abs() <= self.radius * self.dilation) & (apart % self.dilation == 0)

    def fast_path(self, query: Query, memory: Memory) -> FastPath | None:
        """A sliding window over every r-th place."""
        size = max(self.radius, MIN_PART_SIZE)
        if not self._uses_bands(query, memory, size * self.dilation):
            return None
        fast_path = partial(banded.dilated, mask=memory.mask, radius=self.radius, dilation=self.dilation)
        return partial(fast_path, size=size, causal=self.causal)


class BlockLocal(Pattern):
    """floor(i / b) = floor(j / b), b = ``size``: blocks that see nothing but themselves (Liu 2018, arXiv:1801.10198,
    section 4.2.4).
    """

    def __init__(self, query_dim: int, heads: int, source: SourceSpec, *, size: int = 8) -> None:
        super().__init__(query_dim, heads, source, size=size)
        self.size = size
        self.cache_window = 0, size - 1

    def sees(self, i: Tensor, j: Tensor, extent: Tensor) -> Tensor:
        """Squares along the diagonal."""
        return i // self.size == j // self.size

    def fast_path(self, query: Query, memory: Memory) -> FastPath | None:
        """Each block by itself."""
        if not self._uses_bands(query, memory, self.size):
            return None
        return partial(banded.blocked, mask=memory.mask, size=self.size, causal=self.causal)


class Random(Pattern):
    """j = i, or one of ``keys`` places drawn for i: floor(u_ik n), n = i + 1 if causal, else the sequence's true length
    (Zaheer 2020, arXiv:2007.14062, section 2; theirs is a draw of blocks).

    u (``max_length``, ``keys``) in [0, 1) is drawn once and stored, as whole numbers ``draws`` of 2^-31, which are the
    same in every precision; places past its last row begin with the first again.
    """

    draws: Tensor

    def __init__(
        self, query_dim: int, heads: int, source: SourceSpec, *, keys: int = 3, max_length: int = 1024
    ) -> None:
        super().__init__(query_dim, heads, source, keys=keys, max_length=max_length)
        self.register_buffer("draws", torch.randint(2**31, (max_length, keys)))

    def sees(self, i: Tensor, j: Tensor, extent: Tensor) -> Tensor:
        """The diagonal, and K places a row."""
        seen = i == j
        for place in self.chosen(i, extent).unbind(-1):
            seen = seen | (place.unsqueeze(-1) == j)
        return seen

    def chosen(self, i: Tensor, extent: Tensor) -> Tensor:
        """i (B, T, 1), true lengths (B, 1, 1) -> places (B, T, K)."""
        draws = self.draws[i.squeeze(-1) % len(self.draws)]
        return (draws * (i + 1 if self.causal else extent)) >> 31


class _GlobalTokens(Pattern):
    """The first ``tokens`` places see all and are seen by all, ANDed with causal; others as ``local`` has it."""

    def __init__(self, query_dim: int, heads: int, source: SourceSpec, *, tokens: int, **sizes: int) -> None:
        super().__init__(query_dim, heads, source, tokens=tokens, **sizes)
        self.tokens = tokens

    def sees(self, i: Tensor, j: Tensor, extent: Tensor) -> Tensor:
        """Rows, columns, and the rest."""
        return (i < self.tokens) | (j < self.tokens) | self.local(i, j, extent)

    @abstractmethod
    def local(self, i: Tensor, j: Tensor, extent: Tensor) -> Tensor:
        """What a place that is not global sees of others that are not."""


class Longformer(_GlobalTokens):
    """A sliding window and global tokens: i < g or j < g or |i - j| <= ``reach``, g = ``tokens`` (Beltagy 2020,
    section 3.1).

    The paper puts global tokens where the task has them (a question, a [CLS]); here they are the first of a sentence.
    Its second projections for the rows of global tokens, which start as copies of the first, are left out: one set
    serves all, as in BigBird.
    """

    def __init__(self, query_dim: int, heads: int, source: SourceSpec, *, tokens: int = 1, reach: int = 4) -> None:
        super().__init__(query_dim, heads, source, tokens=tokens, reach=reach)
        self.radius = reach
        self.cache_window = tokens, reach

    def local(self, i: Tensor, j: Tensor, extent: Tensor) -> Tensor:
        """Return whether ``j`` lies in the band around ``i``."""
        return (i - j).abs() <= self.radius

    def fast_path(self, query: Query, memory: Memory) -> FastPath | None:
        """A sliding window whose parts see the global tokens too."""
        size = max(self.radius, MIN_PART_SIZE)
        if not self._uses_bands(query, memory, size + self.tokens):
            return None
        fast_path = partial(banded.banded, mask=memory.mask, radius=self.radius, size=size)
        return partial(fast_path, causal=self.causal, tokens=self.tokens)


class BigBird(_GlobalTokens):
    """Global tokens, a window and random keys: the union of ``Longformer`` and ``Random`` (Zaheer 2020,
    arXiv:2007.14062, section 2: BigBird-ITC, whose global tokens are of the sequence).

    A token at a time, where the paper goes by blocks.
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

    def local(self, i: Tensor, j: Tensor, extent: Tensor) -> Tensor:
        """A band and what was drawn."""
        return ((i - j).abs() <= self.radius) | self.random.sees(i, j, extent)
