"""Exact search: the most probable output of the model, by branch and bound.

Shapes: B sentences, N prefixes of all sentences, L tokens of a prefix with ``<s>``, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from seq2seq.batch import BOS, EOS, Batch
from seq2seq.config.ranges import Count
from seq2seq.decoders.base import DecoderState
from seq2seq.encoders.base import EncoderOutput
from seq2seq.model import Seq2Seq
from seq2seq.search.base import Hypothesis, Search, require
from seq2seq.search.constraints import Constraints
from seq2seq.search.greedy import most_probable
from seq2seq.search.token_loop import chain

MAX_ROWS = 4096  # largest number of prefixes in memory, unless one sentence has more


@dataclass(frozen=True, kw_only=True)
class Exact(Search):
    """Exact search: the output with the largest log p(y, </s> | x), and whether that is proven.

    A prefix is at least as probable as each output that begins with it. So the search extends, from length to length,
    all prefixes that are more probable than the best output so far, which is at first the greedy one (branch and bound;
    Stahlberg & Byrne 2019, arXiv:1908.10090, who extend one prefix at a time). The probabilities of the prefixes of one
    length add up to at most 1. So at most n - 1 of them are more probable than 1 / n, and the result is proven if its
    probability is above 1 / ``max_prefixes``. A sparse output layer leaves few prefixes (Peters 2019).

    The score is the log-probability: there is no length penalty. The options below are added to those of ``Search``.

    Args:
        max_prefixes: Number of prefixes of a sentence that are extended in a step. If there are more, the least
            probable ones are dropped; the output is then proven only if none of these was more probable.
    """

    max_prefixes: Count = 100

    proves: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require("max_prefixes", self.max_prefixes, self.max_prefixes >= 1, "must be at least 1")

    @override
    def search(self, model: Seq2Seq, encoded: EncoderOutput, batch: Batch) -> list[list[Hypothesis]]:
        """Return one output for each sentence."""
        greedy = chain(self, model, encoded, most_probable)
        limits, state = self.limits(model, encoded), model.decoder.start(encoded)
        # Search a few sentences at a time, so that their prefixes fit into memory.
        found: list[list[Hypothesis]] = []
        size = max(1, MAX_ROWS // self.max_prefixes)
        for start in range(0, len(greedy), size):
            group = torch.arange(len(greedy), device=batch.index.device)[start : start + size]
            several = self._improved(model, state.select(group), greedy[start : start + size], limits[start:])
            found += [[hypothesis] for hypothesis in several]
        return found

    def _improved(
        self, model: Seq2Seq, state: DecoderState, greedy: Sequence[Hypothesis], limits: Sequence[int]
    ) -> list[Hypothesis]:
        """Return the most probable outputs of some sentences.

        Args:
            model: Model in evaluation mode.
            state: State before the first token, with one row for each of the B sentences.
            greedy: Output of each sentence that the search has to improve.
            limits: Largest number of tokens of an output of each sentence.
        """
        # Start with the empty prefix of each sentence.
        best, memory = list(greedy), state.cross[0].values
        device, dtype = memory.device, torch.promote_types(memory.dtype, torch.float32)  # as log_probs are
        forbid = Constraints(self, list(limits[: len(best)]), device)
        bound = torch.tensor([output.log_prob for output in best], dtype=dtype, device=device)
        dropped = torch.full_like(bound, -torch.inf)  # (B,) largest log p of a dropped prefix
        sentence = torch.arange(len(best), device=device)  # (N,)
        prefixes = torch.full((len(best), 1), BOS, device=device)  # (N, L)
        log_prob = torch.zeros_like(bound)  # (N,)
        while len(prefixes):
            # Compute the log-probabilities of all continuations (N, V).
            decoded, state = model.decoder(prefixes[:, -1:], state)
            log_probs = forbid(model.decoder.log_probs(decoded)[:, -1], prefixes, sentence)
            total = log_prob.unsqueeze(1) + log_probs
            # Keep the best output of those that end here.
            for row in (total[:, EOS] > bound[sentence]).nonzero().squeeze(1).tolist():
                b, value = int(sentence[row]), float(total[row, EOS])
                if value > bound[b]:
                    tokens = prefixes[row, 1:].tolist()
                    best[b] = Hypothesis(tokens, value, value, finished=len(tokens) < limits[b])
                    bound[b] = value
            # Extend the prefixes that are more probable than it, as far as there is room.
            total[:, EOS] = -torch.inf
            row, token = (total > bound[sentence].unsqueeze(1)).nonzero(as_tuple=True)
            log_prob, owner = total[row, token], sentence[row]
            kept = _ranks(log_prob, owner, len(best)) < self.max_prefixes
            dropped = dropped.scatter_reduce(0, owner[~kept], log_prob[~kept], "amax")
            row, token, log_prob, sentence = row[kept], token[kept], log_prob[kept], owner[kept]
            prefixes, state = torch.cat((prefixes[row], token.unsqueeze(1)), 1), state.select(row)
        proven = (dropped <= bound).tolist()
        return [replace(output, proven=known) for output, known in zip(best, proven, strict=True)]


def _ranks(values: Tensor, owner: Tensor, owners: int) -> Tensor:
    """Return the rank of each value among those of its owner, 0 for the largest.

    Args:
        values: Values (N,).
        owner: Number of the owner of each value (N,).
        owners: Number of owners.
    """
    order = values.argsort(descending=True, stable=True)
    order = order[owner[order].argsort(stable=True)]
    count = torch.bincount(owner, minlength=owners)
    first = count.cumsum(0) - count
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order), device=order.device) - first[owner[order]]
    return ranks
