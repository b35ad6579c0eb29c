"""Encoder of documents: words, then sentences (Nallapati 2016, section 2.4; Liu & Lapata 2019, arXiv:1905.13164).

Shapes: B batch, S words, N sentences, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from typing_extensions import override

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
    """Encoder of documents in two levels, words and sentences.

        h = words(x), s_n = (mean of h_j over the words j of sentence n) + p_n, H = sentences(s)

    The memory holds the states h of the words, so that every attention mechanism can read it. Its sections are H, which
    hierarchical attention reads. Decoders start from the summary of H. p_n is a learned vector of the number of a
    sentence.

    Args:
        vocabulary: Number of source tokens.
        words: Factory of the encoder of words.
        sentences: Factory of the encoder of sentences, which reads vectors.
        scope: "document" if words read across sentences (Nallapati); "sentence" if each sentence is encoded separately
            (Liu & Lapata), whose cost grows linearly with the number of sentences.
        sentence_positions: Whether to add p_n.
        max_sentences: Number of vectors p_n; all later sentences share the last one.

    Raises:
        UserError: ``scope`` is unencoded_sentences, or ``max_sentences`` is less than 1.
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
        # Build both encoders; that of sentences reads vectors.
        self.words, self.sentences = words(vocabulary), sentences(None)
        self.embedding: TokenEmbedding = self.words.embedding
        self.scope = scope
        self.source = replace(self.words.source, segments=True)
        self.place = Learned(self.source.width, max_sentences) if sentence_positions else None
        self.last = max_sentences - 1
        # The summary is that of the sentences.
        self.final_dim, self.final_layers = self.sentences.final_dim, self.sentences.final_layers
        self.directions = self.sentences.directions

    @override
    def forward(self, batch: Batch, *, need_weights: bool = False) -> EncoderOutput:
        """Return the memory of words (B, S, D), with its segments and its sections (B, N, D), and a summary of H.

        Raises:
            UserError: The data do not mark sentences.
        """
        if batch.segments is None:
            raise UserError(
                "the encoder reads sentences, but the data do not mark them; set documents=true of the data"
            )
        # Encode words.
        mask = batch.source_mask
        segments = batch.segments.clamp(min=0)
        x = self.embedding(batch.tokens)
        if self.scope == "sentence":
            encoded_words = self.words.encode_rows(x, RowLayout.sentences(segments, mask), need_weights=need_weights)
        else:
            encoded_words = self.words.encode(x, mask, need_weights=need_weights)
        # Encode sentences, each given by the mean of its words.
        means = sentence_means(encoded_words.memory.values, segments, mask)
        encoded_sentences = self.sentences.encode(self._placed(means.values), means.mask)
        memory = replace(encoded_words.memory, segments=batch.segments, sections=encoded_sentences.memory)
        return replace(encoded_words, memory=memory, hidden=encoded_sentences.hidden).reporting(encoded_sentences)

    def _placed(self, sentences: Tensor) -> Tensor:
        """Return the sentence vectors s (B, N, D) with p_n added."""
        if self.place is None:
            return sentences
        places = torch.arange(sentences.shape[1], device=sentences.device).clamp(max=self.last)
        return torch.add(sentences, self.place(places, sentences.dtype))
