"""Tests of the initial values of parameters: bounds, standard deviations and zeros, measured on wide layers.

Xavier's bound is sqrt(6 / (inputs + outputs)). It applies to each separate matrix: keys and values, each head, each
gate. No draw exceeds it, and the largest of thousands of draws is at least 0.98 of it.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from seq2seq.attention.types import SourceSpec
from seq2seq.config.instantiate import build_node
from seq2seq.encoders.cnn import CNNEncoder
from seq2seq.layers.embedding import TokenEmbedding
from seq2seq.layers.output import OutputLayer
from seq2seq.layers.recurrent import recurrent
from seq2seq.model import Seq2Seq, build
from tests.catalogue import config

WIDE, SOURCE = 96, 64
CROSS, OWN = SourceSpec(SOURCE, input_dim=48), SourceSpec(WIDE, is_self=True, causal=True)


def xavier(matrix: Tensor, inputs: int, outputs: int) -> bool:
    """Return True if the values fit a uniform distribution within Xavier's bound."""
    bound = math.sqrt(6 / (inputs + outputs))
    return 0.98 * bound < float(matrix.abs().max()) <= bound and abs(float(matrix.mean())) < 0.05 * bound


def attention(name: str, *options: str, group: str = "attention", source: SourceSpec = CROSS) -> dict[str, Tensor]:
    """Return the initial parameters of an attention mechanism by name."""
    torch.manual_seed(3)
    module = build_node(config(f"{group}={name}", *options)[group])(WIDE, source)
    return {key: value.detach() for key, value in module.named_parameters()}


@pytest.mark.parametrize("name", ["multi_head", "linear"])
def test_projections_are_xavier_and_biases_zero(name: str) -> None:
    found = attention(name)
    keys, values = found["key_value.weight"].chunk(2)
    assert xavier(found["query.weight"], WIDE, WIDE) and xavier(found["output.weight"], WIDE, WIDE)
    assert xavier(keys, SOURCE, WIDE) and xavier(values, SOURCE, WIDE)
    assert all(found[f"{part}.bias"].eq(0).all() for part in ("query", "key_value", "output"))


@pytest.mark.parametrize("name", ["additive", "general", "location"])
def test_matrices_of_scores_are_xavier_for_each_head(name: str) -> None:
    """Xavier's bound applies to the matrices of each head separately."""
    matrices = {key: value[0] for key, value in attention(name).items() if "bias" not in key and value.dim() == 3}
    assert matrices and all(xavier(matrix, *matrix.shape) for matrix in matrices.values())


def test_vector_of_additive_attention_is_xavier() -> None:
    """The vector v (A) maps A numbers to one, so Xavier's bound is sqrt(6 / (A + 1))."""
    vector = attention("additive", "++attention.score.dim=4000")["score.vector"]
    assert xavier(vector[0], 4000, 1)


def test_latent_projections_are_xavier() -> None:
    found = attention("latent", "++attention.query_latent_dim=32")
    latent = WIDE // 4
    assert xavier(found["down.weight"], SOURCE, latent)
    assert all(xavier(matrix, latent, WIDE) for matrix in found["up.weight"].chunk(2))
    assert xavier(found["query_down.weight"], WIDE, 32) and xavier(found["query.weight"], 32, WIDE)
    assert xavier(found["output.weight"], WIDE, WIDE)


def test_query_of_coverage_that_reads_the_cell_is_xavier() -> None:
    found = attention("coverage", "++attention.read_cell=true", "++attention.heads=2")
    assert xavier(found["query.weight"], 2 * WIDE, WIDE) and found["query.bias"].eq(0).all()


def test_filters_of_location_aware_attention_are_uniform() -> None:
    found = attention("location_aware", "++attention.filters=200", "++attention.width=31")
    bound = 31**-0.5
    assert 0.98 * bound < float(found["filters"].abs().max()) <= bound
    assert xavier(found["weight"][0], *found["weight"][0].shape)


def test_sentence_positions_have_standard_deviation_of_embeddings() -> None:
    found = attention("hierarchical", "++attention.positions=true", "++attention.max_sections=200")
    assert float(found["place"].std()) == pytest.approx(SOURCE**-0.5, rel=0.03)


def test_tables_of_relative_positions_are_xavier() -> None:
    found = attention("relative", "++self_attention.clip=60", group="self_attention", source=OWN)
    tables = [value for key, value in found.items() if key.endswith("_table")]
    assert tables and all(xavier(table, *table.shape) for table in tables)


def test_inference_network_of_variational_attention_is_xavier() -> None:
    found = attention("variational", "++attention.inference_dim=80")
    assert xavier(found["infer.weight"], 80, SOURCE)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_recurrent_gates_are_xavier_and_orthogonal_with_forget_bias_1(cell: str) -> None:
    layer = recurrent(cell, 40, 64)
    gates = layer.weight_hh_l0.detach().split(64)
    assert all(xavier(gate, 40, 64) for gate in layer.weight_ih_l0.detach().split(64))
    for gate in gates:
        torch.testing.assert_close(gate @ gate.T, torch.eye(64), atol=1e-5, rtol=0)
    forget = layer.bias_ih_l0[64:128]
    assert forget.eq(1 if cell == "lstm" else 0).all()
    assert layer.bias_ih_l0.sum().item() == (64 if cell == "lstm" else 0) and layer.bias_hh_l0.eq(0).all()


def test_initial_embedding_and_output_layer() -> None:
    table = TokenEmbedding(500, 64).table.weight.detach()
    assert float(table[1:].std()) == pytest.approx(64**-0.5, rel=0.02) and table[0].eq(0).all()
    layer = OutputLayer(64, 500)
    assert xavier(layer.weight.detach(), 64, 500) and layer.bias is not None and layer.bias.eq(0).all()


def test_learned_positions_have_standard_deviation_of_embeddings() -> None:
    embedding = TokenEmbedding(9, 64, positions="learned", max_length=300)
    (table,) = (value for key, value in embedding.named_parameters() if value.shape == (300, 64))
    assert float(table.std()) == pytest.approx(64**-0.5, rel=0.02)


def model(*options: str) -> Seq2Seq:
    """Build a model of width 64 with a vocabulary of 300."""
    composed = config(*options, "model.dim=64", "++model.ff_dim=80")
    return build(composed, 300, 300)


def test_layers_of_decoders_and_encoders_are_xavier() -> None:
    rnn = model("model=rnn").decoder
    assert xavier(rnn.combine.weight.detach(), 128, 64)
    for part in (model("model=transformer").decoder, model("model=transformer").encoder):
        linear = {key: value.detach() for key, value in part.named_parameters() if ".up." in key or ".down." in key}
        assert linear
        for key, value in linear.items():
            assert value.eq(0).all() if key.endswith("bias") else xavier(value, *value.shape), key


def test_convolutions_of_the_image_encoder_are_kaiming() -> None:
    encoder = CNNEncoder(None, dim=64, channels=[32, 48])
    for module in encoder.modules():
        if isinstance(module, torch.nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            assert float(module.weight.detach().std()) == pytest.approx(math.sqrt(2 / fan_out), rel=0.12)
