"""The splits of one dataset: read, tokenised, and handed out in batches."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from torch.utils.data import DataLoader

from seq2seq.batch import Batch
from seq2seq.data import arrow
from seq2seq.data.batch_loading import Batcher, Batches
from seq2seq.data.batching import shard
from seq2seq.data.codec import Codec
from seq2seq.data.data_source import DataSource
from seq2seq.data.encoding import Encoding, Side, StoredSplit
from seq2seq.data.images import Images
from seq2seq.data.record_policy import Report
from seq2seq.data.split_store import SplitStore
from seq2seq.data.streaming import RecordStream, StreamedBatches, StreamedLoader
from seq2seq.data.tokenizer import Tokenizer, TokenizerOptions
from seq2seq.data.tokenizer_store import TokenizerStore
from seq2seq.errors import UserError

log = logging.getLogger(__name__)


class Corpus:
    """A dataset as records, and as batches of token ids; each part is made when it is first asked for.

    ``TextCorpus`` and ``CaptionCorpus`` make one from the options of ``conf/data``.

    Args:
        name: What the dataset is called.
        data: Where its records come from.
        encoding: How records of its kind are encoded, stored and read back.
        options: The options of its tokenizers.
        batcher: How large its batches are; ``Corpus.batcher`` is the same with a bound that follows the data.
        folder: The directory where tokenizers and encoded splits are kept.
        buffer_size: How many records at a time are read from the source to train on. None stores the training split.
    """

    def __init__(
        self,
        name: str,
        data: DataSource,
        encoding: Encoding,
        options: TokenizerOptions,
        batcher: Batcher,
        folder: Path,
        buffer_size: int | None = None,
    ) -> None:
        self.name, self.data, self.encoding, self.options = name, data, encoding, options
        self.folder, self.buffer_size, self._batcher = folder, buffer_size, batcher
        self._tokenizers = TokenizerStore(options, data, encoding, folder)
        self._store = SplitStore(data, encoding, folder)

    def setup(self, splits: Sequence[str] = ("train", "valid", "test")) -> None:
        """Do the slow parts now: tokenizers, and the encoding of those of ``splits`` that there are."""
        pieces = (f"{len(tokenizer)} {side}" for side, tokenizer in self.codec.tokenizers.items())
        log.info("%s pieces", " and ".join(pieces))
        for split in splits:
            if not (split == "train" and self.streaming) and self.has(split):
                self.file(split)

    def has(self, split: str) -> bool:
        """Whether there is such a split."""
        return self.data.has(split)

    @property
    def held_out(self) -> str:
        """Return the split that figures are of unless another is asked for: test, or valid where there is none."""
        return "test" if self.has("test") else "valid"

    @property
    def sides(self) -> tuple[Side, ...]:
        """Return the sides that are text."""
        return self.encoding.sides

    @property
    def images(self) -> Images | None:
        """Return how source images are opened; None where sources are text."""
        return self.encoding.images

    @property
    def reads(self) -> str:
        """Return what the sources are, as encoders and tasks name it."""
        return "text" if self.images is None else self.images.reads

    @property
    def documents(self) -> bool:
        """Whether a line of a source is a sentence."""
        return self.encoding.documents

    @property
    def streaming(self) -> bool:
        """Whether the training split is read from its source in each epoch, and never stored."""
        return self.buffer_size is not None

    @property
    def max_tokens(self) -> int:
        """Return the most tokens of a batch, padding counted."""
        return self.batcher.bound

    @cached_property
    def batcher(self) -> Batcher:
        """Return how large batches are: as given, or by the training split where it is there and stored."""
        if self._batcher.max_tokens or self.streaming or not self.has("train"):
            return self._batcher
        return self._batcher.fitted(self._open("train").lengths(training=True))

    @property
    def report(self) -> dict[str, Report]:
        """Return what was kept, cut and dropped of each split used so far."""
        return self._store.reports

    @cached_property
    def codec(self) -> Codec:
        """Return the tokenizers of all sides, loaded from files, from the cache, or trained on the training split."""
        return self.encoding.codec(self._tokenizers.tokenizers())

    def use(self, tokenizers: Mapping[str, Tokenizer]) -> None:
        """Take these tokenizers (a checkpoint's) instead of training any, so that no training split is needed."""
        rate = self.options.sampling  # of this corpus, not of the one that the tokenizers come from
        self.codec = self.encoding.codec({side: Tokenizer(t.model, t.type, rate) for side, t in tokenizers.items()})
        self._store.forget()

    def keep_first_targets(self) -> None:
        """Train each source with its first target alone, as it is where there is one of each."""
        self.encoding.keep_first_targets()

    @property
    def source_tokenizer(self) -> Tokenizer:
        """Return the tokenizer of the source side, where it is text."""
        return self.codec.tokenizers["source"]

    @property
    def target_tokenizer(self) -> Tokenizer:
        """Return the tokenizer of the target side; the same as the source's where ``tokenizer.joint``."""
        return self.codec.target

    def file(self, split: str) -> Path:
        """Return the file of an encoded split, which is made if it is not in the cache."""
        return self._store.file(split, self.codec)

    def records(self, split: str) -> arrow.Records:
        """Return the records of a split in order, ``references`` always there; ``Batch.index`` counts in them."""
        return arrow.Records(self.file(split))

    def loader(self, split: str, rank: int = 0, world_size: int = 1) -> DataLoader[Batch]:
        """Return all of a split in batches, longest first.

        Ranks get equal numbers of batches: the last may be a filler, whose ``index`` is -1.
        """
        stored = self._open(split)
        batches = shard(self.batcher.sorted(stored.lengths()), rank, world_size)
        return self.batcher.loader(Batches(stored.examples(), batches))

    def epoch(self) -> tuple[int, int]:
        """Return the number of batches and of target tokens of an epoch."""
        if self.streaming:
            raise UserError("data.streaming=true knows no epochs: budget.tokens needs data.streaming=false")
        stored = self._open("train")
        return len(self.batcher.random(stored.lengths(training=True), (0, 0))), stored.target_tokens()

    def train_loader(
        self, seed: int, epoch: int, start_batch: int = 0, rank: int = 0, world_size: int = 1
    ) -> Iterable[Batch]:
        """Return the batches of an epoch from ``start_batch`` (of this rank) on; the same for the same arguments.

        The i-th batches of all ranks together are batches ``i * world_size`` and following of a single process.
        """
        if self.buffer_size is not None:
            sampling = bool(self.options.sampling)
            split = self.data.find("train")
            stream = RecordStream(self.data, split, self.codec, sampling, self.batcher, self.buffer_size)
            buffers = StreamedBatches(stream, seed, epoch, rank, world_size)
            return StreamedLoader(self.batcher.loader(buffers), start_batch)
        stored = self._open("train")
        batches = shard(self.batcher.random(stored.lengths(training=True), (seed, epoch)), rank, world_size)
        return self.batcher.loader(Batches(stored.examples((seed, epoch)), batches[start_batch:]))

    def _open(self, split: str) -> StoredSplit:
        return self.encoding.open(self.file(split), self.codec)
