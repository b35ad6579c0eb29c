"""Test of greedy search, against a model that reads each prefix again from ``<s>``."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from seq2seq.batch import BOS, EOS, PAD, Batch
from seq2seq.model import Seq2Seq
from seq2seq.search import Greedy


def test_each_token_is_the_most_probable_after_its_prefix(
    family: str, build: Callable[..., Seq2Seq], batch: Callable[..., Batch]
) -> None:
    model, sentences = build(family), batch([5, 3, 4])
    outputs = Greedy(max_length=6)(model, sentences)
    model.eval()
    for row, (output,) in enumerate(outputs):
        source, tokens, total = sentences.source[row : row + 1], [BOS], 0.0
        source = source[:, source[0] != PAD]
        while tokens[-1] != EOS:
            prefix = Batch(source, torch.tensor([0]), torch.tensor([[*tokens, EOS]]))
            log_probs = model.log_probs(prefix)[0, -1]
            allowed = log_probs.clone()
            allowed[[PAD, BOS]] = -torch.inf
            tokens.append(EOS if len(tokens) == 7 else int(allowed.argmax()))
            total += log_probs[tokens[-1]].item()
        assert output.tokens == tokens[1:-1]
        assert output.finished == (len(output.tokens) < 6)
        assert output.score == output.log_prob == pytest.approx(total)
