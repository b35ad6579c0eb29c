"""The additive score v . tanh(q_t + k_j): the plain formula, and a fused kernel that needs the memory of one query.

Shapes: B batch, H heads, T queries, S memory positions, A hidden width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seq2seq.layers.tensors import wide_dtype


def plain_additive(queries: Tensor, keys: Tensor, vector: Tensor) -> Tensor:
    """Return the same as ``fused_additive``, with B x H x T x S x A numbers in memory.

    Args:
        queries: Projected queries (B, H, T, A).
        keys: Projected keys (B, H, S, A).
        vector: v of each head (H, A).
    """
    return (torch.tanh(queries.unsqueeze(3) + keys.unsqueeze(2)) @ vector[:, None, :, None]).squeeze(-1)


def fused_additive(queries: Tensor, keys: Tensor, vector: Tensor) -> Tensor:
    """Return the scores (B, H, T, S) v . tanh(q_t + k_j).

    Args:
        queries: Projected queries (B, H, T, A).
        keys: Projected keys (B, H, S, A).
        vector: v of each head (H, A).
    """
    scores: Tensor = _AdditiveScores.apply(queries, keys, vector)  # type: ignore[no-untyped-call]  # torch leaves it without types
    return scores


class _AdditiveScores(torch.autograd.Function):
    """Additive score by a loop over T.

    The temporaries (B, H, S, A) of one step stay in the cache, which those of all T at once would not. On a CPU the
    loop is three times faster. The backward pass computes each tanh again, which costs less than storing all of them.
    """

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, vector: Tensor) -> Tensor:
        scores = keys.new_empty(*queries.shape[:3], keys.shape[2])
        inner, column = torch.empty_like(keys), vector.unsqueeze(-1)
        # Compute one query at a time.
        for t, query in enumerate(queries.unbind(2)):
            torch.add(keys, query.unsqueeze(2), out=inner).tanh_()
            scores[:, :, t] = (inner @ column).squeeze(-1)
        ctx.save_for_backward(queries, keys, vector)
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        queries, keys, vector = ctx.saved_tensors
        # Sum over T in at least fp32.
        exact = wide_dtype(keys.dtype)
        d_queries, inner = torch.empty_like(queries), torch.empty_like(keys)
        d_keys, d_vector = torch.zeros_like(keys, dtype=exact), torch.zeros_like(vector, dtype=exact)
        # Add the gradients of one query at a time.
        for t, (query, row) in enumerate(zip(queries.unbind(2), grad.to(keys.dtype).split(1, 2), strict=True)):
            torch.add(keys, query.unsqueeze(2), out=inner).tanh_()
            d_vector += (row @ inner).squeeze(2).sum(0)
            # tanh' = 1 - tanh^2. v is the same for all t and is multiplied at the end.
            inner.square_().neg_().add_(1.0)
            d_queries[:, :, t] = (row @ inner).squeeze(2)
            d_keys.addcmul_(row.transpose(2, 3), inner)
        v = vector.unsqueeze(1)
        return d_queries * v, (d_keys * v).to(keys.dtype), d_vector.to(vector.dtype)
