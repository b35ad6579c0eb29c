"""Tests of the constraints of searches: forbidden tokens, lengths and repeated n-grams."""

import torch

from seq2seq.batch import BOS, EOS, PAD
from seq2seq.search import Greedy
from seq2seq.search.constraints import Constraints, forbid_repeats

INF = torch.inf


def allowed(options: Greedy, limits: list[int], said: list[list[int]], size: int = 9) -> list[list[int]]:
    """Return the tokens that are allowed after each row of ``said``."""
    forbid = Constraints(options, limits, torch.device("cpu"))
    log_probs = forbid(torch.full((len(said), size), -2.0), torch.tensor(said), torch.arange(len(said)))
    assert set(log_probs.flatten().tolist()) <= {-2.0, -INF}
    return [(row > -INF).nonzero().flatten().tolist() for row in log_probs]


def test_padding_and_begin_are_never_allowed() -> None:
    assert allowed(Greedy(), [5], [[BOS]]) == [[1, 3, 4, 5, 6, 7, 8]]
    assert allowed(Greedy(suppress_unk=True), [5], [[BOS]]) == [[3, 4, 5, 6, 7, 8]]


def test_lengths_are_limited() -> None:
    assert allowed(Greedy(min_length=2), [5], [[BOS, 4]]) == [[1, 4, 5, 6, 7, 8]]
    assert allowed(Greedy(min_length=2), [5, 2], [[BOS, 4, 4]] * 2) == [[1, 3, 4, 5, 6, 7, 8], [EOS]]


def test_repeated_ngrams_are_forbidden() -> None:
    a, b, c = 4, 5, 6
    for said, size, forbidden in [
        ([a, b], 1, [a, b]),
        ([a, b, a], 2, [b]),
        ([a, b, a, c, a], 2, [b, c]),
        ([a, a], 2, [a]),
        ([a, b, c, a, b], 3, [c]),
        ([a, b, c, b, a], 3, []),
    ]:
        log_probs = torch.zeros(1, 9)
        forbid_repeats(log_probs, torch.tensor([said]), size)
        assert (log_probs[0] == -INF).nonzero().flatten().tolist() == forbidden, (said, size)


def test_output_ends_early_if_all_other_tokens_are_forbidden() -> None:
    said = [[BOS, 1, 4, 5, 6, 7, 8], [BOS, 1, 4, 5, 6, 7, PAD]]
    assert allowed(Greedy(min_length=9, no_repeat_ngram_size=1), [20, 20], said) == [[EOS], [8]]
