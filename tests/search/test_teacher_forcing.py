"""Tests of teacher forcing: weights and log-probabilities of given outputs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from seq2seq.batch import EOS, Batch
from seq2seq.model import Seq2Seq
from seq2seq.search import Greedy, Hypothesis, force, rescore


def hypothesis(*tokens: int) -> Hypothesis:
    """Return a finished hypothesis with these tokens."""
    return Hypothesis(list(tokens), 0.0, 0.0, True)


def test_weights_equal_those_of_a_single_sentence(
    family: str, build: Callable[..., Seq2Seq], batch: Callable[..., Batch]
) -> None:
    model, sentences = build(family), batch([5, 2, 3])
    outputs = [hypothesis(4, 5), hypothesis(), hypothesis(6, 7, 8, 4)]
    forced = force(model, sentences, outputs)
    assert model.training
    for place, (output, length) in enumerate(zip(outputs, [5, 2, 3], strict=True)):
        alone = Batch(sentences.source[place : place + 1, :length], sentences.index[place : place + 1])
        (expected,) = force(model, alone, [output])
        steps = len(output.tokens) + 1
        assert forced[place].log_probs.shape == (steps,)
        assert torch.allclose(forced[place].log_probs, expected.log_probs)
        assert forced[place].weights.keys() == expected.weights.keys()
        for name, weights in forced[place].weights.items():
            queries = length if name.startswith("encoder") else steps
            keys = steps if name.startswith("decoder") else length
            assert weights.shape[1:] == (queries, keys)
            assert torch.allclose(weights, expected.weights[name])
            assert torch.allclose(weights.sum(-1), torch.ones(weights.shape[:2], dtype=weights.dtype))


def test_rescoring_by_the_chain_rule(build: Callable[..., Seq2Seq], batch: Callable[..., Batch]) -> None:
    """The score is the sum over single steps of the decoder; sentences may have different numbers of outputs."""
    model, sentences = build("rnn"), batch([5, 2])
    outputs = [[hypothesis(4, 5, 6)], [hypothesis(7), hypothesis()]]
    found = rescore(model, sentences, outputs)
    assert [len(scores) for scores in found] == [1, 2]
    with torch.no_grad():
        state = model.eval().decoder.start(model.encoder(sentences))
        total, before = 0.0, 2
        for token in (4, 5, 6, EOS):
            decoded, state = model.decoder(torch.full((2, 1), before), state)
            total += model.decoder.output.log_probs(decoded.features)[0, 0, token].item()
            before = token
    assert found[0][0] == pytest.approx(total, abs=1e-9)


def test_training_works_after_a_search(build: Callable[..., Seq2Seq], batch: Callable[..., Batch]) -> None:
    """A search leaves no state that prevents a backward pass."""
    model, sentences = build("transformer"), batch([3, 2])
    outputs = [found[0] for found in Greedy()(model, sentences)]
    force(model, sentences, outputs)
    target = torch.tensor([[2, 4, 3], [2, 5, 3]])
    model.log_probs(Batch(sentences.source, sentences.index, target)).sum().backward()
