"""Interface of all searches: options, and a call that returns the hypotheses of a batch.

Shapes: B sentences, S source tokens.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from seq2seq.batch import EOS, Batch
from seq2seq.config.ranges import Count, CountOrZero, NonNegative
from seq2seq.encoders.base import EncoderOutput
from seq2seq.errors import UserError
from seq2seq.model import Seq2Seq


@dataclass(frozen=True)
class Hypothesis:
    """Output of a search for one sentence.

    ``log_prob`` is log p(y, </s> | x) of the model, whatever the search prefers or forbids. A ``</s>`` outside the
    support of a sparse output layer counts as ``MIN_LOG_PROB`` (``Search``).
    """

    tokens: list[int]  # without <s> and </s>
    score: float  # by which the hypotheses of a sentence are ranked
    log_prob: float
    finished: bool  # False if the length limit ended it
    proven: bool = False  # True if the search has proven that no other output is more probable


@dataclass(frozen=True, kw_only=True)
class Search(ABC):
    """Base class of searches, with the options that all of them have.

    The length of an output is at most min(``max_length``, ``max_length_ratio`` S + ``max_length_offset``), where S
    counts the ``</s>`` of the source. The number of learned positions of the decoder is a limit too. At the limit, only
    ``</s>`` may follow. ``<pad>`` and ``<s>`` are never output.

    A sparse output layer may give p = 0 to all tokens that are allowed. Such a prefix is dropped if its sentence has
    another hypothesis. If it has none, ``</s>`` ends the output and counts as log p = ``MIN_LOG_PROB``: a short output
    is better than none.

    Args:
        min_length: Smallest number of tokens of an output, without ``</s>``.
        max_length: Largest number of tokens of an output, without ``</s>``; None for no such limit.
        max_length_ratio: Largest number of tokens for each source token.
        max_length_offset: Number of tokens that are allowed in addition.
        no_repeat_ngram_size: Size of the n-grams that may occur only once in an output; 0 to allow repetition.
        suppress_unk: Whether ``<unk>`` is never output.

    Raises:
        UserError: An option is out of its range.
    """

    min_length: CountOrZero = 0
    max_length: Count | None = 1024  # the default of data.max_source_tokens, too
    max_length_ratio: NonNegative = 2.0
    max_length_offset: CountOrZero = 10
    no_repeat_ngram_size: CountOrZero = 0
    suppress_unk: bool = False

    proves: ClassVar[bool] = False
    """True if the search says which outputs are proven to be the most probable ones."""

    def __post_init__(self) -> None:
        require("min_length", self.min_length, self.min_length >= 0, "must be at least 0")
        longest = self.max_length is None or self.max_length >= max(1, self.min_length)
        require("max_length", self.max_length, longest, f"must be at least {max(1, self.min_length)}, or null")
        require("max_length_ratio", self.max_length_ratio, 0 <= self.max_length_ratio < math.inf, "must be 0 or more")
        require("max_length_offset", self.max_length_offset, self.max_length_offset >= 0, "must be at least 0")
        require("no_repeat_ngram_size", self.no_repeat_ngram_size, self.no_repeat_ngram_size >= 0, "must be 0 or more")

    def __call__(self, model: Seq2Seq, batch: Batch, encoded: EncoderOutput | None = None) -> list[list[Hypothesis]]:
        """Return the hypotheses of each sentence of a batch, best first.

        The search runs without dropout and without gradients.

        Args:
            model: Model to search with.
            batch: Batch of B sentences.
            encoded: Output of the encoder for the batch; None to compute it.
        """
        with torch.inference_mode(), evaluating(model):
            return self.search(model, model.encode(batch) if encoded is None else encoded, batch)

    @abstractmethod
    def search(self, model: Seq2Seq, encoded: EncoderOutput, batch: Batch) -> list[list[Hypothesis]]:
        """Return the hypotheses of each sentence of an encoded batch, best first.

        Args:
            model: Model in evaluation mode.
            encoded: Output of the encoder for the batch.
            batch: Batch of B sentences.

        Raises:
            UserError: The weights of the model are damaged, so that no output has a finite log-probability.
        """

    def limits(self, model: Seq2Seq, encoded: EncoderOutput) -> list[int]:
        """Return the largest number of tokens of the output of each sentence, without ``</s>``.

        It depends only on the sentence itself, so the other sentences of the batch do not change the result.

        Args:
            model: Model, whose decoder may have learned positions.
            encoded: Output of the encoder for B sentences.
        """
        # Learned positions are limited in number; the first one is that of <s>.
        positions = model.decoder.embedding.max_length
        cap = min(self.max_length or math.inf, math.inf if positions is None else positions - 1)
        # Apply all limits to each sentence.
        sizes = encoded.memory.mask.sum(1).tolist()
        longest = [min(cap, self.max_length_ratio * size + self.max_length_offset) for size in sizes]
        return [max(1, self.min_length, int(length)) for length in longest]


def require(option: str, value: object, holds: bool, must: str) -> None:
    """Raise an error with the option and its value unless a condition holds.

    Args:
        option: Name of the option.
        value: Value of the option.
        holds: Condition.
        must: Condition in words, for example "must be at least 0".

    Raises:
        UserError: The condition does not hold.
    """
    if not holds:
        raise UserError(f"{option}={'null' if value is None else value} {must}")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch the model to evaluation mode within this context; afterwards each module has its mode again.

    Args:
        model: Model to evaluate.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def differentiable(model: nn.Module) -> Iterator[None]:
    """Switch the model to evaluation mode with gradients, within this context.

    RNNs stay in training mode, because cuDNN computes their gradients only there. They have no dropout inside.

    Args:
        model: Model to differentiate.
    """
    with evaluating(model):
        for module in model.modules():
            if isinstance(module, nn.RNNBase):
                module.train()
        yield


def hypothesis(tokens: list[int], score: float, log_prob: float, limit: int) -> Hypothesis:
    """Build a hypothesis from a row ``<s> y_1 .. </s> <pad> ..`` of token ids.

    Args:
        tokens: Token ids of the row.
        score: Score of the hypothesis.
        log_prob: Log-probability of the model.
        limit: Largest number of tokens, at which the search ended the output.

    Raises:
        UserError: ``log_prob`` is not finite.
    """
    if not math.isfinite(log_prob):
        raise lost()
    output = tokens[1 : tokens.index(EOS)]
    return Hypothesis(output, score, log_prob, finished=len(output) < limit)


def lost() -> UserError:
    """Return the error for a model that gives no output a finite log-probability."""
    return UserError(
        "the search found no output with a finite log-probability; the weights of the model are damaged (NaN?)"
    )
