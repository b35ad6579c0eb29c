"""Fixtures for the tests of the data package: small corpora on disk whose sentences all differ."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from seq2seq.data.readers.text import ParallelTextReader
from seq2seq.data.text import TextCorpus
from seq2seq.data.tokenizer import TokenizerOptions

WORDS = ("eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn", "elf", "zwölf")


def sentences(count: int, seed: int) -> list[str]:
    """Return ``count`` random sentences; sentence i begins with the word n{i}, so all differ."""
    random = Random(seed)
    return [" ".join([f"n{i}", *random.choices(WORDS, k=random.randint(1, 20))]) for i in range(count)]


def write(folder: Path, split: str, **sides: list[str]) -> Path:
    """Write the lines of each language into ``SPLIT.LANGUAGE`` and return the folder."""
    folder.mkdir(exist_ok=True)
    for language, lines in sides.items():
        (folder / f"{split}.{language}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a folder of parallel text with 200, 20 and 10 pairs for train, val and test."""
    for split, count in {"train": 200, "val": 20, "test": 10}.items():
        write(tmp_path / "text", split, a=sentences(count, count), b=sentences(count, count + 1))
    return tmp_path / "text"


@pytest.fixture
def make(tmp_path: Path, folder: Path) -> Callable[..., TextCorpus]:
    """Return a function that builds a corpus over ``folder``, with its cache in the test's own folder.

    Its argument ``tokenizer`` has the options of the tokenizer; the keywords are options of the corpus.
    """

    def make(tokenizer: dict[str, Any] | None = None, **options: Any) -> TextCorpus:
        tokenizers = TokenizerOptions(**({"type": "word", "joint": False} | (tokenizer or {})))
        settings = {"path": str(folder), "max_tokens": 100, "cache": str(tmp_path / "cache")} | options
        return TextCorpus("test", "a", "b", ParallelTextReader(), tokenizer=tokenizers, **settings)

    return make
