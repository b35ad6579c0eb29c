"""Rewards of single outputs against the references of their records, for training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from seq2seq.errors import UserError
from seq2seq.metrics.captions import IN_JAVA, CiderD, words
from seq2seq.metrics.table import get_metric
from seq2seq.metrics.text import SCORERS

Reward = Callable[[Sequence[int], Sequence[str], Sequence[bool]], list[float]]
"""Function that takes indices of records, outputs for them, and whether each output is finished, and returns rewards.

CIDEr-D is about 0-10; all other rewards are about 0-1.
"""
END = "</s>"


def reward(name: str, references: Sequence[Sequence[str]]) -> Reward:
    """Return the function that computes the rewards of outputs.

    For CIDEr-D, the n-gram frequencies are those of all ``references``, and the end of a caption counts as a word
    (Rennie 2017): otherwise captions that break off get the highest rewards. For any other metric, each output is
    scored by itself.

    Args:
        name: Name of a metric of ``SCORERS`` for which higher is better. METEOR and SPICE are not allowed.
        references: References of each record.

    Raises:
        UserError: The metric cannot be a reward.
    """
    # Leave out METEOR and SPICE: each call starts a Java program.
    known = [known for known in SCORERS if get_metric(known).higher_is_better and known not in IN_JAVA]
    if name not in known:
        raise UserError(f"reward={name} is none of: {', '.join(known)}")
    if name == "cider":
        # Count the n-grams of all references once, before the first call.
        scorer = CiderD(references, end=END)

        def cider_scores(
            sample_indices: Sequence[int], outputs: Sequence[str], finished: Sequence[bool]
        ) -> list[float]:
            sampled_text = [
                [*words(text), *([END] if end else [])] for text, end in zip(outputs, finished, strict=True)
            ]
            return scorer.scores(sample_indices, sampled_text)

        return cider_scores

    # Scores of all other metrics are percentages.
    def scores(sample_indices: Sequence[int], outputs: Sequence[str], finished: Sequence[bool]) -> list[float]:
        pairs = zip(sample_indices, outputs, strict=True)
        return [SCORERS[name]([text], [references[sample_index]]).score / 100.0 for sample_index, text in pairs]

    return scores
