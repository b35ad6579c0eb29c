"""Scores: functions that measure how well a query matches each memory position.

Shapes: B batch, H heads, T queries, S memory positions, Q query width, K key width (both of one head), A hidden width
of an additive score. A score works in two steps: ``keys`` transforms the keys once for each source, and ``forward``
compares any number of queries with the result.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from typing_extensions import override

from seq2seq.attention.component import AttentionComponent
from seq2seq.attention.components.additive import fused_additive, plain_additive
from seq2seq.attention.requirements import above_0, at_least_1
from seq2seq.attention.types import Memory, SourceSpec
from seq2seq.errors import UserError
from seq2seq.layers.plain_kernels import is_plain
from seq2seq.layers.tensors import wide_dtype


class Score(AttentionComponent, ABC):
    """Base of scores: ``scale`` times e(q, k) for all pairs, with separate parameters for each head.

    The scale belongs to the forward pass. In the initial values of a matrix it would not last, because Adam's steps
    are as large for a small matrix as for a large one.

    Args:
        query_dim: Q, width of the queries of one head.
        key_dim: K, width of the keys of one head.
        heads: H, number of heads.
        source: Properties of the memory.
        scale: Factor of the paper's formula; None = the value of ``own_scale`` for the vectors of ``source``.

    Raises:
        UserError: The scale is not above 0.
    """

    def __init__(
        self, query_dim: int, key_dim: int, heads: int, source: SourceSpec, *, scale: float | None = 1.0
    ) -> None:
        super().__init__()
        above_0(scale=scale)
        self.query_dim, self.key_dim, self.heads = query_dim, key_dim, heads
        self.scale = self.own_scale(source) if scale is None else scale

    def own_scale(self, source: SourceSpec) -> float:
        """Return the scale for ``scale=None``.

        Args:
            source: Properties of the memory.
        """
        return 1.0

    def keys(self, keys: Tensor) -> Tensor:
        """Transform keys once for each source.

        Args:
            keys: Keys (B, H, S, K).

        Returns:
            Prepared keys for ``forward``, with leading dimensions (B, H, S).
        """
        return keys

    def visible(self, memory: Memory) -> Tensor | None:
        """Return the positions (B, S) where the score is defined; None = everywhere.

        Args:
            memory: Memory of S positions.
        """
        return None

    @abstractmethod
    def forward(self, queries: Tensor, keys: Tensor, memory: Memory) -> Tensor:
        """Return the scores (B, H, T, S).

        Args:
            queries: Queries (B, H, T, Q).
            keys: Result of ``keys``.
            memory: Memory of S positions.
        """


class Dot(Score):
    """Dot-product score.

    e = q . k, unscaled (Luong 2015, section 3.1). A learned gain g of each head may multiply it (TensorFlow NMT's
    ``scaled_luong``). Scores of this family can use a fused attention kernel. A subclass changes ``queries``, ``keys``
    or ``factor``: e = factor queries(q) . keys(k).

    Args:
        query_dim, key_dim, heads, source, scale: As in ``Score``; both widths are equal.
        gain: Multiply the product by g, one for each head, which is learned and starts at 1.

    Raises:
        UserError: The widths of queries and keys differ.
    """

    def __init__(
        self,
        query_dim: int,
        key_dim: int,
        heads: int,
        source: SourceSpec,
        *,
        scale: float | None = 1.0,
        gain: bool = False,
    ) -> None:
        super().__init__(query_dim, key_dim, heads, source, scale=scale)
        if query_dim != key_dim and not self.widens:
            raise UserError(
                f"a dot product needs equal widths, but queries have {query_dim} and keys {key_dim}; "
                "use the general score, or project both (project=true)"
            )
        self.gain = nn.Parameter(torch.ones(heads)) if gain else None

    widens = False  # True where ``keys`` gives the keys the width of the queries

    def queries(self, queries: Tensor) -> Tensor:
        """Transform the queries before the product.

        Args:
            queries: Queries (B, H, T, Q).

        Returns:
            Vectors (B, H, T, Q) that are multiplied with the prepared keys.
        """
        return queries if self.gain is None else queries * self.gain[:, None, None]

    @override
    def own_scale(self, source: SourceSpec) -> float:
        """Return 1/sqrt(Q) for vectors of unit variance, whose products have a deviation of sqrt(Q); 1 for others."""
        return self.query_dim**-0.5 if source.states == "normalised" else 1.0

    @property
    def factor(self) -> float:
        """Factor of the product."""
        return self.scale

    @override
    def forward(self, queries: Tensor, keys: Tensor, memory: Memory) -> Tensor:
        return (self.queries(queries) * self.factor) @ keys.transpose(-1, -2)


class ScaledDot(Dot):
    """Scaled dot-product score.

    e = q . k / sqrt(Q) (Vaswani 2017, section 3.2.1).
    """

    @override
    def own_scale(self, source: SourceSpec) -> float:
        """Return 1, because the formula has its own scale."""
        return 1.0

    @property
    @override
    def factor(self) -> float:
        """1/sqrt(Q), multiplied by the scale."""
        return self.scale / math.sqrt(self.query_dim)


class General(Dot):
    """Bilinear ("general") score.

    e = q^T W k (Luong 2015, section 3.1). W k is computed once for each source. W starts Xavier-uniform.

    Args:
        query_dim, key_dim, heads, source, scale: As in ``Score``.
        gain: As in ``Dot``.
    """

    widens = True

    def __init__(
        self,
        query_dim: int,
        key_dim: int,
        heads: int,
        source: SourceSpec,
        *,
        scale: float | None = 1.0,
        gain: bool = False,
    ) -> None:
        super().__init__(query_dim, key_dim, heads, source, scale=scale, gain=gain)
        self.weight = nn.Parameter(torch.empty(heads, query_dim, key_dim))
        _xavier(self.weight, query_dim, key_dim)

    @override
    def own_scale(self, source: SourceSpec) -> float:
        """Return 1/sqrt(Q) for all vectors, because W can grow where they are small."""
        return float(self.query_dim**-0.5)

    @override
    def keys(self, keys: Tensor) -> Tensor:
        return torch.einsum("bhsk,hqk->bhsq", keys, self.weight)


class Cosine(Dot):
    """Cosine score with a gain.

    e = g q . k / (|q| |k|) (Graves 2014, section 3.3.1, equations 5 and 6), and 0 where either vector is 0.

    In Graves' paper the controller emits the key strength g at each step. Here g is one number for each head, as in
    Transformers with normalised queries and keys (Henry 2020, section 3). Without g, the weights of two positions could
    differ by a factor of e^2 at most.

    Args:
        query_dim, key_dim, heads, source, scale: As in ``Score``; both widths are equal.
        gain: Initial value of g.
        learn: Learn g; otherwise it stays at ``gain``.
    """

    def __init__(
        self,
        query_dim: int,
        key_dim: int,
        heads: int,
        source: SourceSpec,
        *,
        scale: float | None = 1.0,
        gain: float = 10.0,
        learn: bool = True,
    ) -> None:
        super().__init__(query_dim, key_dim, heads, source, scale=scale, gain=learn)
        self.start = gain
        if self.gain is not None:
            nn.init.constant_(self.gain, gain)

    @override
    def own_scale(self, source: SourceSpec) -> float:
        """Return 1, because the lengths of the vectors do not matter."""
        return 1.0

    @property
    @override
    def factor(self) -> float:
        """The scale, multiplied by g where g is not learned."""
        return self.scale * self.start if self.gain is None else self.scale

    @override
    def queries(self, queries: Tensor) -> Tensor:
        return super().queries(_normalize(queries))

    @override
    def keys(self, keys: Tensor) -> Tensor:
        return _normalize(keys)


class Additive(Score):
    """Additive score, a network with one hidden layer.

    e = v^T tanh(W q + U k) (Bahdanau 2015, appendix A.1.2). Luong's ``concat``, v^T tanh(W [q; k]), is the same.

    Args:
        query_dim, key_dim, heads, source, scale: As in ``Score``.
        dim: A, the hidden width; None = Q.
        bias: Add a learned b inside the tanh.
        init_std: Start as in the paper with W, U ~ N(0, init_std^2) and v = 0, so that attention begins uniform;
            None = all three start Xavier-uniform.
        normalize: Use Salimans & Kingma's weight norm of v: g v / |v|, where g starts at sqrt(1/A).

    Raises:
        UserError: An option is out of range, or ``init_std`` is combined with ``normalize``.
    """

    def __init__(
        self,
        query_dim: int,
        key_dim: int,
        heads: int,
        source: SourceSpec,
        *,
        scale: float | None = 1.0,
        dim: int | None = None,
        bias: bool = False,
        init_std: float | None = None,
        normalize: bool = False,
    ) -> None:
        super().__init__(query_dim, key_dim, heads, source, scale=scale)
        at_least_1(dim=dim)
        if init_std is not None and init_std < 0:
            raise UserError(f"init_std={init_std} is a standard deviation and must be at least 0")
        dim = dim or query_dim
        self.query_weight = nn.Parameter(torch.empty(heads, query_dim, dim))
        self.key_weight = nn.Parameter(torch.empty(heads, key_dim, dim))
        self.vector = nn.Parameter(torch.zeros(heads, dim))
        self.bias = nn.Parameter(torch.zeros(heads, 1, dim)) if bias else None
        self.gain = nn.Parameter(torch.full((heads,), dim**-0.5)) if normalize else None
        if normalize and init_std is not None:
            raise UserError(
                f"init_std={init_std} starts v at 0, and normalize=true divides by |v|; use only one of them"
            )
        # Initialise the parameters.
        if init_std is None:
            _xavier(self.query_weight, query_dim, dim)
            _xavier(self.key_weight, key_dim, dim)
            _xavier(self.vector, dim, 1)
        else:
            nn.init.normal_(self.query_weight, std=init_std)
            nn.init.normal_(self.key_weight, std=init_std)

    @override
    def keys(self, keys: Tensor) -> Tensor:
        """Return U k + b, of shape (B, H, S, A)."""
        projected = torch.einsum("bhsk,hka->bhsa", keys, self.key_weight)
        return projected if self.bias is None else projected + self.bias

    @override
    def forward(self, queries: Tensor, keys: Tensor, memory: Memory) -> Tensor:
        vector = self.vector
        if self.gain is not None:
            vector = self.gain[:, None] * vector / torch.linalg.vector_norm(vector, dim=1, keepdim=True)
        projected = torch.einsum("bhtq,hqa->bhta", queries, self.query_weight)
        additive = plain_additive if is_plain() else fused_additive
        return additive(projected, keys, self.scale * vector.to(keys.dtype))


class Location(Score):
    """Location score, which depends on the query and the position and not on the content.

    e_t = W q_t, where W has one row for each position (Luong 2015, section 3.1). Shorter sources use the first rows
    of W. Positions after the last row are masked before the normaliser, so that weights still sum to one.

    Args:
        query_dim, key_dim, heads, source, scale: As in ``Score``; keys are not used.
        max_length: Number of rows of W.

    Raises:
        UserError: The source is a grid or decoder self-attention, or ``max_length`` is below 1.
    """

    def __init__(
        self,
        query_dim: int,
        key_dim: int,
        heads: int,
        source: SourceSpec,
        *,
        scale: float | None = 1.0,
        max_length: int = 128,
    ) -> None:
        super().__init__(query_dim, key_dim, heads, source, scale=scale)
        if source.axes != 1:
            raise UserError("the location score indexes positions in time; image regions have no such order")
        if source.causal:
            raise UserError(
                "the location score has one row for each source position; it cannot serve a memory that grows"
            )
        at_least_1(max_length=max_length)
        self.max_length = max_length
        self.weight = nn.Parameter(torch.empty(heads, query_dim, max_length))
        _xavier(self.weight, query_dim, max_length)

    @override
    def visible(self, memory: Memory) -> Tensor:
        """Return the positions (B, S) for which W has a row."""
        return memory.positions[..., 0] < self.max_length

    @override
    def forward(self, queries: Tensor, keys: Tensor, memory: Memory) -> Tensor:
        scores = self.scale * torch.einsum("bhtq,hql->bhtl", queries, self.weight)  # (B, H, T, max_length)
        # Read the score of each position from its row.
        place = memory.positions[..., 0].clamp(max=self.max_length - 1)  # (B, S)
        return scores.gather(-1, place[:, None, None, :].expand(*scores.shape[:-1], -1))


class Constant(Score):
    """Constant score, a baseline that ignores the content.

    e = 0, so that all visible positions get the same weight.

    Args:
        query_dim, key_dim, heads, source: As in ``Score``; keys are not used.
    """

    def __init__(self, query_dim: int, key_dim: int, heads: int, source: SourceSpec) -> None:
        super().__init__(query_dim, key_dim, heads, source)

    @override
    def forward(self, queries: Tensor, keys: Tensor, memory: Memory) -> Tensor:
        # The zeros depend on the queries, because several processes wait for each parameter's gradient, even for 0.
        return (queries[..., :1] * 0.0).expand(-1, -1, -1, memory.mask.shape[1])


def _normalize(x: Tensor) -> Tensor:
    """Return x / |x|, and 0 with a finite gradient where x is 0."""
    norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide_dtype(x.dtype))
    return (x / norm.where(norm > 0, 1.0)).to(x.dtype)


def _xavier(weight: Tensor, fan_in: int, fan_out: int) -> None:
    """Initialise with Glorot's bound for the matrix of each head, not for the stack of all heads."""
    bound = math.sqrt(6.0 / (fan_in + fan_out))
    nn.init.uniform_(weight, -bound, bound)
