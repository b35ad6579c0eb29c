"""Tests of text of users: byte order marks, encodings, impossible characters and the standard streams."""

from __future__ import annotations

import codecs
import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seq2seq.data.readers.columns import Columns
from seq2seq.data.readers.karpathy import KarpathyReader
from seq2seq.data.readers.reader import DataLocation
from seq2seq.data.readers.tables import TableReader
from seq2seq.data.readers.text import ParallelTextReader
from seq2seq.errors import UserError
from seq2seq.files.text import flaw, read_lines, read_text, stdin_lines, usable
from seq2seq.generation.inputs import read_documents, read_images
from seq2seq.metrics.gold import read_gold

AT = ("en", "de")
GOLD = json.dumps({"src": ["a"], "tgt": ["b"], "sure": [[0, 0]]})
KARPATHY = json.dumps({"images": [{"filename": "a", "split": "train", "sentences": [{"raw": "b"}]}]})


def _split(form: str) -> Callable[[Path], Any]:
    """Return a function that reads the split ``train`` of a table in this format."""
    return lambda file: [r.record for r in TableReader(form).rows("train", DataLocation(file.parent, *AT))]


def _parallel(file: Path) -> Any:
    """Read a file as the sources of three pairs."""
    (file.parent / "train.de").write_text("x\n" * 3)
    return [row.record for row in ParallelTextReader().rows("train", DataLocation(file.parent, *AT))]


READERS: dict[str, tuple[str, str, Callable[[Path], Any]]] = {  # name of a file, its text, function that reads it
    "lines": ("x.txt", "one\ntwo\nthree\n", lambda file: list(read_lines(file))),
    "whole": ("x.txt", "one\ntwo", read_text),
    "gold alignments": ("x.jsonl", GOLD, read_gold),
    "list of images": ("x.list", "a.png\nb.png\n", lambda file: list(read_images(str(file)))),
    "document": ("x.txt", "One. Two.", lambda file: list(read_documents(str(file), Columns(["t"], ["s"])))),
    "rows of documents": ("x.jsonl", '{"t": "a b"}\n', lambda file: list(read_documents(str(file), Columns(["t"],
    ["s"])))),
    "parallel text": ("train.en", "one\ntwo\nthree\n", _parallel),
    "jsonl": ("train.jsonl", '{"en": "one", "de": "x"}\n', _split("jsonl")),
    "csv": ("train.csv", "en,de\none,x\n", _split("csv")),
    "tsv": ("train.tsv", "en\tde\none\tx\n", _split("tsv")),
    "Karpathy": (
        "x.json", KARPATHY, lambda file: list(KarpathyReader("x.json").rows("train", DataLocation(file.parent, *AT)))
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_a_byte_order_mark_is_ignored(tmp_path: Path, name: str) -> None:
    file, text, read = READERS[name]
    (tmp_path / file).write_bytes(text.encode())
    without = read(tmp_path / file)
    (tmp_path / file).write_bytes(codecs.BOM_UTF8 + text.encode())
    assert read(tmp_path / file) == without


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", READERS)
def test_utf_16_is_recognised_and_refused(tmp_path: Path, name: str, encoding: str) -> None:
    file, text, read = READERS[name]
    (tmp_path / file).write_bytes(text.encode(encoding))
    with pytest.raises(UserError, match=r"looks like UTF-16.*iconv"):
        read(tmp_path / file)


def test_standard_input_is_read_like_a_file(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    def piped(content: bytes) -> list[str]:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), "latin-1"))
        return list(stdin_lines())

    assert piped(codecs.BOM_UTF8 + "żółw\r\n\ufeffb\n\nc".encode()) == ["żółw", "\ufeffb", "", "c"]
    assert piped(b"a\n\xff\n") == ["a", "\ufffd"] and "stdin:2: not UTF-8 at byte 1" in caplog.text
    with pytest.raises(UserError, match="stdin looks like UTF-16"):
        piped("a cat\n".encode("utf-16"))


def test_nul_characters_are_not_taken_for_utf_16(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"a\0b\n\0\nabc\0\0\0\0\0\0\n" + b"\0" * 50 + b"\n")
    assert [line.strip("\0") for line in read_lines(tmp_path / "x")] == ["a\0b", "", "abc", ""]


def test_characters_that_no_file_can_contain_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    assert flaw("żółw 😀 \u2028") is None
    assert flaw("a\ud83d") == "half a surrogate pair" and flaw("a\0") == "a NUL character"
    with caplog.at_level(logging.WARNING):
        assert usable("fine", "f:1") == "fine" and usable("a\0", "f:2") == ""
    assert [record.message for record in caplog.records] == ["f:2: a NUL character; its output is empty"]


def test_unreadable_files_are_refused_with_the_reason(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory"), ("a\0b", "NUL")):
        with pytest.raises(UserError, match=reason):
            list(read_lines(path))
    (tmp_path / "x").write_bytes(b"ab\xff")
    with pytest.raises(UserError, match=r"x: not UTF-8 at byte 3"):
        read_text(tmp_path / "x")


def test_the_standard_streams_are_utf_8_in_any_locale() -> None:
    """In the POSIX locale Python would write ASCII and read bytes as surrogates."""
    code = (
        "import sys; from seq2seq.files.text import speak_utf8; speak_utf8(); line = sys.stdin.readline();"
        "print(line.strip(), '\\u017c', '\\udcff'); print('\\u017c', file=sys.stderr)"
    )
    plain = {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONPATH": "."}
    done = subprocess.run(
        [sys.executable, "-c", code], input="ü😀\n".encode(), capture_output=True, env=plain, check=True
    )
    assert done.stdout.decode() == "ü😀 ż \\udcff\n"
    assert done.stderr.decode() == "ż\n"
