"""From rows of ids to padded tensors."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from seq2seq.batch import EOS, PAD, Batch, Copies, ImageBatch
from seq2seq.data.batching import sorted_batches
from seq2seq.data.codec import Codec
from seq2seq.data.example import Example, Ids
from seq2seq.data.images import BadImage, ImageFile, Pixels
from seq2seq.data.record_policy import Report
from seq2seq.files.text import usable

log = logging.getLogger(__name__)


def collate(examples: Sequence[Example], index: Iterable[int]) -> Batch:
    """Return a batch of examples, which are alike in what they have. Those whose images can't be read are left out."""
    index, images = list(index), None
    if any(example.image is not None for example in examples):
        shown = _open(examples)
        pairs = [(e, i) for e, i in zip(examples, index, strict=True) if e.image in shown]
        if not pairs:
            return filler(has_images=True)
        examples, index = [e for e, _ in pairs], [i for _, i in pairs]
        images = _stacked(shown, examples)
    targets = [example.target for example in examples if example.target is not None]
    sizes = [example.sizes for example in examples if example.sizes is not None]
    copies = [example.copies for example in examples if example.copies is not None]
    oov = tuple(tuple(example.oov) for example in examples) if copies else ()
    return Batch(
        source=padded([example.source for example in examples]) if images is None else None,
        target=padded(targets) if targets else None,
        index=torch.tensor(index),
        target_tokens=sum(map(len, targets)) - len(targets),
        segments=padded([np.repeat(np.arange(len(row)), row) for row in sizes], -1) if sizes else None,
        copies=Copies(padded(copies), max(map(len, oov))) if copies else None,
        oov=oov,
        images=images,
    )


def filler(*, has_images: bool = False) -> Batch:
    """Return a batch that counts for nothing: one row, index -1, its target all padding."""
    index, target = torch.tensor([-1]), torch.tensor([[PAD, PAD]])
    if has_images:
        side = 64  # several cells: of one alone a batch norm can't take the variance
        pixels = torch.zeros(1, 1, 3, side, side, dtype=torch.uint8)
        sizes = torch.tensor([[1, side, side]])
        return Batch(None, index, target, images=ImageBatch(pixels, sizes, torch.tensor([0])))
    nothing = Copies(torch.tensor([[PAD]]), 0)
    return Batch(torch.tensor([[EOS]]), index, target, segments=torch.tensor([[0]]), copies=nothing)


def padded(rows: Sequence[Ids], value: int = PAD) -> Tensor:
    """Return rows padded on the right, (N, longest) long."""
    out = np.full((len(rows), max(map(len, rows))), value, np.int64)
    for batch_row, row in enumerate(rows):
        out[batch_row, : len(row)] = row
    return torch.from_numpy(out)


def batches_of(
    texts: Sequence[str],
    codec: Codec,
    max_tokens: int,
    max_sentences: int | None = None,
    *,
    first: int = 0,
    report: Report | None = None,
) -> Iterator[Batch]:
    """Yield new sources to generate from, longest first; ``index`` tells each one's place in ``texts``.

    Empty texts, and those that can't be used, are in no batch: the caller, who knows how many texts there are, leaves
    their outputs empty. What is cut is counted in ``report`` and told; ``first`` is the place of ``texts[0]``.
    """
    examples = {}
    for batch_row, text in enumerate(texts):
        name = f"input {first + batch_row + 1}"
        if usable(text, name).strip():
            examples[batch_row] = codec.input(text, None, name, report)
    for line in report.lines() if report else ():
        log.warning("%s", line)
    row_indices, lengths = list(examples), np.array([e.lengths[0] for e in examples.values()], np.int64)
    for batch in sorted_batches(lengths, lengths, max_tokens, max_sentences):
        index = [row_indices[i] for i in batch]
        collated = collate([examples[batch_row] for batch_row in index], index)
        if collated.index[0] >= 0:
            yield collated


def _open(examples: Sequence[Example]) -> dict[ImageFile | None, Pixels]:
    """Return the pixels of each image that there is among them, once."""
    loaded: dict[ImageFile | None, Pixels] = {}
    for image in dict.fromkeys(example.image for example in examples):
        assert image is not None
        try:
            loaded[image] = image.pixels()
        except BadImage as error:
            log.warning("%s: %s; left out", image.file, error)
    return loaded


def _stacked(shown: Mapping[ImageFile | None, Pixels], examples: Sequence[Example]) -> ImageBatch:
    """Put images into one tensor, in the order of ``shown``, all padded to squares of one size in every batch."""
    sizes = np.array([(len(p), *p.shape[2:]) for p in shown.values()], np.int64)
    side = max(image.images.size for image in shown if image is not None)
    pixels = np.zeros((len(shown), sizes[:, 0].max(), 3, side, side), np.uint8)
    for batch_row, p in enumerate(shown.values()):
        pixels[batch_row, : len(p), :, : p.shape[2], : p.shape[3]] = p
    row_indices = {image: batch_row for batch_row, image in enumerate(shown)}
    rows = torch.tensor([row_indices[example.image] for example in examples])
    files = tuple(str(image.file) for image in shown if image is not None)
    return ImageBatch(torch.from_numpy(pixels), torch.from_numpy(sizes), rows, files)
