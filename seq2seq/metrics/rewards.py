"""What one output is worth against the references of its record: scores that training can ask for again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from seq2seq.errors import UserError
from seq2seq.metrics.captions import IN_JAVA, CiderD, words
from seq2seq.metrics.table import get_metric
from seq2seq.metrics.text import SCORERS

Reward = Callable[[Sequence[int], Sequence[str], Sequence[bool]], list[float]]
"""Places of records, outputs for them, and whether each came to its end -> what it is worth, about 0-10 of CIDEr-D and
0-1 of all else."""
END = "</s>"


def reward(name: str, references: Sequence[Sequence[str]]) -> Reward:
    """CIDEr-D by the n-grams of all ``references``; any other metric of ``SCORERS`` of an output by itself.

    Of CIDEr-D the end of a caption is a word, as Rennie 2017 has it: without it what breaks off is worth most.
    """
    # Those in Java are left out: a program is started for each call.
    known = [known for known in SCORERS if get_metric(known).higher_is_better and known not in IN_JAVA]
    if name not in known:
        raise UserError(f"reward={name} is none of: {', '.join(known)}")
    if name == "cider":
        scorer = CiderD(references, end=END)

        def ended(sample_indices: Sequence[int], outputs: Sequence[str], finished: Sequence[bool]) -> list[float]:
            sampled_text = [
                [*words(text), *([END] if end else [])] for text, end in zip(outputs, finished, strict=True)
            ]
            return scorer.scores(sample_indices, sampled_text)

        return ended

    def scores(sample_indices: Sequence[int], outputs: Sequence[str], finished: Sequence[bool]) -> list[float]:
        pairs = zip(sample_indices, outputs, strict=True)
        return [SCORERS[name]([text], [references[sample_index]]).score / 100.0 for sample_index, text in pairs]

    return scores
