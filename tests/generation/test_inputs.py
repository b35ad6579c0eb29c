"""Tests of documents to summarise: text files, folders, rows of tables and standard input."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from seq2seq.data.readers.columns import Columns
from seq2seq.errors import UserError
from seq2seq.generation.inputs import read_documents

COLUMNS = Columns(["body", "text"], ["summary"], language="en")


def test_a_file_is_one_document_and_a_folder_has_several(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("It rained. Nobody\ncame.\n\nThe end\n", encoding="utf-8")
    (tmp_path / "a.txt").write_bytes(b"Caf\xe9 is closed.")
    (tmp_path / "c.md").write_text("no text file", encoding="utf-8")
    b = ("b.txt", "It rained.\nNobody came.\nThe end")
    assert list(read_documents(str(tmp_path / "b.txt"), COLUMNS)) == [b]
    assert list(read_documents(str(tmp_path), COLUMNS)) == [("a.txt", "Caf� is closed."), b]


def test_rows_need_no_summary_and_keep_their_order(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = ['{"text": "One. Two."}', "{", '{"body": ["A b", "c"]}', '{"text": null}', '{"text": 3}']
    (tmp_path / "x.jsonl").write_text("\n".join(rows), encoding="utf-8")
    found = list(read_documents(str(tmp_path / "x.jsonl"), COLUMNS))
    assert [text for _, text in found] == ["One.\nTwo.", "", "A b\nc", "", ""]
    assert [name for name, _ in found] == [f"x.jsonl:{number}" for number in range(1, 6)]
    assert [record.message.split(";")[0] for record in caplog.records] == [
        "x.jsonl:2: malformed (not JSON: Expecting property name enclosed in double quotes)",
        "x.jsonl:4: empty",
        "x.jsonl:5: malformed (a text that is neither a string nor a list of strings)",
    ]


def test_without_a_language_lines_are_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = io.BytesIO(b"One. Two.\nThree.\n")

    monkeypatch.setattr("sys.stdin", Stdin)
    assert list(read_documents(None, Columns(["text"], ["summary"]))) == [("stdin", "One. Two.\nThree.")]


def test_unreadable_documents_are_refused_with_the_reason(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path, "has no .txt files"),
        (tmp_path / "x.txt", "No such file"),
        (tmp_path / "x.jsonl", "no such file"),
    ):
        with pytest.raises(UserError, match=reason):
            list(read_documents(str(path), COLUMNS))
    (tmp_path / "y.jsonl").write_text('{"title": "a"}', encoding="utf-8")
    with pytest.raises(UserError, match=r"y\.jsonl:1 has no column 'body' or 'text', but title"):
        list(read_documents(str(tmp_path / "y.jsonl"), COLUMNS))
