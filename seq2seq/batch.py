"""What the data side hands to the model side: token ids, masks, and nothing else.

Shapes: B sentences, S source tokens, T target tokens (both padded on the right), V words of the target vocabulary,
N images of F frames of h rows and w columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seq2seq.errors import UserError

PAD, UNK, BOS, EOS = 0, 1, 2, 3
SPECIALS = ("<pad>", "<unk>", "<s>", "</s>")


@dataclass(frozen=True)
class Copies:
    """What each source token is to the target (See 2017, section 2.2): an id of the target vocabulary, or V + k for the
    k-th word of this source that the vocabulary lacks, or PAD where nothing may be copied (specials).
    """

    ids: Tensor  # (B, S) long
    num_oov: int  # E, the most words that any source of the batch has beyond the vocabulary

    def select(self, index: Tensor) -> Copies:
        """Select the rows ``index`` of the batch."""
        return Copies(self.ids.index_select(0, index), self.num_oov)


@dataclass(frozen=True)
class ImageBatch:
    """Sources that are images; an image of which a batch has several captions is there once."""

    pixels: Tensor  # (N, F, 3, h, w) uint8, padded at the right and at the bottom
    sizes: Tensor  # (N, 3) long, real frames, rows and columns
    rows: Tensor  # (B,) long, the image of each record
    files: tuple[str, ...] = ()  # of each image

    def on(self, move: Callable[[Tensor], Tensor]) -> ImageBatch:
        """Apply ``move`` to every tensor."""
        return ImageBatch(move(self.pixels), move(self.sizes), move(self.rows), self.files)


@dataclass(frozen=True)
class Batch:
    """Tensors of B records.

    ``source`` (B, S) ends in ``</s>``, or is None where there are ``images``; ``target`` (B, T+1) is
    ``<s> y_1 .. y_T`` with ``y_T = </s>``, so that the decoder reads ``target_in`` and is scored on ``target_out``.
    ``target`` is None where there is nothing to score (generation from new input). Targets may hold the ids of
    ``copies``, where it is given; ``oov`` spells those from V on.
    """

    source: Tensor | None  # (B, S) long
    index: Tensor  # (B,) long, the records' places in their split
    target: Tensor | None = None  # (B, T+1) long
    target_tokens: int = 0  # real tokens of target_out, counted on the host: no device sync
    segments: Tensor | None = None  # (B, S) long, the sentence of each token of a document
    copies: Copies | None = None
    oov: tuple[tuple[str, ...], ...] = ()  # of each row
    images: ImageBatch | None = None

    @property
    def tokens(self) -> Tensor:
        """(B, S) the source, which has to be text."""
        if self.source is None:
            raise UserError(
                "this encoder reads text, and the data are images: choose an encoder of images (cnn, patches, video)"
            )
        return self.source

    @property
    def source_mask(self) -> Tensor:
        """(B, S) bool, True = real token."""
        return self.tokens != PAD

    @property
    def target_in(self) -> Tensor:
        """(B, T) what the decoder reads."""
        assert self.target is not None
        return self.target[:, :-1]

    @property
    def target_out(self) -> Tensor:
        """(B, T) what it should say; PAD where there is nothing to say."""
        assert self.target is not None
        return self.target[:, 1:]

    @property
    def target_mask(self) -> Tensor:
        """(B, T) bool, True = counts in the loss."""
        return self.target_out != PAD

    def __len__(self) -> int:
        return len(self.index)

    def select(self, rows: Tensor) -> Batch:
        """The rows ``rows``; images all stay."""
        shown, target = self.images, self.target
        chosen = None if target is None else target.index_select(0, rows)
        return Batch(
            None if self.source is None else self.source.index_select(0, rows),
            self.index.index_select(0, rows),
            chosen,
            0 if chosen is None else int((chosen[:, 1:] != PAD).sum()),
            None if self.segments is None else self.segments.index_select(0, rows),
            None if self.copies is None else self.copies.select(rows),
            tuple(self.oov[row] for row in rows.tolist()) if self.oov else (),
            None if shown is None else replace(shown, rows=shown.rows.index_select(0, rows)),
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """Return a copy on ``device``."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """A copy in page-locked memory (called by DataLoader)."""
        return self._each(Tensor.pin_memory)

    def _each(self, move: Callable[[Tensor], Tensor]) -> Batch:
        def moved(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else move(tensor)

        copies = None if self.copies is None else Copies(move(self.copies.ids), self.copies.num_oov)
        shown = self.images
        images = None if shown is None else shown.on(move)
        source, target, segments = map(moved, (self.source, self.target, self.segments))
        return Batch(source, move(self.index), target, self.target_tokens, segments, copies, self.oov, images)

    def words(self, row: int) -> tuple[str, ...]:
        """The out-of-vocabulary words of a row."""
        return self.oov[row] if self.oov else ()
