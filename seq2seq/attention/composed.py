"""The mechanisms that factor: score x window x normalizer x selection x heads.

Letters as in ``types.py``; G groups of heads that share keys and values, D the width of a head after projection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.attention.base import Attention
from seq2seq.attention.component import AttentionComponent
from seq2seq.attention.components import counter_rng
from seq2seq.attention.components.normalizers import Normalizer, Softmax
from seq2seq.attention.components.ordering import alibi, rotate
from seq2seq.attention.components.scores import Dot, Score
from seq2seq.attention.components.selections import SelectedWeights, Selection, Soft
from seq2seq.attention.components.windows import Last, Window
from seq2seq.attention.requirements import at_least_1
from seq2seq.attention.types import AttentionOutput, AttentionState, Memory, Query, SourceSpec
from seq2seq.errors import UserError
from seq2seq.layers.dropout import dropout
from seq2seq.layers.tensors import split_heads


@dataclass(frozen=True)
class HeadQueries:
    """T queries as the heads compare them, with what they may see."""

    query: Query
    vectors: Tensor  # (B, H, T, D)
    visible: Tensor  # (B, 1 or H, 1 or T, S) bool
    factor: Tensor | None  # (B, 1 or H, 1 or T, S), on the normalised weights
    bias: Tensor | None  # (B, H, T, S), on the scores
    places: Tensor  # (B, S, P) where the memory stands

    def at(self, t: int) -> HeadQueries:
        """Return query t alone: T = 1."""
        return HeadQueries(
            self.query.at(t),
            self.vectors[:, :, t : t + 1],
            _select_query(self.visible, t),
            None if self.factor is None else _select_query(self.factor, t),
            None if self.bias is None else _select_query(self.bias, t),
            self.places,
        )


class ComposedAttention(Attention):
    """a_t = select(normalizer(score(q_t, k))) within window, c_t = sum_j a_tj v_j, for each head.

    Without ``project``, one head reads query and memory as they are, as in RNN decoders (c has the
    memory's width). With it, W_q, W_k, W_v map to H heads of width ``dim``/H and W_o maps their
    contexts back to the query's width, as in the Transformer (Vaswani 2017, section 3.2.2);
    ``project: null`` projects exactly when ``heads`` > 1. Of W_k and W_v there are only ``groups`` heads, each
    shared by H/G neighbouring query heads (Ainslie 2023, section 2.2; G = 1 is Shazeer 2019's multi-query attention);
    ``groups: null`` is one a head. ``dropout`` acts on the weights that make the context; those returned are without
    it. On what a selection draws (hard, gumbel) it does not act.
    """

    def __init__(
        self,
        query_dim: int,
        source: SourceSpec,
        *,
        score: Callable[..., Score],
        window: Callable[..., Window],
        normalizer: Callable[..., Normalizer],
        selection: Callable[..., Selection] = Soft,
        heads: int = 1,
        groups: int | None = None,
        project: bool | None = None,
        dim: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(query_dim, source, dropout=dropout)
        project = heads > 1 if project is None else project
        if heads > 1 and not project:
            raise UserError(f"heads={heads} needs project=true: each head reads its own projection")
        if dim is not None and not project:
            raise UserError(f"dim={dim} is the width of the projections; it needs project=true")
        at_least_1(dim=dim)
        dim = dim or query_dim
        if heads < 1 or dim % heads:
            raise UserError(f"heads={heads} must divide the width {dim}")
        groups = heads if groups is None else groups
        if groups < 1 or heads % groups:
            raise UserError(f"groups={groups} must divide heads={heads}")
        self.heads, self.groups = heads, groups
        self.project = project
        if project:
            self.query = nn.Linear(query_dim, dim)
            self.key_value = nn.Linear(source.width, 2 * dim // heads * groups)
            self.output = nn.Linear(dim, query_dim)
            self.context_dim = query_dim
            for weight in (self.query.weight, *self.key_value.weight.chunk(2)):
                nn.init.xavier_uniform_(weight)
            nn.init.xavier_uniform_(self.output.weight)
            for layer in (self.query, self.key_value, self.output):
                nn.init.zeros_(layer.bias)
        widths = (dim // heads, dim // heads) if project else (query_dim, source.width)
        self.score = score(*widths, heads, source)
        self.window = window(query_dim, heads, source)
        self.normalizer = normalizer(heads)
        self.selection = selection()
        self.mass = self.window.mass
        self.has_choice = not isinstance(self.window, Last)
        self.gradient = self.selection.gradient
        if self.gradient != "exact":  # dropout would remove the one position drawn, and REINFORCE still credit it
            self.dropout = 0.0
        if source.position == "rotary" and (not isinstance(self.score, Dot) or widths[0] % 2):
            raise UserError(
                "rotary positions turn queries and keys inside a dot product of even width; "
                f"score {type(self.score).__name__.lower()} of width {widths[0]} has none. "
                "Use a dot score, or sinusoidal positions"
            )

    def prepare(self, memory: Memory) -> Memory:
        """Keys (B, G or H, S, .) as the score wants them and values (B, G, S, .); what they came from is let go.

        Where the score compares with the values themselves, they are stored once.
        """
        if self.project:
            keys, values = (split_heads(x, self.groups) for x in self.key_value(memory.values).chunk(2, -1))
        else:
            keys = values = memory.values.unsqueeze(1)
        return replace(memory, values=memory.values[..., :0], prepared=self.prepared_tensors(keys, values, memory))

    def prepared_tensors(self, keys: Tensor, values: Tensor, memory: Memory) -> dict[str, Tensor]:
        """What ``prepare`` keeps of keys and values (B, G, S, D)."""
        compared = self.score.keys(keys if self._groups_share_keys else self._expand_groups(keys))
        if self.source.position == "rotary":
            compared = rotate(compared, memory.positions[..., 0])
        return {"values": values} if compared is values else {"values": values, "keys": compared}

    def extend(self, past: Memory | None, new: Memory, *, need_weights: bool = False) -> Memory:
        """Append keys and values, whose S is dimension 2, and drop what the window will never reach again."""
        if past is not None:
            if self.window.cache_window is not None and not need_weights:
                past = _keep_ends(past, *self.window.cache_window)
            both = {name: torch.cat((past.prepared[name], new.prepared[name]), 2) for name in new.prepared}
            joined = super().extend(replace(past, prepared={}), replace(new, prepared={}))
            new = replace(joined, prepared=both)
        return new

    def initial_state(self, memory: Memory) -> AttentionState:
        """What the selection draws once a sequence."""
        return self.selection.initial_state(len(memory.mask), memory.mask.device)

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
        values = memory.prepared["values"]
        keys = memory.prepared.get("keys", values)
        if not need_weights and mask is None and self._is_sdpa and self.source.position != "alibi":
            fast_path = self.window.fast_path(query, memory)
            if fast_path is not None:
                context, seen = fast_path(self.queries(query), keys, values, partial(self._attend_part, memory))
                return AttentionOutput(self._merge_heads(context, seen), None, state)
        queries = self.head_queries(query, memory, mask)
        if not need_weights and queries.factor is None and self._is_sdpa and not self._drops_weights(values):
            context = self._fused_attention(queries, keys, values)
            return AttentionOutput(self.finish(context, queries), None, state)
        selected = self.select(self.compare(queries, keys, memory), queries, memory, state)
        return self.attended(selected, queries, values, state, need_weights)

    def head_queries(self, query: Query, memory: Memory, mask: Tensor | None) -> HeadQueries:
        """What ``query`` brings to the scores: projected vectors, the conjunction of all masks, the window's shape."""
        queries = self.queries(query)
        view = self.window(query, memory)
        visible = memory.mask[:, None, None, :]
        defined = self.score.visible(memory)
        if defined is not None:
            visible = visible & defined[:, None, None, :]
        if self.source.causal:
            visible = visible & (memory.positions[:, None, :, 0] <= query.position[:, :, None]).unsqueeze(1)
        if view.visible is not None:
            visible = visible & view.visible
        if mask is not None:
            visible = visible & mask.unsqueeze(1)
        bias = None
        if self.source.position == "alibi":
            bias = alibi(query.position, memory.positions[..., 0], self.heads).to(queries.dtype)
        return HeadQueries(query, queries, visible, view.factor, bias, memory.positions)

    def queries(self, query: Query) -> Tensor:
        """What each head compares with keys (B, H, T, D)."""
        queries = split_heads(self.query(query.vector), self.heads) if self.project else query.vector.unsqueeze(1)
        return rotate(queries, query.position) if self.source.position == "rotary" else queries

    def compare(self, queries: HeadQueries, keys: Tensor, memory: Memory) -> Tensor:
        """Scores (B, H, T, S) of keys (B, G or H, S, .)."""
        return self.score(queries.vectors, self._expand_groups(keys), memory)

    def weigh(self, scores: Tensor, queries: HeadQueries) -> Tensor:
        """Scores (B, H, T, S) to weights: bias, normaliser, and the window's factor."""
        weights = self.normalizer(scores if queries.bias is None else scores + queries.bias, queries.visible)
        if queries.factor is not None:
            weights = weights * queries.factor.to(weights.dtype)
            if self.window.renormalise:
                total = weights.sum(-1, keepdim=True)
                weights = weights / torch.where(total > 0, total, 1.0)  # 1 over the least number is no finite gradient
        return weights

    def select(self, scores: Tensor, queries: HeadQueries, memory: Memory, state: AttentionState) -> SelectedWeights:
        """Scores (B, H, T, S) to the weights that are used."""

        def draw() -> Tensor:
            return counter_rng.uniform(state["seed"], queries.query.position, self.heads, memory.positions)

        return self.selection(self.weigh(scores, queries), draw, state)

    def attended(
        self,
        selected: SelectedWeights,
        queries: HeadQueries,
        values: Tensor,
        state: AttentionState,
        need_weights: bool,
    ) -> AttentionOutput:
        """The answer that these weights give; values (B, G, S, D)."""
        weights = selected.weights
        context = self.read(self.apply_weights(weights, queries.query), self._expand_groups(values), queries)
        penalties = {name: value.sum(1) for name, value in selected.penalties.items()}
        log_prob = None if selected.log_prob is None else selected.log_prob.sum(1)
        finished = self.finish(context, queries)
        return AttentionOutput(
            finished, weights if need_weights else None, state, log_prob=log_prob, penalties=penalties
        )

    def read(self, weights: Tensor, values: Tensor, queries: HeadQueries) -> Tensor:
        """(B, H, T, S), (B, H, S, D) -> contexts (B, H, T, D)."""
        return weights @ values

    def finish(self, context: Tensor, queries: HeadQueries) -> Tensor:
        """The contexts of all heads (B, H, T, D) as one, (B, T, C); zero where no head sees anything."""
        return self._merge_heads(context, queries.visible.any(-1).any(1))

    def _merge_heads(self, context: Tensor, seen: Tensor) -> Tensor:
        """``finish``, where ``seen`` (B, T or 1) says which queries see anything."""
        if not self.project:
            return context.squeeze(1)
        # W_o's bias must not fill an empty context
        return self.output(context.transpose(1, 2).flatten(2)) * seen.unsqueeze(-1)

    def parts(self) -> Iterator[AttentionComponent]:
        """Its own; what a part is made of is that part's affair."""
        return (module for module in self.children() if isinstance(module, AttentionComponent))

    def _attend_part(self, memory: Memory, queries: Tensor, keys: Tensor, values: Tensor, keep: Tensor) -> Tensor:
        """Attend within a part of the sequence, for a window's fast path.

        (B', H, T', D), (B', G, S', D) twice, (B', 1, ., S') -> (B', H, T', D).
        """
        if not self._drops_weights(values):
            return self._scaled_dot_product(queries, keys, values, keep)
        weights = self.normalizer(self.score(queries, self._expand_groups(keys), memory), keep)
        return dropout(weights, self.dropout, self.training) @ self._expand_groups(values)

    def _fused_attention(self, queries: HeadQueries, keys: Tensor, values: Tensor) -> Tensor:
        """softmax(scale q . k + bias) v without ever holding the weights."""
        keep = queries.visible
        if queries.bias is not None:
            keep = (queries.bias / self._temperature).masked_fill(~keep, -torch.inf)
        return self._scaled_dot_product(queries.vectors, keys, values, keep)

    def _scaled_dot_product(self, queries: Tensor, keys: Tensor, values: Tensor, keep: Tensor) -> Tensor:
        assert isinstance(self.score, Dot)
        queries, scale = self.score.queries(queries), self.score.factor / self._temperature
        share = self.groups < self.heads
        p = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=keep, dropout_p=p, scale=scale, enable_gqa=share
        )

    @property
    def _temperature(self) -> float:
        assert isinstance(self.normalizer, Softmax)
        return self.normalizer.temperature

    @property
    def _is_sdpa(self) -> bool:
        """Whether a context is softmax(scale q . k) v, which SDPA computes, and nothing else."""
        return isinstance(self.score, Dot) and type(self.normalizer) is Softmax and type(self.selection) is Soft

    def _drops_weights(self, values: Tensor) -> bool:
        """Whether weights are made in order to be dropped: on the CPU that is faster than SDPA's own dropout."""
        return bool(self.training and self.dropout) and values.device.type == "cpu"

    @property
    def _groups_share_keys(self) -> bool:
        """Whether keys are compared as they are, so that the heads of a group can share them."""
        return type(self.score).keys is Score.keys

    def _expand_groups(self, x: Tensor) -> Tensor:
        """(B, G, S, D) -> (B, H, S, D): head h reads group h // (H / G)."""
        return x if x.shape[1] == self.heads else x.repeat_interleave(self.heads // self.groups, 1)


def _keep_ends(memory: Memory, first: int, last: int) -> Memory:
    """All but what stands between the ``first`` and the ``last`` places; its extent remembers how many there were."""
    size = memory.mask.shape[1]
    if size <= first + last:
        return memory

    def ends(x: Tensor, dim: int) -> Tensor:
        tail = x.narrow(dim, size - last, last)
        return torch.cat((x.narrow(dim, 0, first), tail), dim) if first else tail

    return Memory(
        ends(memory.values, 1),
        ends(memory.mask, 1),
        ends(memory.positions, 1),
        memory.extent,
        prepared={name: ends(tensor, 2) for name, tensor in memory.prepared.items()},
    )


def _select_query(x: Tensor, t: int) -> Tensor:
    """Query t of (B, ., T or 1, S), as T = 1."""
    return x if x.shape[2] == 1 else x[:, :, t : t + 1]
