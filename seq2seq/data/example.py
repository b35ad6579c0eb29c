"""Examples: records as ids, before padding.

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
"""(seed, epoch, record): seeds of all random choices for a training record."""


@dataclass(frozen=True)
class Example:
    """Ids of a record.

    The target is None if there is nothing to score. An ``image`` has no source ids.
    """

    source: Ids  # (S,) x_1 .. </s>
    target: Ids | None = None  # (T + 1,) <s> y_1 .. </s>; V + k stands for the k-th out-of-vocabulary word
    sizes: Ids | None = None  # tokens of each sentence of a document; the last one includes </s>
    copies: Ids | None = None  # (S,) ids by which source tokens can be copied: ``seq2seq.batch.Copies``
    oov: Sequence[str] = ()  # source words outside the target vocabulary, as the tokenizer spells them
    image: ImageFile | None = None

    @property
    def lengths(self) -> tuple[int, int]:
        """Numbers of tokens of source and target, each with ``</s>``."""
        source = len(self.source) if self.image is None else self.image.images.tokens
        return source, 0 if self.target is None else len(self.target) - 1

    @property
    def length(self) -> int:
        """Number of tokens of the longer side."""
        return max(self.lengths)

    def cut(self, source: int | None = None, target: int | None = None) -> Example:
        """Return the example with its sides cut; ``</s>`` stays the last token.

        Out-of-vocabulary words that are no longer in the source become ``<unk>`` in the target.

        Args:
            source: Number of source tokens to keep; None keeps all.
            target: Number of target tokens to keep; None keeps all.
        """
        example = self
        # Cut the source, and all that belongs to its tokens.
        if source is not None and len(self.source) > source:
            example = replace(example, source=[*self.source[: source - 1], EOS])
            if self.sizes is not None:
                example = replace(example, sizes=cut_sizes(self.sizes, source))
            if self.copies is not None:
                example = example._cut_copies(self.copies, source)
        # Cut the target; it also has <s>, which does not count.
        if target is not None and example.target is not None and len(example.target) - 1 > target:
            example = replace(example, target=[*example.target[:target], EOS])
        return example

    def _cut_copies(self, copies: Ids, length: int) -> Example:
        """Return the example with the copies of the tokens that are kept."""
        kept = [*copies[: length - 1], PAD]
        if not len(self.oov):
            return replace(self, copies=kept)
        # Out-of-vocabulary words have the ids from V on, in the order of the source; each occurs at least once.
        vocabulary = max(copies) + 1 - len(self.oov)
        known = max(vocabulary, max(kept) + 1)
        example = replace(self, copies=kept, oov=self.oov[: known - vocabulary])
        if self.target is not None:
            example = replace(example, target=[i if i < known else UNK for i in self.target])
        return example


def cut_sizes(sizes: Ids, length: int) -> list[int]:
    """Return the sizes of a document's sentences after a cut.

    Args:
        sizes: Tokens of each sentence.
        length: Number of tokens to keep, with ``</s>``.
    """
    if length >= sum(sizes):
        return [int(size) for size in sizes]
    # Cut the ends of sentences; a sentence without tokens disappears.
    ends = [min(end, length - 1) for end in accumulate(map(int, sizes))]
    left = [end - start for start, end in zip([0, *ends], ends, strict=False) if end > start]
    return [*left[:-1], left[-1] + 1]


def lengths(examples: Iterable[Example]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the tokens of each source (N,) and of each target (N,), with ``</s>``.

    Args:
        examples: N examples.
    """
    source, target = np.array([example.lengths for example in examples], np.int64).reshape(-1, 2).T
    return source, target
