"""The corpus of text: translation and summarisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seq2seq.config.ranges import Count, CountOrZero
from seq2seq.data.arrow import Records, Strings, TokenLists
from seq2seq.data.batch_loading import Batcher
from seq2seq.data.batching import Lengths
from seq2seq.data.codec import Codec, TextCodec
from seq2seq.data.corpus import Corpus
from seq2seq.data.data_source import DataSource
from seq2seq.data.encoding import Draw, Encoding, Examples, Side, StoredSplit
from seq2seq.data.example import Example
from seq2seq.data.readers.reader import DataLocation, Reader
from seq2seq.data.record_policy import Policy, Report
from seq2seq.data.records import Record
from seq2seq.data.tokenizer import Tokenizer, TokenizerOptions
from seq2seq.data.vocabulary import UnknownTokens


class TextCorpus(Corpus):
    """A dataset whose sources and targets are text.

    ``max_tokens`` bounds rows x max(S, T) of a batch, padding counted, None by the size of the training split
    (``seq2seq.data.batching.fitting_tokens``); ``max_length`` the tokens of a training sentence. What happens to bad
    and long records is said in ``seq2seq.data.record_policy``. ``streaming`` trains from the source directly,
    ``buffer_size`` records at a time, and stores nothing of the training split. ``documents`` and ``copy`` as for
    ``seq2seq.data.codec.TextCodec``.
    """

    def __init__(
        self,
        name: str,
        source: str,
        target: str,
        reader: Reader,
        path: str | None = None,
        tokenizer: TokenizerOptions | None = None,
        documents: bool = False,
        copy: bool = False,
        max_tokens: Count | None = None,
        max_sentences: Count | None = None,
        max_length: Count = 256,
        on_bad: str = "drop",
        on_mismatch: str = "error",
        on_long: str = "drop",
        max_source_tokens: Count | None = 1024,
        max_source_sentences: Count | None = None,
        max_target_tokens: Count | None = None,
        workers: CountOrZero = 0,
        pin_memory: bool = False,
        streaming: bool = False,
        buffer_size: Count = 100_000,
        cache: str = "data/cache",
    ) -> None:
        options = tokenizer or TokenizerOptions()
        limits = max_source_tokens, max_source_sentences, max_target_tokens
        policy = Policy(on_bad, on_mismatch, on_long, max_length, *limits)
        super().__init__(
            name,
            DataSource(reader, DataLocation(Path(path) if path else None, source, target), policy, streaming),
            TextEncoding(policy, documents, copy, sampling=bool(options.sampling)),
            options,
            Batcher(max_tokens, max_sentences, workers, pin_memory),
            Path(cache),
            buffer_size if streaming else None,
        )


class TextEncoding(Encoding):
    """Records as the ids of two texts."""

    sides: tuple[Side, ...] = ("source", "target")

    def __init__(self, policy: Policy, documents: bool = False, copy: bool = False, *, sampling: bool = False) -> None:
        self.policy, self.documents, self.copy, self.sampling = policy, documents, copy, sampling

    @property
    def form(self) -> tuple[object, ...]:
        """Return which columns are written."""
        return "text", self.documents, self.copy

    def codec(self, tokenizers: Mapping[str, Tokenizer]) -> TextCodec:
        """Make the codec of two texts; tokenizers that it cannot use are refused."""
        for tokenizer in tokenizers.values():
            tokenizer.check(sampling=self.sampling, documents=self.documents)
        return TextCodec(tokenizers["source"], tokenizers["target"], self.documents, self.copy, self.policy)

    def texts(self, record: Record, sides: Sequence[Side]) -> list[str]:
        """Return the texts of these sides."""
        return [record[side] for side in sides]

    def columns(
        self,
        codec: Codec,
        record: Record,
        place: str,
        report: Report,
        unknown: Mapping[str, UnknownTokens],
        *,
        training: bool,
    ) -> dict[str, Any] | None:
        """Return the ids of both texts, with what a document and copying need beside them."""
        whole = codec(record, None, place, report)
        example = self.policy.fit(whole, place, report) if training else whole
        if example is None:
            return None
        assert example.target is not None
        if not self.copy:  # what a source's words are is known to a model that copies them
            unknown["source"].add(codec.tokenizers["source"], record["source"], example.source)
        unknown["target"].add(codec.target, record["target"], example.target)
        ids = {"source_ids": example.source, "target_ids": example.target, "sizes": example.sizes}
        return {**ids, "copies": example.copies, "oov": example.oov}

    def open(self, file: Path, codec: Codec) -> StoredSplit:
        """Open an encoded split of texts."""
        return TextSplit(file, codec, self.sampling)


class TextSplit(StoredSplit):
    """An encoded split of texts; ``sampling`` segments its training records anew in each epoch."""

    def __init__(self, file: Path, codec: Codec, sampling: bool) -> None:
        self.file, self.codec, self.sampling = file, codec, sampling
        self.stored = StoredExamples(file, codec)

    def lengths(self, *, training: bool = False) -> tuple[Lengths, Lengths]:
        """Return the tokens of each source and target, as they lie on disk."""
        return self.stored.source.lengths, self.stored.target.lengths - 1

    def target_tokens(self) -> int:
        """Return the target tokens of all records."""
        return int((self.stored.target.lengths - 1).sum())

    def examples(self, draw: Draw | None = None) -> Examples:
        """Return what is stored, or what ``draw`` segments at random."""
        if draw is None or not self.sampling:
            return self.stored
        return ResampledExamples(Records(self.file), self.codec, draw)


class StoredExamples(Examples):
    """The ids of a split as they lie on disk; what was not written is absent."""

    def __init__(self, file: Path, codec: Codec) -> None:
        self.source, self.target = TokenLists(file, "source_ids"), TokenLists(file, "target_ids")
        self.sizes = TokenLists(file, "sizes") if codec.documents else None
        self.copies = TokenLists(file, "copies") if codec.copy else None
        self.oov = Strings(file, "oov") if codec.copy else None

    def of(self, index: int) -> Sequence[Example]:
        """Return the one example of a record."""
        example = Example(
            self.source[index],
            self.target[index],
            None if self.sizes is None else self.sizes[index],
            None if self.copies is None else self.copies[index],
            () if self.oov is None else self.oov[index],
        )
        return (example,)


@dataclass(frozen=True)
class ResampledExamples(Examples):
    """Subword regularisation: the ids of a split's records, segmented anew in each epoch."""

    records: Records
    codec: Codec
    draw: Draw

    def of(self, index: int) -> Sequence[Example]:
        """Return the one example of a record, in a segmentation that fits."""
        record, policy = self.records[index], self.codec.policy
        for sample in ((*self.draw, index), None):  # a drawn segmentation may be too long: the likeliest fits better
            example = self.codec(record, sample).cut(target=policy.max_target_tokens)
            if policy.fits(example):
                return (example,)
        return (policy.truncated(example),)
