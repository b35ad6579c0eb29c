"""Tests of beam search, against a plain search that rescores every prefix, without caches or early ends."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch

from seq2seq.batch import BOS, EOS, PAD, UNK, Batch
from seq2seq.errors import UserError
from seq2seq.model import Seq2Seq
from seq2seq.search import Beam, Greedy, force, rescore
from tests.sampling import mostly_slow

Words = tuple[int, ...]
LIMIT = {"max_length_ratio": 0.0, "max_length_offset": 4}


def sentence_of(batch: Batch, place: int) -> Batch:
    """Return one sentence of a batch without padding."""
    source = batch.source[place]
    return Batch(source[source != PAD].unsqueeze(0), batch.index[place : place + 1])


def next_log_probs(model: Seq2Seq, sentence: Batch, prefixes: list[Words]) -> torch.Tensor:
    """Return log p(. | prefix) of each prefix by teacher forcing: (prefixes, V)."""
    target = torch.tensor([[BOS, *prefix, EOS] for prefix in prefixes])
    repeated = Batch(sentence.source.expand(len(prefixes), -1), sentence.index.expand(len(prefixes)), target)
    with torch.no_grad():
        return model.log_probs(repeated)[:, -1]


def divide(total: float, length: int, search: Beam) -> float:
    """Divide a log-probability by the norm of the length."""
    base = (5 + length) / 6 if search.length_norm == "gnmt" else length
    return total / base**search.length_penalty


def plain_search(model: Seq2Seq, sentence: Batch, search: Beam, limit: int) -> list[tuple[float, float, Words]]:
    """Return (score, log_prob, tokens) of all finished hypotheses, best first; search up to the last step."""
    live: list[tuple[float, Words]] = [(0.0, ())]
    finished: list[tuple[float, float, Words]] = []
    for step in range(limit + 1):
        candidates = []
        rows = next_log_probs(model.eval(), sentence, [prefix for _, prefix in live]).tolist()
        for (total, prefix), row in zip(live, rows, strict=True):
            for token, log_prob in enumerate(row):
                allowed = token not in (PAD, BOS) and not (token == UNK and search.suppress_unk)
                if step == limit:
                    allowed = token == EOS
                if token == EOS and step < search.min_length:
                    allowed = False
                n = search.no_repeat_ngram_size
                grams = [prefix[i : i + n] for i in range(len(prefix) - n + 1)]
                if n and token != EOS and (*prefix, token)[-n:] in grams:
                    allowed = False
                if allowed:
                    candidates.append((total + log_prob, (*prefix, token)))
        candidates.sort(key=lambda c: -c[0])
        live = []
        for total, said in candidates[: search.beam_size - len(finished)]:
            if said[-1] == EOS:
                finished.append((divide(total, len(said), search), total, said[:-1]))
            else:
                live.append((total, said))
        if not live:
            break
    return sorted(finished, key=lambda f: -f[0])


OPTIONS = [
    {},
    {"length_penalty": 0.0},
    {"length_penalty": 0.6, "length_norm": "plain"},
    {"length_penalty": 2.0, "n_best": 3},
    {"n_best": 4, "min_length": 2},
    {"no_repeat_ngram_size": 1, "n_best": 2},
    {"no_repeat_ngram_size": 2, "min_length": 5},
    {"suppress_unk": True, "max_length": 3},
]


@pytest.mark.parametrize("seed", mostly_slow(range(3), every=3))
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: ",".join(o) or "default")
def test_beam_search_equals_the_plain_search(
    family: str, options: dict[str, object], seed: int, build: Callable[..., Seq2Seq], batch: Callable[..., Batch]
) -> None:
    lengths = [3, 1, 5, 2, 4, 4]
    search = Beam(**{"beam_size": 4, "max_length_ratio": 1.0, "max_length_offset": 3, **options})
    model, sentences = build(family, seed=seed, sharpness=2.0), batch(lengths, seed=seed)
    found = search(model, sentences)
    for place, length in enumerate(lengths):
        limit = max(min(search.max_length or 99, length + 3), search.min_length)
        expected = plain_search(model, sentence_of(sentences, place), search, limit)[: search.n_best]
        assert [h.tokens for h in found[place]] == [list(words) for _, _, words in expected]
        assert [h.score for h in found[place]] == pytest.approx([score for score, _, _ in expected], abs=1e-9)
        assert [h.log_prob for h in found[place]] == pytest.approx([total for _, total, _ in expected], abs=1e-9)
        assert [h.finished for h in found[place]] == [len(words) < limit for _, _, words in expected]


@pytest.mark.parametrize(
    ("n_best", "best", "steps"),
    [(1, [[]], [4, 16, 12]), (2, [[], [4]], [4, 16, 12, 8])],
)
def test_search_ends_when_no_hypothesis_can_win(
    n_best: int, best: list[list[int]], steps: list[int], build: Callable[..., Seq2Seq], batch: Callable[..., Batch]
) -> None:
    """By hand, with p(4) = 0.6, p(</s>) = 0.3 and p(5) = 0.1 after any prefix, for four sentences and a beam of 5.

    Step 1 finishes "" (0.3) and keeps "4" (0.6). Step 2 finishes "4" (0.18), and "44" (0.36) can still win. In step 3
    "444" (0.216) can't beat the best output any more, but it can beat the second best. In step 4 "4444" (0.13) can't
    beat the second best either.
    """
    model = build("rnn", sharpness=0.0)
    model.decoder.output.bias.data = torch.full((9,), -50.0, dtype=torch.float64)
    model.decoder.output.bias.data[[4, EOS, 5]] = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64).log()
    rows: list[int] = []
    model.decoder.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    found = Beam(length_penalty=0.0, n_best=n_best)(model, batch([4, 2, 6, 3]))
    assert [[h.tokens for h in hypotheses] for hypotheses in found] == [best] * 4
    assert found[0][0].score == pytest.approx(math.log(0.3))
    assert rows == steps


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_wide_beam_equals_exhaustive_search(
    family: str, alpha: float, build: Callable[..., Seq2Seq], batch: Callable[..., Batch]
) -> None:
    model, sentences = build(family, 7), batch([4, 2], 7)
    search = Beam(beam_size=350, n_best=341, length_penalty=alpha, **LIMIT)
    found = search(model, sentences)
    words = (UNK, 4, 5, 6)
    everything = [said for length in range(5) for said in itertools.product(words, repeat=length)]
    assert len(everything) == 341
    for place in range(2):
        scored = []
        for length in range(5):
            target = torch.tensor([[BOS, *said, EOS] for said in everything if len(said) == length])
            source = sentence_of(sentences, place).source.expand(len(target), -1)
            with torch.no_grad():
                log_probs = model.eval().log_probs(Batch(source, torch.zeros(len(target)), target))
            totals = log_probs.gather(2, target[:, 1:].unsqueeze(2)).sum((1, 2)).tolist()
            for total, said in zip(totals, target[:, 1:-1].tolist(), strict=True):
                scored.append((divide(total, length + 1, search), tuple(said)))
        scored.sort(reverse=True)
        assert [tuple(h.tokens) for h in found[place]] == [said for _, said in scored]
        assert [h.score for h in found[place]] == pytest.approx([score for score, _ in scored], abs=1e-9)


@pytest.mark.parametrize("dtype", mostly_slow([torch.float64, torch.float32], every=2))
def test_beam_of_one_equals_greedy_search(
    family: str, dtype: torch.dtype, build: Callable[..., Seq2Seq], batch: Callable[..., Batch]
) -> None:
    for seed in range(5):
        model, sentences = build(family, seed=seed, dtype=dtype), batch([6, 1, 3, 8, 2], seed=seed)
        greedy = Greedy()(model, sentences)
        beam = Beam(beam_size=1, length_penalty=1.5)(model, sentences)
        assert [h[0].tokens for h in beam] == [h[0].tokens for h in greedy]
        assert [h[0].log_prob for h in beam] == pytest.approx([h[0].log_prob for h in greedy], rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_log_prob_equals_that_of_teacher_forcing(
    family: str, dtype: torch.dtype, build: Callable[..., Seq2Seq], batch: Callable[..., Batch]
) -> None:
    model, sentences = build(family, dtype=dtype), batch([5, 1, 3, 2])
    searches = [Greedy(min_length=2), Beam(n_best=5, no_repeat_ngram_size=2)]
    for search in searches:
        found = search(model, sentences)
        again = rescore(model, sentences, found)
        for hypotheses, log_probs in zip(found, again, strict=True):
            tolerance = 1e-9 if dtype == torch.float64 else 1e-5
            assert [h.log_prob for h in hypotheses] == pytest.approx(log_probs, rel=tolerance)


def test_first_tokens_win_among_equal_scores(build: Callable[..., Seq2Seq], batch: Callable[..., Batch]) -> None:
    model = build("transformer", 200, sharpness=0.0)
    torch.nn.init.zeros_(model.decoder.output.bias)
    found = Beam(beam_size=3, n_best=3, min_length=1, max_length=1)(model, batch([3, 2]))
    assert [[h.tokens for h in hypotheses] for hypotheses in found] == [[[1], [4], [5]]] * 2


def test_coverage_penalty_equals_that_of_the_attention(
    family: str, build: Callable[..., Seq2Seq], batch: Callable[..., Batch]
) -> None:
    """The score of each hypothesis equals that of one teacher-forced pass."""
    model, lengths = build(family, seed=2), [6, 3, 5]
    sentences = batch(lengths, seed=2)
    search = Beam(beam_size=8, n_best=8, coverage_penalty=2.0, length_penalty=1.0)
    found = search(model, sentences)
    for rank in range(8):
        column = [hypotheses[rank] for hypotheses in found]
        for h, forced in zip(column, force(model, sentences, column), strict=True):
            last = max(name for name in forced.weights if name.startswith("cross"))
            seen = forced.weights[last].mean(0).sum(0)
            covered = seen.clamp(1e-6, 1.0).log().sum().item()
            assert h.score == pytest.approx(divide(h.log_prob, len(h.tokens) + 1, search) + 2.0 * covered, abs=1e-5)
    for hypotheses in found:
        assert [h.score for h in hypotheses] == sorted((h.score for h in hypotheses), reverse=True)


def test_weights_of_nan_are_reported(build: Callable[..., Seq2Seq], batch: Callable[..., Batch]) -> None:
    model = build("rnn")
    torch.nn.init.constant_(model.decoder.output.weight, math.nan)
    for search in (Greedy(), Beam()):
        with pytest.raises(UserError, match="finite log-probability"):
            search(model, batch([3]))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"beam_size": 0}, "^beam_size=0"),
        ({"n_best": 6}, "^n_best=6 must be 1 to beam_size=5"),
        ({"length_penalty": -1.0}, "^length_penalty=-1.0"),
        ({"length_norm": "wu"}, "^length_norm=wu must be gnmt or plain"),
        ({"min_length": 4, "max_length": 3}, "^max_length=3 must be at least 4"),
        ({"coverage_penalty": -0.1}, "^coverage_penalty=-0.1"),
        ({"no_repeat_ngram_size": -1}, "^no_repeat_ngram_size=-1"),
        ({"max_length_ratio": math.inf}, "^max_length_ratio=inf"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, object], named: str) -> None:
    with pytest.raises(UserError, match=named):
        Beam(**options)
