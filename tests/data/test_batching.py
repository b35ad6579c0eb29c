"""Tests of batches with a limit of tokens: size, completeness, padding, reproducibility and equal shares of ranks."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest

from seq2seq.data.batching import fitting_tokens, pack, random_batches, shard, sorted_batches


@pytest.fixture(scope="module")
def lengths() -> tuple[np.ndarray, np.ndarray]:
    """Return lengths like those of image descriptions: right-skewed, and correlated between the two sides."""
    random = np.random.default_rng(0)
    source = np.clip(random.gamma(8, 2, 30_000).round() + 2, 3, 60).astype(np.int64)
    target = np.clip((source * random.normal(1.05, 0.18, len(source))).round(), 3, 60).astype(np.int64)
    return source, target


def test_pack_by_hand():
    cost = np.array([3, 3, 4, 4, 9, 2, 2])
    # two rows of 3, because three rows of 4 cost 12 > 8; two rows of 4; 9 alone; two rows of 2
    assert [b.tolist() for b in pack(cost, np.arange(7), 8)] == [[0, 1], [2, 3], [4], [5, 6]]
    assert [b.tolist() for b in pack(cost, np.arange(7), 8, 1)] == [[i] for i in range(7)]
    assert pack(cost, np.arange(0), 8) == []


@pytest.mark.parametrize("max_tokens", [100, 1000, 4096])
def test_every_record_is_in_one_batch_and_no_batch_is_too_large(lengths, max_tokens):
    source, target = lengths
    for batches in (random_batches(*lengths, max_tokens, seed=(1, 0)), sorted_batches(*lengths, max_tokens)):
        assert sorted(chain.from_iterable(b.tolist() for b in batches)) == list(range(len(source)))
        assert all(len(b) * max(source[b].max(), target[b].max()) <= max_tokens for b in batches)


def test_overlong_record_is_a_separate_batch():
    source, target = np.array([5, 500, 5, 5]), np.array([5, 5, 5, 5])
    assert sorted(map(len, random_batches(source, target, 20, seed=(0, 0)))) == [1, 3]


def test_max_sentences_caps_the_rows(lengths):
    assert max(map(len, random_batches(*lengths, 4096, 16, seed=(1, 0)))) == 16


@pytest.mark.parametrize("max_tokens", [2048, 4096])
def test_padding_is_below_five_percent(lengths, max_tokens):
    source, target = lengths
    batches = random_batches(*lengths, max_tokens, seed=(1, 0))
    padded = sum(len(b) * (source[b].max() + target[b].max()) for b in batches)
    assert 1 - (source.sum() + target.sum()) / padded < 0.05


def test_batches_depend_only_on_seed_and_epoch(lengths):
    def drawn(*seed: int) -> list[list[int]]:
        return [b.tolist() for b in random_batches(*lengths, 1000, seed=seed)]

    assert drawn(1, 0) == drawn(1, 0)
    members = [frozenset(map(frozenset, drawn(*seed))) for seed in ((1, 0), (1, 1), (2, 0))]
    assert all(len(a & b) < 0.1 * len(a) for a, b in ((members[0], members[1]), (members[0], members[2])))


@pytest.mark.parametrize(
    ("records", "tokens"),  # 10,240 records of 10 tokens are 200 batches of 512 tokens
    [(1, 512), (10_240, 512), (20_479, 512), (20_480, 1024), (40_959, 1024), (40_960, 2048), (81_920, 4096)],
)
def test_fitting_tokens_by_hand(records, tokens):
    longer, shorter = np.full(records, 10), np.full(records, 4)
    assert fitting_tokens(longer, shorter) == fitting_tokens(shorter, longer) == tokens


def test_fitting_tokens_give_at_least_200_batches(lengths):
    tokens = fitting_tokens(*lengths)
    counts = {size: len(random_batches(*lengths, size, seed=(1, 0))) for size in (512, 1024, 2048, 4096)}
    assert tokens == 2048  # 30,000 pairs of about 18 tokens
    assert counts[tokens] >= 200 > counts[4096]


def test_batches_are_not_ordered_by_length(lengths):
    longest = np.array([lengths[0][b].max() for b in random_batches(*lengths, 1000, seed=(1, 0))])
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.2


def test_random_batches_do_not_change_the_global_generator(lengths):
    state = np.random.get_state()[1].copy()
    random_batches(*lengths, 1000, seed=(1, 0))
    assert (np.random.get_state()[1] == state).all()


def test_evaluation_batches_start_with_the_longest(lengths):
    longest = [max(lengths[0][b].max(), lengths[1][b].max()) for b in sorted_batches(*lengths, 1000)]
    assert longest == sorted(longest, reverse=True)


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 7, 24])
def test_ranks_share_the_batches_equally_and_in_order(world_size, count):
    batches = [np.array([i]) for i in range(count)]
    shares = [shard(batches, rank, world_size) for rank in range(world_size)]
    assert len({len(share) for share in shares}) == 1
    together = list(chain.from_iterable(zip(*shares, strict=True)))
    assert [b.tolist() for b in together if len(b)] == [[i] for i in range(count)]
    assert sum(len(b) == 0 for b in together) < world_size
