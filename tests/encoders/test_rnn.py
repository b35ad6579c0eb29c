"""Tests of the recurrent encoder: it equals PyTorch's LSTM and GRU on packed sequences."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seq2seq.config.instantiate import build_node
from seq2seq.encoders.rnn import RNNEncoder
from seq2seq.errors import UserError
from tests.attention.walk import close
from tests.catalogue import SOURCE_VOCABULARY, batch, config, randomise

E, D = 5, 6


def encoder(**options: object) -> RNNEncoder:
    """Build a recurrent encoder with random parameters."""
    return randomise(RNNEncoder(SOURCE_VOCABULARY, dim=D, embedding_dim=E, **options).double()).eval()


def oracle(ours: RNNEncoder, cell: str) -> nn.LSTM | nn.GRU:
    """Return PyTorch's module of all layers and directions with a copy of our weights."""
    layers, directions = len(ours.layers), ours.directions
    kind = {"lstm": nn.LSTM, "gru": nn.GRU}[cell]
    theirs = kind(E, D // directions, layers, bidirectional=directions == 2, batch_first=True).double()
    weights = {
        name.replace("l0", f"l{layer}") + ("_reverse" if direction else ""): weight
        for layer, direction in product(range(layers), range(directions))
        for name, weight in ours.layers[layer][direction].state_dict().items()
    }
    theirs.load_state_dict(weights)
    return theirs


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_equals_pytorch_on_packed_sequences(cell: str, bidirectional: bool, layers: int) -> None:
    ours, data = encoder(cell=cell, bidirectional=bidirectional, layers=layers), batch()
    lengths = data.source_mask.sum(1)
    packed = pack_padded_sequence(ours.embedding(data.source), lengths, batch_first=True, enforce_sorted=False)
    outputs, final = oracle(ours, cell)(packed)
    memory, _ = pad_packed_sequence(outputs, batch_first=True)  # zero where padded, as ours
    final = final[0] if cell == "lstm" else final
    hidden = final.unflatten(0, (layers, -1)).permute(2, 0, 1, 3).flatten(2)  # (B, L, [forward; backward])
    encoded = ours(data)
    close(encoded.memory.values, memory)
    close(encoded.hidden, hidden)
    assert torch.equal(encoded.memory.mask, data.source_mask)
    assert torch.equal(encoded.memory.extent.squeeze(1), lengths)
    assert (ours.source.width, ours.final_dim, ours.final_layers) == (D, D, layers)


def test_self_attention() -> None:
    """h_j + c_j, c_j = sum_i softmax(h_j^T W h_i / sqrt(Q)) h_i over the real positions i."""
    data, general = batch(), build_node(config("self_attention=general").self_attention)
    ours, plain = encoder(self_attention=general), encoder()
    plain.load_state_dict({name: x for name, x in ours.state_dict().items() if "self_attention" not in name})
    states, found = plain(data), ours(data, need_weights=True)
    h, mask = states.memory.values, data.source_mask
    scores = torch.einsum("btq,qk,bsk->bts", h, ours.self_attention.score.weight[0], h) / h.shape[-1] ** 0.5
    weights = scores.masked_fill(~mask[:, None], -torch.inf).softmax(-1)
    expected = (h + weights @ h) * mask.unsqueeze(-1)
    close(found.memory.values, expected)
    close(ours(data).memory.values, expected)
    close(found.hidden, states.hidden)
    (returned,) = found.weights.values()
    close(returned[:, 0][mask], weights[mask])


def test_empty_source_gets_zeros() -> None:
    encoded = encoder(layers=2)(batch(sources=(4, 0, 2)))
    assert not encoded.memory.values[1].any()
    assert not encoded.hidden[1].any()


def test_dropout_between_layers_and_on_the_memory() -> None:
    ours, data = encoder(layers=2, dropout=0.5), batch()
    assert torch.equal(ours(data).hidden, ours(data).hidden)
    ours.train()
    first, second = ours(data), ours(data)
    assert not torch.equal(first.hidden[:, 1], second.hidden[:, 1])
    share = first.memory.values[first.memory.mask].eq(0).double().mean().item()
    assert 0.3 < share < 0.7


def test_select() -> None:
    encoded, index = encoder()(batch()), torch.tensor([2, 0, 2])
    picked = encoded.select(index)
    assert torch.equal(picked.hidden, encoded.hidden[index])
    assert torch.equal(picked.memory.values, encoded.memory.values[index])


def test_refusals() -> None:
    with pytest.raises(UserError, match="dim=7 is shared by two directions"):
        RNNEncoder(9, dim=7, embedding_dim=E)
    with pytest.raises(UserError, match="cell=tanh is unknown"):
        RNNEncoder(9, dim=6, embedding_dim=E, cell="tanh")


def test_scaled_embeddings() -> None:
    """The forward pass multiplies the embedding by sqrt(E); the parameters are unchanged."""
    plain, scaled = encoder(), encoder(scale_embedding=True)
    with torch.no_grad():
        plain.embedding.table.weight.mul_(E**0.5)
    close(scaled(batch()).memory.values, plain(batch()).memory.values)
    with torch.no_grad():
        plain.embedding.table.weight.div_(E**0.5)
    close(plain.embedding.table.weight, scaled.embedding.table.weight)


def test_initial_states_of_the_default_recipe_are_not_near_0() -> None:
    """Without scaling, embeddings have deviation 1/sqrt(E), the states are near 0, and attention learns late."""
    torch.manual_seed(0)
    composed = config("model.dim=128", "model.embedding_dim=64")
    ours = build_node(composed.encoder)(SOURCE_VOCABULARY)
    unscaled = build_node({**composed.encoder, "scale_embedding": False})(SOURCE_VOCABULARY)
    assert ours(batch()).memory.values.std() > 0.15
    assert unscaled(batch()).memory.values.std() < 0.08
