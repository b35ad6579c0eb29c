"""Small corpora on disk: random words, numbered so that no two sentences are alike."""

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
    random = Random(seed)
    return [" ".join([f"n{i}", *random.choices(WORDS, k=random.randint(1, 20))]) for i in range(count)]


def write(folder: Path, split: str, **sides: list[str]) -> Path:
    """``SPLIT.LANGUAGE`` files of those lines."""
    folder.mkdir(exist_ok=True)
    for language, lines in sides.items():
        (folder / f"{split}.{language}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split, count in {"train": 200, "val": 20, "test": 10}.items():
        write(tmp_path / "text", split, a=sentences(count, count), b=sentences(count, count + 1))
    return tmp_path / "text"


@pytest.fixture
def make(tmp_path: Path, folder: Path) -> Callable[..., TextCorpus]:
    """A corpus over ``folder``, its cache in the test's own folder; options of the tokenizer in ``tokenizer``."""

    def make(tokenizer: dict[str, Any] | None = None, **options: Any) -> TextCorpus:
        tokenizers = TokenizerOptions(**({"type": "word", "joint": False} | (tokenizer or {})))
        settings = {"path": str(folder), "max_tokens": 100, "cache": str(tmp_path / "cache")} | options
        return TextCorpus("test", "a", "b", ParallelTextReader(), tokenizer=tokenizers, **settings)

    return make
