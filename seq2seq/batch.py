"""Batch of token ids, masks and images: all that the data side gives to the model side.

Shapes: B sentences, S source tokens, T target tokens (both padded on the right), V words of the target vocabulary, N
images of F frames of h rows and w columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from seq2seq.errors import UserError

if TYPE_CHECKING:  # metrics read the special tokens, and need no torch
    import torch
    from torch import Tensor

PAD, UNK, BOS, EOS = 0, 1, 2, 3
"""Ids of the special tokens, the same in every vocabulary."""
SPECIALS = ("<pad>", "<unk>", "<s>", "</s>")
"""Spelling of the special tokens, in the order of their ids."""


@dataclass(frozen=True)
class Copies:
    """Ids of source tokens that the decoder can copy (See 2017, section 2.2).

    An id is one of these:

    - the id of the token in the target vocabulary;
    - V + k for the k-th word of this source that is not in the target vocabulary;
    - PAD for a token that must not be copied, such as a special token.
    """

    ids: Tensor  # (B, S) long
    num_oov: int  # E, the largest number of out-of-vocabulary words in a source of the batch

    def select(self, index: Tensor) -> Copies:
        """Return the copies of some rows of the batch.

        Args:
            index: Row numbers (R,) long.
        """
        return Copies(self.ids.index_select(0, index), self.num_oov)


@dataclass(frozen=True)
class ImageBatch:
    """Source images of a batch; an image with several captions in the batch is stored once."""

    pixels: Tensor  # (N, F, 3, h, w) uint8, padded on the right and at the bottom
    sizes: Tensor  # (N, 3) long, numbers of frames, rows and columns without padding
    rows: Tensor  # (B,) long, number of the image of each record
    files: tuple[str, ...] = ()  # path of the file of each image

    def on(self, move: Callable[[Tensor], Tensor]) -> ImageBatch:
        """Return the images with a function applied to every tensor.

        Args:
            move: Function from a tensor to its copy, for example on another device.
        """
        return ImageBatch(move(self.pixels), move(self.sizes), move(self.rows), self.files)


@dataclass(frozen=True)
class Batch:
    """Tensors of B records.

    The source ends in ``</s>``. It is None if the sources are ``images``. The target is ``<s> y_1 .. y_T`` with
    ``y_T = </s>``: the decoder reads ``target_in`` and is scored on ``target_out``. The target is None if there is
    nothing to score (generation from new input). With ``copies``, targets may hold the ids of ``copies``; ``oov`` holds
    the words of the ids from V on.
    """

    source: Tensor | None  # (B, S) long
    index: Tensor  # (B,) long, number of each record in its split; -1 in a filler
    target: Tensor | None = None  # (B, T+1) long
    target_tokens: int = 0  # tokens of target_out without padding, counted on the host: no device sync
    segments: Tensor | None = None  # (B, S) long, number of the sentence of each token of a document
    copies: Copies | None = None
    oov: tuple[tuple[str, ...], ...] = ()  # out-of-vocabulary words of each row
    images: ImageBatch | None = None

    @property
    def tokens(self) -> Tensor:
        """Source tokens (B, S) long; the source must be text.

        Raises:
            UserError: The sources are images.
        """
        if self.source is None:
            raise UserError(
                "the encoder reads text, but the data are images; choose an encoder of images (cnn, patches, video)"
            )
        return self.source

    @property
    def source_mask(self) -> Tensor:
        """Mask of the source (B, S) bool, True = real token."""
        return self.tokens != PAD

    @property
    def target_in(self) -> Tensor:
        """Input of the decoder (B, T) long."""
        assert self.target is not None
        return self.target[:, :-1]

    @property
    def target_out(self) -> Tensor:
        """Tokens to predict (B, T) long, PAD at padding."""
        assert self.target is not None
        return self.target[:, 1:]

    @property
    def target_mask(self) -> Tensor:
        """Mask of the target (B, T) bool, True = counts in the loss."""
        return self.target_out != PAD

    def __len__(self) -> int:
        return len(self.index)

    def select(self, rows: Tensor) -> Batch:
        """Return a batch of some rows; all images are kept.

        Args:
            rows: Row numbers (R,) long.
        """
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
            # Keep all images: only their numbers belong to rows.
            None if shown is None else replace(shown, rows=shown.rows.index_select(0, rows)),
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """Return a copy of the batch on a device.

        Args:
            device: Device of the copy.
            non_blocking: Whether the copy may run in the background, as in ``Tensor.to``.
        """
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """Return a copy in page-locked memory; ``DataLoader`` calls this."""
        return self._each(Tensor.pin_memory)

    def _each(self, move: Callable[[Tensor], Tensor]) -> Batch:
        """Return a copy with ``move`` applied to every tensor."""

        def moved(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else move(tensor)

        copies = None if self.copies is None else Copies(move(self.copies.ids), self.copies.num_oov)
        shown = self.images
        images = None if shown is None else shown.on(move)
        source, target, segments = map(moved, (self.source, self.target, self.segments))
        # Counts and words stay on the host.
        return Batch(source, move(self.index), target, self.target_tokens, segments, copies, self.oov, images)

    def words(self, row: int) -> tuple[str, ...]:
        """Return the out-of-vocabulary words of a row.

        Args:
            row: Row number.
        """
        return self.oov[row] if self.oov else ()
