"""What may not be said next.

Shapes: N rows (hypotheses), T tokens said so far, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seq2seq.batch import BOS, EOS, PAD, UNK
from seq2seq.search.base import Search


class Constraints:
    """Sets log-probabilities of forbidden tokens to -inf and leaves the others as the model gave them."""

    def __init__(self, options: Search, limits: list[int], device: torch.device) -> None:
        self.options = options
        self.limits = torch.tensor(limits, device=device)
        self.last_steps = set(limits)
        self.never = torch.tensor([PAD, BOS, UNK] if options.suppress_unk else [PAD, BOS], device=device)

    def __call__(self, log_probs: Tensor, tokens: Tensor, sentence: Tensor) -> Tensor:
        """log_probs (N, V), changed in place; said (N, 1 + T) from ``<s>`` on; sentence (N,) whose each row is."""
        length, size = tokens.shape[1] - 1, self.options.no_repeat_ngram_size
        end = log_probs[:, EOS].clone()
        log_probs.index_fill_(1, self.never, -torch.inf)
        if size and length >= size:
            forbid_repeats(log_probs, tokens[:, 1:], size)
        if length < self.options.min_length:
            log_probs[:, EOS] = -torch.inf
            if size:  # a vocabulary used up: rather too short than nothing
                log_probs[:, EOS] = torch.where(log_probs.amax(1) == -torch.inf, end, -torch.inf)
        if length in self.last_steps:
            log_probs.masked_fill_((self.limits[sentence] == length).unsqueeze(1), -torch.inf)
            log_probs[:, EOS] = end
        return log_probs


def forbid_repeats(log_probs: Tensor, tokens: Tensor, size: int) -> None:
    """-inf in log_probs (N, V), in place, for tokens after which the last ``size`` of said (N, T) would be repeated."""
    grams = tokens.unfold(1, size, 1)  # (N, windows, size)
    recent = tokens[:, tokens.shape[1] - size + 1 :]  # the size - 1 tokens that the next one would follow
    seen_ngrams = (grams[..., :-1] == recent.unsqueeze(1)).all(-1)
    penalty = torch.zeros_like(seen_ngrams, dtype=log_probs.dtype).masked_fill_(seen_ngrams, -torch.inf)
    log_probs.scatter_add_(1, grams[..., -1], penalty)
