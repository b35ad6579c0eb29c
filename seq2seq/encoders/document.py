"""Encoder of documents: words, then sentences (Nallapati 2016, section 2.4; Liu & Lapata 2019, arXiv:1905.13164).

Shapes: B batch, S words, N sentences, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from seq2seq.attention.types import sentence_means
from seq2seq.batch import Batch
from seq2seq.config.ranges import Count
from seq2seq.encoders.base import Encoder, EncoderOutput, SequenceEncoder
from seq2seq.encoders.rows import RowLayout
from seq2seq.errors import UserError
from seq2seq.layers.embedding import TokenEmbedding
from seq2seq.layers.positions import Learned

SCOPES = ("document", "sentence")


class DocumentEncoder(Encoder):
    """h = words(x), s_n = (mean of h_j over the words j of sentence n) + p_n, H = sentences(s).

    The memory is that of words, h, so that any mechanism finds the document in it; its sections are H, for hierarchical
    attention; decoders start from the summary of H. ``scope: document`` lets words read across sentences (Nallapati),
    ``sentence`` encodes each sentence by itself (Liu & Lapata), at a cost that grows with their number alone. p_n is a
    learned vector of a sentence's place, those after the last of ``max_sentences`` sharing one; ``sentence_positions:
    false`` leaves it out.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        words: Callable[..., SequenceEncoder],
        sentences: Callable[..., SequenceEncoder],
        scope: str = "document",
        sentence_positions: bool = True,
        max_sentences: Count = 64,
    ) -> None:
        super().__init__()
        if scope not in SCOPES:
            raise UserError(f"scope={scope} is unknown; choose one of {', '.join(SCOPES)}")
        if max_sentences < 1:
            raise UserError(f"max_sentences={max_sentences} must be at least 1")
        self.words, self.sentences = words(vocabulary), sentences(None)
        self.embedding: TokenEmbedding = self.words.embedding
        self.scope = scope
        self.source = replace(self.words.source, segments=True)
        self.place = Learned(self.source.width, max_sentences) if sentence_positions else None
        self.last = max_sentences - 1
        self.final_dim, self.final_layers = self.sentences.final_dim, self.sentences.final_layers
        self.directions = self.sentences.directions

    def forward(self, batch: Batch, *, need_weights: bool = False) -> EncoderOutput:
        """Memory (B, S, D) with segments and sections (B, N, D)."""
        if batch.segments is None:
            raise UserError(
                "this encoder reads sentences, and the data tell none apart: set documents=true of the data"
            )
        mask = batch.source_mask
        segments = batch.segments.clamp(min=0)
        x = self.embedding(batch.tokens)
        if self.scope == "sentence":
            read = self.words.encode_rows(x, RowLayout.sentences(segments, mask), need_weights=need_weights)
        else:
            read = self.words.encode(x, mask, need_weights=need_weights)
        means = sentence_means(read.memory.values, segments, mask)
        known = self.sentences.encode(self._placed(means.values), means.mask)
        memory = replace(read.memory, segments=batch.segments, sections=known.memory)
        return replace(read, memory=memory, hidden=known.hidden).reporting(known)

    def _placed(self, sentences: Tensor) -> Tensor:
        """s (B, N, D) with p."""
        if self.place is None:
            return sentences
        places = torch.arange(sentences.shape[1], device=sentences.device).clamp(max=self.last)
        return torch.add(sentences, self.place(places, sentences.dtype))
