"""Tests of documents from tables: sentences, several references, names of columns and truncation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet
import pytest

from seq2seq.data.readers.hub import HubReader
from seq2seq.data.readers.reader import DataLocation
from seq2seq.data.readers.tables import TableReader
from seq2seq.data.records import Row
from seq2seq.data.text import TextCorpus
from seq2seq.data.tokenizer import TokenizerOptions
from seq2seq.errors import UserError


def table(folder: Path, *entries: dict[str, Any], name: str = "train.jsonl") -> DataLocation:
    """Write the entries into a table and return its location."""
    (folder / name).write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return DataLocation(folder, "text", "summary")


def read(at: DataLocation, split: str = "train", **options: Any) -> list[Row]:
    """Return the rows of a split."""
    return list(TableReader(**options).rows(split, at))


def test_a_source_is_a_text_or_a_list_of_sentences(tmp_path):
    text = "Dr. Kim came. She\nleft."
    at = table(
        tmp_path,
        {"text": text, "summary": "s"},
        {"text": ["Dr. Kim  came.", " ", "She\nleft. Then"], "summary": "s"},
        {"text": " One\n\n two \nthree", "summary": "s"},
        {"text": "kept  as is", "summary": "s"},
    )
    sources = [row.record["source"] for row in read(at)]
    # without a language the text's own lines are its sentences
    assert sources == ["Dr. Kim came. She\nleft.", "Dr. Kim came.\nShe left. Then", "One\ntwo\nthree", "kept  as is"]
    sources = [row.record["source"] for row in read(at, language="en")]
    assert sources == ["Dr. Kim came.\nShe left.", "Dr. Kim came.\nShe left. Then", "One\ntwo three", "kept as is"]


def test_a_target_is_a_text_or_a_list_of_sentences(tmp_path):
    at = table(tmp_path, {"text": "a", "summary": "One. Two.\n\nThree."}, {"text": "a", "summary": ["One.", "Two."]})
    assert [row.record["target"] for row in read(at, language="en")] == ["One. Two.\nThree.", "One.\nTwo."]
    assert "references" not in read(at)[0].record


def test_references_are_the_target_and_the_texts_of_other_columns(tmp_path):
    at = table(
        tmp_path,
        {"text": "a", "summary": "one", "human": ["two", "one", "three\n four"], "title": "two"},
        {"text": "a", "summary": ["one", "more"], "human": [], "title": "five"},
        {"text": "a", "summary": "one", "human": None, "title": "", "references": ["six"]},
    )
    expected = [["one", "two", "three\nfour"], ["one\nmore", "five"], ["one", "six"]]
    assert [row.record["references"] for row in read(at, references=["human", "title"])] == expected


def test_first_existing_column_is_used(tmp_path):
    (tmp_path / "train.csv").write_text("body,summary\none. two.,s\n")
    at = DataLocation(tmp_path, "text|body", "summary")
    (row,) = read(at, language="en", references=["human|"])
    assert row.record == {"source": "one.\ntwo.", "target": "s"}
    with pytest.raises(
        UserError, match=r"train\.csv:2 has no column 'human', but body, summary; set data\.reader\.ref"
    ):
        read(at, references=["human"])
    with pytest.raises(UserError, match=r"has no column 'text' or 'article', but body, summary; set data\.source"):
        read(DataLocation(tmp_path, "text|article", "summary"))


def test_item_of_a_list_can_be_a_column(tmp_path):
    at = table(tmp_path, {"doc": {"text": ["a", "b"]}, "tldr": ["one", "two"]}, {"doc": {"text": ["a"]}, "tldr": []})
    first, second = read(DataLocation(tmp_path, "doc.text", "tldr.0"), references=["tldr"])
    assert first.record == {"source": "a\nb", "target": "one", "references": ["one", "two"]}
    assert second.problem == "empty"
    assert at.path == tmp_path


@pytest.mark.parametrize("format", ["jsonl", "csv", "tsv", "parquet"])
def test_format_is_detected(tmp_path, format):
    entry = {"text": "One came. Two left.", "summary": "both"}
    if format == "jsonl":
        table(tmp_path, entry)
    elif format == "parquet":
        pyarrow.parquet.write_table(pa.Table.from_pylist([entry]), tmp_path / "train.parquet")
    else:
        delimiter = "," if format == "csv" else "\t"
        (tmp_path / f"train.{format}").write_text("\n".join(delimiter.join(row) for row in (entry, entry.values())))
    at = DataLocation(tmp_path, "text", "summary")
    assert TableReader().splits(at) == ["train"]
    (row,) = read(at, language="en")
    assert row.record == {"source": "One came.\nTwo left.", "target": "both"}


def test_lists_of_sentences_are_read_from_parquet(tmp_path):
    entry = {"text": ["One.", "Two."], "summary": ["both"], "more": ["each"]}
    pyarrow.parquet.write_table(pa.Table.from_pylist([entry]), tmp_path / "train.parquet")
    (row,) = read(DataLocation(tmp_path, "text", "summary"), references=["more"])
    assert row.record == {"source": "One.\nTwo.", "target": "both", "references": ["both", "each"]}


def test_splits_may_be_of_different_formats(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"text": "a.", "summary": "b"}\n')
    (tmp_path / "valid.csv").write_text("text,summary\nc.,d\n")
    (tmp_path / "train.csv").write_text("text,summary\nlater,unread\n")
    at = DataLocation(tmp_path, "text", "summary")
    assert TableReader().splits(at) == ["train", "valid"]
    assert [[row.record["target"] for row in TableReader().rows(split, at)] for split in ("train", "valid")] == [
        ["b"],
        ["d"],
    ]
    assert TableReader().files("valid", at).endswith("valid.csv")
    assert TableReader("csv").splits(at) == ["train", "valid"] and TableReader("jsonl").splits(at) == ["train"]
    with pytest.raises(UserError, match=r"valid\.jsonl does not exist; the splits are: train"):
        TableReader("jsonl").find("valid", at)
    with pytest.raises(UserError, match=r"test\.jsonl\|csv\|tsv\|parquet does not exist; the splits are: train, valid"):
        TableReader().find("test", at)


def test_folder_without_tables_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"has no SPLIT\.\{jsonl,csv,tsv,parquet\} files \(data\.path\)"):
        TableReader().find("train", DataLocation(tmp_path, "text", "summary"))


def test_bad_cells_are_reported_by_line(tmp_path):
    good = {"text": "a", "summary": "b"}
    bad = [
        {"text": 3},
        {"text": [1]},
        {"summary": {"a": "b"}},
        {"references": 4},
        {"references": [["a"]]},
        {"text": None},
    ]
    at = table(tmp_path, good, *({**good, **change} for change in bad), {**good, "text": []})
    found = read(at, language="en")
    assert [row.problem for row in found] == [None, *["malformed"] * 5, "empty", None]
    assert [row.place for row in found] == [f"train.jsonl:{n}" for n in range(1, 9)]
    assert found[-1].record["source"] == ""  # ``accepted`` reports it as empty


def test_invalid_options_are_refused():
    with pytest.raises(UserError, match=r"^language=klingon has no rules"):
        TableReader(language="klingon")
    with pytest.raises(UserError, match=r"^references=human must be a list: \[human\]"):
        HubReader("a/b", "0" * 40, references="human")


def test_fingerprint_depends_on_the_options(tmp_path):
    at = table(tmp_path, {"text": "a", "summary": "b"})
    options = ({}, {"language": "en"}, {"language": "de"}, {"references": ["summary"]}, {"column": "x.{}"})
    assert len({TableReader(**o).fingerprint("train", at) for o in options}) == len(options)
    at = DataLocation(None, "text", "summary")
    assert len({HubReader("a/b", "0" * 40, **o).fingerprint("train", at) for o in options}) == len(options)


def test_files_outside_the_hub_are_read_by_address(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    table(tmp_path, {"text": ["a", "b"], "summary": ["one", "two"]}, name="0-dev.jsonl")
    reader = HubReader(
        "someone/something", "0", parts={"valid": "dev"}, jsonl=f"{tmp_path}/{{revision}}-{{split}}.jsonl"
    )
    at = DataLocation(None, "text", "summary.0")
    for streaming in (False, True):
        rows = list(reader.rows("valid", at, streaming=streaming))
        assert rows == [Row("someone/something dev:0", {"source": "a\nb", "target": "one"})]


def test_local_copy_of_a_hub_dataset_is_read_with_the_same_options(tmp_path):
    at = table(tmp_path, {"text": "One. Two.", "summary": "b", "more": ["c"]})
    (row,) = HubReader("a/b", "0" * 40, language="en", references=["more"]).rows("train", at)
    assert row.record == {"source": "One.\nTwo.", "target": "b", "references": ["b", "c"]}


# --- Truncation


def test_corpus_cuts_all_sources_but_only_targets_of_training(tmp_path):
    long = {"text": "Ann saw one. Bea saw two. Cat saw six. Dan saw all.", "summary": "a b c d e f", "more": ["g"]}
    for name in ("train", "test"):
        table(tmp_path, long, {"text": ["Eve."], "summary": "a"}, name=f"{name}.jsonl")
    corpus = TextCorpus(
        "test", "text", "summary", TableReader(references=["more|"], language="en"), str(tmp_path),
        TokenizerOptions(type="word"), documents=True, max_source_sentences=2, max_target_tokens=4,
        cache=str(tmp_path / "cache"),
    )  # fmt: skip
    (trained,), (tested,) = corpus.train_loader(1, 0), corpus.loader("test")
    for batch, words in ((trained, 3), (tested, 6)):
        row = batch.index.tolist().index(0)
        assert corpus.source_tokenizer.decode(batch.source[row].tolist()) == "Ann saw one. Bea saw two."
        assert batch.segments[row].tolist() == [0, 0, 0, 1, 1, 1, 1]
        assert len(corpus.target_tokenizer.decode(batch.target[row].tolist()).split()) == words
    assert corpus.report["train"].lines() == [
        "train: 1 sources over 2 sentences, cut: train.jsonl:1",
        "train: 1 targets over 4 tokens, cut: train.jsonl:1",
    ]
    assert corpus.report["test"].lines() == ["test: 1 sources over 2 sentences, cut: test.jsonl:1"]
    whole = corpus.records("test")[0]
    assert whole["source"] == long["text"].replace(". ", ".\n")
    assert (whole["target"], whole["references"]) == ("a b c d e f", ["a b c d e f", "g"])


def test_origins_are_stored(tmp_path):
    entry = {"text": ["a", "b"], "summary": "b a", "origins": [1, 0]}
    for name in ("train", "test"):
        table(tmp_path, entry, name=f"{name}.jsonl")
    options = TokenizerOptions(type="word")
    corpus = TextCorpus("test", "text", "summary", TableReader(), str(tmp_path), options, cache=str(tmp_path / "cache"))
    assert corpus.records("test")[0]["origins"] == [1, 0]
