"""What one output is worth against the references of its record: scores that training can ask for again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from seq2seq.errors import UserError
from seq2seq.metrics.captions import CiderD
from seq2seq.metrics.text import SCORERS

Reward = Callable[[Sequence[int], Sequence[str]], list[float]]
"""Places of records and outputs for them -> what each is worth, about 0-10 of CIDEr-D and 0-1 of all else."""
LOWER_IS_BETTER = frozenset({"ter"})
CORPUS_ONLY = frozenset({"meteor", "spice"})  # a program is started for each call


def reward(name: str, references: Sequence[Sequence[str]]) -> Reward:
    """CIDEr-D by the n-grams of all ``references``; any other metric of ``SCORERS`` of an output by itself."""
    if name not in SCORERS or name in LOWER_IS_BETTER | CORPUS_ONLY:
        known = [known for known in SCORERS if known not in LOWER_IS_BETTER | CORPUS_ONLY]
        raise UserError(f"training.reward={name} is none of: {', '.join(known)}")
    if name == "cider":
        return CiderD(references).scores

    def scores(places: Sequence[int], outputs: Sequence[str]) -> list[float]:
        pairs = zip(places, outputs, strict=True)
        return [SCORERS[name]([text], [references[place]]).score / 100.0 for place, text in pairs]

    return scores
