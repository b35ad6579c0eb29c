"""What parameters start from: the bounds, deviations and zeros that the classes declare, measured on wide ones.

Xavier's bound is sqrt(6 / (inputs + outputs)) of each matrix that is one by itself (keys and values, each head, each
gate), so that 0.98 of it at least is reached by the largest of thousands of draws, and none lies beyond.
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
    bound = math.sqrt(6 / (inputs + outputs))
    return 0.98 * bound < float(matrix.abs().max()) <= bound and abs(float(matrix.mean())) < 0.05 * bound


def attention(name: str, *options: str, group: str = "attention", source: SourceSpec = CROSS) -> dict[str, Tensor]:
    torch.manual_seed(3)
    module = build_node(config(f"{group}={name}", *options)[group])(WIDE, source)
    return {key: value.detach() for key, value in module.named_parameters()}


@pytest.mark.parametrize("name", ["multi_head", "linear"])
def test_projections(name: str) -> None:
    found = attention(name)
    keys, values = found["key_value.weight"].chunk(2)
    assert xavier(found["query.weight"], WIDE, WIDE) and xavier(found["output.weight"], WIDE, WIDE)
    assert xavier(keys, SOURCE, WIDE) and xavier(values, SOURCE, WIDE)
    assert all(found[f"{part}.bias"].eq(0).all() for part in ("query", "key_value", "output"))


@pytest.mark.parametrize("name", ["additive", "general", "location"])
def test_scores(name: str) -> None:
    """Each head has its own matrices; additive ones have a width inside."""
    matrices = {key: value[0] for key, value in attention(name).items() if "bias" not in key and value.dim() == 3}
    assert matrices and all(xavier(matrix, *matrix.shape) for matrix in matrices.values())


def test_the_vector_of_additive_attention() -> None:
    """v (A) makes one number of A: Xavier's bound is sqrt(6 / (A + 1))."""
    vector = attention("additive", "++attention.score.dim=4000")["score.vector"]
    assert xavier(vector[0], 4000, 1)


def test_latent_projections() -> None:
    found = attention("latent", "++attention.query_latent_dim=32")
    latent = WIDE // 4
    assert xavier(found["down.weight"], SOURCE, latent)
    assert all(xavier(matrix, latent, WIDE) for matrix in found["up.weight"].chunk(2))
    assert xavier(found["query_down.weight"], WIDE, 32) and xavier(found["query.weight"], 32, WIDE)
    assert xavier(found["output.weight"], WIDE, WIDE)


def test_coverage_that_reads_the_cell() -> None:
    found = attention("coverage", "++attention.read_cell=true", "++attention.heads=2")
    assert xavier(found["query.weight"], 2 * WIDE, WIDE) and found["query.bias"].eq(0).all()


def test_filters_of_location_aware_attention() -> None:
    found = attention("location_aware", "++attention.filters=200", "++attention.width=31")
    bound = 31**-0.5
    assert 0.98 * bound < float(found["filters"].abs().max()) <= bound
    assert xavier(found["weight"][0], *found["weight"][0].shape)


def test_places_of_sentences() -> None:
    found = attention("hierarchical", "++attention.positions=true", "++attention.max_sections=200")
    assert float(found["place"].std()) == pytest.approx(SOURCE**-0.5, rel=0.03)


def test_tables_of_relative_positions() -> None:
    found = attention("relative", "++self_attention.clip=60", group="self_attention", source=OWN)
    tables = [value for key, value in found.items() if key.endswith("_table")]
    assert tables and all(xavier(table, *table.shape) for table in tables)


def test_inference_network_of_variational_attention() -> None:
    found = attention("variational", "++attention.inference_dim=80")
    assert xavier(found["infer.weight"], 80, SOURCE)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_recurrent_layers(cell: str) -> None:
    layer = recurrent(cell, 40, 64)
    gates = layer.weight_hh_l0.detach().split(64)
    assert all(xavier(gate, 40, 64) for gate in layer.weight_ih_l0.detach().split(64))
    for gate in gates:
        torch.testing.assert_close(gate @ gate.T, torch.eye(64), atol=1e-5, rtol=0)
    forget = layer.bias_ih_l0[64:128]
    assert forget.eq(1 if cell == "lstm" else 0).all()
    assert layer.bias_ih_l0.sum().item() == (64 if cell == "lstm" else 0) and layer.bias_hh_l0.eq(0).all()


def test_embedding_and_output_layer() -> None:
    table = TokenEmbedding(500, 64).table.weight.detach()
    assert float(table[1:].std()) == pytest.approx(64**-0.5, rel=0.02) and table[0].eq(0).all()
    layer = OutputLayer(64, 500)
    assert xavier(layer.weight.detach(), 64, 500) and layer.bias is not None and layer.bias.eq(0).all()


def test_learned_positions() -> None:
    embedding = TokenEmbedding(9, 64, positions="learned", max_length=300)
    (table,) = (value for key, value in embedding.named_parameters() if value.shape == (300, 64))
    assert float(table.std()) == pytest.approx(64**-0.5, rel=0.02)


def model(*options: str) -> Seq2Seq:
    composed = config(*options, "model.dim=64", "++model.ff_dim=80")
    return build(composed, 300, 300)


def test_decoders() -> None:
    rnn = model("model=rnn").decoder
    assert xavier(rnn.combine.weight.detach(), 128, 64)
    for part in (model("model=transformer").decoder, model("model=transformer").encoder):
        linear = {key: value.detach() for key, value in part.named_parameters() if ".up." in key or ".down." in key}
        assert linear
        for key, value in linear.items():
            assert value.eq(0).all() if key.endswith("bias") else xavier(value, *value.shape), key


def test_convolutions_of_the_image_encoder() -> None:
    encoder = CNNEncoder(None, dim=64, channels=[32, 48])
    for module in encoder.modules():
        if isinstance(module, torch.nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            assert float(module.weight.detach().std()) == pytest.approx(math.sqrt(2 / fan_out), rel=0.12)
