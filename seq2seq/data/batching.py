"""Batches of records of similar length, with a bound on their tokens; the same seed and epoch give the same batches.

A batch with rows of at most S source and T target tokens costs ``rows * max(S, T)`` tokens, with padding and ``</s>``.
A batch is an array of record numbers. An empty array stands for a filler, a batch whose target is only padding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Lengths = NDArray[np.int64]  # (N,) tokens of each record, with </s>

FILLER: Indices = np.empty(0, np.int64)

SMALLEST, LARGEST = 512, 4096
"""Smallest and largest number of tokens of a batch if the bound follows the data."""
BATCHES = 200
"""Smallest number of batches of an epoch, provided that each has ``SMALLEST`` tokens."""


def fitting_tokens(source: Lengths, target: Lengths) -> int:
    """Return the bound on the tokens of a batch that suits a training split.

    It is the largest power of two from 512 to 4,096 with which an epoch has at least 200 batches, or 512 if none has.

    Args:
        source: Tokens of each source (N,).
        target: Tokens of each target (N,).
    """
    tokens, size = int(np.maximum(source, target).sum()), LARGEST
    # Halve the bound until an epoch has enough batches.
    while size > SMALLEST and tokens < BATCHES * size:
        size //= 2
    return size


def pack(cost: Lengths, order: Indices, max_tokens: int, max_sentences: int | None = None) -> list[Indices]:
    """Cut an order of records into batches.

    A record longer than ``max_tokens`` is a batch of its own: nothing is dropped here.

    Args:
        cost: max(S, T) of each record (N,).
        order: Record numbers (N,) in the order in which they are put into batches.
        max_tokens: Bound on the tokens of a batch, with padding.
        max_sentences: Largest number of records of a batch.
    """
    cuts, start, longest = [], 0, 0
    for example_index, length in enumerate(cost[order].tolist()):
        rows, longest = example_index - start, max(longest, length)
        # One more record would exceed a bound: start a new batch.
        if rows and (longest * (rows + 1) > max_tokens or rows == max_sentences):
            cuts.append(example_index)
            start, longest = example_index, length
    return np.split(order, cuts) if len(order) else []


def random_batches(
    source: Lengths, target: Lengths, max_tokens: int, max_sentences: int | None = None, *, seed: Sequence[int]
) -> list[Indices]:
    """Return batches of records of similar length, in random order.

    Records are sorted by max(S, T) in steps of 5%, and within a step by S - T with a little noise. Thus documents of
    similar length whose summaries have similar length share a batch. The second key rises and falls in turn, so that a
    batch that spans two steps also holds records of similar shape. On Multi30k 4% of the tokens of a batch of 4096 are
    padding.

    Args:
        source: Tokens of each source (N,).
        target: Tokens of each target (N,).
        max_tokens: Bound on the tokens of a batch, with padding.
        max_sentences: Largest number of records of a batch.
        seed: Seeds (seed, epoch, ...) of the noise and the order.
    """
    random = np.random.default_rng(seed)
    # Sort records by length, then by shape.
    cost = np.maximum(source, target)
    step = np.floor(np.log(cost) / np.log(1.05)).astype(np.int64)
    difference = source - target + random.uniform(-1, 1, len(source))
    order = np.lexsort((np.where(step % 2, difference, -difference), step))
    # Cut the order into batches, and shuffle them.
    batches = pack(cost, order, max_tokens, max_sentences)
    return [batches[i] for i in random.permutation(len(batches))]


def sorted_batches(
    source: Lengths, target: Lengths, max_tokens: int, max_sentences: int | None = None
) -> list[Indices]:
    """Return batches for evaluation, longest first, so that a batch too large for the memory fails at once.

    Args:
        source: Tokens of each source (N,).
        target: Tokens of each target (N,).
        max_tokens: Bound on the tokens of a batch, with padding.
        max_sentences: Largest number of records of a batch.
    """
    cost = np.maximum(source, target)
    return pack(cost, np.lexsort((source, cost))[::-1].astype(np.int64), max_tokens, max_sentences)


def shard(batches: Sequence[Indices], rank: int, world_size: int) -> list[Indices]:
    """Return every ``world_size``-th batch from ``rank`` on; fillers make the number equal on all ranks.

    Args:
        batches: Batches of all ranks.
        rank: Number of this process.
        world_size: Number of processes.
    """
    mine = list(batches[rank::world_size])
    # Fill up to the number of batches of rank 0, which has the most.
    return mine + [FILLER] * (-(-len(batches) // world_size) - len(mine))
