"""Constraints on the next token of an output.

Shapes: N rows (hypotheses), T tokens so far, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seq2seq.batch import BOS, EOS, PAD, UNK
from seq2seq.search.base import Search


class Constraints:
    """Constraints of a search: log-probabilities of forbidden tokens become -inf, the others do not change.

    Args:
        options: Search with its options.
        limits: Largest number of tokens of the output of each sentence.
        device: Device of the log-probabilities.
    """

    def __init__(self, options: Search, limits: list[int], device: torch.device) -> None:
        self.options = options
        self.limits = torch.tensor(limits, device=device)
        self.last_steps = set(limits)
        self.never = torch.tensor([PAD, BOS, UNK] if options.suppress_unk else [PAD, BOS], device=device)

    def __call__(self, log_probs: Tensor, tokens: Tensor, sentence: Tensor) -> Tensor:
        """Apply the constraints to the log-probabilities of the next token, in place.

        Args:
            log_probs: Log-probabilities (N, V).
            tokens: Tokens so far (N, 1 + T) long, which start with ``<s>``.
            sentence: Sentence of each row (N,) long.

        Returns:
            The same tensor of log-probabilities.
        """
        length, size = tokens.shape[1] - 1, self.options.no_repeat_ngram_size
        end = log_probs[:, EOS].clone()
        # Forbid special tokens and repeated n-grams.
        log_probs.index_fill_(1, self.never, -torch.inf)
        if size and length >= size:
            forbid_repeats(log_probs, tokens[:, 1:], size)
        # Forbid an end before the smallest length.
        if length < self.options.min_length:
            log_probs[:, EOS] = -torch.inf
            # Allow it if no other token is left: a short output is better than none.
            if size:
                log_probs[:, EOS] = torch.where(log_probs.amax(1) == -torch.inf, end, -torch.inf)
        # Allow only the end at the largest length.
        if length in self.last_steps:
            log_probs.masked_fill_((self.limits[sentence] == length).unsqueeze(1), -torch.inf)
            log_probs[:, EOS] = end
        return log_probs


def forbid_repeats(log_probs: Tensor, tokens: Tensor, size: int) -> None:
    """Forbid tokens that would repeat an n-gram, in place.

    Args:
        log_probs: Log-probabilities of the next token (N, V).
        tokens: Tokens so far (N, T) long.
        size: Size n of the n-grams.
    """
    grams = tokens.unfold(1, size, 1)  # (N, windows, size)
    recent = tokens[:, tokens.shape[1] - size + 1 :]  # last size - 1 tokens, which the next one follows
    # Find earlier n-grams that start with these tokens, and forbid their last tokens.
    seen_ngrams = (grams[..., :-1] == recent.unsqueeze(1)).all(-1)
    penalty = torch.zeros_like(seen_ngrams, dtype=log_probs.dtype).masked_fill_(seen_ngrams, -torch.inf)
    log_probs.scatter_add_(1, grams[..., -1], penalty)
