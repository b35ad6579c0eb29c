"""Corpus of text for translation and summarisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import override

from seq2seq.config.ranges import Count, CountOrZero
from seq2seq.data.arrow import Records, Strings, TokenLists
from seq2seq.data.batch_loading import Batcher
from seq2seq.data.batching import Lengths
from seq2seq.data.codec import Codec, TextCodec
from seq2seq.data.corpus import Corpus
from seq2seq.data.data_source import DataSource
from seq2seq.data.encoding import Draw, Encoding, Examples, Side, StoredSplit
from seq2seq.data.example import Example
from seq2seq.data.readers.reader import DataLocation, Place, Reader
from seq2seq.data.record_policy import Policy, Report
from seq2seq.data.records import Record
from seq2seq.data.tokenizer import LETTERS, Tokenizer, TokenizerOptions
from seq2seq.data.vocabulary import UnknownTokens
from seq2seq.errors import UserError


class TextCorpus(Corpus):
    """Dataset whose sources and targets are text.

    ``seq2seq.data.record_policy`` describes what happens to bad and long records.

    Args:
        name: Name of the dataset.
        source: Language or column of the source.
        target: Language or column of the target.
        reader: Reader of the files.
        path: Folder or table of a local copy; None if the dataset needs none.
        tokenizer: Options of the tokenizers; None for the defaults.
        documents: Whether each line of a source is a sentence (``seq2seq.data.codec.TextCodec``).
        copy: Whether the decoder can copy source words (``seq2seq.data.codec.TextCodec``).
        max_tokens: Bound on rows x max(S, T) of a batch, with padding; None follows the size of the training split
            (``seq2seq.data.batching.fitting_tokens``).
        max_sentences: Largest number of records of a batch.
        max_length: Largest number of tokens of a training sentence.
        on_bad: Action for records that cannot be used: ``drop`` or ``error``.
        on_mismatch: Action if one file has more lines than the other: ``drop`` or ``error``.
        on_long: Action for training records over ``max_length``: ``drop``, ``truncate`` or ``error``.
        max_source_tokens: Largest number of tokens that a source keeps; None keeps all.
        max_source_sentences: Largest number of sentences that a source document keeps; None keeps all.
        max_target_tokens: Largest number of tokens that a training target keeps; None keeps all.
        workers: Number of processes that prepare batches.
        pin_memory: Whether batches are put into page-locked memory, if there is a GPU.
        streaming: Whether training reads from the source directly and stores nothing of the training split.
        buffer_size: Number of records that streaming reads at a time.
        cache: Directory of the tokenizers and the encoded splits.
        language: Language of the files, for datasets with files of several languages.
        features: Place of features in the source, for datasets with features: ``prefix``, ``suffix`` or ``none``.
        group: Column whose equal values make records belong together; comparisons resample whole groups. None if each
            record stands for itself.
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
        *,
        language: str | None = None,
        features: Place = "suffix",
        group: str | None = None,
    ) -> None:
        options = tokenizer or TokenizerOptions()
        limits = max_source_tokens, max_source_sentences, max_target_tokens
        policy = Policy(on_bad, on_mismatch, on_long, max_length, *limits)
        at = DataLocation(Path(path) if path else None, source, target, group, language, features)
        super().__init__(
            name,
            DataSource(reader, at, policy, streaming),
            TextEncoding(policy, documents, copy, sampling=bool(options.sampling)),
            options,
            Batcher(max_tokens, max_sentences, workers, pin_memory),
            Path(cache),
            buffer_size if streaming else None,
        )


class TextEncoding(Encoding):
    """Encoding of records as the ids of two texts.

    Args:
        policy: Limits on the length of records.
        documents: Whether each line of a source is a sentence.
        copy: Whether the decoder can copy source words.
        sampling: Whether training records are segmented at random.
    """

    sides: tuple[Side, ...] = ("source", "target")

    def __init__(self, policy: Policy, documents: bool = False, copy: bool = False, *, sampling: bool = False) -> None:
        self.policy, self.documents, self.copy, self.sampling = policy, documents, copy, sampling

    @property
    @override
    def form(self) -> tuple[object, ...]:
        return "text", self.documents, self.copy

    @override
    def codec(self, tokenizers: Mapping[str, Tokenizer]) -> TextCodec:
        """Make the codec of two texts.

        Raises:
            UserError: A tokenizer cannot be used with these options.
        """
        for tokenizer in tokenizers.values():
            tokenizer.check(sampling=self.sampling, documents=self.documents)
        return TextCodec(tokenizers["source"], tokenizers["target"], self.documents, self.copy, self.policy)

    @override
    def texts(self, record: Record, sides: Sequence[Side]) -> list[str]:
        return [record[side] for side in sides]

    @override
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
        # Gold links number the words between spaces.
        if "alignment" in record and any(tokenizer.type == LETTERS for tokenizer in codec.tokenizers.values()):
            raise UserError(
                f"{place}: gold links number words, but data.tokenizer.type=letters makes each letter a word; separate "
                "the letters by spaces and set data.tokenizer.type=word"
            )
        # Encode the record; a training record may be too long.
        whole = codec(record, None, place, report)
        example = self.policy.fit(whole, place, report) if training else whole
        if example is None:
            return None
        assert example.target is not None
        # Count unknown tokens.
        if not self.copy:  # a model that copies knows the spelling of unknown source words
            unknown["source"].add(codec.tokenizers["source"], record["source"], example.source)
        unknown["target"].add(codec.target, record["target"], example.target)
        # Name the columns; a column that is None stays empty.
        ids = {"source_ids": example.source, "target_ids": example.target, "sizes": example.sizes}
        return {**ids, "copies": example.copies, "oov": example.oov}

    @override
    def open(self, file: Path, codec: Codec) -> StoredSplit:
        return TextSplit(file, codec, self.sampling)


class TextSplit(StoredSplit):
    """Encoded split of texts.

    Args:
        file: File of the split.
        codec: Codec that encoded the split.
        sampling: Whether each epoch segments the training records anew.
    """

    def __init__(self, file: Path, codec: Codec, sampling: bool) -> None:
        self.file, self.codec, self.sampling = file, codec, sampling
        self.stored = StoredExamples(file, codec)

    @override
    def lengths(self, *, training: bool = False) -> tuple[Lengths, Lengths]:
        # A target starts with <s>, which the decoder only reads.
        return self.stored.source.lengths, self.stored.target.lengths - 1

    @override
    def target_tokens(self) -> int:
        return int((self.stored.target.lengths - 1).sum())

    @override
    def examples(self, draw: Draw | None = None) -> Examples:
        if draw is None or not self.sampling:
            return self.stored
        return ResampledExamples(Records(self.file), self.codec, draw)


class StoredExamples(Examples):
    """Examples with the ids of a split on disk.

    Args:
        file: File of the split.
        codec: Codec that encoded the split; it tells which columns the file has.
    """

    def __init__(self, file: Path, codec: Codec) -> None:
        self.source, self.target = TokenLists(file, "source_ids"), TokenLists(file, "target_ids")
        self.sizes = TokenLists(file, "sizes") if codec.documents else None
        self.copies = TokenLists(file, "copies") if codec.copy else None
        self.oov = Strings(file, "oov") if codec.copy else None

    @override
    def of(self, index: int) -> Sequence[Example]:
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
    """Examples that are segmented anew in each epoch (subword regularisation)."""

    records: Records
    codec: Codec
    draw: Draw

    @override
    def of(self, index: int) -> Sequence[Example]:
        record, policy = self.records[index], self.codec.policy
        # A random segmentation may be too long; then try the likeliest, which is shorter as a rule.
        for sample in ((*self.draw, index), None):
            example = self.codec(record, sample).cut(target=policy.max_target_tokens)
            if policy.fits(example):
                return (example,)
        # Cut the likeliest segmentation if it is too long as well.
        return (policy.truncated(example),)
