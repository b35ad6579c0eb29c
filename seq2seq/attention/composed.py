"""The mechanisms that factor: score x window x normalizer x heads.

Letters as in ``base.py``; D is the width of a head after projection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.attention.base import Attended, Attention, Memory, Query, SourceSpec, State
from seq2seq.attention.normalizers import Normalizer, Softmax
from seq2seq.attention.positions import alibi, rotate
from seq2seq.attention.scores import Dot, Score
from seq2seq.attention.windows import Window
from seq2seq.errors import UserError
from seq2seq.layers.dropout import dropout


class Composed(Attention):
    """a_t = normalizer(score(q_t, k)) within window, c_t = sum_j a_tj v_j, for each head.

    Without ``project``, one head reads query and memory as they are, as in RNN decoders (c has the
    memory's width). With it, W_q, W_k, W_v map to H heads of width ``dim``/H and W_o maps their
    contexts back to the query's width, as in the Transformer (Vaswani 2017, section 3.2.2);
    ``project: null`` projects exactly when ``heads`` > 1. ``dropout`` acts on the weights that make the
    context; those returned are without it.
    """

    def __init__(
        self,
        query_dim: int,
        source: SourceSpec,
        *,
        score: Callable[..., Score],
        window: Callable[..., Window],
        normalizer: Callable[..., Normalizer],
        heads: int = 1,
        project: bool | None = None,
        dim: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(query_dim, source)
        project = heads > 1 if project is None else project
        if heads > 1 and not project:
            raise UserError(f"attention.heads={heads} needs attention.project=true: each head reads its own projection")
        if dim is not None and not project:
            raise UserError(f"attention.dim={dim} is the width of the projections; it needs attention.project=true")
        dim = dim or query_dim
        if heads < 1 or dim % heads:
            raise UserError(f"attention.heads={heads} must divide the width {dim}")
        if not 0.0 <= dropout <= 1.0:
            raise UserError(f"attention.dropout must lie in 0..1, got {dropout}")
        self.heads, self.dropout = heads, dropout
        self.project = project
        if project:
            self.query = nn.Linear(query_dim, dim)
            self.key_value = nn.Linear(source.width, 2 * dim)
            self.output = nn.Linear(dim, query_dim)
            self.context_dim = query_dim
            for weight in (self.query.weight, *self.key_value.weight.chunk(2)):
                nn.init.xavier_uniform_(weight)
            nn.init.xavier_uniform_(self.output.weight)
            for layer in (self.query, self.key_value, self.output):
                nn.init.zeros_(layer.bias)
        widths = (dim // heads, dim // heads) if project else (query_dim, source.width)
        self.score = score(*widths, heads, source)
        self.window = window(query_dim, source)
        self.normalizer = normalizer()
        self.mass = self.window.mass
        if source.position == "rotary" and (not isinstance(self.score, Dot) or widths[0] % 2):
            raise UserError(
                "rotary positions turn queries and keys inside a dot product of even width; "
                f"score {type(self.score).__name__.lower()} of width {widths[0]} has none. "
                "Use a dot score, or model.positions=sinusoidal"
            )

    def prepare(self, memory: Memory) -> Memory:
        """Keys (B, H, S, .) as the score wants them and values (B, H, S, .); what they came from is let go.

        Where the score compares with the values themselves, they are stored once.
        """
        if self.project:
            keys, values = (self._split(x) for x in self.key_value(memory.values).chunk(2, -1))
        else:
            keys = values = memory.values.unsqueeze(1)
        compared = self.score.keys(keys)
        if self.source.position == "rotary":
            compared = rotate(compared, memory.positions[..., 0])
        prepared = {"values": values} if compared is values else {"values": values, "keys": compared}
        return replace(memory, values=memory.values[..., :0], prepared=prepared)

    def extend(self, past: Memory | None, new: Memory) -> Memory:
        """Appends keys and values, whose S is dimension 2."""
        if past is None:
            return new
        both = {name: torch.cat((past.prepared[name], new.prepared[name]), 2) for name in new.prepared}
        return replace(super().extend(replace(past, prepared={}), replace(new, prepared={})), prepared=both)

    def forward(
        self, query: Query, memory: Memory, state: State, *, mask: Tensor | None = None, need_weights: bool = False
    ) -> Attended:
        """Contexts (B, T, C) of T queries, from any memory that ``prepare`` has seen."""
        queries = self._split(self.query(query.vector)) if self.project else query.vector.unsqueeze(1)
        if self.source.position == "rotary":
            queries = rotate(queries, query.position)
        values = memory.prepared["values"]
        keys = memory.prepared.get("keys", values)
        view = self.window(query, memory)
        visible = self._visible(query, memory, view.visible, mask).unsqueeze(1)  # (B, 1, T or 1, S)
        bias = None
        if self.source.position == "alibi":
            bias = alibi(query.position, memory.positions[..., 0], self.heads).to(queries.dtype)
        p = self.dropout if self.training else 0.0
        weights = None
        if not need_weights and not p and view.factor is None and self._fusable:
            assert isinstance(self.score, Dot)
            keep = visible if bias is None else bias.masked_fill(~visible, -torch.inf)
            context = F.scaled_dot_product_attention(queries, keys, values, attn_mask=keep, scale=self.score.scale)
        else:
            scores = self.score(queries, keys, memory)
            weights = self.normalizer(scores if bias is None else scores + bias, visible)
            if view.factor is not None:
                weights = weights * view.factor.to(weights.dtype).unsqueeze(1)
                if self.window.renormalise:
                    weights = weights / weights.sum(-1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
            context = dropout(weights, p) @ values  # (B, H, T, D)
        if self.project:
            seen = visible.any(-1).transpose(1, 2)  # (B, T or 1, 1): the bias of W_o must not fill an empty context
            context = self.output(context.transpose(1, 2).flatten(2)) * seen
        else:
            context = context.squeeze(1)
        return Attended(context, weights if need_weights else None, state)

    @property
    def _fusable(self) -> bool:
        """SDPA computes softmax(scale q . k) v and nothing else."""
        return isinstance(self.score, Dot) and type(self.normalizer) is Softmax

    def _visible(self, query: Query, memory: Memory, window: Tensor | None, mask: Tensor | None) -> Tensor:
        """The conjunction of all masks, (B, T or 1, S)."""
        visible = memory.mask.unsqueeze(1)
        defined = self.score.visible(memory)
        if defined is not None:
            visible = visible & defined.unsqueeze(1)
        if self.source.causal:
            visible = visible & (memory.positions[:, None, :, 0] <= query.position[:, :, None])
        for narrower in (window, mask):
            if narrower is not None:
                visible = visible & narrower
        return visible

    def _split(self, x: Tensor) -> Tensor:
        """(B, L, H D) -> (B, H, L, D)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
