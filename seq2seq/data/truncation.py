"""Long documents cut short: to so many sentences, then to so many tokens (See 2017, section 5: 400 and 100).

Lengths count ``</s>``, which stays the last token; ``sizes`` are the tokens of each sentence, ``</s>`` in the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.records import Policy, Report

Sizes = Sequence[int] | NDArray[np.int32]


def source_limit(
    length: int, sizes: Sizes | None, policy: Policy, place: str = "", report: Report | None = None
) -> int:
    """How many of the ``length`` tokens of a source stay, in any split; what goes is counted in ``report``.

    A text that is not a document (``sizes`` None) has no sentences to count.
    """
    if sizes is not None and (sentences := policy.max_source_sentences) is not None and len(sizes) > sentences:
        length = int(sum(sizes[:sentences])) + 1
        _count("sources", sentences, "sentence", place, report)
    if (tokens := policy.max_source_tokens) is not None and length > tokens:
        length = tokens
        _count("sources", tokens, "token", place, report)
    return length


def target_limit(length: int, policy: Policy, place: str = "", report: Report | None = None) -> int:
    """The same for a target, ``<s>`` not counted; for training alone, since a reference is scored whole."""
    if (tokens := policy.max_target_tokens) is not None and length > tokens:
        length = tokens
        _count("targets", tokens, "token", place, report)
    return length


def cut_sizes(sizes: Sizes, length: int) -> list[int]:
    """The sizes of what is left of a document's sentences when ``length`` tokens stay."""
    if length >= sum(sizes):
        return [int(size) for size in sizes]
    ends = [min(end, length - 1) for end in accumulate(map(int, sizes))]
    left = [end - start for start, end in zip([0, *ends], ends, strict=False) if end > start]
    return [*left[:-1], left[-1] + 1]


def _count(side: str, most: int, unit: str, place: str, report: Report | None) -> None:
    if report is not None:
        report.cut(f"{side} over {most} {unit}{'' if most == 1 else 's'}", place)
