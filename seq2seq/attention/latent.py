"""Multi-head latent attention: one low-rank latent a position, of which all heads make their keys and values.

Letters as in ``types.py``; D the width of a head, L of a latent, R of the part that rotary positions turn.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
    """c_j = RMSNorm(W^DKV h_j); for each head e_tj = (q^C_t . W^UK c_j + q^R_t . k^R_j) / sqrt(D + R), v_j = W^UV c_j.

    (DeepSeek-V2, 2024, section 2.1; the norms are those of the released code.) Of a memory only c_j and k^R_j are kept,
    L + R numbers a position: after the norm, and after RoPE. k^R_j = RoPE(W^KR h_j) is one key for all heads;
    [q^C; q^R] = W^UQ RMSNorm(W^DQ h), or W^UQ h with ``query_latent_dim: null``; q^R is turned too. No biases.

    Expanded, keys and values of each head are made of c. Absorbed, q^C . W^UK c = (W^UK^T q^C) . c, so that all heads
    share one key [c; k^R] and one value c, which W^UV meets after the mean. ``absorb: auto`` takes the form of fewer
    multiplications: expanded where queries are many, absorbed where they are few.

    ``dim`` is the width of all heads together, by default the query's, ``latent_dim`` L, by default a quarter of that
    (V2-Lite's ratio), ``rope_dim`` R, by default half a head's width (V2's ratio) where positions are rotary, else 0.
    ALiBi is added to the scores. ``dropout`` acts on the weights that make the context; those returned are without it.
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
        at_least_1(dim=dim, latent_dim=latent_dim, query_latent_dim=query_latent_dim)
        dim = dim or query_dim
        if heads < 1 or dim % heads:
            raise UserError(f"heads={heads} must divide the width {dim}")
        if absorb not in ABSORB:
            raise UserError(f"absorb={absorb} is unknown; choose one of {', '.join(ABSORB)}")
        latent_dim = max(1, dim // 4) if latent_dim is None else latent_dim
        self.heads, self.head_dim, self.latent_dim = heads, dim // heads, latent_dim
        self.rope_dim = self._rope_dim(rope_dim)
        self.absorb = absorb
        self.scale = 1.0 / math.sqrt(self.head_dim + self.rope_dim)  # in both forms, whatever the width of the latent
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
        for weight in (*self.down.weight.split((latent_dim, self.rope_dim)), *self.up.weight.chunk(2)):
            if len(weight):
                nn.init.xavier_uniform_(weight)
        for layer in (self.query_down, self.query, self.output):
            if layer is not None:
                nn.init.xavier_uniform_(layer.weight)

    def _rope_dim(self, given: int | None) -> int:
        """R, where it can be served."""
        source = self.source
        if given is None:
            return -(-self.head_dim // 4) * 2 if source.position == "rotary" else 0
        if given < 0 or given % 2:
            raise UserError(f"rope_dim={given} must be an even number: rotary positions turn pairs")
        if given and not source.is_self:
            raise UserError(
                f"rope_dim={given} compares positions of query and key, which only self-attention has "
                "on one axis; use rope_dim=null"
            )
        if given and source.axes != 1:
            raise UserError(f"rope_dim={given} turns by positions in time; image regions have no such order")
        if not given and source.position == "rotary":
            raise UserError("rope_dim=0 leaves rotary positions no part of queries and keys to turn")
        return given

    def prepare(self, memory: Memory) -> Memory:
        """``latent`` c (B, S, L) and ``rope`` k^R (B, S, R): all that is kept."""
        latent, turning = self.down(memory.values).split((self.latent_dim, self.rope_dim), -1)
        prepared = {"latent": _apply_norm(self.norm, latent)}
        if self.rope_dim:
            prepared["rope"] = rotate(turning.unsqueeze(1), memory.positions[..., 0]).squeeze(1)
        return replace(memory, values=memory.values[..., :0], prepared=prepared)

    def forward(
        self,
        query: Query,
        memory: Memory,
        state: AttentionState,
        *,
        mask: Tensor | None = None,
        need_weights: bool = False,
    ) -> AttentionOutput:
        """Contexts (B, T, C) of T queries, from any memory that ``prepare`` has seen."""
        content, turning = self._queries(query)
        visible = memory.mask[:, None, None, :]
        if self.source.causal:
            visible = visible & (memory.positions[:, None, :, 0] <= query.position[:, :, None]).unsqueeze(1)
        if mask is not None:
            visible = visible & mask.unsqueeze(1)
        bias = None
        if self.source.position == "alibi":
            bias = alibi(query.position, memory.positions[..., 0], self.heads).to(content.dtype)
        length, size = query.vector.shape[1], memory.mask.shape[1]
        form = self._absorbed if self.absorbs(length, size) else self._expanded
        context, weights = form(content, turning, query, memory, visible, bias, need_weights)
        return AttentionOutput(self.output(context.transpose(1, 2).flatten(2)), weights, state)

    def absorbs(self, queries: int, keys: int) -> bool:
        """Whether absorbing takes fewer multiplications: T L (D + S) < S D (L + T), both over 2 H."""
        if self.absorb != "auto":
            return self.absorb == "always"
        latent, head = self.latent_dim, self.head_dim
        return queries * latent * (head + keys) < keys * head * (latent + queries)

    def _queries(self, query: Query) -> tuple[Tensor, Tensor]:
        """q^C (B, H, T, D) and q^R (B, H, T, R)."""
        x = query.vector
        if self.query_down is not None:
            assert self.query_norm is not None
            x = _apply_norm(self.query_norm, self.query_down(x))
        content, turning = split_heads(self.query(x), self.heads).split((self.head_dim, self.rope_dim), -1)
        return content, rotate(turning, query.position) if self.rope_dim else turning

    def _expanded(
        self,
        content: Tensor,
        turning: Tensor,
        query: Query,
        memory: Memory,
        visible: Tensor,
        bias: Tensor | None,
        need_weights: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """Each head with keys and values of its own: contexts (B, H, T, D) and weights."""
        keys, values = (split_heads(x, self.heads) for x in self.up(memory.prepared["latent"]).chunk(2, -1))
        if self.rope_dim:
            shared = memory.prepared["rope"].unsqueeze(1).expand(-1, self.heads, -1, -1)
            keys = torch.cat((keys, shared.to(keys.dtype)), -1)
            values = F.pad(values, (0, self.rope_dim))  # fused kernels want one width
        context, weights = self._attend(
            _concatenate(content, turning), keys, values, query, visible, bias, need_weights
        )
        return context[..., : self.head_dim], weights

    def _absorbed(
        self,
        content: Tensor,
        turning: Tensor,
        query: Query,
        memory: Memory,
        visible: Tensor,
        bias: Tensor | None,
        need_weights: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """Multi-query attention: one key and value for all heads, whose queries are rows of one head."""
        key_up, value_up = self.up.weight.view(2, self.heads, self.head_dim, self.latent_dim)
        queries = _concatenate(torch.einsum("bhtd,hdl->bhtl", content, key_up), turning)
        latent = memory.prepared["latent"]
        keys = _concatenate(latent, memory.prepared["rope"]) if self.rope_dim else latent
        keys = keys.to(queries.dtype).unsqueeze(1)  # (B, 1, S, L + R), and the value is its first part
        rows = queries.shape[1:3]
        if visible.shape[2] > 1:
            visible = visible.expand(-1, self.heads, -1, -1).flatten(1, 2).unsqueeze(1)
        bias = None if bias is None else bias.flatten(1, 2).unsqueeze(1)
        stacked = queries.flatten(1, 2).unsqueeze(1)  # (B, 1, H T, L + R)
        context, weights = self._attend(stacked, keys, keys, query, visible, bias, need_weights)
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
        """softmax(scale q . k + bias) v, and the weights where they are asked for."""
        p = self.dropout if self.training else 0.0
        if not need_weights and not (p and values.device.type == "cpu"):  # where SDPA's own dropout is slower
            keep = visible if bias is None else bias.masked_fill(~visible, -torch.inf)
            given = queries, keys, values, keep, p
            return F.scaled_dot_product_attention(*given, scale=self.scale), None
        scores = (queries * self.scale) @ keys.transpose(-1, -2)
        weights = self.normalizer(scores if bias is None else scores + bias, visible)
        return self.apply_weights(weights, query) @ values, weights if need_weights else None


def _apply_norm(norm: nn.RMSNorm, x: Tensor) -> Tensor:
    """In the parameters' precision, kept in that of x: under autocast they differ."""
    return norm(x.to(norm.weight.dtype)).to(x.dtype)


def _concatenate(content: Tensor, turning: Tensor) -> Tensor:
    """[content; turning], in the dtype of the first."""
    return torch.cat((content, turning.to(content.dtype)), -1)
