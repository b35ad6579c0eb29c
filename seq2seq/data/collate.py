"""Collation: from examples to batches of padded tensors."""

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
    """Return a batch of examples; an example whose image cannot be read is left out.

    Args:
        examples: Examples that all have the same kinds of fields.
        index: Number of the record of each example.

    Returns:
        The batch, or a filler if no image can be read.
    """
    index, images = list(index), None
    # Open the images, and keep the examples whose images can be read.
    if any(example.image is not None for example in examples):
        shown = _open(examples)
        pairs = [(e, i) for e, i in zip(examples, index, strict=True) if e.image in shown]
        if not pairs:
            return filler(has_images=True)
        examples, index = [e for e, _ in pairs], [i for _, i in pairs]
        images = _stacked(shown, examples)
    # Collect the fields that the examples have.
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
    """Return a batch that does not count: one row with index -1 and a target of padding.

    Args:
        has_images: Whether the sources of the other batches are images.
    """
    index, target = torch.tensor([-1]), torch.tensor([[PAD, PAD]])
    if has_images:
        side = 64  # several cells, because batch norm cannot compute the variance of one
        pixels = torch.zeros(1, 1, 3, side, side, dtype=torch.uint8)
        sizes = torch.tensor([[1, side, side]])
        return Batch(None, index, target, images=ImageBatch(pixels, sizes, torch.tensor([0])))
    copies = Copies(torch.tensor([[PAD]]), 0)
    return Batch(torch.tensor([[EOS]]), index, target, segments=torch.tensor([[0]]), copies=copies)


def padded(rows: Sequence[Ids], value: int = PAD) -> Tensor:
    """Return rows as one tensor (N, longest) long, padded on the right.

    Args:
        rows: N rows of ids.
        value: Value of padding.
    """
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
    """Yield batches of new sources for generation, longest first; ``index`` holds the numbers of the texts.

    Texts that are empty or cannot be used are in no batch; the caller leaves their outputs empty. Cut texts are logged.

    Args:
        texts: Texts of the sources, or paths of images.
        codec: Codec of the model.
        max_tokens: Bound on the tokens of a batch, with padding.
        max_sentences: Largest number of sources of a batch.
        first: Number of ``texts[0]`` in the whole input, for messages.
        report: Report that counts sources that are cut.
    """
    # Encode the texts that can be used.
    examples = {}
    for batch_row, text in enumerate(texts):
        name = f"input {first + batch_row + 1}"
        if usable(text, name).strip():
            examples[batch_row] = codec.input(text, None, name, report)
    for line in report.lines() if report else ():
        log.warning("%s", line)
    # Put them into batches; skip a batch without any readable image.
    row_indices, lengths = list(examples), np.array([e.lengths[0] for e in examples.values()], np.int64)
    for batch in sorted_batches(lengths, lengths, max_tokens, max_sentences):
        index = [row_indices[i] for i in batch]
        collated = collate([examples[batch_row] for batch_row in index], index)
        if collated.index[0] >= 0:
            yield collated


def _open(examples: Sequence[Example]) -> dict[ImageFile | None, Pixels]:
    """Return the pixels of each image of the examples; each image is opened once."""
    loaded: dict[ImageFile | None, Pixels] = {}
    for image in dict.fromkeys(example.image for example in examples):
        assert image is not None
        try:
            loaded[image] = image.pixels()
        except BadImage as error:
            log.warning("%s: %s; left out", image.file, error)
    return loaded


def _stacked(shown: Mapping[ImageFile | None, Pixels], examples: Sequence[Example]) -> ImageBatch:
    """Put images into one tensor, in the order of ``shown``; padding makes all squares of one size in every batch."""
    # Pad the images.
    sizes = np.array([(len(p), *p.shape[2:]) for p in shown.values()], np.int64)
    side = max(image.images.size for image in shown if image is not None)
    pixels = np.zeros((len(shown), sizes[:, 0].max(), 3, side, side), np.uint8)
    for batch_row, p in enumerate(shown.values()):
        pixels[batch_row, : len(p), :, : p.shape[2], : p.shape[3]] = p
    # Find the image of each example.
    row_indices = {image: batch_row for batch_row, image in enumerate(shown)}
    rows = torch.tensor([row_indices[example.image] for example in examples])
    files = tuple(str(image.file) for image in shown if image is not None)
    return ImageBatch(torch.from_numpy(pixels), torch.from_numpy(sizes), rows, files)
