"""Tests of exact search, against all outputs of a tiny vocabulary, and of searches in sparse distributions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch

from seq2seq.batch import BOS, EOS, PAD, Batch
from seq2seq.errors import UserError
from seq2seq.layers.cross_entropy import MIN_LOG_PROB
from seq2seq.layers.sparse_output import EntmaxOutput
from seq2seq.model import Seq2Seq
from seq2seq.search import Beam, Exact, Greedy, Hypothesis, Sample, Search, rescore

V, LONGEST = 6, 3
LIMIT = {"max_length_ratio": 0.0, "max_length_offset": LONGEST}
WORDS = [word for word in range(V) if word not in (PAD, BOS, EOS)]


def with_entmax(model: Seq2Seq, alpha: float) -> Seq2Seq:
    """Return the model with a sparse output layer of the same weights, with p = 0 for <pad> and <s>."""
    old = model.decoder.output
    output = EntmaxOutput(old.weight.shape[1], len(old.weight), alpha=alpha)
    output.load_state_dict(old.state_dict())
    with torch.no_grad():
        output.bias[[PAD, BOS]] -= 100
    model.decoder.output = output.to(old.weight.dtype)
    return model


def enumerated(model: Seq2Seq, batch: Batch, shortest: int = 0) -> list[dict[tuple[int, ...], float]]:
    """Return log p of all outputs of each sentence, by teacher forcing."""
    lengths = range(shortest, LONGEST + 1)
    outputs = [words for length in lengths for words in itertools.product(WORDS, repeat=length)]
    several = [[Hypothesis(list(words), 0.0, 0.0, True) for words in outputs]] * len(batch)
    return [dict(zip(outputs, row, strict=True)) for row in rescore(model, batch, several)]


@pytest.mark.parametrize("alpha", [None, 1.5, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_finds_the_most_probable_of_all_outputs(
    build: Callable[..., Seq2Seq], batch: Callable[..., Batch], family: str, alpha: float | None, seed: int
) -> None:
    model, sources = build(family, V, seed=seed, sharpness=1.0), batch([3, 5, 2], V)
    if alpha is not None:
        with_entmax(model, alpha)
    found = Exact(max_prefixes=V**LONGEST, **LIMIT)(model, sources)
    for (output,), every in zip(found, enumerated(model, sources), strict=True):
        best = max(every, key=lambda words: every[words])
        assert output.proven
        if every[best] == -math.inf:
            assert output.log_prob <= MIN_LOG_PROB
            continue
        assert tuple(output.tokens) == best
        assert output.log_prob == output.score == pytest.approx(every[best])
        assert output.finished is (len(best) < LONGEST)


def test_minimal_length_restricts_the_outputs(build: Callable[..., Seq2Seq], batch: Callable[..., Batch]) -> None:
    model, sources = build("rnn", V, sharpness=1.0), batch([3, 5, 2], V)
    found = Exact(max_prefixes=V**LONGEST, min_length=2, **LIMIT)(model, sources)
    for (output,), every in zip(found, enumerated(model, sources, 2), strict=True):
        assert output.log_prob == pytest.approx(max(every.values()))


def test_few_prefixes_prove_what_is_probable(build: Callable[..., Seq2Seq], batch: Callable[..., Batch]) -> None:
    """An output whose probability is above 1 / max_prefixes is found and proven; no wrong output is proven."""
    proofs = []
    for seed in range(4):
        model, sources = build("rnn", V, seed=seed, sharpness=1.0), batch([3, 5, 2], V)
        known = enumerated(model, sources)
        cases = [
            (limit, output, every)
            for limit in (1, 2, 5, 20)
            for (output,), every in zip(Exact(max_prefixes=limit, **LIMIT)(model, sources), known, strict=True)
        ]
        for limit, output, every in cases:
            best = max(every.values())
            is_best = output.log_prob == pytest.approx(best)
            assert is_best or not output.proven
            assert output.proven or math.exp(best) <= 1 / limit
            proofs.append(output.proven)
    assert 0 < sum(proofs) < len(proofs)


def test_a_group_of_sentences_does_not_change_the_result(
    build: Callable[..., Seq2Seq], batch: Callable[..., Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, sources = build("transformer", V, sharpness=1.0), batch([3, 5, 2, 4, 1], V)
    together = Exact(max_prefixes=30, **LIMIT)(model, sources)
    monkeypatch.setattr("seq2seq.search.exact.MAX_ROWS", 60)
    for (one,), (other,) in zip(together, Exact(max_prefixes=30, **LIMIT)(model, sources), strict=True):
        assert one.tokens == other.tokens and one.log_prob == pytest.approx(other.log_prob)


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(UserError, match="max_prefixes=0 must be at least 1"):
        Exact(max_prefixes=0)


def assert_possible(outputs: list[Hypothesis], every: dict[tuple[int, ...], float]) -> None:
    """Check that the outputs are exactly those with p > 0, the most probable first, or impossible if there is none."""
    possible = sorted((value for value in every.values() if value > -math.inf), reverse=True)
    if possible:
        assert [output.log_prob for output in outputs] == pytest.approx(possible)
    else:
        assert outputs and all(output.log_prob <= MIN_LOG_PROB for output in outputs)


@pytest.mark.parametrize("alpha", [1.5, 2.0])
def test_a_beam_as_wide_as_the_support_finds_all_outputs(
    build: Callable[..., Seq2Seq], batch: Callable[..., Batch], family: str, alpha: float
) -> None:
    """The n-best list has exactly the outputs with p > 0, in the order of their probabilities."""
    model, sources = with_entmax(build(family, V, sharpness=2.0), alpha), batch([3, 5, 2], V)
    size = len(WORDS) ** LONGEST * 2
    found = Beam(beam_size=size, n_best=size, length_penalty=0.0, **LIMIT)(model, sources)
    for outputs, every in zip(found, enumerated(model, sources), strict=True):
        assert_possible(outputs, every)


SEARCHES: list[Search] = [
    Greedy(**LIMIT),
    Beam(beam_size=1, **LIMIT),
    Beam(beam_size=3, n_best=3, **LIMIT),
    Sample(samples=2, **LIMIT),
    Exact(**LIMIT),
]


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: type(search).__name__)
@pytest.mark.parametrize("forbidden", ["end", "words"])
def test_search_ends_where_nothing_is_allowed(
    build: Callable[..., Seq2Seq], batch: Callable[..., Batch], search: Search, forbidden: str
) -> None:
    """The output ends at the limit without support for </s>; or at once, if only forbidden words have a probability."""
    model, sources = with_entmax(build("rnn", V), 1.5), batch([3, 5], V)
    bias = model.decoder.output.bias
    with torch.no_grad():
        bias[EOS if forbidden == "end" else BOS] += -1e4 if forbidden == "end" else 1e4
    for outputs in search(model, sources):
        for output in outputs:
            assert math.isfinite(output.log_prob) and output.log_prob <= MIN_LOG_PROB
            assert len(output.tokens) == (LONGEST if forbidden == "end" else 0)
        assert outputs


def test_a_dead_end_is_dropped_beside_another_hypothesis(
    build: Callable[..., Seq2Seq], batch: Callable[..., Batch]
) -> None:
    """With a minimal length, some prefixes have only </s> in their support; the beam keeps the others."""
    model, sources = with_entmax(build("rnn", V, sharpness=2.0), 2.0), batch([3, 5, 2], V)
    found = Beam(beam_size=50, n_best=50, min_length=2, length_penalty=0.0, **LIMIT)(model, sources)
    for outputs, every in zip(found, enumerated(model, sources, 2), strict=True):
        assert_possible(outputs, every)


def test_samples_stay_in_the_support(build: Callable[..., Seq2Seq], batch: Callable[..., Batch]) -> None:
    model, sources = with_entmax(build("rnn", V, sharpness=2.0), 1.5), batch([3, 5, 2], V)
    found = Sample(samples=40, temperature=3.0, max_length_ratio=0.0, max_length_offset=30)(model, sources)
    for outputs, log_probs in zip(found, rescore(model, sources, found), strict=True):
        for output, log_prob in zip(outputs, log_probs, strict=True):
            assert not output.finished or output.log_prob == pytest.approx(log_prob)
