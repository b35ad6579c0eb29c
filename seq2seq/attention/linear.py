"""Linear attention: a similarity that is a product of features, so that a source is summed up once.

Letters as in ``types.py``; D the width of a head, M the number of its features. Features and sums are in at least fp32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seq2seq.attention.base import Attention
from seq2seq.attention.components.feature_maps import FeatureMap
from seq2seq.attention.components.ordering import rotate
from seq2seq.attention.requirements import at_least_1
from seq2seq.attention.types import AttentionOutput, AttentionState, Memory, Query, SourceSpec
from seq2seq.errors import UserError
from seq2seq.layers.tensors import split_heads, widen

BLOCK = 64  # queries that compare with each other's keys one by one; all before them are in sums
MIN_SAFE_TOTAL = 1e-18  # a sum of weights this small may have lost some to the end of the range of floats, at 1e-38


class KernelSums(NamedTuple):
    """What any number of keys and values amount to."""

    matrix: Tensor  # (B, H, M, D): sum_j phi(k_j) e^-r v_j^T
    total: Tensor  # (B, H, M, 1): sum_j phi(k_j) e^-r
    exponent: Tensor  # (B, H, 1, M): r

    @staticmethod
    def of(powers: Tensor, values: Tensor, real: Tensor) -> KernelSums:
        """Over the real ones of log phi(k) (B, H, S, M), values (B, H, S, D)."""
        exponent = _max_exponent(powers, 2)
        features = (powers - exponent).exp().masked_fill(~real[:, None, :, None], 0.0)
        return KernelSums(features.transpose(-1, -2) @ values, features.sum(2).unsqueeze(-1), exponent)

    def at(self, exponent: Tensor) -> KernelSums:
        """The same with another r."""
        factor = (self.exponent - exponent).exp().transpose(-1, -2)
        return KernelSums(self.matrix * factor, self.total * factor, exponent)

    def plus(self, other: KernelSums) -> KernelSums:
        """Over the keys of both."""
        exponent = torch.maximum(self.exponent, other.exponent)
        ours, theirs = self.at(exponent), other.at(exponent)
        return KernelSums(ours.matrix + theirs.matrix, ours.total + theirs.total, exponent)


class LinearOutput(NamedTuple):
    """What queries get, before division."""

    numerator: Tensor  # (B, H, T, D)
    total: Tensor  # (B, H, T, 1)
    products: Tensor | None = None  # (B, H, T, S) phi(q) . phi(k) of the keys that were compared one by one


class LinearAttention(Attention):
    """o_i = phi(q_i)^T sum_j phi(k_j) v_j^T / (phi(q_i)^T sum_j phi(k_j)) for each head, inside W_q, W_k, W_v, W_o.

    (Katharopoulos 2020, section 3.2; no 1/sqrt(d).) The sums over a whole source are made once, and a query costs
    M (D + 1) whatever its length; in a memory that grows they run on in blocks (section 3.3), and what came before
    is kept as sums only, M (D + 1) numbers a head. The weights phi(q_i) . phi(k_j) / sum are made where they are asked
    for, or where a ``mask`` gives each query keys of its own: then cost is quadratic. ``mask`` can't reach what is
    in sums already. Weights are not dropped out, since there are none.

    A hidden key is one with phi(k) = 0; ``dim`` is the width of all heads together, by default the query's.
    """

    def __init__(
        self,
        query_dim: int,
        source: SourceSpec,
        *,
        feature_map: Callable[..., FeatureMap],
        heads: int = 1,
        dim: int | None = None,
    ) -> None:
        super().__init__(query_dim, source)
        at_least_1(dim=dim)
        dim = dim or query_dim
        if heads < 1 or dim % heads:
            raise UserError(f"heads={heads} must divide the width {dim}")
        self.heads = heads
        self.feature_map = feature_map(dim // heads)
        if source.position == "alibi":
            raise UserError(
                "linear attention has no scores that ALiBi could be added to; "
                "use sinusoidal positions, or multi-head attention"
            )
        if source.position == "rotary" and (not self.feature_map.of_product or dim // heads % 2):
            raise UserError(
                "rotary positions turn queries and keys inside a dot product of even width; "
                f"feature map {type(self.feature_map).__name__.lower()} of width {dim // heads} has none. "
                "Use the favor feature map with heads of even width, or sinusoidal positions"
            )
        self.query = nn.Linear(query_dim, dim)
        self.key_value = nn.Linear(source.width, 2 * dim)
        self.output = nn.Linear(dim, query_dim)
        self.context_dim = query_dim
        for weight in (self.query.weight, *self.key_value.weight.chunk(2), self.output.weight):
            nn.init.xavier_uniform_(weight)
        for layer in (self.query, self.key_value, self.output):
            nn.init.zeros_(layer.bias)

    def prepare(self, memory: Memory) -> Memory:
        """Keys and values (B, H, S, D), and the sums over a memory that is whole."""
        keys, values = (split_heads(x, self.heads) for x in self.key_value(memory.values).chunk(2, -1))
        if self.source.position == "rotary":
            keys = rotate(keys, memory.positions[..., 0])
        prepared = {"keys": keys, "values": values}
        memory = replace(memory, values=memory.values[..., :0], prepared=prepared)
        return memory if self.source.causal else replace(memory, prepared=prepared | self._sums(memory)._asdict())

    def extend(self, past: Memory | None, new: Memory, *, need_weights: bool = False) -> Memory:
        """Put the keys of the past into sums, and keep only those of ``new``; all of them for weights."""
        if past is None:
            return new
        if not need_weights:
            sums = self._sums(past)._asdict()
            return replace(new, extent=past.extent + new.extent, prepared={**new.prepared, **sums})
        both = {name: torch.cat((past.prepared[name], new.prepared[name]), 2) for name in new.prepared}
        joined = super().extend(replace(past, prepared={}), replace(new, prepared={}))
        return replace(joined, prepared={**past.prepared, **both})

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
        queries = split_heads(self.query(query.vector), self.heads)
        if self.source.position == "rotary":
            queries = rotate(queries, query.position)
        with torch.autocast(queries.device.type, enabled=False):
            query_powers = self.feature_map.powers(widen(queries))
            answer = self._attend(query_powers, query, memory, mask, need_weights)
            seen = answer.total >= torch.finfo(answer.total.dtype).tiny
            total = torch.where(seen, answer.total, 1.0)
            context = answer.numerator / total
            weights = answer.products / total if need_weights and answer.products is not None else None
            if weights is not None and not self.source.causal:  # all of them: none is in sums
                context = self.apply_weights(weights, query) @ widen(memory.prepared["values"])
            context = context.to(queries.dtype)
            weights = None if weights is None else weights.to(query.vector.dtype)
        # W_o's bias must not fill an empty context
        context = self.output(context.transpose(1, 2).flatten(2)) * seen.any(1)
        return AttentionOutput(context, weights, state)

    def _attend(
        self, query_powers: Tensor, query: Query, memory: Memory, mask: Tensor | None, need_weights: bool
    ) -> LinearOutput:
        """log phi(q) (B, H, T, M) to a memory, by the cheapest way that the question allows."""
        past = _stored_sums(memory)
        if mask is None and not need_weights:
            if not self.source.causal:
                assert past is not None
                features = _scaled_features(query_powers + past.exponent)
                return LinearOutput(features @ past.matrix, features @ past.total)
            if query_powers.shape[2] > BLOCK and _is_one_sequence(query, memory):
                return self._in_blocks(query_powers, memory, past)
        visible = memory.mask[:, None, None, :]
        if self.source.causal:
            visible = visible & (memory.positions[:, None, :, 0] <= query.position[:, :, None]).unsqueeze(1)
        else:
            past = None  # it is the sum of the very keys
        if mask is not None:
            visible = visible & mask.unsqueeze(1)
        return _compare(query_powers, self._powers(memory), widen(memory.prepared["values"]), visible, past)

    def _in_blocks(self, query_powers: Tensor, memory: Memory, past: KernelSums | None) -> LinearOutput:
        """Query i over keys 0..i: by pairs within a block, by the sums of the blocks before it."""
        lower = torch.ones(BLOCK, BLOCK, dtype=torch.bool, device=query_powers.device).tril()
        answers = []
        parts = (query_powers, self._powers(memory), widen(memory.prepared["values"]))
        blocks = (*(x.split(BLOCK, 2) for x in parts), memory.mask.split(BLOCK, 1))
        for q, k, v, real in zip(*blocks, strict=True):
            visible = lower[: q.shape[2], : q.shape[2]] & real[:, None, None, :]
            answers.append(_compare(q, k, v, visible, past))
            own = KernelSums.of(k, v, real)
            past = own if past is None else past.plus(own)
        return LinearOutput(torch.cat([a.numerator for a in answers], 2), torch.cat([a.total for a in answers], 2))

    def _powers(self, memory: Memory) -> Tensor:
        """log phi(k) (B, H, S, M), as good as -inf where not real."""
        powers = self.feature_map.powers(widen(memory.prepared["keys"]))
        return powers.masked_fill(~memory.mask[:, None, :, None], torch.finfo(powers.dtype).min / 4)

    def _sums(self, memory: Memory) -> KernelSums:
        """Of all that the memory holds, as keys or as sums."""
        with torch.autocast(memory.mask.device.type, enabled=False):
            own = KernelSums.of(self._powers(memory), widen(memory.prepared["values"]), memory.mask)
            past = _stored_sums(memory)
            return own if past is None else past.plus(own)


def _compare(
    query_powers: Tensor, powers: Tensor, values: Tensor, visible: Tensor, past: KernelSums | None
) -> LinearOutput:
    """All queries, log phi(q), with all keys, log phi(k), and with the sums of those before.

    Keys share their exponents, and one that a query may not see can leave it nothing of those that it may: then all
    goes over logarithms.
    """
    exponent = _max_exponent(powers, 2)
    sees = visible.any(-1, keepdim=True)
    if past is not None:
        exponent = torch.maximum(exponent, past.exponent)
        sees = sees | (past.total > 0).any(2, keepdim=True)
    features = _scaled_features(query_powers + exponent)
    products = (features @ (powers - exponent).exp().transpose(-1, -2)).masked_fill(~visible, 0.0)
    answer = _add_sums(products, values, features, None if past is None else past.at(exponent))
    return (
        _by_logarithms(query_powers, powers, values, visible, past)
        if (sees & (answer.total < MIN_SAFE_TOTAL)).any()
        else answer
    )


def _by_logarithms(
    query_powers: Tensor, powers: Tensor, values: Tensor, visible: Tensor, past: KernelSums | None
) -> LinearOutput:
    """``_compare`` with log phi(q) . phi(k) = log sum_m exp(log phi_m(q) + log phi_m(k)) of each pair, for M times the
    memory: phi(q) e^-c, c the largest of what the query sees.
    """
    pairs = torch.logsumexp(query_powers.unsqueeze(3) + powers.unsqueeze(2), -1)
    largest = _max_exponent(pairs.masked_fill(~visible, torch.finfo(pairs.dtype).min / 4), -1)
    if past is not None:
        largest = torch.maximum(largest, _max_exponent(query_powers + past.exponent, -1))
    products = (pairs - largest).masked_fill(~visible, -torch.inf).exp()
    features = None if past is None else (query_powers + past.exponent - largest).exp()
    return _add_sums(products, values, features, past)


def _add_sums(products: Tensor, values: Tensor, features: Tensor | None, past: KernelSums | None) -> LinearOutput:
    """What pairs and sums give together, both under the same exponents."""
    numerator, total = products @ values, products.sum(-1, keepdim=True)
    if past is not None and features is not None:
        numerator, total = numerator + features @ past.matrix, total + features @ past.total
    return LinearOutput(numerator, total, products)


def _max_exponent(powers: Tensor, dim: int) -> Tensor:
    """An exponent to take out, with no gradient of its own."""
    return powers.detach().amax(dim, keepdim=True)


def _scaled_features(powers: Tensor) -> Tensor:
    """Features (..., M) of which the largest is 1."""
    return (powers - _max_exponent(powers, -1)).exp()


def _stored_sums(memory: Memory) -> KernelSums | None:
    """The sums that a memory holds."""
    stored = memory.prepared
    return KernelSums(*(stored[name] for name in KernelSums._fields)) if "matrix" in stored else None


def _is_one_sequence(query: Query, memory: Memory) -> bool:
    """Whether query i sees exactly keys 0..i of those not in sums: they are the states of one sequence, in order."""
    places = query.position
    return torch.equal(places, memory.positions[..., 0]) and bool((places.diff(dim=1) > 0).all())
