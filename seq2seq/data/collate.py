"""From rows of ids to padded tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from seq2seq.batch import EOS, PAD, Batch, Copies
from seq2seq.data.batching import sorted_batches
from seq2seq.data.codec import Codec, Example, Ids


def collate(examples: Sequence[Example], index: Iterable[int]) -> Batch:
    """A batch of examples, which are alike in what they have."""
    targets = [example.target for example in examples if example.target is not None]
    sizes = [example.sizes for example in examples if example.sizes is not None]
    copies = [example.copies for example in examples if example.copies is not None]
    own = tuple(tuple(example.own) for example in examples) if copies else ()
    return Batch(
        source=padded([example.source for example in examples]),
        target=padded(targets) if targets else None,
        index=torch.tensor(list(index)),
        target_tokens=sum(map(len, targets)) - len(targets),
        segments=padded([np.repeat(np.arange(len(row)), row) for row in sizes], -1) if sizes else None,
        copies=Copies(padded(copies), max(map(len, own))) if copies else None,
        own=own,
    )


def filler() -> Batch:
    """A batch that counts for nothing: one row, index -1, its target all padding."""
    source = torch.tensor([[EOS]])
    return Batch(
        source,
        index=torch.tensor([-1]),
        target=torch.tensor([[PAD, PAD]]),
        segments=torch.tensor([[0]]),
        copies=Copies(torch.tensor([[PAD]]), 0),
    )


def padded(rows: Sequence[Ids], value: int = PAD) -> Tensor:
    """(N, longest) long, padded on the right."""
    out = np.full((len(rows), max(map(len, rows))), value, np.int64)
    for place, row in enumerate(rows):
        out[place, : len(row)] = row
    return torch.from_numpy(out)


def batches_of(
    texts: Sequence[str], codec: Codec, max_tokens: int, max_sentences: int | None = None
) -> Iterator[Batch]:
    """New sources to generate from, longest first; ``index`` tells each one's place in ``texts``.

    Empty texts are in no batch: the caller, who knows how many texts there are, leaves their outputs empty.
    """
    examples = {place: codec.input(text) for place, text in enumerate(texts) if text.strip()}
    places, lengths = list(examples), np.array([len(example.source) for example in examples.values()], np.int64)
    for batch in sorted_batches(lengths, lengths, max_tokens, max_sentences):
        index = [places[i] for i in batch]
        yield collate([examples[place] for place in index], index)
