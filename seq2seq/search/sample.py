"""Sampling.

Shapes: B sentences, R outputs, N rows of the decoder's state, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seq2seq.batch import Batch
from seq2seq.config.ranges import Count, CountOrZero
from seq2seq.encoders.base import EncoderOutput
from seq2seq.model import Seq2Seq
from seq2seq.search.base import Hypothesis, Search, require
from seq2seq.search.token_loop import chain
from seq2seq.search.topk import top


@dataclass(frozen=True, kw_only=True)
class Sample(Search):
    """Draws each token from p^(1/temperature), cut to the ``top_k`` most probable tokens (0: all) and then to the
    fewest tokens that hold ``top_p`` of the rest (the nucleus of Holtzman 2020, section 3.1).

    ``samples`` outputs a sentence, the most probable first; score and log_prob are the model's own log-probability.
    Output j of a sentence is a function of ``seed``, the sentence's place in its split, and j: not of the batch, of
    ``samples``, or of any other generator.
    """

    samples: Count = 1
    temperature: float = 1.0
    top_k: CountOrZero = 0
    top_p: float = 1.0
    seed: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require("samples", self.samples, self.samples >= 1, "must be at least 1")
        require("temperature", self.temperature, self.temperature > 0, "must be above 0 (its limit 0 is greedy search)")
        require("top_k", self.top_k, self.top_k >= 0, "must be at least 0 (0: no cut)")
        require("top_p", self.top_p, 0 < self.top_p <= 1, "must be above 0 and at most 1 (1: no cut)")
        require("seed", self.seed, self.seed >= 0, "must be at least 0")

    def search(self, model: Seq2Seq, encoded: EncoderOutput, batch: Batch) -> list[list[Hypothesis]]:
        """``samples`` outputs of each sentence."""
        draws = self._draws(batch.index.tolist(), self.limits(model, encoded)).to(batch.index.device)

        def choose(log_probs: Tensor, outputs: Tensor, step: int) -> Tensor:
            return self.choose(log_probs, draws[outputs, step])

        outputs = chain(self, model, encoded, choose, copies=self.samples)
        places = range(0, len(outputs), self.samples)
        return [sorted(outputs[i : i + self.samples], key=lambda output: -output.score) for i in places]

    def choose(self, log_probs: Tensor, draws: Tensor) -> Tensor:
        """Tokens (N,) where the distribution function of log_probs (N, V) passes draws (N,), uniform in [0, 1)."""
        tokens = None
        if self.top_k:
            log_probs, tokens = top(log_probs, min(self.top_k, log_probs.shape[1]))
        elif self.top_p < 1:
            log_probs, tokens = torch.sort(log_probs, dim=1, descending=True, stable=True)
        p = (log_probs.double() / self.temperature).softmax(1)
        if self.top_p < 1:
            p = p.masked_fill(p.cumsum(1) - p >= self.top_p, 0.0)
        passed = p.cumsum(1)
        place = torch.searchsorted(passed, (draws * passed[:, -1]).unsqueeze(1), right=True)
        return (place if tokens is None else tokens.gather(1, place)).squeeze(1)

    def _draws(self, places: list[int], limits: list[int]) -> Tensor:
        """(R, longest + 1) fp64 in [0, 1): for each sentence a stream of its own, a stretch of it for each output."""
        draws = torch.zeros(len(places), self.samples, max(limits) + 1, dtype=torch.float64)
        for row, place, limit in zip(draws, places, limits, strict=True):
            stream = np.random.default_rng((self.seed, place)).random((self.samples, limit + 1))
            row[:, : limit + 1] = torch.from_numpy(stream)
        return draws.flatten(0, 1)
