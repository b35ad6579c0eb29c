"""Corpora: the splits of one dataset, read, tokenised and put into batches."""

from __future__ import annotations

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
from seq2seq.data.records import Record
from seq2seq.data.split_store import SplitStore
from seq2seq.data.streaming import RecordStream, StreamedBatches, StreamedLoader
from seq2seq.data.tokenizer import Tokenizer, TokenizerOptions
from seq2seq.data.tokenizer_store import TokenizerStore
from seq2seq.errors import UserError


class Corpus:
    """Dataset as records and as batches of token ids.

    Each part (tokenizers, encoded splits) is made at its first use. ``TextCorpus`` and ``CaptionCorpus`` build a corpus
    from the options of ``conf/data``.

    Args:
        name: Name of the dataset.
        data: Source of the records.
        encoding: Rules by which records of this kind are encoded, stored and read back.
        options: Options of the tokenizers.
        batcher: Sizes of batches; ``Corpus.batcher`` fills in a bound that follows the data.
        folder: Directory of the tokenizers and the encoded splits.
        buffer_size: Number of records that streaming training reads at a time. None stores the training split instead.
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
        """Do the slow parts now: make the tokenizers and encode splits.

        Args:
            splits: Names of the splits to encode; a split that does not exist is skipped.
        """
        _ = self.codec  # its first use trains or loads the tokenizers
        # A streamed training split is never stored.
        for split in splits:
            if not (split == "train" and self.streaming) and self.has(split):
                self.file(split)

    def has(self, split: str) -> bool:
        """Return whether the dataset has a split.

        Args:
            split: Name of the split, or an alias such as ``dev``.
        """
        return self.data.has(split)

    @property
    def held_out(self) -> str:
        """Default split of evaluation: test, or valid if there is no test split."""
        return "test" if self.has("test") else "valid"

    @property
    def sides(self) -> tuple[Side, ...]:
        """Sides that are text."""
        return self.encoding.sides

    @property
    def images(self) -> Images | None:
        """Options by which source images are opened; None if the sources are text."""
        return self.encoding.images

    @property
    def reads(self) -> str:
        """Kind of the sources as encoders and tasks name it: ``text``, ``image`` or ``video``."""
        return "text" if self.images is None else self.images.reads

    @property
    def documents(self) -> bool:
        """True if each line of a source is a sentence."""
        return self.encoding.documents

    @property
    def streaming(self) -> bool:
        """True if each epoch reads the training split from its source and never stores it."""
        return self.buffer_size is not None

    @property
    def max_tokens(self) -> int:
        """Largest number of tokens of a batch, with padding."""
        return self.batcher.bound

    @cached_property
    def batcher(self) -> Batcher:
        """Sizes of batches, with a bound on their tokens.

        If no bound is given, it follows the training split, provided that there is one and that it is stored.
        """
        if self._batcher.max_tokens or self.streaming or not self.has("train"):
            return self._batcher
        # The lengths of the encoded training split decide.
        return self._batcher.fitted(self._open("train").lengths(training=True))

    @property
    def report(self) -> dict[str, Report]:
        """Report of each split used so far: the records that were kept, cut and dropped."""
        return self._store.reports

    @cached_property
    def codec(self) -> Codec:
        """Codec with the tokenizers of all sides: from files, from the cache, or trained on the training split."""
        return self.encoding.codec(self._tokenizers.tokenizers())

    def use(self, tokenizers: Mapping[str, Tokenizer]) -> None:
        """Use given tokenizers, for example of a checkpoint, instead of training new ones.

        No training split is needed then.

        Args:
            tokenizers: Tokenizer of each side.
        """
        rate = self.options.sampling  # sampling follows this corpus, not the origin of the tokenizers
        self.codec = self.encoding.codec({side: Tokenizer(t.model, t.type, rate) for side, t in tokenizers.items()})
        # The files of the old codec do not fit the new one.
        self._store.forget()

    def keep_first_targets(self) -> None:
        """Train each source with its first target only, as if it had only one."""
        self.encoding.keep_first_targets()

    @property
    def source_tokenizer(self) -> Tokenizer:
        """Tokenizer of the source side; the source must be text."""
        return self.codec.tokenizers["source"]

    @property
    def target_tokenizer(self) -> Tokenizer:
        """Tokenizer of the target side; with ``tokenizer.joint``, the same as that of the source."""
        return self.codec.target

    def file(self, split: str) -> Path:
        """Return the file of an encoded split; encode the split first if it is not in the cache.

        Args:
            split: Name of the split.
        """
        return self._store.file(split, self.codec)

    def records(self, split: str) -> arrow.Records:
        """Return the records of a split in order; ``Batch.index`` counts in this order.

        Args:
            split: Name of the split.

        Returns:
            The records, each with ``references``.
        """
        return arrow.Records(self.file(split))

    def training_records(self) -> Sequence[Record]:
        """Return the records of the training split; none if there is no such split or it is streamed."""
        return () if self.streaming or not self.has("train") else self.records("train")

    def loader(self, split: str, rank: int = 0, world_size: int = 1) -> DataLoader[Batch]:
        """Return all records of a split in batches, longest first.

        All ranks get the same number of batches. The last batch of a rank may be a filler, with ``index`` -1.

        Args:
            split: Name of the split.
            rank: Number of this process.
            world_size: Number of processes.
        """
        stored = self._open(split)
        # Each rank takes its share of the same list.
        batches = shard(self.batcher.sorted(stored.lengths()), rank, world_size)
        return self.batcher.loader(Batches(stored.examples(), batches))

    def epoch(self) -> tuple[int, int]:
        """Return the number of batches and the number of target tokens of an epoch.

        Raises:
            UserError: The training split is streamed.
        """
        if self.streaming:
            raise UserError("data.streaming=true: a stream has no epochs; budget.tokens needs data.streaming=false")
        stored = self._open("train")
        return len(self.batcher.random(stored.lengths(training=True), (0, 0))), stored.target_tokens()

    def train_loader(
        self, seed: int, epoch: int, start_batch: int = 0, rank: int = 0, world_size: int = 1
    ) -> Iterable[Batch]:
        """Return the batches of an epoch; the same arguments give the same batches.

        The i-th batches of all ranks together are the batches from ``i * world_size`` on of a single process.

        Args:
            seed: Seed of the run.
            epoch: Number of the epoch.
            start_batch: Number of the first batch to return, counted on this rank.
            rank: Number of this process.
            world_size: Number of processes.
        """
        # Read from the source, one buffer at a time.
        if self.buffer_size is not None:
            sampling = bool(self.options.sampling)
            split = self.data.find("train")
            stream = RecordStream(self.data, split, self.codec, sampling, self.batcher, self.buffer_size)
            buffers = StreamedBatches(stream, seed, epoch, rank, world_size)
            return StreamedLoader(self.batcher.loader(buffers), start_batch)
        # Read the stored split.
        stored = self._open("train")
        batches = shard(self.batcher.random(stored.lengths(training=True), (seed, epoch)), rank, world_size)
        return self.batcher.loader(Batches(stored.examples((seed, epoch)), batches[start_batch:]))

    def _open(self, split: str) -> StoredSplit:
        """Open an encoded split."""
        return self.encoding.open(self.file(split), self.codec)
