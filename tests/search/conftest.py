"""Fixtures of tests of searches: tiny random models that prefer some outputs, and batches of random sources."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch

from seq2seq.attention.components.normalizers import Softmax
from seq2seq.attention.components.scores import General, ScaledDot
from seq2seq.attention.components.windows import Global
from seq2seq.attention.composed import ComposedAttention
from seq2seq.batch import EOS, PAD, Batch
from seq2seq.decoders.rnn import RNNDecoder
from seq2seq.decoders.transformer import TransformerDecoder
from seq2seq.encoders.rnn import RNNEncoder
from seq2seq.encoders.transformer import TransformerEncoder
from seq2seq.model import Seq2Seq

general = partial(ComposedAttention, score=General, window=Global, normalizer=Softmax)
multi_head = partial(ComposedAttention, score=ScaledDot, window=Global, normalizer=Softmax, heads=2, project=True)


def rnn(vocabulary: int) -> Seq2Seq:
    encoder = RNNEncoder(vocabulary, dim=8, embedding_dim=6, dropout=0.3)
    return Seq2Seq(encoder, RNNDecoder(vocabulary, encoder, dim=8, embedding_dim=6, attention=general, dropout=0.3))


def bahdanau(vocabulary: int) -> Seq2Seq:
    encoder = RNNEncoder(vocabulary, dim=8, embedding_dim=6, cell="gru")
    decoder = RNNDecoder(
        vocabulary, encoder, dim=8, embedding_dim=6, attention=general, layers=2, cell="gru", order="bahdanau"
    )
    return Seq2Seq(encoder, decoder)


def transformer(vocabulary: int) -> Seq2Seq:
    options = {"dim": 8, "layers": 2, "ff_dim": 16, "self_attention": multi_head, "dropout": 0.3}
    encoder = TransformerEncoder(vocabulary, **options)
    return Seq2Seq(encoder, TransformerDecoder(vocabulary, encoder, attention=multi_head, tie_output=False, **options))


FAMILIES = {"rnn": rnn, "bahdanau": bahdanau, "transformer": transformer}
Build = Callable[..., Seq2Seq]


@pytest.fixture
def build() -> Build:
    """Return a function that builds a model in training mode; searches must turn dropout off themselves."""

    def make(
        family: str, vocabulary: int = 9, *, seed: int = 0, sharpness: float = 4.0, dtype: torch.dtype = torch.float64
    ) -> Seq2Seq:
        torch.manual_seed(seed)
        model = FAMILIES[family](vocabulary).to(dtype)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "norm" not in name:
                    parameter.normal_(std=0.6)
            model.decoder.output.weight.mul_(sharpness)
        return model.train()

    return make


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    """Return the name of a family of models."""
    return str(request.param)


@pytest.fixture
def batch() -> Callable[..., Batch]:
    """Return a function that makes a batch of random sources with these lengths, including ``</s>``."""

    def make(lengths: list[int], vocabulary: int = 9, seed: int = 0) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        source = torch.full((len(lengths), max(lengths)), PAD)
        for row, length in zip(source, lengths, strict=True):
            row[:length] = torch.randint(EOS + 1, vocabulary, (length,), generator=generator)
            row[length - 1] = EOS
        return Batch(source, torch.arange(len(lengths)))

    return make
