"""Beam search.

Shapes: B sentences, K beam, N rows of the decoder's state (live hypotheses), L tokens said with ``<s>``, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import count
from typing import Literal

import torch
from torch import Tensor

from seq2seq.batch import BOS, EOS, PAD, Batch
from seq2seq.config.ranges import Count
from seq2seq.encoders.base import EncoderOutput
from seq2seq.model import Seq2Seq
from seq2seq.search.base import Hypothesis, Search, hypothesis, lost, require
from seq2seq.search.beam_rows import BeamRows
from seq2seq.search.constraints import Constraints
from seq2seq.search.coverage import CoveragePenalty
from seq2seq.search.topk import top


@dataclass(frozen=True, kw_only=True)
class Beam(Search):
    """Keeps the ``beam_size`` most probable beginnings and returns the ``n_best`` outputs by

    score(y) = log p(y, </s> | x) / lp(|y|) + coverage_penalty * sum_j log min(1, sum_t a_tj)   (Wu 2016, section 7)

    lp(n) = ((5 + n) / 6)^length_penalty (``length_norm: gnmt``) or n^length_penalty (``plain``), ``</s>`` counted in
    |y|. Beginnings are ranked by log-probability alone, ties by (beam, token). A finished output keeps its place in
    the beam to the end, so that a beam of 1 is greedy search. A sentence is left once nothing alive can still enter
    its n best: the result is that of the search run to the last token.
    """

    beam_size: Count = 5
    n_best: Count = 1
    length_penalty: float = 1.0
    length_norm: Literal["gnmt", "plain"] = "gnmt"
    coverage_penalty: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require("beam_size", self.beam_size, self.beam_size >= 1, "must be at least 1")
        require("n_best", self.n_best, 1 <= self.n_best <= self.beam_size, f"must be 1 to beam_size={self.beam_size}")
        require("length_penalty", self.length_penalty, self.length_penalty >= 0, "must be at least 0")
        require("length_norm", self.length_norm, self.length_norm in ("gnmt", "plain"), "must be gnmt or plain")
        require("coverage_penalty", self.coverage_penalty, self.coverage_penalty >= 0, "must be at least 0")

    def search(self, model: Seq2Seq, encoded: EncoderOutput, batch: Batch) -> list[list[Hypothesis]]:
        """The ``n_best`` of each sentence; fewer where the vocabulary has no more within the length."""
        limits = self.limits(model, encoded)
        state = model.decoder.start(encoded)
        beams = _Beams(encoded.memory.values, self.beam_size)
        rows = BeamRows(len(limits), self.beam_size, beams.said.device)
        forbid = Constraints(self, limits, beams.said.device)
        cover = CoveragePenalty(encoded.memory.mask) if self.coverage_penalty else None
        divisors = self._divisors(max(limits) + 1).to(beams.log_prob)
        longest = divisors[forbid.limits + 1]  # (B,) no score is divided by more: an upper bound while alive
        for length in count(1):  # of an output that ends in this step, </s> counted
            prefixes = beams.said.flatten(0, 1)[rows.slots]
            decoded, state = model.decoder(prefixes[:, -1:], state, need_weights=cover is not None)
            log_probs = forbid(model.decoder.log_probs(decoded)[:, -1], prefixes, rows.sentence)
            penalty = None
            if cover is not None:
                penalty = self.coverage_penalty * cover.add(model.alignment(decoded.weights)[:, -1])
            parent = beams.extend(log_probs, rows.slots, divisors[length], penalty)
            move = rows.advance(beams.close(self.n_best, longest), parent)
            if move is None:
                break
            state = move.state(state)
            if cover is not None:
                cover.move(move)
        return beams.best(self.n_best, limits)

    def _divisors(self, longest: int) -> Tensor:
        """Return the divisors lp(0) .. lp(longest) of the scores."""
        lengths = torch.arange(longest + 1, dtype=torch.float64)
        return (lengths if self.length_norm == "plain" else (5 + lengths) / 6) ** self.length_penalty


class _Beams:
    """K hypotheses of each sentence: the finished, then the living by log-probability, then unused slots (-inf)."""

    def __init__(self, memory: Tensor, beam: int) -> None:
        size, device = len(memory), memory.device
        self.said = torch.full((size, beam, 1), BOS, device=device)  # (B, K, L)
        dtype = torch.promote_types(memory.dtype, torch.float32)  # as log_probs are
        self.log_prob = torch.full((size, beam), -torch.inf, dtype=dtype, device=device)
        self.log_prob[:, 0] = 0.0
        self.score = torch.full_like(self.log_prob, -torch.inf)  # of the finished
        self.done = torch.zeros_like(self.log_prob, dtype=torch.bool)

    def extend(self, log_probs: Tensor, slots: Tensor, divisor: Tensor, penalty: Tensor | None) -> Tensor:
        """One step: the K best continuations, from log_probs (N, V) of the hypotheses in ``slots`` (N,).

        ``penalty`` (N,) is what an output that ends now adds to its score. Returns the slot that each hypothesis
        came from, (B, K).
        """
        size, beam = self.done.shape
        each = min(beam, log_probs.shape[1])
        values, tokens = top(log_probs, each)  # no hypothesis has more than K of the K best
        alive = self.log_prob.masked_fill(self.done, -torch.inf).flatten()[slots]
        total = self.log_prob.new_full((size * beam, each), -torch.inf)
        total[slots] = values + alive.unsqueeze(1)
        total[:, 0].masked_fill_(self.done.flatten(), torch.inf)  # the finished keep their places
        named = slots.new_zeros(size * beam, each)
        named[slots] = tokens

        best, candidate = top(total.view(size, -1), beam)
        parent = candidate // each
        kept = best == torch.inf
        token = named.view(size, -1).gather(1, candidate).masked_fill(kept, PAD)
        ended = (token == EOS) & (best > -torch.inf)
        credit = self.score.new_zeros(size * beam)
        if penalty is not None:
            credit[slots] = penalty.to(credit.dtype)
        final = best / divisor + credit.view(size, beam).gather(1, parent)
        self.log_prob = torch.where(kept, self.log_prob.gather(1, parent), best)
        self.score = torch.where(kept, self.score.gather(1, parent), final.masked_fill(~ended, -torch.inf))
        self.done = kept | ended
        before = self.said.gather(1, parent.unsqueeze(2).expand_as(self.said))
        self.said = torch.cat((before, token.unsqueeze(2)), 2)
        return parent

    def close(self, n_best: int, longest: Tensor) -> Tensor:
        """Stop sentences whose live hypotheses cannot enter the n best, and return the mask of live ones (B, K)."""
        alive = self.log_prob.masked_fill(self.done, -torch.inf)
        settled = alive.amax(1) / longest <= top(self.score, n_best)[0][:, -1]
        self.log_prob = self.log_prob.masked_fill(~self.done & settled.unsqueeze(1), -torch.inf)
        return ~self.done & (self.log_prob > -torch.inf)

    def best(self, n_best: int, limits: list[int]) -> list[list[Hypothesis]]:
        """The finished with the highest scores, of equal ones that which finished first."""
        hypotheses: list[list[Hypothesis]] = [[] for _ in limits]
        scores, slots = (x.tolist() for x in top(self.score, n_best))
        prefixes, log_prob = self.said.tolist(), self.log_prob.tolist()
        for b, limit in enumerate(limits):
            for score, k in zip(scores[b], slots[b], strict=True):
                if score > -math.inf:
                    hypotheses[b].append(hypothesis(prefixes[b][k], score, log_prob[b][k], limit))
            if not hypotheses[b]:
                raise lost()
        return hypotheses
