"""Graves' window: a mixture of Gaussian bumps that only moves forward and does not depend on the content.

Letters as in ``types.py``; K bumps.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn
from typing_extensions import override

from seq2seq.attention.base import Attention
from seq2seq.attention.requirements import at_least_1, refuse_regions, refuse_self
from seq2seq.attention.types import AttentionOutput, AttentionState, Memory, Query, SourceSpec
from seq2seq.errors import UserError
from seq2seq.layers.tensors import wide_dtype

MAX_EXPONENT, MAX_POSITION = 10.0, 1e6  # limits, so that no square overflows


class GMMAttention(Attention):
    """Gaussian mixture attention (Graves 2013, section 5.1, equations 46 to 51).

    c_t = sum_u phi(t, u) v_u, phi(t, u) = sum_k alpha_tk exp(-beta_tk (kappa_tk - u)^2), where
    (alpha^, beta^, kappa^) = W q_t + b, alpha = exp(alpha^), beta = exp(beta^), kappa_t = kappa_{t-1} + exp(kappa^).

    The position u counts from 0 here and from 1 in the paper, so that kappa before the first query is -1 here and 0
    there. b is initialised so that all K bumps start with alpha = 1/K, beta = 1 and a move of ``advance`` positions for
    each query. Exponents are at most 10 and kappa at most 10^6, far beyond any source, so that no square overflows. All
    T queries are computed at once.

    Args:
        query_dim: Q, width of the queries.
        source: Properties of the memory.
        mixtures: K, number of bumps.
        advance: Initial move of the bumps for each query, in positions; 1 stays near t.
        normalize: Make the weights sum to one: alpha is a softmax over k, and each bump is divided by its sum over the
            visible positions. Without it, weights may have any sum. (Battenberg 2020 divides by sqrt(2 pi sigma^2)
            instead, whose sum is not 1.)
        dropout: Probability of dropping a weight from the context.

    Raises:
        UserError: The source is self-attention or a grid, or an option is out of range.
    """

    mass = "free"

    def __init__(
        self,
        query_dim: int,
        source: SourceSpec,
        *,
        mixtures: int = 5,
        advance: float = 1.0,
        normalize: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(query_dim, source, dropout=dropout)
        # Check the source and the options.
        refuse_self(source)
        refuse_regions(source)
        at_least_1(mixtures=mixtures)
        if advance <= 0:
            raise UserError(f"advance={advance} must be above 0, because the window only moves forward")
        self.mixtures, self.normalize = mixtures, normalize
        if normalize:
            self.mass = "one"
        # Build the bumps, with biases that set their start.
        self.bumps = nn.Linear(query_dim, 3 * mixtures)
        starts = torch.tensor([-math.log(mixtures), 0.0, math.log(advance)])
        with torch.no_grad():
            self.bumps.bias.copy_(starts.repeat_interleave(mixtures))

    @override
    def prepare(self, memory: Memory) -> Memory:
        """Store the values as they are."""
        return replace(memory, values=memory.values[..., :0], prepared={"values": memory.values})

    @override
    def initial_state(self, memory: Memory) -> AttentionState:
        """Return ``kappa`` (B, K), which is before the first position."""
        values = memory.prepared["values"]
        return {"kappa": values.new_full((len(values), self.mixtures), -1.0, dtype=wide_dtype(values.dtype))}

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
        values = memory.prepared["values"]
        # Move the bumps.
        parameters = self.bumps(query.vector).to(state["kappa"].dtype).clamp(max=MAX_EXPONENT)
        alpha, beta, moves = parameters.chunk(3, -1)  # (B, T, K) each
        kappa = (state["kappa"].unsqueeze(1) + moves.exp().cumsum(1)).clamp(max=MAX_POSITION)
        # Compute the height of each bump at each position.
        visible = memory.mask[:, None] if mask is None else memory.mask[:, None] & mask
        distance = kappa.unsqueeze(-1) - memory.positions[:, None, None, :, 0]  # (B, T, K, S)
        height = -beta.exp().unsqueeze(-1) * distance.square()
        if self.normalize:
            hidden = ~visible.unsqueeze(2)
            bumps = height.masked_fill(hidden, torch.finfo(height.dtype).min).softmax(-1)
            weights = (alpha.softmax(-1).unsqueeze(2) @ bumps).squeeze(2)
        else:
            # Keep the sum of the bumps finite in fp16.
            alpha = alpha.clamp(max=MAX_EXPONENT - math.log(self.mixtures))
            weights = torch.exp(alpha.unsqueeze(-1) + height).sum(2)
        weights = weights.masked_fill(~visible, 0.0).to(values.dtype)
        context = self.apply_weights(weights, query) @ values
        return AttentionOutput(context, weights.unsqueeze(1) if need_weights else None, {"kappa": kappa[:, -1]})
