"""End-to-end memory networks: several hops over one memory.

Letters as in ``types.py``; K hops, D width of the embedded memories.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from typing_extensions import override

from seq2seq.attention.base import Attention
from seq2seq.attention.components.normalizers import Softmax
from seq2seq.attention.requirements import above_0, at_least_1
from seq2seq.attention.types import AttentionOutput, AttentionState, Memory, Query, SourceSpec
from seq2seq.errors import UserError

TYINGS = ("adjacent", "layerwise")


class MemoryNetworkAttention(Attention):
    """End-to-end memory network (Sukhbaatar 2015, section 2).

    p^k = softmax_i(u^k . m_i^k), o^k = sum_i p_i^k c_i^k, u^{k+1} = u^k + o^k.

    m_i^k = A^k x_i + T_A^k(i) and c_i^k = C^k x_i + T_C^k(i) embed the memory; u^1 = B q embeds the query. T has a row
    for each of the last positions, counted from the most recent; older positions are not in the memory (section 4.1).
    x_i is the encoder's output for word i. The paper's tied vocabularies, W = C^K and B = A^1, do not exist here.

    The context is u^{K+1}: u^K + o^K, which the paper's answer softmax(W (o^K + u^K)) reads, or H u^K + o^K with
    ``layerwise``. Each hop has its own row of weights in the dimension of heads; the last hop is the alignment.

    The paper embeds one-hot words by matrices that start from N(0, 0.1^2). Here x and q are dense, so that one step of
    the optimiser changes all of m, c and u, and K hops multiply the change. The two scales below, which the paper does
    not have (both are 1), counteract this: vectors of unit variance have embeddings of unit variance at first. T starts
    from N(0, 0.1^2).

    Args:
        query_dim: Q, width of the queries.
        source: Properties of the memory.
        scale: Factor of the scores: p = softmax(``scale`` u . m); None = 1/sqrt(D).
        input_scale: Factor of the inputs x and q of A, B and C; None = 1/sqrt of the width of x and of q.
        hops: K.
        tying: ``adjacent``, A^{k+1} = C^k (and T likewise), or ``layerwise``, one A and one C in all hops and
            u^{k+1} = H u^k + o^k (section 2.2).
        dim: D; None = the width of the queries.
        temporal: Use T.
        max_length: Number of rows of T.
        linear_start: Share of training, from its start, in which hops have no softmax, p = u . m (section 4.2).
        dropout: Probability of dropping a weight from the context.

    Raises:
        UserError: The source is decoder self-attention or has relative positions, or an option is out of range.
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
        # Check the source and the options.
        if source.causal:
            raise UserError(
                "a memory network counts from the most recent position, which changes in a memory that grows; "
                "use it as attention over the source"
            )
        if source.position != "none":
            raise UserError(f"a memory network does not support {source.position} positions; use sinusoidal ones")
        if temporal and source.axes != 1:
            raise UserError("temporal encoding needs positions in time; for image regions use temporal=false")
        if tying not in TYINGS:
            raise UserError(f"tying={tying} is unknown; choose one of {', '.join(TYINGS)}")
        at_least_1(hops=hops, dim=dim, max_length=max_length)
        above_0(scale=scale, input_scale=input_scale)
        if not 0.0 <= linear_start <= 1.0:
            raise UserError(f"linear_start={linear_start} must lie in 0..1")
        # Build the embeddings.
        dim = dim or query_dim
        self.context_dim = dim
        self.linear_start = linear_start
        adjacent = tying == "adjacent"
        count = hops + 1 if adjacent else 2
        self.pairs = [(k, k + 1) if adjacent else (0, 1) for k in range(hops)]  # indices of A^k and C^k
        self.embed = nn.Parameter(torch.empty(count, source.width, dim))
        self.time = nn.Parameter(torch.empty(count, max_length, dim)) if temporal else None
        self.embed_query = nn.Linear(query_dim, dim, bias=False)
        self.between_hops = nn.Identity() if adjacent else nn.Linear(dim, dim, bias=False)
        # Choose the scales.
        self.scale = dim**-0.5 if scale is None else scale
        self.input_scales = [width**-0.5 if input_scale is None else input_scale for width in (source.width, query_dim)]
        # Initialise the parameters.
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.1)
        # Give vectors of unit variance embeddings of unit variance.
        with torch.no_grad():
            for weight, width, factor in zip(
                (self.embed, self.embed_query.weight), (source.width, query_dim), self.input_scales, strict=True
            ):
                weight.normal_(std=width**-0.5 / factor)
        self.normalizer = Softmax(1)
        self.mass = "free" if linear_start else "one"
        self.register_buffer("linear", torch.tensor(linear_start > 0))

    @override
    def prepare(self, memory: Memory) -> Memory:
        """Prepare all embeddings of the memory (B, K + 1 or 2, S, D), and hide positions that are too old."""
        # Embed the memory with each matrix.
        memories = torch.einsum("bsv,kvd->bksd", memory.values * self.input_scales[0], self.embed)
        mask = memory.mask
        if self.time is not None:
            age = memory.extent - 1 - memory.positions[..., 0]  # (B, S), 0 = most recent
            length = self.time.shape[1]
            mask = mask & (age < length)
            memories = memories + self.time[:, age.clamp(0, length - 1)].transpose(0, 1).to(memories.dtype)
        return replace(memory, values=memory.values[..., :0], mask=mask, prepared={"memories": memories})

    @override
    def forward(
        self,
        query: Query,
        memory: Memory,
        state: AttentionState,
        *,
        mask: Tensor | None = None,
        need_weights: bool = False,
    ) -> AttentionOutput:
        """Return contexts (B, T, D) and weights of the hops (B, K, T, S)."""
        visible = memory.mask.unsqueeze(1)
        if mask is not None:
            visible = visible & mask
        # Read the memory once for each hop.
        embedded = memory.prepared["memories"].unbind(1)
        u, hops = self.embedded_query(query.vector), []
        for a, c in self.pairs:
            scores = self.scale * u @ embedded[a].mT  # (B, T, S)
            weights = self.normalizer(scores, visible)
            if self.linear_start:
                weights = torch.where(self.linear, scores.masked_fill(~visible, 0.0), weights)
            u = self.between_hops(u) + self.apply_weights(weights, query).to(embedded[c].dtype) @ embedded[c]
            hops.append(weights)
        # u^1 must not fill an empty context.
        context = u * visible.any(-1, keepdim=True)
        return AttentionOutput(context, torch.stack(hops, 1) if need_weights else None, state)

    def embedded_query(self, vectors: Tensor) -> Tensor:
        """Return u^1 = B q, of shape (B, T, D).

        Args:
            vectors: Query vectors (B, T, Q).
        """
        embedded: Tensor = self.embed_query(self.input_scales[1] * vectors)
        return embedded

    @override
    def alignment(self, weights: Tensor) -> Tensor:
        """Return the weights of the last hop (B, T, S)."""
        return weights[:, -1]

    @override
    def set_progress(self, progress: float) -> None:
        """Use the softmax once the share ``linear_start`` of training is over."""
        self.linear.fill_(progress < self.linear_start)
