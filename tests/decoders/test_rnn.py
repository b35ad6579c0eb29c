"""Tests of the recurrent decoder: it equals the formulas of its papers, computed one token at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from seq2seq.batch import PAD, Batch
from seq2seq.decoders.bridge import Bridge
from seq2seq.encoders.base import Encoder, EncoderOutput
from seq2seq.errors import UserError
from seq2seq.model import Seq2Seq
from tests.attention.walk import close
from tests.catalogue import WIDTH, batch, model, noise, randomise


def attend(probe: Seq2Seq, query: Tensor, encoded: EncoderOutput) -> Tensor:
    """Return c = sum_j softmax_j(q^T W h_j / sqrt(Q)) h_j."""
    values, mask = encoded.memory.values, encoded.memory.mask
    scores = torch.einsum("bq,qk,bsk->bs", query, probe.decoder.attention.score.weight[0], values)
    scores = scores * WIDTH**-0.5
    return torch.einsum("bs,bsk->bk", scores.masked_fill(~mask, -torch.inf).softmax(-1), values)


def torch_cell(probe: Seq2Seq, kind: type[nn.LSTMCell] | type[nn.GRUCell]) -> nn.LSTMCell | nn.GRUCell:
    """Return the decoder's layer as PyTorch's cell."""
    weights = probe.decoder.rnn.layers[0].state_dict()
    made = kind(weights["weight_ih_l0"].shape[1], WIDTH).double()
    made.load_state_dict({name.removesuffix("_l0"): weight for name, weight in weights.items()})
    return made


@pytest.mark.parametrize("feeding", [True, False])
def test_luong(feeding: bool) -> None:
    """h_t = LSTM([E y; h~_{t-1}]), h~_t = tanh(W_c [c_t; h_t]), logits W_s h~_t (2015, section 3.3)."""
    probe = model("attention=general", "model.embedding_dim=5", f"decoder.input_feeding={feeding}".lower())
    data = batch()
    encoded, embedded = probe.encoder(data), probe.decoder.embedding(data.target_in)
    lstm = torch_cell(probe, nn.LSTMCell)
    h, c = torch.tanh(probe.decoder.bridge.maps[0](encoded.hidden[:, 0])).chunk(2, -1)
    fed, features = torch.zeros(3, WIDTH).double(), []
    for word in embedded.unbind(1):
        h, c = lstm(torch.cat((word, fed), -1) if feeding else word, (h, c))
        fed = torch.tanh(torch.cat((attend(probe, h, encoded), h), -1) @ probe.decoder.combine.weight.t())
        features.append(fed)
    close(probe(data).features, torch.stack(features, 1))
    logits = torch.stack(features, 1) @ probe.decoder.output.weight.t() + probe.decoder.output.bias
    close(probe.log_probs(data), logits.log_softmax(-1))


@pytest.mark.parametrize("feeding", [True, False])
def test_intra_decoder_attention(feeding: bool) -> None:
    """h~_t = tanh(W_c [c^e_t; c^d_t; h_t]), c^d_t = sum_{s < t} softmax(h_t^T W h_s / sqrt(Q)) h_s, c^d_1 = 0
    (Paulus 2017, section 2.2).
    """
    fed = f"decoder.input_feeding={feeding}".lower()
    probe = model("attention=general", "model.embedding_dim=5", fed, "self_attention@decoder_self=general")
    data = batch()
    encoded, lstm = probe.encoder(data), torch_cell(probe, nn.LSTMCell)
    h, c = torch.tanh(probe.decoder.bridge.maps[0](encoded.hidden[:, 0])).chunk(2, -1)
    w = WIDTH**-0.5 * probe.decoder.self_attention.score.weight[0]
    earlier: list[Tensor] = []
    rows, features = [], [torch.zeros(3, WIDTH).double()]
    for word in probe.decoder.embedding(data.target_in).unbind(1):
        h, c = lstm(torch.cat((word, features[-1]), -1) if feeding else word, (h, c))
        own, row = torch.zeros_like(h), torch.zeros(3, data.target_in.shape[1]).double()
        if earlier:
            past = torch.stack(earlier, 1)
            seen = data.target_in[:, : len(earlier)] != PAD
            scores = torch.einsum("bq,qk,bsk->bs", h, w, past).masked_fill(~seen, -torch.inf)
            row[:, : len(earlier)] = scores.softmax(-1)
            own = torch.einsum("bs,bsk->bk", row[:, : len(earlier)], past)
        earlier.append(h)
        rows.append(row)
        joined = torch.cat((attend(probe, h, encoded), own, h), -1)
        features.append(torch.tanh(joined @ probe.decoder.combine.weight.t()))
    close(probe(data).features, torch.stack(features[1:], 1))
    decoded = probe(data, need_weights=True)
    close(decoded.features, torch.stack(features[1:], 1))
    close(decoded.weights["decoder_self.0"][:, 0], torch.stack(rows, 1))
    assert not decoded.weights["decoder_self.0"].triu(0).any()


def test_bahdanau() -> None:
    """c_t uses s_{t-1} as query; s_t = GRU([E y; c_t]); maxout of U s_{t-1} + V E y + C c_t (2015, appendix A.2.2)."""
    probe = model(
        "attention=general", "model.embedding_dim=5", "decoder.order=bahdanau", "decoder.cell=gru",
        "decoder.bridge=backward", "decoder.readout_dim=7",
    )  # fmt: skip
    data = batch()
    encoded, embedded = probe.encoder(data), probe.decoder.embedding(data.target_in)
    gru = torch_cell(probe, nn.GRUCell)
    s = torch.tanh(probe.decoder.bridge.maps[0](encoded.hidden[:, 0, WIDTH // 2 :]))  # from the backward state at h_1
    readout, features = probe.decoder.readout.linear, []
    of_s, of_word, of_context = readout.weight.split([WIDTH, 5, WIDTH], 1)
    for word in embedded.unbind(1):
        context = attend(probe, s, encoded)
        t = s @ of_s.t() + word @ of_word.t() + context @ of_context.t() + readout.bias
        features.append(torch.stack([torch.maximum(t[:, 2 * i], t[:, 2 * i + 1]) for i in range(7)], 1))
        s = gru(torch.cat((word, context), -1), s)
    close(probe(data).features, torch.stack(features, 1))


class Fake(Encoder):
    """Encoder with a given shape of its final states."""

    def __init__(self, dim: int, layers: int, directions: int) -> None:
        super().__init__()
        self.final_dim, self.final_layers, self.directions = dim, layers, directions

    def forward(self, batch: Batch, *, need_weights: bool = False) -> EncoderOutput:
        raise AssertionError("only its shape is asked for")


@pytest.mark.parametrize("states", [1, 2])
def test_bridge(states: int) -> None:
    """Dense and backward: tanh(W h + b) of each layer; copy: the final state; zero: 0."""
    final = noise(3, 2, 6)
    dense, backward = (randomise(Bridge(kind, Fake(6, 2, 2), 4, 2, states).double()) for kind in ("dense", "backward"))
    for made, reads in ((dense(final), final), (backward(final), final[..., 3:])):
        maps = dense.maps if reads is final else backward.maps
        assert made.shape == (3, 2, states, 4)
        for layer in range(2):
            close(made[:, layer].flatten(1), torch.tanh(maps[layer](reads[:, layer])))
    copied = Bridge("copy", Fake(6, 2, 2), 6, 2, states)(final)
    assert torch.equal(copied[:, :, 0], final)
    assert not copied[:, :, 1:].any()
    assert not Bridge("zero", Fake(6, 2, 2), 4, 2, states)(final).any()


@pytest.mark.parametrize(("encoder_layers", "reads"), [(3, [1, 2]), (2, [0, 1]), (1, [0, 0])])
def test_bridge_counts_layers_from_the_top(encoder_layers: int, reads: list[int]) -> None:
    final = noise(2, encoder_layers, 4)
    assert torch.equal(Bridge("copy", Fake(4, encoder_layers, 2), 4, 2, 1)(final)[:, :, 0], final[:, reads])


@pytest.mark.parametrize("mix", ["encoder=transformer", "decoder=transformer", "encoder.bidirectional=false"])
def test_encoders_and_decoders_of_different_families_combine(mix: str) -> None:
    log_probs = model(mix).log_probs(batch())
    close(log_probs.exp().sum(-1), torch.ones_like(log_probs[..., 0]))


def test_dropout_in_training_only() -> None:
    probe = model("model.dropout=0.5")
    assert torch.equal(probe(batch()).features, probe(batch()).features)
    probe.train()
    assert not torch.equal(probe(batch()).features, probe(batch()).features)


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["decoder.order=cho"], "order=cho is unknown; choose luong or bahdanau"),
        (["decoder.order=bahdanau", "decoder.input_feeding=false"], "always reads the context"),
        (["decoder.bridge=tanh"], "bridge=tanh is unknown; choose one of dense, backward, copy, zero"),
        (["decoder.bridge=copy", "decoder.dim=4"], "ends in 8 and the decoder starts with 4; use bridge=dense"),
        (["decoder.bridge=backward", "encoder.bidirectional=false"], "one direction; use bridge=dense"),
        (["decoder.bridge=backward", "encoder=transformer"], "one direction"),
        (["decoder.cell=elman"], "cell=elman is unknown"),
    ],
)  # fmt: skip
def test_refusals(overrides: list[str], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        model(*overrides)


@pytest.mark.parametrize("name", ["coverage", "monotonic", "adaptive"])
def test_attention_state_of_a_full_run_equals_that_of_single_steps(name: str) -> None:
    decoder, data = model("model=rnn", attention=name).decoder, batch()
    start = decoder.start(model("model=rnn", attention=name).encoder(data))
    _, whole = decoder(data.target_in, start)
    stepwise = start
    for tokens in data.target_in.split(1, 1):
        _, stepwise = decoder(tokens, stepwise)
    assert whole.attention[0].keys() == stepwise.attention[0].keys() != set()
    for key, tensor in whole.attention[0].items():
        torch.testing.assert_close(tensor, stepwise.attention[0][key])
