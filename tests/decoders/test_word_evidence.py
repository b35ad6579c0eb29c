"""Tests of the evidence of words: it is the probability of each word under each alternative of the step before."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from seq2seq.decoders.word_evidence import READOUTS, WordEvidence
from seq2seq.layers.output import OutputLayer
from tests.attention.walk import close
from tests.catalogue import noise, randomise

B, T, J, D, V = 2, 5, 3, 4, 6
TOKENS = torch.tensor([[2, 4, 5, 3, 0], [2, 5, 1, 4, 3]])
CONTEXTS = noise(B, T, J, D)


def layer() -> OutputLayer:
    """Return an output layer with random parameters."""
    return randomise(OutputLayer(D, V).double())


def read(contexts: Tensor) -> Tensor:
    """Return features that are no linear function of the contexts."""
    return torch.tanh(2 * contexts)


@pytest.mark.parametrize("chunks", [(T,), (1,) * T, (2, 3)], ids=str)
def test_evidence_equals_the_log_probability_of_the_word_that_is_read(chunks: tuple[int, ...]) -> None:
    """Step t learns log p(y_{t-1} | alternative j of step t-1); the first step has read no word."""
    output = layer()
    evidence = WordEvidence(output, TOKENS, None)
    assert evidence.readouts is None and evidence.state() == {}
    found = torch.cat([evidence(read, part) for part in CONTEXTS.split(list(chunks), 1)], 1)
    assert not found[:, 0].any()
    log_p = output.log_probs(read(CONTEXTS))
    for b in range(B):
        for t in range(1, T):
            close(found[b, t], log_p[b, t - 1, :, TOKENS[b, t]])
    assert evidence.readouts is not None
    close(evidence.readouts, read(CONTEXTS))


def test_the_next_call_begins_with_the_last_readouts() -> None:
    output = layer()
    whole = WordEvidence(output, TOKENS, None)(read, CONTEXTS)
    first = WordEvidence(output, TOKENS[:, :2], None)
    first(read, CONTEXTS[:, :2])
    rest = WordEvidence(output, TOKENS[:, 2:], first.state()[READOUTS])
    close(rest(read, CONTEXTS[:, 2:]), whole[:, 2:])


def test_the_norm_belongs_to_the_readouts() -> None:
    output, norm = layer(), nn.LayerNorm(D).double()
    evidence = WordEvidence(output, TOKENS, None, norm)
    evidence(read, CONTEXTS)
    assert evidence.readouts is not None
    close(evidence.readouts, norm(read(CONTEXTS)))
