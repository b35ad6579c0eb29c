"""A record as ids, before it is padded into a batch.

Shapes: S source tokens with ``</s>``, T target tokens with ``</s>``, V words of the target vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from seq2seq.batch import EOS, PAD, UNK
from seq2seq.data.images import ImageFile

Ids = Sequence[int] | NDArray[np.int32]

Sample = tuple[int, int, int]
"""(seed, epoch, record): what seeds all that is drawn for a training record."""


@dataclass(frozen=True)
class Example:
    """The ids of a record. Without a target where there is nothing to score; an ``image`` has no source ids."""

    source: Ids  # (S,) x_1 .. </s>
    target: Ids | None = None  # (T + 1,) <s> y_1 .. </s>; V + k stands for the k-th out-of-vocabulary word
    sizes: Ids | None = None  # tokens of each sentence of a document, </s> counted to the last
    copies: Ids | None = None  # (S,) what each source token is to the target: ``seq2seq.batch.Copies``
    oov: Sequence[str] = ()  # words of the source that the target vocabulary lacks, as the tokenizer spells them
    image: ImageFile | None = None

    @property
    def lengths(self) -> tuple[int, int]:
        """Tokens of source and target, each with ``</s>``."""
        source = len(self.source) if self.image is None else self.image.images.tokens
        return source, 0 if self.target is None else len(self.target) - 1

    @property
    def length(self) -> int:
        """Tokens of the longer side."""
        return max(self.lengths)

    def cut(self, source: int | None = None, target: int | None = None) -> Example:
        """Keep at most ``source`` and ``target`` tokens, of which ``</s>`` is the last.

        Out-of-vocabulary words that are no longer in the source become ``<unk>`` in the target.
        """
        example = self
        if source is not None and len(self.source) > source:
            example = replace(example, source=[*self.source[: source - 1], EOS])
            if self.sizes is not None:
                example = replace(example, sizes=cut_sizes(self.sizes, source))
            if self.copies is not None:
                example = example._cut_copies(self.copies, source)
        if target is not None and example.target is not None and len(example.target) - 1 > target:
            example = replace(example, target=[*example.target[:target], EOS])
        return example

    def _cut_copies(self, copies: Ids, length: int) -> Example:
        kept = [*copies[: length - 1], PAD]
        if not len(self.oov):
            return replace(self, copies=kept)
        # Out-of-vocabulary words are numbered from V on in the order in which they come, each in at least one place.
        vocabulary = max(copies) + 1 - len(self.oov)
        known = max(vocabulary, max(kept) + 1)
        example = replace(self, copies=kept, oov=self.oov[: known - vocabulary])
        if self.target is not None:
            example = replace(example, target=[i if i < known else UNK for i in self.target])
        return example


def cut_sizes(sizes: Ids, length: int) -> list[int]:
    """Return the sizes of what is left of a document's sentences when ``length`` tokens stay."""
    if length >= sum(sizes):
        return [int(size) for size in sizes]
    ends = [min(end, length - 1) for end in accumulate(map(int, sizes))]
    left = [end - start for start, end in zip([0, *ends], ends, strict=False) if end > start]
    return [*left[:-1], left[-1] + 1]


def lengths(examples: Iterable[Example]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the tokens of each source and of each target, with ``</s>``."""
    source, target = np.array([example.lengths for example in examples], np.int64).reshape(-1, 2).T
    return source, target
