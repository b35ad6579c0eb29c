"""Graves' window: a mixture of bumps that only moves forwards, and looks at no content.

Letters as in ``types.py``; K bumps.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from seq2seq.attention.base import Attention
from seq2seq.attention.requirements import at_least_1, refuse_regions, refuse_self
from seq2seq.attention.types import AttentionOutput, AttentionState, Memory, Query, SourceSpec
from seq2seq.errors import UserError
from seq2seq.layers.tensors import wide_dtype

MAX_EXPONENT, MAX_POSITION = 10.0, 1e6  # so that no square leaves the floats


class GMMAttention(Attention):
    """c_t = sum_u phi(t, u) v_u, phi(t, u) = sum_k alpha_tk exp(-beta_tk (kappa_tk - u)^2) (Graves 2013, section 5.1,
    equations 46 to 51).

    (alpha^, beta^, kappa^) = W q_t + b, alpha = exp(alpha^), beta = exp(beta^), kappa_t = kappa_{t-1} + exp(kappa^).
    u is the position, counted from 0 here and from 1 in the paper: kappa, 0 there before the first query, is -1 here.
    b lets all K = ``mixtures`` bumps begin with alpha = 1/K, beta = 1 and ``advance`` places a query: with 1, near t.

    Weights sum to what they sum to. With ``normalize`` alpha is a softmax over k and each bump is divided by its sum
    over what is visible: they sum to one. (Battenberg 2020 divides by sqrt(2 pi sigma^2) instead, whose sum is not 1.)
    Exponents stop at 10 and kappa at 10^6, far past any source, so that no square leaves the floats. All T at once.
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
        refuse_self(source)
        refuse_regions(source)
        at_least_1(mixtures=mixtures)
        if advance <= 0:
            raise UserError(f"advance={advance} must be above 0, as the window only moves forwards")
        self.mixtures, self.normalize = mixtures, normalize
        if normalize:
            self.mass = "one"
        self.bumps = nn.Linear(query_dim, 3 * mixtures)
        starts = torch.tensor([-math.log(mixtures), 0.0, math.log(advance)])
        with torch.no_grad():
            self.bumps.bias.copy_(starts.repeat_interleave(mixtures))

    def prepare(self, memory: Memory) -> Memory:
        """Values as they are."""
        return replace(memory, values=memory.values[..., :0], prepared={"values": memory.values})

    def initial_state(self, memory: Memory) -> AttentionState:
        """``kappa`` (B, K): before the first position."""
        values = memory.prepared["values"]
        return {"kappa": values.new_full((len(values), self.mixtures), -1.0, dtype=wide_dtype(values.dtype))}

    def forward(
        self,
        query: Query,
        memory: Memory,
        state: AttentionState,
        *,
        mask: Tensor | None = None,
        need_weights: bool = False,
    ) -> AttentionOutput:
        """Contexts (B, T, V) of T queries."""
        values = memory.prepared["values"]
        parameters = self.bumps(query.vector).to(state["kappa"].dtype).clamp(max=MAX_EXPONENT)
        alpha, beta, moves = parameters.chunk(3, -1)  # (B, T, K) each
        kappa = (state["kappa"].unsqueeze(1) + moves.exp().cumsum(1)).clamp(max=MAX_POSITION)
        visible = memory.mask[:, None] if mask is None else memory.mask[:, None] & mask
        distance = kappa.unsqueeze(-1) - memory.positions[:, None, None, :, 0]  # (B, T, K, S)
        height = -beta.exp().unsqueeze(-1) * distance.square()
        if self.normalize:
            hidden = ~visible.unsqueeze(2)
            bumps = height.masked_fill(hidden, torch.finfo(height.dtype).min).softmax(-1)
            weights = (alpha.softmax(-1).unsqueeze(2) @ bumps).squeeze(2)
        else:
            alpha = alpha.clamp(max=MAX_EXPONENT - math.log(self.mixtures))  # their sum too is a number in fp16
            weights = torch.exp(alpha.unsqueeze(-1) + height).sum(2)
        weights = weights.masked_fill(~visible, 0.0).to(values.dtype)
        context = self.apply_weights(weights, query) @ values
        return AttentionOutput(context, weights.unsqueeze(1) if need_weights else None, {"kappa": kappa[:, -1]})
