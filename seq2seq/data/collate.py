"""From texts to rows of ids with their specials, and from rows to padded tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seq2seq.batch import BOS, EOS, PAD, Batch
from seq2seq.data.batching import sorted_batches
from seq2seq.data.records import Record
from seq2seq.data.tokenizer import Tokenizer

Ids = Sequence[int] | NDArray[np.int32]
Pair = tuple[Ids, Ids]  # x_1 .. </s> and <s> y_1 .. </s>


@dataclass(frozen=True)
class PairEncoder:
    """A record's ids by the two tokenizers."""

    source: Tokenizer
    target: Tokenizer

    def __call__(self, record: Record, sample: tuple[int, int, int] | None = None) -> Pair:
        """``sample`` = (seed, epoch, record) segments at random, each side by draws of its own."""
        seeds = (None, None) if sample is None else tuple((*sample[:2], 2 * sample[2] + side) for side in (0, 1))
        source = [*self.source.encode(record["source"], seeds[0]), EOS]
        return source, [BOS, *self.target.encode(record["target"], seeds[1]), EOS]


def length(pair: Pair) -> int:
    """Tokens of the longer side, each with ``</s>``."""
    return max(len(pair[0]), len(pair[1]) - 1)


def truncated(pair: Pair, most: int) -> Pair:
    """Both sides cut to ``most`` tokens, the last of which is ``</s>``."""
    source, target = pair
    return [*source[: min(len(source), most) - 1], EOS], [*target[: min(len(target) - 1, most)], EOS]


def collate(sources: Sequence[Ids], targets: Sequence[Ids] | None, index: Iterable[int]) -> Batch:
    """A batch of rows of ids."""
    return Batch(
        source=padded(sources),
        target=None if targets is None else padded(targets),
        index=torch.tensor(list(index)),
        target_tokens=0 if targets is None else sum(map(len, targets)) - len(targets),
    )


def filler() -> Batch:
    """A batch that counts for nothing: one row, index -1, its target all padding."""
    return Batch(source=torch.tensor([[EOS]]), target=torch.tensor([[PAD, PAD]]), index=torch.tensor([-1]))


def padded(rows: Sequence[Ids]) -> Tensor:
    """(N, longest) long, padded on the right."""
    out = np.full((len(rows), max(map(len, rows))), PAD, np.int64)
    for place, row in enumerate(rows):
        out[place, : len(row)] = row
    return torch.from_numpy(out)


def batches_of(
    texts: Sequence[str], tokenizer: Tokenizer, max_tokens: int, max_sentences: int | None = None
) -> Iterator[Batch]:
    """New sources to generate from, longest first; ``index`` tells each one's place in ``texts``.

    Empty texts are in no batch: the caller, who knows how many texts there are, leaves their outputs empty.
    """
    rows = {place: [*tokenizer.encode(text), EOS] for place, text in enumerate(texts) if text.strip()}
    places, lengths = list(rows), np.array([len(row) for row in rows.values()], np.int64)
    for batch in sorted_batches(lengths, lengths, max_tokens, max_sentences):
        index = [places[i] for i in batch]
        yield collate([rows[place] for place in index], None, index)
