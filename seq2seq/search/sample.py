"""Sampling of outputs from the distribution of the model.

Shapes: B sentences, R outputs, N rows of the decoder state, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from seq2seq.batch import Batch
from seq2seq.config.ranges import Count, CountOrZero
from seq2seq.encoders.base import EncoderOutput
from seq2seq.model import Seq2Seq
from seq2seq.search.base import Hypothesis, Search, require
from seq2seq.search.token_loop import chain
from seq2seq.search.topk import top


@dataclass(frozen=True, kw_only=True)
class Sample(Search):
    """Sampling: draws each token from p^(1/temperature), cut to the most probable tokens.

    The distribution is cut to ``top_k`` tokens, then to the fewest tokens that hold ``top_p`` of the rest (the nucleus
    of Holtzman 2020, section 3.1). Outputs of a sentence are sorted by log-probability, which is that of the model and
    also the score.

    Output j of a sentence depends only on ``seed``, on the number of the sentence in its split, and on j. It does not
    depend on the batch, on ``samples`` or on another random generator.

    The options below are added to those of ``Search``.

    Args:
        samples: Number of outputs of a sentence.
        temperature: Temperature, above 0; below 1 it makes probable tokens more probable.
        top_k: Number of most probable tokens to draw from; 0 for all.
        top_p: Share of the probability to draw from, above 0 and at most 1; 1 for all.
        seed: Seed of the random numbers.
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

    @override
    def search(self, model: Seq2Seq, encoded: EncoderOutput, batch: Batch) -> list[list[Hypothesis]]:
        """Return ``samples`` outputs of each sentence, the most probable first."""
        # Draw all random numbers before the search.
        draws = self._draws(batch.index.tolist(), self.limits(model, encoded)).to(drawing_device(batch.index.device))

        def choose(log_probs: Tensor, outputs: Tensor, step: int) -> Tensor:
            return self.choose(log_probs, draws[outputs, step])

        outputs = chain(self, model, encoded, choose, copies=self.samples)
        # Group the outputs by sentence, and sort them.
        starts = range(0, len(outputs), self.samples)
        return [sorted(outputs[i : i + self.samples], key=lambda output: -output.score) for i in starts]

    def choose(self, log_probs: Tensor, draws: Tensor) -> Tensor:
        """Draw the token of each row by inversion of the distribution function.

        It is the first token whose cumulative probability is above the random number.

        Args:
            log_probs: Log-probabilities (N, V).
            draws: Random numbers (N,) in [0, 1), in fp64, on the device where tokens are drawn.

        Returns:
            Tokens (N,) long.
        """
        # Keep the top_k tokens, or sort all tokens for the nucleus.
        device, log_probs, tokens = log_probs.device, log_probs.to(draws.device), None
        if self.top_k:
            log_probs, tokens = top(log_probs, min(self.top_k, log_probs.shape[1]))
        elif self.top_p < 1:
            log_probs, tokens = torch.sort(log_probs, dim=1, descending=True, stable=True)
        p = (log_probs.double() / self.temperature).softmax(1)
        # Set tokens outside the nucleus to 0.
        if self.top_p < 1:
            p = p.masked_fill(p.cumsum(1) - p >= self.top_p, 0.0)
        # Find each random number in the cumulative distribution, which is not normalised.
        cumulative = p.cumsum(1)
        place = torch.searchsorted(cumulative, (draws * cumulative[:, -1]).unsqueeze(1), right=True)
        return (place if tokens is None else tokens.gather(1, place)).squeeze(1).to(device)

    def _draws(self, places: list[int], limits: list[int]) -> Tensor:
        """Return random numbers (R, longest + 1) in [0, 1), fp64; each sentence has its own generator."""
        draws = torch.zeros(len(places), self.samples, max(limits) + 1, dtype=torch.float64)
        for row, place, limit in zip(draws, places, limits, strict=True):
            # Outputs take consecutive parts of the stream, so those of fewer samples are the same.
            stream = np.random.default_rng((self.seed, place)).random((self.samples, limit + 1))
            row[:, : limit + 1] = torch.from_numpy(stream)
        return draws.flatten(0, 1)


def drawing_device(device: torch.device) -> torch.device:
    """Return the device on which tokens are drawn in fp64: the CPU for the GPU of a Mac, which has no fp64.

    Args:
        device: Device of the model.
    """
    return torch.device("cpu") if device.type == "mps" else device
