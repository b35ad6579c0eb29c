"""Encoded splits of a corpus in ``data.cache``; each is made at its first use."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seq2seq.data import arrow, cache, vocabulary
from seq2seq.data.codec import Codec
from seq2seq.data.data_source import DataSource
from seq2seq.data.encoding import Encoding
from seq2seq.data.readers.reader import canonical
from seq2seq.data.record_policy import Report
from seq2seq.files import sealed

log = logging.getLogger(__name__)


class SplitStore:
    """Files of encoded splits, named by all that they are made from.

    Args:
        data: Source of the records.
        encoding: Rules by which the records are encoded.
        folder: Directory of the cache.
    """

    def __init__(self, data: DataSource, encoding: Encoding, folder: Path) -> None:
        self.data, self.encoding, self.folder = data, encoding, folder
        self.reports: dict[str, Report] = {}  # report of each split used so far
        self._files: dict[str, Path] = {}

    def forget(self) -> None:
        """Forget the files, because the codec has changed."""
        self._files.clear()

    def file(self, split: str, codec: Codec) -> Path:
        """Return the file of an encoded split; encode the split first if it is not in the cache.

        Args:
            split: Name of the split, or an alias of it.
            codec: Codec that encodes the split.

        Raises:
            UserError: The split has no record that can be used.
        """
        split = canonical(split)
        if split not in self._files:
            # Find the file in the cache, or write it.
            name = self.data.find(split)
            file = self.folder / f"{self._key(split, name, codec)}.arrow"
            summary = sealed.opened(file)
            if summary is None or self.encoding.is_stale(Report(**summary["report"]), file):
                summary = self._write(split, name, file, codec)
            # Report what happened to the records.
            report = self.reports[split] = Report(**summary["report"])
            for line in [*report.lines(), *vocabulary.warnings(split, summary["unknown"], codec.tokenizers)]:
                log.warning("%s", line)
            if not report.kept:
                raise self.data.empty(name, report)
            self._files[split] = file
        return self._files[split]

    def _key(self, split: str, name: str, codec: Codec) -> str:
        """Return the file name of a split."""
        # The split is part of the name, because the limits on targets apply only in training.
        tokenizers = [cache.key(t.type, t.model.hex()) for t in codec.tokenizers.values()]
        return cache.key(cache.form(), self.encoding.form, split, self.data.fingerprint(name), tokenizers)

    def _write(self, split: str, name: str, file: Path, codec: Codec) -> dict[str, Any]:
        """Encode a split, and return the summary for the seal of its file: the report and the counts of <unk>."""
        log.info("encoding %s", name)
        report = Report(split)
        unknown: defaultdict[str, vocabulary.UnknownTokens] = defaultdict(vocabulary.UnknownTokens)
        training = split == "train"

        # The rows fill the report while they are written.
        def rows() -> Iterator[dict[str, Any]]:
            for place, record in self.encoding.records(self.data.records(name, report), report):
                if columns := self.encoding.columns(codec, record, place, report, unknown, training=training):
                    report.kept += 1
                    yield {**record, "references": record.get("references") or [record["target"]], **columns}

        def summary() -> dict[str, Any]:
            return {"report": report.as_dict(), "unknown": {side: u.as_dict() for side, u in unknown.items()}}

        arrow.write(file, rows(), summary)
        return summary()
