"""Tests of sampling: the distribution of tokens, reproducible draws and log-probabilities."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from seq2seq.batch import Batch
from seq2seq.errors import UserError
from seq2seq.model import Seq2Seq
from seq2seq.search import Greedy, Sample, rescore
from seq2seq.search.sample import drawing_device

P = torch.tensor([0.1, 0.4, 0.0, 0.3, 0.2], dtype=torch.float64)


def frequencies(search: Sample, steps: int = 10_000) -> torch.Tensor:
    """Return how often each of five tokens is chosen, for draws at equal distances in [0, 1)."""
    draws = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
    chosen = search.choose(P.log().expand(steps, -1), draws)
    return torch.bincount(chosen, minlength=5) / steps


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.1, 0.4, 0.0, 0.3, 0.2]),
        ({"temperature": 0.5}, [1 / 30, 16 / 30, 0.0, 9 / 30, 4 / 30]),  # in proportion to the squares
        ({"top_k": 2}, [0.0, 4 / 7, 0.0, 3 / 7, 0.0]),
        ({"top_k": 99}, [0.1, 0.4, 0.0, 0.3, 0.2]),
        ({"top_p": 0.69}, [0.0, 4 / 7, 0.0, 3 / 7, 0.0]),
        ({"top_p": 0.71}, [0.0, 4 / 9, 0.0, 3 / 9, 2 / 9]),
        ({"top_p": 1e-9}, [0.0, 1.0, 0.0, 0.0, 0.0]),
        ({"top_k": 3, "top_p": 0.75}, [0.0, 4 / 7, 0.0, 3 / 7, 0.0]),  # after top_k, 4/9 + 3/9 reach 0.75
    ],
)
def test_distribution_of_tokens_by_hand(options: dict[str, float], expected: list[float]) -> None:
    assert frequencies(Sample(**options)).tolist() == pytest.approx(expected, abs=2e-4)


def test_tokens_without_probability_are_never_drawn() -> None:
    p = torch.tensor([[-torch.inf, 0.0, -0.3, -torch.inf]])
    for draw in (0.0, 1.0 - 2.0**-53):
        assert Sample().choose(p, torch.tensor([draw], dtype=torch.float64)).item() in (1, 2)


def test_output_depends_only_on_seed_record_and_number(
    family: str, build: Callable[..., Seq2Seq], batch: Callable[..., Batch]
) -> None:
    model, sentences = build(family), batch([4, 3, 6])
    before = torch.random.get_rng_state()
    few, many = Sample(samples=2)(model, sentences), Sample(samples=6)(model, sentences)
    assert torch.equal(torch.random.get_rng_state(), before)
    for a, b in zip(few, many, strict=True):
        assert all(h.tokens in [other.tokens for other in b] for h in a)
        assert [h.score for h in b] == sorted((h.score for h in b), reverse=True)
    assert Sample(samples=6)(model, sentences) == many
    assert Sample(samples=6, seed=2)(model, sentences) != many
    moved = Batch(sentences.source, sentences.index + 1)
    assert Sample(samples=6)(model, moved) != many


def test_sampling_from_the_best_token_equals_greedy_search(
    family: str, build: Callable[..., Seq2Seq], batch: Callable[..., Batch]
) -> None:
    model, sentences = build(family), batch([4, 3, 6])
    greedy = Greedy()(model, sentences)
    for search in (Sample(top_k=1), Sample(top_p=1e-6), Sample(temperature=1e-6)):
        assert [h[0].tokens for h in search(model, sentences)] == [h[0].tokens for h in greedy]


def test_log_prob_equals_that_of_the_model(
    family: str, build: Callable[..., Seq2Seq], batch: Callable[..., Batch]
) -> None:
    model, sentences = build(family), batch([4, 3, 6])
    found = Sample(samples=3, temperature=1.5, top_k=4, no_repeat_ngram_size=1, min_length=2)(model, sentences)
    for hypotheses, again in zip(found, rescore(model, sentences, found), strict=True):
        assert [h.log_prob for h in hypotheses] == pytest.approx(again, abs=1e-9)
        assert all(len(set(h.tokens)) == len(h.tokens) >= 2 for h in hypotheses)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"temperature": 0.0}, "temperature=0.0 .*greedy"),
        ({"top_p": 0.0}, "top_p=0.0"),
        ({"top_p": 1.1}, "top_p=1.1"),
        ({"top_k": -1}, "top_k=-1"),
        ({"samples": 0}, "samples=0"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, float], named: str) -> None:
    with pytest.raises(UserError, match=named):
        Sample(**options)


def test_tokens_of_a_mac_are_drawn_on_the_cpu() -> None:
    """Its GPU has no fp64, in which the distribution function is summed."""
    assert drawing_device(torch.device("mps")) == torch.device("cpu")
    for name in ("cpu", "cuda:1"):
        assert drawing_device(torch.device(name)) == torch.device(name)
