"""Attention over words and over the sentences that contain them.

Letters as in ``types.py``; N sentences, s(j) the sentence of word j.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from seq2seq.attention.base import Attention
from seq2seq.attention.components.normalizers import Softmax
from seq2seq.attention.components.scores import Score
from seq2seq.attention.requirements import at_least_1
from seq2seq.attention.types import AttentionOutput, AttentionState, Memory, Query, SourceSpec, sentence_means
from seq2seq.errors import UserError

KINDS = ("renormalised", "within")


class HierarchicalAttention(Attention):
    """Attention whose weights combine word attention and sentence attention (Nallapati 2016, section 2.4).

    c_t = sum_j P_t(j) v_j. ``kind`` selects P:

    - ``renormalised``: the paper's P(j) = a_w(j) a_s(s(j)) / sum_k a_w(k) a_s(s(k)), where a_w is a softmax over the
      words of the whole document. The share of a sentence is proportional to a_s times the sum of its words' a_w.
    - ``within``: P(j) = a_s(s(j)) a_w(j), where a_w is a softmax over the words of one sentence. The share of a
      sentence is a_s.

    Sentences come from the memory's ``segments`` (row numbers of its ``sections``; words of segment -1 are hidden), or
    are blocks of ``segment_length`` positions. The state of a sentence comes from ``sections``, of the memory's width,
    or is the mean of its words. A sentence without a visible word gets no share.

    Args:
        query_dim: Q, width of the queries.
        source: Properties of the memory.
        word: Builds the score of words from (query width, key width, heads, source).
        sentence: Builds the score of sentences in the same way.
        kind: ``renormalised`` or ``within``.
        segment_length: Positions in a sentence, where the memory has no ``segments``.
        positions: Concatenate a learned vector of the sentence's place in the document to its state.
        max_sections: Number of these vectors; later sentences share the last one.
        dropout: Probability of dropping a weight from the context; the returned weights are without dropout.

    Raises:
        UserError: The source is a grid, decoder self-attention or has relative positions; or an option is out of range.
    """

    def __init__(
        self,
        query_dim: int,
        source: SourceSpec,
        *,
        word: Callable[..., Score],
        sentence: Callable[..., Score],
        kind: str = "renormalised",
        segment_length: int = 8,
        positions: bool = True,
        max_sections: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(query_dim, source, dropout=dropout)
        # Check the source and the options.
        if source.axes != 1:
            raise UserError("hierarchical attention needs words in sentences; image regions have none")
        if source.causal:
            raise UserError(
                "hierarchical attention compares whole sentences, which a memory that grows does not have yet"
            )
        if source.position != "none":
            raise UserError(f"hierarchical attention does not support {source.position} positions; use sinusoidal ones")
        if kind not in KINDS:
            raise UserError(f"kind={kind} is unknown; choose one of {', '.join(KINDS)}")
        at_least_1(segment_length=segment_length, max_sections=max_sections)
        # Build the scores of words and sentences.
        self.kind, self.segment_length = kind, segment_length
        self.place = nn.Parameter(torch.empty(max_sections, source.width)) if positions else None
        if self.place is not None:
            nn.init.normal_(self.place, std=source.width**-0.5)
        self.word = word(query_dim, source.width, 1, source)
        self.sentence = sentence(query_dim, source.width * (2 if positions else 1), 1, source)
        self.normalizer = Softmax(1)

    @override
    def prepare(self, memory: Memory) -> Memory:
        """Prepare keys of words (B, 1, S, .), keys of sentences (B, 1, N, .), and the sentences as ``sections``."""
        # Find the sentence of each word, and the states of the sentences.
        given = memory.segments
        segments = memory.positions[..., 0] // self.segment_length if given is None else given
        mask = memory.mask & (segments >= 0)
        segments = segments.masked_fill(~mask, 0)
        sections = sentence_means(memory.values, segments, mask) if memory.sections is None else memory.sections
        states = sections.values
        # Add the place of each sentence to its state.
        if self.place is not None:
            place = F.embedding(sections.positions[..., 0].clamp(max=len(self.place) - 1), self.place)
            states = torch.cat((states, place.to(states.dtype)), -1)
        # Hide the words of sentences that are not real or that the score cannot compare.
        defined = self.sentence.visible(sections)
        real = sections.mask if defined is None else sections.mask & defined
        mask = mask & real.gather(1, segments)
        keys = {"word": self.word.keys(memory.values.unsqueeze(1)), "sentence": self.sentence.keys(states.unsqueeze(1))}
        return replace(memory, mask=mask, segments=segments, sections=sections, prepared=keys)

    @override
    def forward(
        self,
        query: Query,
        memory: Memory,
        state: AttentionState,
        *,
        mask: Tensor | None = None,
        need_weights: bool = False,
    ) -> AttentionOutput:
        assert memory.sections is not None
        assert memory.segments is not None
        # Score words and sentences.
        queries = query.vector.unsqueeze(1)
        words = self.word(queries, memory.prepared["word"], memory)  # (B, 1, T, S)
        sentences = self.sentence(queries, memory.prepared["sentence"], memory.sections)  # (B, 1, T, N)
        # Combine the masks of words.
        visible = memory.mask[:, None, None, :].expand_as(words)
        defined = self.word.visible(memory)
        if defined is not None:
            visible = visible & defined[:, None, None, :]
        if mask is not None:
            visible = visible & mask.unsqueeze(1)
        # Combine words and sentences into weights.
        combine = self._renormalised if self.kind == "renormalised" else self._within
        weights = combine(words, sentences, memory.segments[:, None, None, :].expand_as(words), visible)
        used = self.apply_weights(weights, query).squeeze(1)
        return AttentionOutput(used.to(memory.values.dtype) @ memory.values, weights if need_weights else None, state)

    def _renormalised(self, words: Tensor, sentences: Tensor, segments: Tensor, visible: Tensor) -> Tensor:
        """Return one softmax over the sum of both scores, because the two normalisers cancel out in the fraction."""
        weights: Tensor = self.normalizer(words + sentences.gather(-1, segments), visible)
        return weights

    def _within(self, words: Tensor, sentences: Tensor, segments: Tensor, visible: Tensor) -> Tensor:
        """Return the softmax of each sentence's words times the sentence's share, (B, 1, T, S)."""
        # Subtract the largest score of each sentence, so that the exponentials do not overflow.
        low = torch.finfo(words.dtype).min
        hidden = words.masked_fill(~visible, low)
        largest = torch.full_like(sentences, low, dtype=words.dtype).scatter_reduce(
            -1, segments, hidden.detach(), "amax"
        )
        raised = (hidden - largest.gather(-1, segments)).exp().masked_fill(~visible, 0.0)
        # Divide by the sum of each sentence's words, and multiply by the sentence's share.
        total = torch.zeros_like(sentences, dtype=raised.dtype).scatter_add(-1, segments, raised)  # >= 1, or 0
        share: Tensor = self.normalizer(sentences, total > 0) / torch.where(total > 0, total, 1.0)
        return raised * share.gather(-1, segments)
