"""End-to-end memory networks: several hops over one memory.

Letters as in ``types.py``; K hops, D width of the embedded memories.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from seq2seq.attention.base import Attention
from seq2seq.attention.components.normalizers import Softmax
from seq2seq.attention.requirements import above_0, at_least_1
from seq2seq.attention.types import AttentionOutput, AttentionState, Memory, Query, SourceSpec
from seq2seq.errors import UserError

TYINGS = ("adjacent", "layerwise")


class MemoryNetworkAttention(Attention):
    """p^k = softmax_i(u^k . m_i^k), o^k = sum_i p_i^k c_i^k, u^{k+1} = u^k + o^k (Sukhbaatar 2015, section 2).

    m_i^k = A^k x_i + T_A^k(i) and c_i^k = C^k x_i + T_C^k(i) embed the memory, u^1 = B q the query. ``tying``:
    ``adjacent``, A^{k+1} = C^k (and T likewise), or ``layerwise``, one A and one C in all hops and
    u^{k+1} = H u^k + o^k (section 2.2). T (``temporal``) has a row for each of the ``max_length`` last positions,
    counted from the most recent; older ones are not in the memory (section 4.1). For the first ``linear_start`` of
    training, hops have no softmax, p = u . m (section 4.2). T starts from N(0, 0.1^2).

    The paper embeds one-hot words by matrices that start from N(0, 0.1^2). x and q are dense here, so a step of the
    optimiser moves all of m, c and u at once, and K hops multiply what it does. Hence two scales that the paper, where
    both are 1, does without: p = softmax(``scale`` u . m), and A, B and C read ``input_scale`` x and ``input_scale`` q.
    None is 1/sqrt of the width of m where q or x are normalised, else 1; and 1/sqrt of the widths of x and q. What has
    unit variance is embedded with unit variance at first.

    The context is u^{K+1}: u^K + o^K, which is what the paper's answer, softmax(W (o^K + u^K)), reads, or layerwise
    H u^K + o^K. x_i is what the encoder made of word i; W = C^K and B = A^1 would tie vocabularies, which are not here.
    Weights have a row of heads for each hop; the last one is the alignment.
    """

    linear: Tensor

    def __init__(
        self,
        query_dim: int,
        source: SourceSpec,
        *,
        scale: float | None = 1.0,
        input_scale: float | None = 1.0,
        hops: int = 3,
        tying: str = "adjacent",
        dim: int | None = None,
        temporal: bool = True,
        max_length: int = 128,
        linear_start: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(query_dim, source, dropout=dropout)
        if source.causal:
            raise UserError(
                "a memory network counts from the most recent memory, which changes in a memory that grows; "
                "use it over the source"
            )
        if source.position != "none":
            raise UserError(f"a memory network has no place for {source.position} positions; use sinusoidal ones")
        if temporal and source.axes != 1:
            raise UserError("temporal encoding needs an order in time; over image regions use temporal=false")
        if tying not in TYINGS:
            raise UserError(f"tying={tying} is unknown; choose one of {', '.join(TYINGS)}")
        at_least_1(hops=hops, dim=dim, max_length=max_length)
        above_0(scale=scale, input_scale=input_scale)
        if not 0.0 <= linear_start <= 1.0:
            raise UserError(f"linear_start={linear_start} must lie in 0..1")
        dim = dim or query_dim
        self.context_dim = dim
        self.linear_start = linear_start
        adjacent = tying == "adjacent"
        count = hops + 1 if adjacent else 2
        self.pairs = [(k, k + 1) if adjacent else (0, 1) for k in range(hops)]  # which embeddings are A^k and C^k
        self.embed = nn.Parameter(torch.empty(count, source.width, dim))
        self.time = nn.Parameter(torch.empty(count, max_length, dim)) if temporal else None
        self.embed_query = nn.Linear(query_dim, dim, bias=False)
        self.between_hops = nn.Identity() if adjacent else nn.Linear(dim, dim, bias=False)
        own_scale = dim**-0.5 if source.states == "normalised" else 1.0
        self.scale = own_scale if scale is None else scale
        self.input_scales = [width**-0.5 if input_scale is None else input_scale for width in (source.width, query_dim)]
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.1)
        with torch.no_grad():  # vectors of unit variance are embedded as such
            for weight, width, factor in zip(
                (self.embed, self.embed_query.weight), (source.width, query_dim), self.input_scales, strict=True
            ):
                weight.normal_(std=width**-0.5 / factor)
        self.normalizer = Softmax(1)
        self.mass = "free" if linear_start else "one"
        self.register_buffer("linear", torch.tensor(linear_start > 0))

    def prepare(self, memory: Memory) -> Memory:
        """All embeddings of the memory (B, K + 1 or 2, S, D), and who is recent enough."""
        memories = torch.einsum("bsv,kvd->bksd", memory.values * self.input_scales[0], self.embed)
        mask = memory.mask
        if self.time is not None:
            age = memory.extent - 1 - memory.positions[..., 0]  # (B, S), 0 = most recent
            length = self.time.shape[1]
            mask = mask & (age < length)
            memories = memories + self.time[:, age.clamp(0, length - 1)].transpose(0, 1).to(memories.dtype)
        return replace(memory, values=memory.values[..., :0], mask=mask, prepared={"memories": memories})

    def forward(
        self,
        query: Query,
        memory: Memory,
        state: AttentionState,
        *,
        mask: Tensor | None = None,
        need_weights: bool = False,
    ) -> AttentionOutput:
        """Contexts (B, T, D) of T queries, weights (B, K, T, S)."""
        visible = memory.mask.unsqueeze(1)
        if mask is not None:
            visible = visible & mask
        embedded = memory.prepared["memories"].unbind(1)
        u, hops = self.embedded_query(query.vector), []
        for a, c in self.pairs:
            scores = self.scale * u @ embedded[a].mT  # (B, T, S)
            weights = self.normalizer(scores, visible)
            if self.linear_start:
                weights = torch.where(self.linear, scores.masked_fill(~visible, 0.0), weights)
            u = self.between_hops(u) + self.apply_weights(weights, query).to(embedded[c].dtype) @ embedded[c]
            hops.append(weights)
        context = u * visible.any(-1, keepdim=True)  # u^1 must not fill an empty context
        return AttentionOutput(context, torch.stack(hops, 1) if need_weights else None, state)

    def embedded_query(self, vectors: Tensor) -> Tensor:
        """u^1 = B q (B, T, D) of vectors (B, T, Q)."""
        embedded: Tensor = self.embed_query(self.input_scales[1] * vectors)
        return embedded

    def alignment(self, weights: Tensor) -> Tensor:
        """The last hop's (B, T, S)."""
        return weights[:, -1]

    def set_progress(self, progress: float) -> None:
        """Softmax joins once ``linear_start`` of training is over."""
        self.linear.fill_(progress < self.linear_start)
