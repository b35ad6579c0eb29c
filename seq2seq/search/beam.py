"""Beam search with length normalisation and coverage penalty.

Shapes: B sentences, K slots of the beam, N rows of the decoder state (live hypotheses), L tokens of a prefix with
``<s>``, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import count
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import override

from seq2seq.batch import BOS, EOS, PAD, Batch
from seq2seq.config.ranges import Count
from seq2seq.encoders.base import EncoderOutput
from seq2seq.layers.cross_entropy import MIN_LOG_PROB
from seq2seq.model import Seq2Seq
from seq2seq.search.base import Hypothesis, Search, hypothesis, lost, require
from seq2seq.search.beam_rows import BeamRows
from seq2seq.search.constraints import Constraints
from seq2seq.search.coverage import CoveragePenalty
from seq2seq.search.topk import top


@dataclass(frozen=True, kw_only=True)
class Beam(Search):
    """Beam search: keeps the ``beam_size`` most probable prefixes and returns the ``n_best`` outputs by score.

        score(y) = log p(y, </s> | x) / lp(|y|) + coverage_penalty * sum_j log min(1, sum_t a_tj)   (Wu 2016, section 7)

    The length |y| counts ``</s>``. Prefixes are ranked by log-probability alone, ties by (slot, token).

    A finished output keeps its slot to the end, so that a beam of 1 is greedy search. A sentence stops once no live
    hypothesis can enter its ``n_best``. The result is the same as that of a search to the last token.

    The options below are added to those of ``Search``.

    Args:
        beam_size: Number K of hypotheses of a sentence.
        n_best: Number of outputs that are returned, at most ``beam_size``.
        length_penalty: Exponent alpha of lp; 0 to rank by log-probability.
        length_norm: lp(n) = ((5 + n) / 6)^alpha for "gnmt", n^alpha for "plain".
        coverage_penalty: Weight beta of the coverage penalty; 0 for none.
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

    @override
    def search(self, model: Seq2Seq, encoded: EncoderOutput, batch: Batch) -> list[list[Hypothesis]]:
        """Return at most ``n_best`` outputs of each sentence; there may be fewer within a short length limit."""
        # Start with one row of the decoder for each sentence.
        limits = self.limits(model, encoded)
        state = model.decoder.start(encoded)
        beams = _Beams(encoded.memory.values, self.beam_size)
        rows = BeamRows(len(limits), self.beam_size, beams.prefixes.device)
        # Prepare what changes scores: constraints, coverage and length.
        forbid = Constraints(self, limits, beams.prefixes.device)
        cover = CoveragePenalty(encoded.memory.mask) if self.coverage_penalty else None
        divisors = self._divisors(max(limits) + 1).to(beams.log_prob)
        # A live hypothesis is divided by at most this number, which bounds its score.
        longest = divisors[forbid.limits + 1]  # (B,)
        for length in count(1):  # length of an output that ends in this step, with </s>
            # Compute the log-probabilities of the next tokens.
            prefixes = beams.prefixes.flatten(0, 1)[rows.slots]
            decoded, state = model.decoder(prefixes[:, -1:], state, need_weights=cover is not None)
            log_probs = forbid(model.decoder.log_probs(decoded)[:, -1], prefixes, rows.sentence)
            penalty = None
            if cover is not None:
                penalty = self.coverage_penalty * cover.add(model.alignment(decoded.weights)[:, -1])
            # Keep the best hypotheses of each sentence, and stop sentences that are decided.
            parent = beams.extend(log_probs, rows.slots, divisors[length], penalty)
            move = rows.advance(beams.close(self.n_best, longest), parent)
            if move is None:
                break
            # Reorder the rows of the decoder.
            state = move.state(state)
            if cover is not None:
                cover.move(move)
        return beams.best(self.n_best, limits)

    def _divisors(self, longest: int) -> Tensor:
        """Return the divisors lp(0) .. lp(longest) of the scores, in fp64."""
        lengths = torch.arange(longest + 1, dtype=torch.float64)
        return (lengths if self.length_norm == "plain" else (5 + lengths) / 6) ** self.length_penalty


class _Beams:
    """Hypotheses of each sentence, in K slots.

    Finished hypotheses come first, then live ones by log-probability, then unused slots (-inf).

    Args:
        memory: Source memory (B, S, D), which gives the batch size, the device and the type.
        beam: Number K of slots.
    """

    def __init__(self, memory: Tensor, beam: int) -> None:
        size, device = len(memory), memory.device
        self.prefixes = torch.full((size, beam, 1), BOS, device=device)  # (B, K, L)
        dtype = torch.promote_types(memory.dtype, torch.float32)  # as log_probs are
        self.log_prob = torch.full((size, beam), -torch.inf, dtype=dtype, device=device)
        self.log_prob[:, 0] = 0.0
        self.score = torch.full_like(self.log_prob, -torch.inf)  # score of finished hypotheses
        self.done = torch.zeros_like(self.log_prob, dtype=torch.bool)

    def extend(self, log_probs: Tensor, slots: Tensor, divisor: Tensor, penalty: Tensor | None) -> Tensor:
        """Make one step: replace the hypotheses of each sentence by their K best continuations.

        Args:
            log_probs: Log-probabilities of the next token (N, V).
            slots: Flat slot of each row (N,) long.
            divisor: Divisor lp(|y|) of an output that ends in this step.
            penalty: Coverage penalty (N,) that an output that ends in this step adds to its score; None for none.

        Returns:
            The slot of its sentence from which each hypothesis comes (B, K) long.
        """
        size, beam = self.done.shape
        each = min(beam, log_probs.shape[1])
        # Take the K best continuations of each live hypothesis; no other one can be among the K best of a sentence.
        values, tokens = top(log_probs, each)
        alive = self.log_prob.masked_fill(self.done, -torch.inf).flatten()
        total = self.log_prob.new_full((size * beam, each), -torch.inf)
        total[slots] = values + alive[slots].unsqueeze(1)
        # Finished hypotheses keep their slots: each has one continuation of infinite score.
        total[:, 0].masked_fill_(self.done.flatten(), torch.inf)
        next_tokens = slots.new_zeros(size * beam, each)
        next_tokens[slots] = tokens
        # Where a sentence has neither an output nor a continuation, end its hypotheses (``Search``).
        stuck = (total.view(size, -1).amax(1) == -torch.inf).repeat_interleave(beam)
        total[:, 0] = torch.where(stuck, alive + MIN_LOG_PROB, total[:, 0])
        next_tokens[:, 0].masked_fill_(stuck, EOS)
        # Choose the K best of a sentence, with the hypothesis and the token that each comes from.
        best, candidate = top(total.view(size, -1), beam)
        parent = candidate // each
        kept = best == torch.inf
        token = next_tokens.view(size, -1).gather(1, candidate).masked_fill(kept, PAD)
        ended = (token == EOS) & (best > -torch.inf)
        # Score the outputs that end in this step.
        credit = self.score.new_zeros(size * beam)
        if penalty is not None:
            credit[slots] = penalty.to(credit.dtype)
        final = best / divisor + credit.view(size, beam).gather(1, parent)
        # Write the new hypotheses into the slots.
        self.log_prob = torch.where(kept, self.log_prob.gather(1, parent), best)
        self.score = torch.where(kept, self.score.gather(1, parent), final.masked_fill(~ended, -torch.inf))
        self.done = kept | ended
        before = self.prefixes.gather(1, parent.unsqueeze(2).expand_as(self.prefixes))
        self.prefixes = torch.cat((before, token.unsqueeze(2)), 2)
        return parent

    def close(self, n_best: int, longest: Tensor) -> Tensor:
        """Stop sentences whose live hypotheses cannot enter the n-best. Return the mask of live ones (B, K).

        Args:
            n_best: Number of outputs that are returned.
            longest: Largest divisor of a score of each sentence (B,).
        """
        alive = self.log_prob.masked_fill(self.done, -torch.inf)
        # Compare the bound of the best live score with the worst of the n-best.
        settled = alive.amax(1) / longest <= top(self.score, n_best)[0][:, -1]
        self.log_prob = self.log_prob.masked_fill(~self.done & settled.unsqueeze(1), -torch.inf)
        return ~self.done & (self.log_prob > -torch.inf)

    def best(self, n_best: int, limits: list[int]) -> list[list[Hypothesis]]:
        """Return the finished hypotheses with the highest scores; of equal scores, the first to finish comes first.

        Args:
            n_best: Number of outputs of a sentence.
            limits: Largest number of tokens of the output of each sentence.

        Raises:
            UserError: A sentence has no output with a finite score.
        """
        hypotheses: list[list[Hypothesis]] = [[] for _ in limits]
        scores, slots = (x.tolist() for x in top(self.score, n_best))
        prefixes, log_prob = self.prefixes.tolist(), self.log_prob.tolist()
        for b, limit in enumerate(limits):
            # Unused slots have the score -inf.
            for score, k in zip(scores[b], slots[b], strict=True):
                if score > -math.inf:
                    hypotheses[b].append(hypothesis(prefixes[b][k], score, log_prob[b][k], limit))
            if not hypotheses[b]:
                raise lost()
        return hypotheses
