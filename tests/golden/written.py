"""A model whose weights and logits are set by hand, so that a reader can compute every figure on paper.

Attention: the word that the decoder reads determines the weights of a layer. A test writes them in quarters, one digit
for each place of the source: ``{"a": ("0400", "0220")}`` are the rows of two heads, 0 1 0 0 and 0 1/2 1/2 0.

Output: every word has points, and p(y) = 2^points(y) / sum over the vocabulary of 2^points. The default is 0 points.
If a place of the source means a word, this word gets 4 points for each whole unit of attention to the place, summed
over the layers. The attention of a layer is the mean of its heads. The word just read adds points:
``{"a": {"b": 5}}``.

Letters: B batch, T target words, S places of the source, H heads, V target words, E width of a place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import log
from pathlib import Path

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.attention.base import Attention
from seq2seq.attention.types import AttentionOutput, AttentionState, Memory, Query, SourceSpec
from seq2seq.batch import SPECIALS, Batch
from seq2seq.data.codec import Codec
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.decoders.base import Decoded, Decoder, DecoderState
from seq2seq.encoders.base import Encoder, EncoderOutput
from seq2seq.encoders.image import GridEncoder, cells
from seq2seq.generation.generator import TrainedModel
from seq2seq.layers.embedding import TokenEmbedding
from seq2seq.layers.output import OutputLayer
from seq2seq.layers.pointer import Pointer
from seq2seq.model import Seq2Seq

Rows = Mapping[str, str | Sequence[str]]
"""Map {word read: a row of quarters, or one row for each head}."""
Points = Mapping[str, Mapping[str, float]]
"""Map {word read: {word: points that it gets}}."""


def probability(vocabulary: int, word: str, **points: float) -> float:
    """Return p(word) if the words of ``points`` have these points and all others have 0; ``end`` is ``</s>``."""
    others = vocabulary - len(points)
    return float(2 ** points.get(word, 0) / (sum(2**each for each in points.values()) + others))


def words(*texts: str) -> Tokenizer:
    """Return a tokenizer whose vocabulary is the words of ``texts``."""
    return Tokenizer.train(texts, type="word", vocab_size=len(SPECIALS) + len({w for t in texts for w in t.split()}))


def trained(
    codec: Codec, encoder: Encoder, means: Sequence[tuple[int, str]], layers: Sequence[Rows], after: Points
) -> TrainedModel:
    """Build a model in float64; ``means`` lists (coordinate of a place, target word that it means)."""
    tokenizer, width = codec.target, encoder.source.width
    weight = torch.zeros(len(tokenizer), width + len(tokenizer))
    for place, word in means:
        weight[id_of(tokenizer, word), place] = 4
    for read, points in after.items():
        for word, many in points.items():
            weight[id_of(tokenizer, word), width + id_of(tokenizer, read)] = many
    decoder = WrittenDecoder([WrittenAttention(tokenizer, rows, encoder.source) for rows in layers], weight, codec.copy)
    config = OmegaConf.create(
        {
            "seed": 1,
            "data": {"name": "golden"},
            "model": {},
            "loss": {"_target_": "seq2seq.loss.Criterion", "label_smoothing": 0.1},  # must not change a figure
        }
    )
    model = Seq2Seq(encoder, decoder).double()
    decoder.output.weight.data = weight.double() * log(2)
    return TrainedModel(model, codec, config, Path("nowhere") / "checkpoints" / "best.ckpt", torch.device("cpu"))


def id_of(tokenizer: Tokenizer, word: str) -> int:
    """Return the id of a word or of a special token."""
    return SPECIALS.index(word) if word in SPECIALS else tokenizer.encode(word)[0]


def one_hot(vocabulary: int) -> TokenEmbedding:
    """Build an embedding whose i-th word is the i-th unit vector."""
    embedding = TokenEmbedding(vocabulary, vocabulary)
    embedding.table.weight.data = torch.eye(vocabulary)
    return embedding


class WrittenEncoder(Encoder):
    """An encoder that represents each place by the unit vector of its word."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embedding = one_hot(vocabulary)
        self.source = SourceSpec(vocabulary)
        self.final_dim, self.final_layers = vocabulary, 1

    def forward(self, batch: Batch, *, need_weights: bool = False) -> EncoderOutput:
        x = self.embedding(batch.tokens)
        return EncoderOutput(replace(Memory.of(x, batch.source_mask), segments=batch.segments), x[:, :1])


class Colours(GridEncoder):
    """An encoder that represents a cell of 2 x 2 pixels by its mean red, green and blue, each from 0 to 1."""

    def __init__(self) -> None:
        super().__init__(dim=3, stride=2)
        self.mean.zero_()
        self.std.fill_(1)
        self.unused = nn.Parameter(torch.zeros(3))  # gives the output a gradient

    def encode(
        self, x: Tensor, sizes: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, Memory, Sequence[AttentionOutput]]:
        memory = cells(F.avg_pool2d(x.double(), self.stride), sizes // self.stride)
        return memory.values + self.unused, memory, ()


class WrittenAttention(Attention):
    """Attention whose row depends on the word read. If any row sums to less than 1, a sentinel gets the rest."""

    def __init__(self, tokenizer: Tokenizer, rows: Rows, source: SourceSpec) -> None:
        super().__init__(len(tokenizer), source)
        heads = {read: [row] if isinstance(row, str) else row for read, row in rows.items()}
        (count,), (width,) = ({len(row) for row in heads.values()}, {len(r) for row in heads.values() for r in row})
        self.register_buffer("rows", torch.zeros(len(tokenizer), count, width))
        for read, row in heads.items():
            self.rows[id_of(tokenizer, read)] = torch.tensor([[int(n) / 4 for n in one] for one in row])
        self.outside = any(sum(map(int, one)) < 4 for row in heads.values() for one in row)

    def forward(
        self,
        query: Query,
        memory: Memory,
        state: AttentionState,
        *,
        mask: Tensor | None = None,
        need_weights: bool = False,
    ) -> AttentionOutput:
        size = memory.mask.shape[1]
        given = torch.einsum("btv,vhs->bhts", query.vector, self.rows)[..., :size] * memory.mask[:, None, None]
        rest = 1 - given.sum(-1, keepdim=True)
        used = self.apply_weights(torch.cat((given, rest), -1) if self.outside else given, query)[..., :size]
        sentinel = rest.squeeze(-1) if self.outside else None
        return AttentionOutput(used.mean(1) @ memory.values, given if need_weights else None, state, sentinel)


class WrittenDecoder(Decoder):
    """A decoder whose features are the sum of the layers' contexts and the unit vector of the word read.

    With ``copy``, half of each probability is copied from the places that the last layer attends to.
    """

    def __init__(self, layers: Sequence[WrittenAttention], weight: Tensor, copy: bool) -> None:
        super().__init__()
        vocabulary, width = weight.shape
        self.embedding, self.layers = one_hot(vocabulary), nn.ModuleList(layers)
        self.output = OutputLayer(width, vocabulary)
        self.pointer = Pointer(width - vocabulary, width, vocabulary) if copy else None
        if self.pointer is not None:
            for parameter in self.pointer.parameters():
                parameter.data.zero_()  # sigmoid(0) = 1/2

    def cross_attention(self, layer: int) -> Attention:
        mechanism = self.layers[layer]
        assert isinstance(mechanism, Attention)
        return mechanism

    def start(self, encoded: EncoderOutput) -> DecoderState:
        count = len(self.layers)
        return DecoderState((encoded.memory,) * count, (None,) * count, ({},) * count, copies=encoded.copies)

    def forward(
        self, tokens: Tensor, state: DecoderState, *, need_weights: bool = False
    ) -> tuple[Decoded, DecoderState]:
        x = self.embedding(self.readable(tokens))
        position = state.position + torch.arange(tokens.shape[1]).expand_as(tokens)
        need = need_weights or self.pointer is not None
        answers = [
            layer(Query(x, position, x), memory, past, need_weights=need)
            for layer, memory, past in zip(self.layers, state.cross, state.attention, strict=True)
        ]
        features = torch.cat((torch.stack([one.context for one in answers]).sum(0), x), -1)
        copying = self.copying(answers[-1], len(answers) - 1, features, x, state)
        decoded = Decoded.of(features, {f"cross.{n}": one for n, one in enumerate(answers)}, copying=copying)
        after = replace(state, attention=tuple(one.state for one in answers), position=state.position + tokens.shape[1])
        return decoded, after
