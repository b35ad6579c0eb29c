"""Tokenizers of a corpus: loaded from files of the user, from ``data.cache``, or trained on the training split."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from seq2seq.data import cache, vocabulary
from seq2seq.data.data_source import DataSource
from seq2seq.data.encoding import Encoding, Side
from seq2seq.data.record_policy import Report
from seq2seq.data.tokenizer import Tokenizer, TokenizerOptions
from seq2seq.errors import UserError
from seq2seq.files import sealed

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TokenizerStore:
    """Maker of the tokenizers of a dataset; it keeps trained ones in the cache."""

    options: TokenizerOptions
    data: DataSource
    encoding: Encoding
    folder: Path  # directory of the cache

    def __post_init__(self) -> None:
        """Check that all sides have a model file, or none has."""
        named = [getattr(self.options, f"{side}_model") is not None for side in self.encoding.sides]
        if any(named) and not all(named):
            side = self.encoding.sides[named.index(False)]
            raise UserError(f"tokenizer.{side}_model=null, but the other side has one; give both or neither")

    def tokenizers(self) -> dict[str, Tokenizer]:
        """Return the tokenizer of each side that is text."""
        options, sides = self.options, self.encoding.sides
        files = {"source": options.source_model, "target": options.target_model}
        # Files of the user take precedence.
        if models := {side: Path(file) for side, file in files.items() if file and side in sides}:
            return {side: Tokenizer.load(models[side], options.type_of(side), options.sampling) for side in sides}
        found: dict[str, Tokenizer]
        if options.joint:
            found = dict[str, Tokenizer].fromkeys(sides, self._trained(sides))
        else:
            found = {side: self._trained((side,)) for side in sides}
        # Short texts may have fewer different pieces.
        size = options.vocab_size or 0
        if small := [f"{len(tokenizer)} {side}" for side, tokenizer in found.items() if len(tokenizer) < size]:
            names = " and ".join(small)
            log.info("data.tokenizer.vocab_size=%d: the texts have only %s pieces", size, names)
        return found

    def _trained(self, sides: tuple[Side, ...]) -> Tokenizer:
        """Return the tokenizer of some sides from the cache, or train it."""
        options, name = self.options, self.data.find("train")
        kind = options.type_of(sides[0])
        # Look in the cache for a tokenizer with the same data and options.
        names = "vocab_size", "normalization", "character_coverage", "byte_fallback", "split_digits"
        settings = {"type": kind, **{name: getattr(options, name) for name in names}}
        settings["user_defined_symbols"] = list(options.user_defined_symbols)
        key = cache.key(
            cache.form(),
            type(self.encoding).__name__,
            self.data.fingerprint(name),
            sides,
            settings,
            options.max_records,
        )
        file = self.folder / f"{key}.model"
        if (content := sealed.content(file)) is not None:
            return Tokenizer(content[0], kind, options.sampling)
        log.info("training a %s tokenizer for %s", kind, " and ".join(getattr(self.data.at, s) for s in sides))
        # Train on records drawn from the whole split.
        report = Report("train")
        records = self.encoding.records(self.data.records(name, report), report)
        texts = vocabulary.draw((self.encoding.texts(record, sides) for _, record in records), options.max_records)
        if not texts:
            raise self.data.empty(name, report)
        size = options.vocab_size or vocabulary.fitting_size(chain.from_iterable(texts), kind)
        tokenizer = Tokenizer.train(chain.from_iterable(texts), **{**settings, "vocab_size": size})
        with cache.writing(file) as temporary:
            temporary.write_bytes(tokenizer.model)
        return Tokenizer(tokenizer.model, kind, options.sampling)
