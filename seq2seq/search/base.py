"""What every search is: options, and a call from a batch to hypotheses.

Shapes: B sentences, S source tokens.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from seq2seq.batch import EOS, Batch
from seq2seq.config.ranges import Count, CountOrZero, NonNegative
from seq2seq.encoders.base import EncoderOutput
from seq2seq.errors import UserError
from seq2seq.model import Seq2Seq


@dataclass(frozen=True)
class Hypothesis:
    """One output. ``log_prob`` is the model's own log p(y, </s> | x), whatever the search preferred or forbade."""

    tokens: list[int]  # without <s> and </s>
    score: float  # what ranks it among the sentence's hypotheses
    log_prob: float
    finished: bool  # False where max_length made it end


@dataclass(frozen=True, kw_only=True)
class Search(ABC):
    """Options of all searches.

    An output has at least ``min_length`` tokens and at most
    min(``max_length``, ``max_length_ratio`` S + ``max_length_offset``), ``</s>`` not counted, S the source's length
    with its ``</s>``; a decoder's learned positions are a limit too. At that length only ``</s>`` may follow. No
    ``no_repeat_ngram_size`` tokens in a row occur twice (0: they may). ``suppress_unk`` never says ``<unk>``;
    ``<pad>`` and ``<s>`` are never said.
    """

    min_length: CountOrZero = 0
    max_length: Count | None = 1024  # as data.max_source_tokens
    max_length_ratio: NonNegative = 2.0
    max_length_offset: CountOrZero = 10
    no_repeat_ngram_size: CountOrZero = 0
    suppress_unk: bool = False

    def __post_init__(self) -> None:
        require("min_length", self.min_length, self.min_length >= 0, "must be at least 0")
        longest = self.max_length is None or self.max_length >= max(1, self.min_length)
        require("max_length", self.max_length, longest, f"must be at least {max(1, self.min_length)}, or null")
        require("max_length_ratio", self.max_length_ratio, 0 <= self.max_length_ratio < math.inf, "must be 0 or more")
        require("max_length_offset", self.max_length_offset, self.max_length_offset >= 0, "must be at least 0")
        require("no_repeat_ngram_size", self.no_repeat_ngram_size, self.no_repeat_ngram_size >= 0, "must be 0 or more")

    def __call__(self, model: Seq2Seq, batch: Batch, encoded: EncoderOutput | None = None) -> list[list[Hypothesis]]:
        """Hypotheses of each sentence of the batch, best first. Runs with dropout off and no gradients; ``encoded`` is
        the batch's, where it is there already.
        """
        with torch.inference_mode(), evaluating(model):
            return self.search(model, model.encode(batch) if encoded is None else encoded, batch)

    @abstractmethod
    def search(self, model: Seq2Seq, encoded: EncoderOutput, batch: Batch) -> list[list[Hypothesis]]:
        """The search itself, on an encoded batch."""

    def limits(self, model: Seq2Seq, encoded: EncoderOutput) -> list[int]:
        """The longest output of each sentence: a function of its own source alone, so neighbours don't matter."""
        positions = model.decoder.embedding.max_length  # learned ones come to an end; the first is that of <s>
        cap = min(self.max_length or math.inf, math.inf if positions is None else positions - 1)
        sizes = encoded.memory.mask.sum(1).tolist()
        longest = [min(cap, self.max_length_ratio * size + self.max_length_offset) for size in sizes]
        return [max(1, self.min_length, int(length)) for length in longest]


def require(option: str, value: object, holds: bool, must: str) -> None:
    """Refuse an option's value in one line."""
    if not holds:
        raise UserError(f"{option}={'null' if value is None else value} {must}")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Dropout off inside; the mode of each module is as before afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def differentiable(model: nn.Module) -> Iterator[None]:
    """``evaluating``, but for RNNs, which have no dropout inside: cuDNN gives their gradients in training mode only."""
    with evaluating(model):
        for module in model.modules():
            if isinstance(module, nn.RNNBase):
                module.train()
        yield


def hypothesis(said: list[int], score: float, log_prob: float, limit: int) -> Hypothesis:
    """From a row ``<s> y_1 .. </s> <pad> ..``."""
    if not math.isfinite(log_prob):
        raise lost()
    tokens = said[1 : said.index(EOS)]
    return Hypothesis(tokens, score, log_prob, finished=len(tokens) < limit)


def lost() -> UserError:
    """What is raised where no output has a probability."""
    return UserError("search found no output with a finite log-probability: the model's weights are damaged (NaN?)")
