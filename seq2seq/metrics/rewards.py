"""What one output is worth against the references of its record: scores that training can ask for again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from seq2seq.errors import UserError
from seq2seq.metrics.captions import CiderD, words
from seq2seq.metrics.text import SCORERS

Reward = Callable[[Sequence[int], Sequence[str], Sequence[bool]], list[float]]
"""Places of records, outputs for them, and whether each came to its end -> what it is worth, about 0-10 of CIDEr-D and
0-1 of all else."""
END = "</s>"
LOWER_IS_BETTER = frozenset({"ter", "cer"})
CORPUS_ONLY = frozenset({"meteor", "spice"})  # a program is started for each call


def reward(name: str, references: Sequence[Sequence[str]]) -> Reward:
    """CIDEr-D by the n-grams of all ``references``; any other metric of ``SCORERS`` of an output by itself.

    Of CIDEr-D the end of a caption is a word, as Rennie 2017 has it: without it what breaks off is worth most.
    """
    if name not in SCORERS or name in LOWER_IS_BETTER | CORPUS_ONLY:
        known = [known for known in SCORERS if known not in LOWER_IS_BETTER | CORPUS_ONLY]
        raise UserError(f"training.reward={name} is none of: {', '.join(known)}")
    if name == "cider":
        scorer = CiderD(references, end=END)

        def ended(places: Sequence[int], outputs: Sequence[str], finished: Sequence[bool]) -> list[float]:
            said = [[*words(text), *([END] if end else [])] for text, end in zip(outputs, finished, strict=True)]
            return scorer.scores(places, said)

        return ended

    def scores(places: Sequence[int], outputs: Sequence[str], finished: Sequence[bool]) -> list[float]:
        pairs = zip(places, outputs, strict=True)
        return [SCORERS[name]([text], [references[place]]).score / 100.0 for place, text in pairs]

    return scores
