"""Scores: how well query t matches memory position j.

Shapes: B batch, H heads, T queries, S memory positions, Q query width, K key width (a head's, each),
A hidden width of an additive scorer. A score first turns keys into what it compares with, once a
source (``keys``), then scores any number of queries against that (``forward``).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from seq2seq.attention.component import AttentionComponent
from seq2seq.attention.components.additive import fused_additive, plain_additive
from seq2seq.attention.requirements import above_0, at_least_1
from seq2seq.attention.types import Memory, SourceSpec
from seq2seq.errors import UserError
from seq2seq.layers.plain_kernels import is_plain
from seq2seq.layers.tensors import wide_dtype


class Score(AttentionComponent, ABC):
    """``scale`` times e(q, k) for all pairs, ``heads`` copies of its parameters, one a head.

    The scale belongs to the forward pass. Folded into the initial values of a matrix it would not last: Adam's steps
    are as large for a small matrix as for a large one.

    Args:
        query_dim: Q.
        key_dim: K.
        heads: H.
        source: What is attended over.
        scale: What the paper's formula is multiplied by; None = what suits the vectors of ``source`` (``own_scale``).

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
        """Return the scale where none is chosen."""
        return 1.0

    def keys(self, keys: Tensor) -> Tensor:
        """(B, H, S, K) -> what ``forward`` compares with, leading (B, H, S)."""
        return keys

    def visible(self, memory: Memory) -> Tensor | None:
        """(B, S) True where the score is defined; None = everywhere."""
        return None

    @abstractmethod
    def forward(self, queries: Tensor, keys: Tensor, memory: Memory) -> Tensor:
        """(B, H, T, Q), prepared keys -> (B, H, T, S)."""


class Dot(Score):
    """e = q . k, unscaled (Luong 2015, section 3.1). Scores of this family may take a fused kernel.

    ``gain`` multiplies by g, learned, one a head, from 1: TensorFlow NMT's ``scaled_luong``. A subclass changes
    ``queries``, ``keys`` or ``factor``: e = factor queries(q) . keys(k).
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
                "use the general score, or project both (project=true of the mechanism)"
            )
        self.gain = nn.Parameter(torch.ones(heads)) if gain else None

    widens = False  # whether ``keys`` gives keys the width of queries

    def queries(self, queries: Tensor) -> Tensor:
        """(B, H, T, Q) -> what is multiplied with prepared keys, (B, H, T, Q)."""
        return queries if self.gain is None else queries * self.gain[:, None, None]

    def own_scale(self, source: SourceSpec) -> float:
        """1/sqrt(Q) for vectors of unit variance, whose products have a deviation of sqrt(Q); else 1."""
        return self.query_dim**-0.5 if source.states == "normalised" else 1.0

    @property
    def factor(self) -> float:
        """What the product is multiplied by."""
        return self.scale

    def forward(self, queries: Tensor, keys: Tensor, memory: Memory) -> Tensor:
        """(B, H, T, Q), (B, H, S, Q) -> (B, H, T, S)."""
        return (self.queries(queries) * self.factor) @ keys.transpose(-1, -2)


class ScaledDot(Dot):
    """e = q . k / sqrt(Q) (Vaswani 2017, section 3.2.1)."""

    def own_scale(self, source: SourceSpec) -> float:
        """1: the formula has its scale."""
        return 1.0

    @property
    def factor(self) -> float:
        """1/sqrt(width of a head), times the scale."""
        return self.scale / math.sqrt(self.query_dim)


class General(Dot):
    """e = q^T W k (Luong 2015, section 3.1). W starts Xavier-uniform; W k is made once a source."""

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

    def own_scale(self, source: SourceSpec) -> float:
        """1/sqrt(Q), of any vectors: W grows where they are small."""
        return self.query_dim**-0.5

    def keys(self, keys: Tensor) -> Tensor:
        """(B, H, S, K) -> (B, H, S, Q)."""
        return torch.einsum("bhsk,hqk->bhsq", keys, self.weight)


class Cosine(Dot):
    """e = g q . k / (|q| |k|) (Graves 2014, section 3.3.1, equations 5 and 6), 0 where either vector is 0.

    Graves' controller emits the key strength at each step; here g is one number a head, from ``gain``, learned unless
    ``learn`` is false, as where queries and keys of a Transformer are normalised (Henry 2020, section 3). Without one
    weights would differ by a factor of e^2 at most.
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

    def own_scale(self, source: SourceSpec) -> float:
        """1: lengths play no part."""
        return 1.0

    @property
    def factor(self) -> float:
        """The scale; times g, where it isn't learned."""
        return self.scale * self.start if self.gain is None else self.scale

    def queries(self, queries: Tensor) -> Tensor:
        """(B, H, T, Q) -> g q / |q|."""
        return super().queries(_normalize(queries))

    def keys(self, keys: Tensor) -> Tensor:
        """(B, H, S, Q) -> k / |k|."""
        return _normalize(keys)


class Additive(Score):
    """e = v^T tanh(W q + U k) (Bahdanau 2015, appendix A.1.2).

    Luong's ``concat``, v^T tanh(W [q; k]), is the same function. ``bias`` adds b inside the tanh.
    ``init_std`` gives the paper's own start: W, U ~ N(0, init_std^2) and v = 0, so that attention
    begins uniform; by default all three are Xavier-uniform.
    ``normalize`` is Salimans & Kingma's weight norm on v: g v / |v|, g starting at sqrt(1/A).
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
            raise UserError(f"init_std={init_std} starts v at 0 and can't go with normalize=true, which divides by |v|")
        if init_std is None:
            _xavier(self.query_weight, query_dim, dim)
            _xavier(self.key_weight, key_dim, dim)
            _xavier(self.vector, dim, 1)
        else:
            nn.init.normal_(self.query_weight, std=init_std)
            nn.init.normal_(self.key_weight, std=init_std)

    def keys(self, keys: Tensor) -> Tensor:
        """(B, H, S, K) -> U k + b (B, H, S, A)."""
        projected = torch.einsum("bhsk,hka->bhsa", keys, self.key_weight)
        return projected if self.bias is None else projected + self.bias

    def forward(self, queries: Tensor, keys: Tensor, memory: Memory) -> Tensor:
        """(B, H, T, Q), (B, H, S, A) -> (B, H, T, S)."""
        vector = self.vector
        if self.gain is not None:
            vector = self.gain[:, None] * vector / torch.linalg.vector_norm(vector, dim=1, keepdim=True)
        projected = torch.einsum("bhtq,hqa->bhta", queries, self.query_weight)
        additive = plain_additive if is_plain() else fused_additive
        return additive(projected, keys, self.scale * vector.to(keys.dtype))


class Location(Score):
    """e_t = W q_t, one row of W a position: content is not looked at (Luong 2015, section 3.1).

    W has ``max_length`` rows; shorter sources use the top part, positions past it are never attended to.
    Masked before the normaliser, so that rows sum to one.
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
            raise UserError("the location score has one row a source position; it can't serve a memory that grows")
        at_least_1(max_length=max_length)
        self.max_length = max_length
        self.weight = nn.Parameter(torch.empty(heads, query_dim, max_length))
        _xavier(self.weight, query_dim, max_length)

    def visible(self, memory: Memory) -> Tensor:
        """(B, S) True at positions that W has a row for."""
        return memory.positions[..., 0] < self.max_length

    def forward(self, queries: Tensor, keys: Tensor, memory: Memory) -> Tensor:
        """(B, H, T, Q) -> (B, H, T, S)."""
        scores = self.scale * torch.einsum("bhtq,hql->bhtl", queries, self.weight)  # (B, H, T, max_length)
        place = memory.positions[..., 0].clamp(max=self.max_length - 1)  # (B, S)
        return scores.gather(-1, place[:, None, None, :].expand(*scores.shape[:-1], -1))


class Constant(Score):
    """e = 0: every position is as good as another. The baseline that looks at nothing."""

    def __init__(self, query_dim: int, key_dim: int, heads: int, source: SourceSpec) -> None:
        super().__init__(query_dim, key_dim, heads, source)

    def forward(self, queries: Tensor, keys: Tensor, memory: Memory) -> Tensor:
        """(B, H, T, Q) -> zeros (B, H, T, S)."""
        # of the queries: several processes wait for every parameter's gradient, even one of 0
        return (queries[..., :1] * 0.0).expand(-1, -1, -1, memory.mask.shape[1])


def _normalize(x: Tensor) -> Tensor:
    """x / |x|; 0 stays 0, with a gradient that is finite."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide_dtype(x.dtype))
    return (x / norm.where(norm > 0, 1.0)).to(x.dtype)


def _xavier(weight: Tensor, fan_in: int, fan_out: int) -> None:
    """Glorot's bound for each head's own matrix, not for the stack of them."""
    bound = math.sqrt(6.0 / (fan_in + fan_out))
    nn.init.uniform_(weight, -bound, bound)
