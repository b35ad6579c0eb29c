"""Attention composed of independent parts: score x window x normalizer x selection x heads.

Letters as in ``types.py``; G groups of heads that share keys and values, D the width of a head after projection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from seq2seq.attention.base import Attention
from seq2seq.attention.component import AttentionComponent
from seq2seq.attention.components import counter_rng
from seq2seq.attention.components.normalizers import Normalizer, Softmax
from seq2seq.attention.components.ordering import alibi, rotate
from seq2seq.attention.components.scores import Dot, Score
from seq2seq.attention.components.selections import SelectedWeights, Selection, Soft
from seq2seq.attention.components.windows import Last, Window, keep_ends
from seq2seq.attention.requirements import at_least_1
from seq2seq.attention.types import AttentionOutput, AttentionState, Memory, Query, SourceSpec
from seq2seq.errors import UserError
from seq2seq.layers.dropout import dropout
from seq2seq.layers.tensors import split_heads


@dataclass(frozen=True)
class HeadQueries:
    """Queries in the form in which the heads compare them with keys, with the masks that apply to them."""

    query: Query
    vectors: Tensor  # (B, H, T, D) projected queries
    visible: Tensor  # (B, 1 or H, 1 or T, S) bool, conjunction of all masks
    factor: Tensor | None  # (B, 1 or H, 1 or T, S), multiplies the normalised weights
    bias: Tensor | None  # (B, H, T, S), is added to the scores
    places: Tensor  # (B, S, P) positions of the memory

    def at(self, t: int) -> HeadQueries:
        """Return query t alone, with T = 1.

        Args:
            t: Index of the query, 0..T-1.
        """
        return HeadQueries(
            self.query.at(t),
            self.vectors[:, :, t : t + 1],
            _select_query(self.visible, t),
            None if self.factor is None else _select_query(self.factor, t),
            None if self.bias is None else _select_query(self.bias, t),
            self.places,
        )


class ComposedAttention(Attention):
    """Attention composed of a score, a window, a normalizer, a selection and heads.

    For each head, a_t = select(normalizer(score(q_t, k))) within the window, and c_t = sum_j a_tj v_j.

    Without ``project``, one head reads query and memory as they are, as in RNN decoders; the context has the memory's
    width. With ``project``, W_q, W_k, W_v map to H heads of width ``dim``/H, and W_o maps their contexts back to the
    query's width, as in the Transformer (Vaswani 2017, section 3.2.2). W_k and W_v have only ``groups`` heads, each
    shared by H/G neighbouring query heads (Ainslie 2023, section 2.2; G = 1 is Shazeer 2019's multi-query attention).

    Args:
        query_dim: Q, width of the queries.
        source: Properties of the memory.
        score: Builds the score from (query width, key width, heads, source).
        window: Builds the window from (query_dim, heads, source).
        normalizer: Builds the normaliser from (heads).
        selection: Builds the selection.
        heads: H, number of heads.
        groups: G, number of heads of keys and values; null = ``heads``.
        project: Use the projections W_q, W_k, W_v and W_o; null = exactly when ``heads`` > 1.
        dim: Width of the projections of all heads together; null = the width of the queries.
        dropout: Probability of dropping a weight from the context; 0 with selections that sample (hard, gumbel).

    Raises:
        UserError: The options contradict each other, or the source has rotary positions and the score cannot use them.
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
        # Check the options.
        project = heads > 1 if project is None else project
        if heads > 1 and not project:
            raise UserError(f"heads={heads} needs project=true, because each head reads its own projection")
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
        # Build the projections.
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
        # Build the parts.
        widths = (dim // heads, dim // heads) if project else (query_dim, source.width)
        self.score = score(*widths, heads, source)
        self.window = window(query_dim, heads, source)
        self.normalizer = normalizer(heads)
        self.selection = selection()
        self.mass = self.window.mass
        self.has_choice = not isinstance(self.window, Last)
        self.gradient = self.selection.gradient
        # Dropout would remove the sampled position, and REINFORCE would still credit it.
        if self.gradient != "exact":
            self.dropout = 0.0
        if source.position == "rotary" and (not isinstance(self.score, Dot) or widths[0] % 2):
            raise UserError(
                "rotary positions rotate queries and keys inside a dot product of even width; "
                f"score {type(self.score).__name__.lower()} of width {widths[0]} has none. "
                "Use a dot score of even width, or sinusoidal positions"
            )

    @override
    def prepare(self, memory: Memory) -> Memory:
        """Replace the values by keys (B, G or H, S, .) for the score and values (B, G, S, D), stored once if equal."""
        if self.project:
            keys, values = (split_heads(x, self.groups) for x in self.key_value(memory.values).chunk(2, -1))
        else:
            keys = values = memory.values.unsqueeze(1)
        return replace(memory, values=memory.values[..., :0], prepared=self.prepared_tensors(keys, values, memory))

    def prepared_tensors(self, keys: Tensor, values: Tensor, memory: Memory) -> dict[str, Tensor]:
        """Return the tensors that ``prepare`` stores: values, and keys (B, G or H, S, .) where they are not the values.

        Args:
            keys: Keys (B, G, S, D).
            values: Values (B, G, S, D).
            memory: Memory that they belong to.
        """
        compared = self.score.keys(keys if self._groups_share_keys else self._expand_groups(keys))
        if self.source.position == "rotary":
            compared = rotate(compared, memory.positions[..., 0])
        return {"values": values} if compared is values else {"values": values, "keys": compared}

    @override
    def extend(self, past: Memory | None, new: Memory, *, need_weights: bool = False) -> Memory:
        """Append keys and values, whose S is dimension 2, and drop positions that the window cannot reach again."""
        if past is not None:
            if self.window.cache_window is not None and not need_weights:
                past = keep_ends(past, *self.window.cache_window)
            both = {name: torch.cat((past.prepared[name], new.prepared[name]), 2) for name in new.prepared}
            joined = super().extend(replace(past, prepared={}), replace(new, prepared={}))
            new = replace(joined, prepared=both)
        return new

    @override
    def initial_state(self, memory: Memory) -> AttentionState:
        return self.selection.initial_state(len(memory.mask), memory.mask.device)

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
        keys = memory.prepared.get("keys", values)
        # Use the window's fast path, which skips hidden positions.
        if not need_weights and mask is None and self._is_sdpa and self.source.position != "alibi":
            fast_path = self.window.fast_path(query, memory)
            if fast_path is not None:
                context, seen = fast_path(self.queries(query), keys, values, partial(self._attend_part, memory))
                return AttentionOutput(self._merge_heads(context, seen), None, state)
        # Use the fused kernel, which never stores the weights.
        queries = self.head_queries(query, memory, mask)
        if not need_weights and queries.factor is None and self._is_sdpa and not self._drops_weights(values):
            context = self._fused_attention(queries, keys, values)
            return AttentionOutput(self.finish(context, queries), None, state)
        # Compute the weights explicitly.
        selected = self.select(self.compare(queries, keys, memory), queries, memory, state)
        return self.attended(selected, queries, values, state, need_weights)

    def head_queries(self, query: Query, memory: Memory, mask: Tensor | None) -> HeadQueries:
        """Return the queries as the heads compare them, with all masks, the window's factor and the bias of the scores.

        Args:
            query: Queries (B, T, Q).
            memory: Prepared memory.
            mask: Further mask (B, T, S); None hides nothing.
        """
        queries = self.queries(query)
        view = self.window(query, memory)
        # Combine all masks: padding, score, causality, window, caller.
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
        # Add ALiBi to the scores.
        bias = None
        if self.source.position == "alibi":
            bias = alibi(query.position, memory.positions[..., 0], self.heads).to(queries.dtype)
        return HeadQueries(query, queries, visible, view.factor, bias, memory.positions)

    def queries(self, query: Query) -> Tensor:
        """Return the vectors (B, H, T, D) that each head compares with keys.

        Args:
            query: Queries (B, T, Q).
        """
        queries = split_heads(self.query(query.vector), self.heads) if self.project else query.vector.unsqueeze(1)
        return rotate(queries, query.position) if self.source.position == "rotary" else queries

    def compare(self, queries: HeadQueries, keys: Tensor, memory: Memory) -> Tensor:
        """Return the scores (B, H, T, S) of queries and keys.

        Args:
            queries: Result of ``head_queries``.
            keys: Prepared keys (B, G or H, S, .).
            memory: Prepared memory.
        """
        scores: Tensor = self.score(queries.vectors, self._expand_groups(keys), memory)
        return scores

    def weigh(self, scores: Tensor, queries: HeadQueries) -> Tensor:
        """Return the weights (B, H, T, S): add the bias, normalise, and multiply by the window's factor.

        Args:
            scores: Scores (B, H, T, S).
            queries: Result of ``head_queries``.
        """
        weights: Tensor = self.normalizer(scores if queries.bias is None else scores + queries.bias, queries.visible)
        if queries.factor is not None:
            weights = weights * queries.factor.to(weights.dtype)
            if self.window.renormalise:
                total = weights.sum(-1, keepdim=True)
                # Divide by 1 where the total is 0: 1 / (the smallest number) has no finite gradient.
                weights = weights / torch.where(total > 0, total, 1.0)
        return weights

    def select(self, scores: Tensor, queries: HeadQueries, memory: Memory, state: AttentionState) -> SelectedWeights:
        """Turn scores into the weights that are used: ``weigh`` them, then apply the selection.

        Args:
            scores: Scores (B, H, T, S).
            queries: Result of ``head_queries``.
            memory: Memory whose positions identify the random draws.
            state: State with the random seeds of the selection.
        """

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
        """Return the output that the selected weights give.

        Args:
            selected: Weights (B, H, T, S) with log-probabilities and penalties.
            queries: Result of ``head_queries``.
            values: Values (B, G, S, D).
            state: State to return.
            need_weights: Return the weights too.
        """
        weights = selected.weights
        context = self.read(self.apply_weights(weights, queries.query), self._expand_groups(values), queries)
        penalties = {name: value.sum(1) for name, value in selected.penalties.items()}
        log_prob = None if selected.log_prob is None else selected.log_prob.sum(1)
        finished = self.finish(context, queries)
        return AttentionOutput(
            finished, weights if need_weights else None, state, log_prob=log_prob, penalties=penalties
        )

    def read(self, weights: Tensor, values: Tensor, queries: HeadQueries) -> Tensor:
        """Return the contexts (B, H, T, D) of each head.

        Args:
            weights: Weights (B, H, T, S).
            values: Values of each head (B, H, S, D).
            queries: Result of ``head_queries``.
        """
        return weights @ values

    def finish(self, context: Tensor, queries: HeadQueries) -> Tensor:
        """Merge the contexts of all heads into one (B, T, C); zero where no head sees anything.

        Args:
            context: Contexts of the heads (B, H, T, D).
            queries: Result of ``head_queries``.
        """
        return self._merge_heads(context, queries.visible.any(-1).any(1))

    def _merge_heads(self, context: Tensor, seen: Tensor) -> Tensor:
        """Merge the contexts of all heads; ``seen`` (B, T or 1) marks the queries that see anything."""
        if not self.project:
            return context.squeeze(1)
        # The bias of W_o must not fill an empty context.
        return torch.mul(self.output(context.transpose(1, 2).flatten(2)), seen.unsqueeze(-1))

    @override
    def parts(self) -> Iterator[AttentionComponent]:
        """Return the direct parts. A part handles the parts of its own."""
        return (module for module in self.children() if isinstance(module, AttentionComponent))

    def _attend_part(self, memory: Memory, queries: Tensor, keys: Tensor, values: Tensor, keep: Tensor) -> Tensor:
        """Attend within a part of the sequence, for a window's fast path.

        Queries (B', H, T', D), keys and values (B', G, S', D), ``keep`` (B', 1, 1 or T', S'), contexts (B', H, T', D).
        """
        if not self._drops_weights(values):
            return self._scaled_dot_product(queries, keys, values, keep)
        weights = self.normalizer(self.score(queries, self._expand_groups(keys), memory), keep)
        return dropout(weights, self.dropout, self.training) @ self._expand_groups(values)

    def _fused_attention(self, queries: HeadQueries, keys: Tensor, values: Tensor) -> Tensor:
        """Compute softmax(scale q . k + bias) v without storing the weights."""
        keep = queries.visible
        if queries.bias is not None:
            keep = (queries.bias / self._temperature).masked_fill(~keep, -torch.inf)
        return self._scaled_dot_product(queries.vectors, keys, values, keep)

    def _scaled_dot_product(self, queries: Tensor, keys: Tensor, values: Tensor, keep: Tensor) -> Tensor:
        """Call PyTorch's fused kernel with ``keep``, a boolean mask or a bias."""
        assert isinstance(self.score, Dot)
        queries, scale = self.score.queries(queries), self.score.factor / self._temperature
        share = self.groups < self.heads
        p = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=keep, dropout_p=p, scale=scale, enable_gqa=share
        )

    @property
    def _temperature(self) -> float:
        """Temperature of the softmax."""
        assert isinstance(self.normalizer, Softmax)
        return self.normalizer.temperature

    @property
    def _is_sdpa(self) -> bool:
        """True if a context is exactly softmax(scale q . k) v, which SDPA computes."""
        return isinstance(self.score, Dot) and type(self.normalizer) is Softmax and type(self.selection) is Soft

    def _drops_weights(self, values: Tensor) -> bool:
        """Return whether to compute the weights and drop some: on the CPU this is faster than SDPA's own dropout."""
        return bool(self.training and self.dropout) and values.device.type == "cpu"

    @property
    def _groups_share_keys(self) -> bool:
        """True if the score compares keys as they are, so that the heads of a group can share them."""
        return type(self.score).keys is Score.keys

    def _expand_groups(self, x: Tensor) -> Tensor:
        """Copy (B, G, S, D) to (B, H, S, D): head h reads group h // (H / G)."""
        return x if x.shape[1] == self.heads else x.repeat_interleave(self.heads // self.groups, 1)


def _select_query(x: Tensor, t: int) -> Tensor:
    """Return query t of x (B, ., T or 1, S), as T = 1."""
    return x if x.shape[2] == 1 else x[:, :, t : t + 1]
