"""Tests of the laws inside models: every mechanism in every decoder, and every self-attention with every kind of
position.
"""

from __future__ import annotations

import re
from dataclasses import fields
from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor

from seq2seq.attention.base import Attention
from seq2seq.attention.types import SourceSpec
from seq2seq.batch import PAD, Batch
from seq2seq.layers.embedding import POSITIONS, relative
from seq2seq.model import Seq2Seq
from tests import seeding
from tests.attention.walk import close, walk
from tests.catalogue import WIDTH, batch, choices, memory, model, noise, serves

DECODERS = {
    "rnn": ["model=rnn"],
    "rnn-unfed": ["model=rnn", "decoder.input_feeding=false"],
    "rnn-bahdanau": ["model=rnn", "decoder.order=bahdanau", "model.layers=2", "encoder.cell=gru", "decoder.cell=gru"],
    "transformer": ["model=transformer", "model.layers=2"],
}
CROSS = {
    f"{name}-in-{decoder}": (overrides, name)
    for name in choices("attention")
    for decoder, overrides in DECODERS.items()
}
SELF = {
    f"{slot}={name}-{positions}": (
        ["model=transformer", f"self_attention@{slot}={name}", f"model.positions={positions}"],
        None,
    )
    for slot in ("encoder_self", "decoder_self")
    for name in choices("self_attention")
    for positions in POSITIONS
    if serves(
        "self_attention",
        name,
        SourceSpec(WIDTH, is_self=True, causal=slot == "decoder_self", position=relative(positions)),
    )
}
RNN_SELF = {
    f"{slot}={name}-in-{decoder}": ([*DECODERS[decoder], f"self_attention@{slot}={name}"], None)
    for slot, decoder in (("encoder_self", "rnn"), ("decoder_self", "rnn"), ("decoder_self", "rnn-unfed"))
    for name in choices("self_attention")
    if serves("self_attention", name, SourceSpec(WIDTH, is_self=True, causal=slot == "decoder_self"))
}
MODELS: dict[str, tuple[list[str], str | None]] = CROSS | SELF | RNN_SELF
LONG = batch(sources=(16, 5, 2))  # longer than the reach of windows: a query at a wrong position fails
USUAL = re.compile(
    r".*-in-rnn|.*-in-transformer|(additive|coverage|monotonic)-in-.*|.*=multi_head-.*|decoder_.*-sinusoidal|encoder_.*-rotary"
)
"""The models that every run of the tests covers: each mechanism in each kind of decoder, each self-attention with
absolute positions in the decoder and with rotary positions in the encoder. The others are marked slow."""
every_model = pytest.mark.parametrize(
    "name",
    [name if USUAL.fullmatch(name) else pytest.param(name, marks=pytest.mark.slow) for name in MODELS],
    scope="module",  # tests are ordered by model: each model is built once
)


def fresh(name: str) -> Seq2Seq:
    """Build the model of this name in ``MODELS`` anew."""
    overrides, attention = MODELS[name]
    return model(*overrides, attention=attention)


kept = lru_cache(maxsize=2)(fresh)


def build(name: str) -> Seq2Seq:
    """Return the model of this name. Other tests may have used it: a test below checks that calls leave no trace."""
    probe = kept(name).eval()
    probe.zero_grad()
    return probe


def read(model: Seq2Seq, batch: Batch, *chunks: int, need_weights: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
    """Return log p (B, T, V) of the target, read in ``chunks``, and the weights of the last chunk."""
    state, log_probs, weights = model.decoder.start(model.encoder(batch)), [], {}
    for tokens in batch.target_in.split(list(chunks), 1):
        decoded, state = model.decoder(tokens, state, need_weights=need_weights)
        log_probs.append(model.decoder.log_probs(decoded))
        weights = dict(decoded.weights)
    return torch.cat(log_probs, 1), weights


def trimmed(batch: Batch, index: Tensor) -> Batch:
    """Return the rows ``index``, without the padding that only other rows need."""
    source, target = batch.source[index], batch.target[index]
    return Batch(source[:, source.ne(PAD).any(0)], index, target[:, target.ne(PAD).any(0)])


@every_model
def test_chunks(name: str) -> None:
    """Reading the target in chunks equals reading it at once."""
    probe, data = build(name), LONG
    length = data.target_in.shape[1]
    whole, weights = read(probe, data, length, need_weights=True)
    chunked, last = read(probe, data, 1, 2, length - 3, need_weights=True)
    close(chunked, whole)
    assert last.keys() == weights.keys()
    for slot, rows in last.items():
        close(rows, weights[slot][:, :, 3:])


@pytest.mark.slow
@every_model
def test_token_by_token(name: str) -> None:
    """Reading one token at a time without weights, as search does, equals reading all at once."""
    probe, length = build(name), LONG.target_in.shape[1]
    close(read(probe, LONG, *[1] * length)[0], read(probe, LONG, length)[0])


@every_model
def test_sources_with_nothing_to_attend_to(name: str) -> None:
    """An empty source gets zero weights and finite gradients, with and without returned weights."""
    probe, data = build(name), batch(sources=(7, 0, 2))
    features = probe(data).features
    decoded = probe(data, need_weights=True)
    close(decoded.features, features)
    for slot, weights in decoded.weights.items():
        assert weights.dim() == 4
        if slot.startswith("sentinel."):
            assert (weights[1] == 1).all()
        elif not slot.startswith("decoder_self"):
            assert not weights[1].any()
            assert not weights.transpose(1, 3)[~data.source_mask].any()
    for result in (decoded.features, features):
        probe.zero_grad()
        probe.decoder.output.log_probs(result).square().sum().backward(retain_graph=True)
        assert all(p.grad.isfinite().all() for p in probe.parameters() if p.grad is not None)


@every_model
def test_padding_and_neighbours(name: str) -> None:
    """A row alone and without padding has the log-probabilities that it has in the batch."""
    probe, data = build(name), batch()
    together = probe.log_probs(data)
    for row in range(len(data)):
        alone = probe.log_probs(trimmed(data, torch.tensor([row])))
        close(alone[0], together[row, : alone.shape[1]])


@every_model
def test_select_and_reorder(name: str) -> None:
    """As in beam search, rows are repeated, then moved within their sentence, then whole sentences are removed."""
    probe, data = build(name), LONG
    twice, leave = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([5, 2])
    swap = torch.tensor([1, 0, 2, 2, 4, 5])  # only within sentences: the source memory stays as it is
    tokens = data.target_in[twice].flip(0)
    state = probe.decoder.start(probe.encoder(data).select(twice))
    _, state = probe.decoder(tokens[:, :2], state)
    _, state = probe.decoder(tokens[swap, 2:4], state.reorder(swap))
    last, _ = probe.decoder(tokens[swap][leave, 4:], state.select(leave))
    rows = Batch(data.source[twice][leave], leave, torch.cat((tokens[swap][leave], tokens[leave, :1]), 1))
    close(probe.decoder.log_probs(last), probe.log_probs(rows)[:, 4:])


@every_model
def test_every_parameter_learns(name: str) -> None:
    """Every parameter gets a gradient, except a norm of queries that the mechanism doesn't read."""
    probe, data = build(name), batch()
    seeding.seed(0)
    for training in (False, True):  # some parts, such as those that draw, run only in training
        decoded = probe.train(training)(data)
        picked = probe.decoder.log_probs(decoded).gather(2, data.target_out.unsqueeze(2)).squeeze(2)
        terms = [picked, decoded.log_prob, *decoded.penalties.values()]
        sum(term[data.target_mask].sum() for term in terms if term is not None).backward()
    idle = {name for name, p in probe.named_parameters() if p.grad is None or not p.grad.any()}
    if idle and not reads_query(probe.decoder.cross_attention(0)):  # the norm before it has no effect
        idle = {name for name in idle if ".around_cross.norm." not in name}
    assert not idle


def reads_query(attention: Attention) -> bool:
    """Return True if the context depends on the queries."""
    queries, source = noise(2, 3, WIDTH).requires_grad_(), memory(4, 3)
    source.values.requires_grad_()
    (gradient,) = torch.autograd.grad(walk(attention, queries, source).context.sum(), [queries], allow_unused=True)
    return gradient is not None and bool(gradient.any())


@every_model
def test_calls_store_nothing_on_the_model(name: str) -> None:
    probe = fresh(name)
    stored, held = {name: tensor.clone() for name, tensor in probe.state_dict().items()}, holdings(probe)
    first = probe(batch(), need_weights=True).features
    probe(batch(sources=(3, 9), targets=(2, 8)))
    assert holdings(probe) == held
    assert all(torch.equal(tensor, stored[name]) for name, tensor in probe.state_dict().items())
    assert torch.equal(probe(batch(), need_weights=True).features, first)


def holdings(model: Seq2Seq) -> list[tuple[str, str, Any]]:
    """Return all attributes of every part of the model."""
    return [
        (name, key, dict(value) if isinstance(value, dict) else value)
        for name, part in model.named_modules()
        for key, value in vars(part).items()
    ]


@pytest.mark.parametrize(
    ("decoder", "every"),
    [
        *(("rnn", 1), ("transformer", 1), ("rnn-unfed", 6), ("rnn-bahdanau", 6)),
        *(pytest.param(decoder, 1, marks=pytest.mark.slow) for decoder in ("rnn-unfed", "rnn-bahdanau")),
    ],
)
def test_decoders_pass_the_same_arguments_to_every_mechanism(decoder: str, every: int) -> None:
    heard: set[tuple[Any, ...]] = set()

    def listen(_: Attention, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Record the kinds and shapes of the arguments."""
        query, memory, _ = args
        given = tuple(field.name for field in fields(query) if getattr(query, field.name) is not None)
        heard.add((given, query.vector.shape[1:], memory.mask.shape[1:], tuple(sorted(kwargs))))

    for name in choices("attention")[::every]:
        probe = model(*DECODERS[decoder], attention=name)
        probe.decoder.cross_attention(0).register_forward_pre_hook(listen, with_kwargs=True)
        probe(batch())
    assert len(heard) == 1
