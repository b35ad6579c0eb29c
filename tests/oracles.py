"""Independent results to compare with: PyTorch's own Transformer with our weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seq2seq.attention.base import Attention
from seq2seq.decoders.transformer import TransformerDecoder
from seq2seq.encoders.transformer import TransformerEncoder
from tests.catalogue import WIDTH

HEADS, FF_DIM = 4, 12  # values of conf/model/transformer.yaml and tests/catalogue.py


def encoder(ours: TransformerEncoder, norm: str, activation: str) -> nn.TransformerEncoder:
    """Return an ``nn.TransformerEncoder`` with the weights of ``ours``, in fp64, without its fast path."""
    layer = nn.TransformerEncoderLayer(
        WIDTH, HEADS, FF_DIM, 0.0, activation, batch_first=True, norm_first=norm == "pre"
    )
    last = nn.LayerNorm(WIDTH) if norm == "pre" else None
    theirs = nn.TransformerEncoder(layer, len(ours.layers), last, enable_nested_tensor=False).double()
    weights = named("norm", ours.norm)
    for i, part in enumerate(ours.layers):
        weights |= multi_head(f"layers.{i}.self_attn", part.self_attention)
        weights |= feed_forward(f"layers.{i}", part.feed_forward)
        weights |= named(f"layers.{i}.norm1", part.around_self.norm)
        weights |= named(f"layers.{i}.norm2", part.around_feed_forward.norm)
    theirs.load_state_dict(weights)
    return theirs


def decoder(ours: TransformerDecoder, norm: str) -> nn.TransformerDecoder:
    """Return an ``nn.TransformerDecoder`` with the weights of ``ours``, in fp64."""
    layer = nn.TransformerDecoderLayer(WIDTH, HEADS, FF_DIM, 0.0, batch_first=True, norm_first=norm == "pre")
    last = nn.LayerNorm(WIDTH) if norm == "pre" else None
    theirs = nn.TransformerDecoder(layer, len(ours.layers), last).double()
    weights = named("norm", ours.norm)
    for i, part in enumerate(ours.layers):
        weights |= multi_head(f"layers.{i}.self_attn", part.self_attention)
        weights |= multi_head(f"layers.{i}.multihead_attn", part.attention)
        weights |= feed_forward(f"layers.{i}", part.feed_forward)
        weights |= named(f"layers.{i}.norm1", part.around_self.norm)
        weights |= named(f"layers.{i}.norm2", part.around_cross.norm)
        weights |= named(f"layers.{i}.norm3", part.around_feed_forward.norm)
    theirs.load_state_dict(weights)
    return theirs


def multi_head(prefix: str, ours: Attention) -> dict[str, Tensor]:
    """Return the weights of ``ours`` under the names of ``nn.MultiheadAttention``; all widths are equal."""
    return {
        f"{prefix}.in_proj_weight": torch.cat((ours.query.weight, ours.key_value.weight)),
        f"{prefix}.in_proj_bias": torch.cat((ours.query.bias, ours.key_value.bias)),
        **named(f"{prefix}.out_proj", ours.output),
    }


def feed_forward(prefix: str, ours: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a feed-forward block under the names of PyTorch's layers."""
    return named(f"{prefix}.linear1", ours.up) | named(f"{prefix}.linear2", ours.down)


def named(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a module under names that begin with ``prefix``."""
    return {f"{prefix}.{name}": tensor for name, tensor in module.state_dict().items()}
