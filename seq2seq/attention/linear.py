"""Linear attention: the weight is a product of features, so that the sums over a source are computed only once.

Letters as in ``types.py``; D width of a head, M number of its features. Features and sums are in at least fp32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from typing_extensions import override

from seq2seq.attention.base import Attention
from seq2seq.attention.components.feature_maps import FeatureMap
from seq2seq.attention.components.ordering import rotate
from seq2seq.attention.requirements import at_least_1
from seq2seq.attention.types import AttentionOutput, AttentionState, Memory, Query, SourceSpec
from seq2seq.errors import UserError
from seq2seq.layers.tensors import split_heads, widen

BLOCK = 64  # queries that are compared pairwise with the keys of their block; earlier keys are in sums
MIN_SAFE_TOTAL = 1e-18  # in a smaller sum of weights, some may have underflowed, which happens at 1e-38


class KernelSums(NamedTuple):
    """Sums over any number of keys and values."""

    matrix: Tensor  # (B, H, M, D): sum_j phi(k_j) e^-r v_j^T
    total: Tensor  # (B, H, M, 1): sum_j phi(k_j) e^-r
    exponent: Tensor  # (B, H, 1, M): r

    @staticmethod
    def of(powers: Tensor, values: Tensor, real: Tensor) -> KernelSums:
        """Sum over the real keys and values.

        Args:
            powers: log phi(k) (B, H, S, M).
            values: Values (B, H, S, D).
            real: Mask (B, S), True = real.
        """
        # Divide by the largest exponent, so that no feature overflows.
        exponent = _max_exponent(powers, 2)
        features = (powers - exponent).exp().masked_fill(~real[:, None, :, None], 0.0)
        return KernelSums(features.transpose(-1, -2) @ values, features.sum(2).unsqueeze(-1), exponent)

    def at(self, exponent: Tensor) -> KernelSums:
        """Return the same sums with another r.

        Args:
            exponent: The new r (B, H, 1, M).
        """
        factor = (self.exponent - exponent).exp().transpose(-1, -2)
        return KernelSums(self.matrix * factor, self.total * factor, exponent)

    def plus(self, other: KernelSums) -> KernelSums:
        """Return the sums over the keys of both.

        Args:
            other: Sums over other keys.
        """
        # Bring both sums to the same exponent.
        exponent = torch.maximum(self.exponent, other.exponent)
        ours, theirs = self.at(exponent), other.at(exponent)
        return KernelSums(ours.matrix + theirs.matrix, ours.total + theirs.total, exponent)


class LinearOutput(NamedTuple):
    """Output of the queries before the division by ``total``."""

    numerator: Tensor  # (B, H, T, D) weighted sum of values
    total: Tensor  # (B, H, T, 1) sum of weights
    products: Tensor | None = None  # (B, H, T, S) phi(q) . phi(k) of the keys that were compared pairwise


class LinearAttention(Attention):
    """Linear attention (Katharopoulos 2020, section 3.2; without 1/sqrt(d)).

    o_i = phi(q_i)^T sum_j phi(k_j) v_j^T / (phi(q_i)^T sum_j phi(k_j)) for each head, inside W_q, W_k, W_v, W_o.

    The sums over a whole source are computed once, and a query costs M (D + 1) for any source length. In decoder
    self-attention the sums grow block by block (section 3.3), and the past is stored only as sums, M (D + 1) numbers
    for each head. A hidden key has phi(k) = 0.

    The weights phi(q_i) . phi(k_j) / sum are computed only where they are requested, or where a ``mask`` gives each
    query its own keys; the cost is then quadratic. ``mask`` cannot hide keys that are already in sums. There is no
    dropout, because the weights are usually not computed.

    Args:
        query_dim: Q, width of the queries.
        source: Properties of the memory.
        feature_map: Builds phi from (width of a head).
        heads: H, number of heads.
        dim: Width of all heads together; None = the width of the queries.

    Raises:
        UserError: An option is out of range, or the source has relative positions that the feature map cannot use.
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
        # Check the options and the positions.
        at_least_1(dim=dim)
        dim = dim or query_dim
        if heads < 1 or dim % heads:
            raise UserError(f"heads={heads} must divide the width {dim}")
        self.heads = heads
        self.feature_map = feature_map(dim // heads)
        if source.position == "alibi":
            raise UserError(
                "linear attention has no scores to which ALiBi can be added; "
                "use sinusoidal positions, or multi-head attention"
            )
        if source.position == "rotary" and (not self.feature_map.of_product or dim // heads % 2):
            raise UserError(
                "rotary positions rotate queries and keys inside a dot product of even width; "
                f"feature map {type(self.feature_map).__name__.lower()} of width {dim // heads} has none. "
                "Use the favor feature map with heads of even width, or sinusoidal positions"
            )
        # Build the projections.
        self.query = nn.Linear(query_dim, dim)
        self.key_value = nn.Linear(source.width, 2 * dim)
        self.output = nn.Linear(dim, query_dim)
        self.context_dim = query_dim
        for weight in (self.query.weight, *self.key_value.weight.chunk(2), self.output.weight):
            nn.init.xavier_uniform_(weight)
        for layer in (self.query, self.key_value, self.output):
            nn.init.zeros_(layer.bias)

    @override
    def prepare(self, memory: Memory) -> Memory:
        """Replace the values by keys and values (B, H, S, D), and by the sums of a memory that does not grow."""
        keys, values = (split_heads(x, self.heads) for x in self.key_value(memory.values).chunk(2, -1))
        if self.source.position == "rotary":
            keys = rotate(keys, memory.positions[..., 0])
        prepared = {"keys": keys, "values": values}
        memory = replace(memory, values=memory.values[..., :0], prepared=prepared)
        return memory if self.source.causal else replace(memory, prepared=prepared | self._sums(memory)._asdict())

    @override
    def extend(self, past: Memory | None, new: Memory, *, need_weights: bool = False) -> Memory:
        """Replace the keys of the past by sums and keep those of ``new``; with ``need_weights``, keep all keys."""
        if past is None:
            return new
        # Sum up the past.
        if not need_weights:
            sums = self._sums(past)._asdict()
            return replace(new, extent=past.extent + new.extent, prepared={**new.prepared, **sums})
        # Keep all keys.
        both = {name: torch.cat((past.prepared[name], new.prepared[name]), 2) for name in new.prepared}
        joined = super().extend(replace(past, prepared={}), replace(new, prepared={}))
        return replace(joined, prepared={**past.prepared, **both})

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
        # Project the queries.
        queries = split_heads(self.query(query.vector), self.heads)
        if self.source.position == "rotary":
            queries = rotate(queries, query.position)
        with torch.autocast(queries.device.type, enabled=False):
            # Compute numerator and total, and divide.
            query_powers = self.feature_map.powers(widen(queries))
            output = self._attend(query_powers, query, memory, mask, need_weights)
            seen = output.total >= torch.finfo(output.total.dtype).tiny
            total = torch.where(seen, output.total, 1.0)
            context = output.numerator / total
            weights = output.products / total if need_weights and output.products is not None else None
            # Without sums of the past, the weights are complete, and the context is made of them.
            if weights is not None and not self.source.causal:
                context = self.apply_weights(weights, query) @ widen(memory.prepared["values"])
            context = context.to(queries.dtype)
            weights = None if weights is None else weights.to(query.vector.dtype)
        # The bias of W_o must not fill an empty context.
        context = self.output(context.transpose(1, 2).flatten(2)) * seen.any(1)
        return AttentionOutput(context, weights, state)

    def _attend(
        self, query_powers: Tensor, query: Query, memory: Memory, mask: Tensor | None, need_weights: bool
    ) -> LinearOutput:
        """Compare log phi(q) (B, H, T, M) with a memory in the cheapest way that gives what is requested."""
        past = _stored_sums(memory)
        # Use the sums of the source, or block-wise sums of a sequence.
        if mask is None and not need_weights:
            if not self.source.causal:
                assert past is not None
                features = _scaled_features(query_powers + past.exponent)
                return LinearOutput(features @ past.matrix, features @ past.total)
            if query_powers.shape[2] > BLOCK and _is_one_sequence(query, memory):
                return self._in_blocks(query_powers, memory, past)
        # Otherwise compare all pairs.
        visible = memory.mask[:, None, None, :]
        if self.source.causal:
            visible = visible & (memory.positions[:, None, :, 0] <= query.position[:, :, None]).unsqueeze(1)
        else:
            past = None  # the sums contain the same keys
        if mask is not None:
            visible = visible & mask.unsqueeze(1)
        return _compare(query_powers, self._powers(memory), widen(memory.prepared["values"]), visible, past)

    def _in_blocks(self, query_powers: Tensor, memory: Memory, past: KernelSums | None) -> LinearOutput:
        """Attend from query i to keys 0..i: pairwise within a block, and to the sums of the blocks before it."""
        # Split queries, keys and values into blocks.
        lower = torch.ones(BLOCK, BLOCK, dtype=torch.bool, device=query_powers.device).tril()
        outputs = []
        parts = (query_powers, self._powers(memory), widen(memory.prepared["values"]))
        blocks = (*(x.split(BLOCK, 2) for x in parts), memory.mask.split(BLOCK, 1))
        # Attend within each block, then add its keys to the sums.
        for q, k, v, real in zip(*blocks, strict=True):
            visible = lower[: q.shape[2], : q.shape[2]] & real[:, None, None, :]
            outputs.append(_compare(q, k, v, visible, past))
            own = KernelSums.of(k, v, real)
            past = own if past is None else past.plus(own)
        return LinearOutput(torch.cat([o.numerator for o in outputs], 2), torch.cat([o.total for o in outputs], 2))

    def _powers(self, memory: Memory) -> Tensor:
        """Return log phi(k) (B, H, S, M); where a key is not real, a number that acts like -inf."""
        powers = self.feature_map.powers(widen(memory.prepared["keys"]))
        return powers.masked_fill(~memory.mask[:, None, :, None], torch.finfo(powers.dtype).min / 4)

    def _sums(self, memory: Memory) -> KernelSums:
        """Return the sums over all that the memory holds, as keys or as sums."""
        with torch.autocast(memory.mask.device.type, enabled=False):
            own = KernelSums.of(self._powers(memory), widen(memory.prepared["values"]), memory.mask)
            past = _stored_sums(memory)
            return own if past is None else past.plus(own)


def _compare(
    query_powers: Tensor, powers: Tensor, values: Tensor, visible: Tensor, past: KernelSums | None
) -> LinearOutput:
    """Compare all queries, log phi(q), with all keys, log phi(k), and with the sums of earlier keys.

    Keys share their exponents. A hidden key with a large exponent can make the visible ones underflow; the comparison
    is then done with logarithms.
    """
    # Find the common exponent, and the queries that see anything.
    exponent = _max_exponent(powers, 2)
    sees = visible.any(-1, keepdim=True)
    if past is not None:
        exponent = torch.maximum(exponent, past.exponent)
        sees = sees | (past.total > 0).any(2, keepdim=True)
    # Multiply the features.
    features = _scaled_features(query_powers + exponent)
    products = (features @ (powers - exponent).exp().transpose(-1, -2)).masked_fill(~visible, 0.0)
    output = _add_sums(products, values, features, None if past is None else past.at(exponent))
    # Where the total is too small to be exact, compute with logarithms.
    return (
        _by_logarithms(query_powers, powers, values, visible, past)
        if (sees & (output.total < MIN_SAFE_TOTAL)).any()
        else output
    )


def _by_logarithms(
    query_powers: Tensor, powers: Tensor, values: Tensor, visible: Tensor, past: KernelSums | None
) -> LinearOutput:
    """Do the same as ``_compare`` with logarithms, for M times the memory.

    log phi(q) . phi(k) = log sum_m exp(log phi_m(q) + log phi_m(k)) of each pair. The features of a query are
    phi(q) e^-c, where c is the largest exponent of what the query sees.
    """
    pairs = torch.logsumexp(query_powers.unsqueeze(3) + powers.unsqueeze(2), -1)
    largest = _max_exponent(pairs.masked_fill(~visible, torch.finfo(pairs.dtype).min / 4), -1)
    if past is not None:
        largest = torch.maximum(largest, _max_exponent(query_powers + past.exponent, -1))
    products = (pairs - largest).masked_fill(~visible, -torch.inf).exp()
    features = None if past is None else (query_powers + past.exponent - largest).exp()
    return _add_sums(products, values, features, past)


def _add_sums(products: Tensor, values: Tensor, features: Tensor | None, past: KernelSums | None) -> LinearOutput:
    """Add the results of pairs and of sums, both under the same exponents."""
    numerator, total = products @ values, products.sum(-1, keepdim=True)
    if past is not None and features is not None:
        numerator, total = numerator + features @ past.matrix, total + features @ past.total
    return LinearOutput(numerator, total, products)


def _max_exponent(powers: Tensor, dim: int) -> Tensor:
    """Return the largest exponent along ``dim``, without a gradient."""
    return powers.detach().amax(dim, keepdim=True)


def _scaled_features(powers: Tensor) -> Tensor:
    """Return features (..., M) of which the largest is 1."""
    return (powers - _max_exponent(powers, -1)).exp()


def _stored_sums(memory: Memory) -> KernelSums | None:
    """Return the sums that a memory holds; None where it holds none."""
    stored = memory.prepared
    return KernelSums(*(stored[name] for name in KernelSums._fields)) if "matrix" in stored else None


def _is_one_sequence(query: Query, memory: Memory) -> bool:
    """Return whether query i sees exactly the keys 0..i that are not in sums: both are one sequence, in order."""
    places = query.position
    return torch.equal(places, memory.positions[..., 0]) and bool((places.diff(dim=1) > 0).all())
