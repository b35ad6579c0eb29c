"""Multi-head latent attention: all heads compute keys and values from one low-rank latent vector of each position.

Letters as in ``types.py``; D width of a head, L width of a latent, R width of the part with rotary positions.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from seq2seq.attention.base import Attention
from seq2seq.attention.components.normalizers import Softmax
from seq2seq.attention.components.ordering import alibi, rotate
from seq2seq.attention.requirements import at_least_1
from seq2seq.attention.types import AttentionOutput, AttentionState, Memory, Query, SourceSpec
from seq2seq.errors import UserError
from seq2seq.layers.tensors import split_heads

ABSORB = ("auto", "always", "never")
EPSILON = 1e-6  # of the norms, as released


class LatentAttention(Attention):
    """Multi-head latent attention (DeepSeek-V2, 2024, section 2.1; the norms are those of the released code).

    c_j = RMSNorm(W^DKV h_j); for each head e_tj = (q^C_t . W^UK c_j + q^R_t . k^R_j) / sqrt(D + R), v_j = W^UV c_j.
    k^R_j = RoPE(W^KR h_j) is one key for all heads. [q^C; q^R] = W^UQ RMSNorm(W^DQ h), or W^UQ h without
    ``query_latent_dim``; RoPE also rotates q^R. There are no biases. Of a memory only c_j (after the norm) and k^R_j
    (after RoPE) are stored, L + R numbers for each position. ALiBi is added to the scores.

    There are two equal forms. Expanded: keys and values of each head are computed from c. Absorbed:
    q^C . W^UK c = (W^UK^T q^C) . c, so that all heads share one key [c; k^R] and one value c, and W^UV is applied after
    the weighted mean.

    Args:
        query_dim: Q, width of the queries.
        source: Properties of the memory.
        heads: H, number of heads.
        dim: Width of all heads together; None = the width of the queries.
        latent_dim: L; None = ``dim``/4, the ratio of V2-Lite.
        query_latent_dim: Width of the latent of queries; None = queries have no latent.
        rope_dim: R, even; None = D/2, the ratio of V2, where positions are rotary, else 0.
        absorb: ``always`` or ``never`` use the absorbed form; ``auto`` uses the form with fewer multiplications:
            expanded for many queries, absorbed for few.
        dropout: Probability of dropping a weight from the context; the returned weights are without dropout.

    Raises:
        UserError: An option is out of range, or the source does not support ``rope_dim``.
    """

    def __init__(
        self,
        query_dim: int,
        source: SourceSpec,
        *,
        heads: int = 1,
        dim: int | None = None,
        latent_dim: int | None = None,
        query_latent_dim: int | None = None,
        rope_dim: int | None = None,
        absorb: str = "auto",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(query_dim, source, dropout=dropout)
        # Check the options.
        at_least_1(dim=dim, latent_dim=latent_dim, query_latent_dim=query_latent_dim)
        dim = dim or query_dim
        if heads < 1 or dim % heads:
            raise UserError(f"heads={heads} must divide the width {dim}")
        if absorb not in ABSORB:
            raise UserError(f"absorb={absorb} is unknown; choose one of {', '.join(ABSORB)}")
        latent_dim = max(1, dim // 4) if latent_dim is None else latent_dim
        # Set the sizes.
        self.heads, self.head_dim, self.latent_dim = heads, dim // heads, latent_dim
        self.rope_dim = self._rope_dim(rope_dim)
        self.absorb = absorb
        self.scale = 1.0 / math.sqrt(self.head_dim + self.rope_dim)  # the same in both forms
        # Build the projections.
        self.down = nn.Linear(source.width, latent_dim + self.rope_dim, bias=False)  # W^DKV and W^KR
        self.norm = nn.RMSNorm(latent_dim, EPSILON)
        self.up = nn.Linear(latent_dim, 2 * dim, bias=False)  # W^UK and W^UV
        self.query_down = self.query_norm = None
        if query_latent_dim is not None:
            self.query_down = nn.Linear(query_dim, query_latent_dim, bias=False)  # W^DQ
            self.query_norm = nn.RMSNorm(query_latent_dim, EPSILON)
        self.query = nn.Linear(query_latent_dim or query_dim, dim + heads * self.rope_dim, bias=False)  # W^UQ and W^QR
        self.output = nn.Linear(dim, query_dim, bias=False)
        self.context_dim = query_dim
        self.normalizer = Softmax(heads)
        # Initialise each matrix of a joint projection by itself.
        for weight in (*self.down.weight.split((latent_dim, self.rope_dim)), *self.up.weight.chunk(2)):
            if len(weight):
                nn.init.xavier_uniform_(weight)
        for layer in (self.query_down, self.query, self.output):
            if layer is not None:
                nn.init.xavier_uniform_(layer.weight)

    def _rope_dim(self, given: int | None) -> int:
        """Return R, after a check that the source supports it."""
        source = self.source
        # Choose the default.
        if given is None:
            return -(-self.head_dim // 4) * 2 if source.position == "rotary" else 0
        # Check the given width.
        if given < 0 or given % 2:
            raise UserError(f"rope_dim={given} must be an even number, because rotary positions rotate pairs")
        if given and not source.is_self:
            raise UserError(
                f"rope_dim={given} compares the positions of query and key, which only self-attention has "
                "in one sequence; use rope_dim=null"
            )
        if given and source.axes != 1:
            raise UserError(f"rope_dim={given} needs positions in time; image regions have none")
        if not given and source.position == "rotary":
            raise UserError("rope_dim=0 leaves no part of queries and keys for rotary positions; use rope_dim=null")
        return given

    @override
    def prepare(self, memory: Memory) -> Memory:
        """Replace the values by ``latent`` c (B, S, L) and ``rope`` k^R (B, S, R)."""
        # Project to the latent and the rotary key.
        latent, rotary = self.down(memory.values).split((self.latent_dim, self.rope_dim), -1)
        prepared = {"latent": _apply_norm(self.norm, latent)}
        if self.rope_dim:
            prepared["rope"] = rotate(rotary.unsqueeze(1), memory.positions[..., 0]).squeeze(1)
        return replace(memory, values=memory.values[..., :0], prepared=prepared)

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
        content, rotary = self._queries(query)
        # Combine all masks.
        visible = memory.mask[:, None, None, :]
        if self.source.causal:
            visible = visible & (memory.positions[:, None, :, 0] <= query.position[:, :, None]).unsqueeze(1)
        if mask is not None:
            visible = visible & mask.unsqueeze(1)
        bias = None
        if self.source.position == "alibi":
            bias = alibi(query.position, memory.positions[..., 0], self.heads).to(content.dtype)
        # Choose the cheaper form.
        length, size = query.vector.shape[1], memory.mask.shape[1]
        form = self._absorbed if self.absorbs(length, size) else self._expanded
        context, weights = form(content, rotary, query, memory, visible, bias, need_weights)
        return AttentionOutput(self.output(context.transpose(1, 2).flatten(2)), weights, state)

    def absorbs(self, queries: int, keys: int) -> bool:
        """Return whether to use the absorbed form.

        With ``auto``: whether it takes fewer multiplications, T L (D + S) < S D (L + T), both over 2 H.

        Args:
            queries: T, number of queries.
            keys: S, number of keys.
        """
        if self.absorb != "auto":
            return self.absorb == "always"
        latent, head = self.latent_dim, self.head_dim
        return queries * latent * (head + keys) < keys * head * (latent + queries)

    def _queries(self, query: Query) -> tuple[Tensor, Tensor]:
        """Return q^C (B, H, T, D) and q^R (B, H, T, R)."""
        x = query.vector
        if self.query_down is not None:
            assert self.query_norm is not None
            x = _apply_norm(self.query_norm, self.query_down(x))
        content, rotary = split_heads(self.query(x), self.heads).split((self.head_dim, self.rope_dim), -1)
        return content, rotate(rotary, query.position) if self.rope_dim else rotary

    def _expanded(
        self,
        content: Tensor,
        rotary: Tensor,
        query: Query,
        memory: Memory,
        visible: Tensor,
        bias: Tensor | None,
        need_weights: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend with separate keys and values for each head: contexts (B, H, T, D) and weights."""
        # Compute keys and values of each head from the latent.
        keys, values = (split_heads(x, self.heads) for x in self.up(memory.prepared["latent"]).chunk(2, -1))
        if self.rope_dim:
            shared = memory.prepared["rope"].unsqueeze(1).expand(-1, self.heads, -1, -1)
            keys = torch.cat((keys, shared.to(keys.dtype)), -1)
            values = F.pad(values, (0, self.rope_dim))  # fused kernels need keys and values of one width
        context, weights = self._attend(_concatenate(content, rotary), keys, values, query, visible, bias, need_weights)
        return context[..., : self.head_dim], weights

    def _absorbed(
        self,
        content: Tensor,
        rotary: Tensor,
        query: Query,
        memory: Memory,
        visible: Tensor,
        bias: Tensor | None,
        need_weights: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend with one key and value for all heads (multi-query attention): contexts (B, H, T, D) and weights."""
        # Multiply W^UK into the queries.
        key_up, value_up = self.up.weight.view(2, self.heads, self.head_dim, self.latent_dim)
        queries = _concatenate(torch.einsum("bhtd,hdl->bhtl", content, key_up), rotary)
        latent = memory.prepared["latent"]
        keys = _concatenate(latent, memory.prepared["rope"]) if self.rope_dim else latent
        keys = keys.to(queries.dtype).unsqueeze(1)  # (B, 1, S, L + R), and the value is its first part
        # Stack the queries of all heads as rows of one head.
        rows = queries.shape[1:3]
        if visible.shape[2] > 1:
            visible = visible.expand(-1, self.heads, -1, -1).flatten(1, 2).unsqueeze(1)
        bias = None if bias is None else bias.flatten(1, 2).unsqueeze(1)
        stacked = queries.flatten(1, 2).unsqueeze(1)  # (B, 1, H T, L + R)
        context, weights = self._attend(stacked, keys, keys, query, visible, bias, need_weights)
        # Separate the heads again, and apply W^UV.
        context = context[..., : self.latent_dim].squeeze(1).unflatten(1, rows)
        weights = None if weights is None else weights.squeeze(1).unflatten(1, rows)
        return torch.einsum("bhtl,hdl->bhtd", context, value_up), weights

    def _attend(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        query: Query,
        visible: Tensor,
        bias: Tensor | None,
        need_weights: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """Return softmax(scale q . k + bias) v, and the weights if requested."""
        p = self.dropout if self.training else 0.0
        # Without requested weights use SDPA, except with dropout on the CPU, where its own dropout is slower.
        if not need_weights and not (p and values.device.type == "cpu"):
            keep = visible if bias is None else bias.masked_fill(~visible, -torch.inf)
            given = queries, keys, values, keep, p
            return F.scaled_dot_product_attention(*given, scale=self.scale), None
        scores = (queries * self.scale) @ keys.transpose(-1, -2)
        weights = self.normalizer(scores if bias is None else scores + bias, visible)
        return self.apply_weights(weights, query) @ values, weights if need_weights else None


def _apply_norm(norm: nn.RMSNorm, x: Tensor) -> Tensor:
    """Apply the norm in the precision of its parameters, and return that of x; under autocast they differ."""
    normed: Tensor = norm(x.to(norm.weight.dtype))
    return normed.to(x.dtype)


def _concatenate(content: Tensor, rotary: Tensor) -> Tensor:
    """Return [content; rotary] in the data type of ``content``."""
    return torch.cat((content, rotary.to(content.dtype)), -1)
