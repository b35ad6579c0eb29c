"""Tests of the readers of text folders, tables and the hub: rows with their places, and errors in one line."""

from __future__ import annotations

import io
import json
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from seq2seq.data.readers.hub import HubReader
from seq2seq.data.readers.reader import DataLocation, canonical
from seq2seq.data.readers.tables import TableReader
from seq2seq.data.readers.text import ParallelTextReader
from seq2seq.errors import UserError


def at(path: Path | None, source: str = "en", target: str = "de") -> DataLocation:
    """Return the location of a dataset."""
    return DataLocation(path, source, target)


def rows(reader, location, split="train"):
    """Return (place, source, target) of each row, or (place, problem)."""
    return [
        (r.place, r.record["source"], r.record["target"]) if r.record else (r.place, r.problem)
        for r in reader.rows(split, location)
    ]


def test_parallel_text_by_line(tmp_path):
    (tmp_path / "train.en").write_bytes(b"\xef\xbb\xbfone\r\ntwo\n\nfour \xff\nf\xe2\x80\xa8ive\x0c\x1c.\nsix")
    (tmp_path / "train.de").write_bytes("eins\nzwei\ndrei\nvier\nfünf\n".encode())
    assert rows(ParallelTextReader(), at(tmp_path)) == [
        ("train.en:1", "one", "eins"),  # without the byte order mark and the carriage return
        ("train.en:2", "two", "zwei"),
        ("train.en:3", "", "drei"),
        ("train.en:4", "not UTF-8"),
        ("train.en:5", "f\u2028ive\x0c\x1c.", "fünf"),  # only a newline ends a line
        ("train.en:6", "without a counterpart"),
    ]


def test_place_names_the_longer_or_the_faulty_side(tmp_path):
    (tmp_path / "train.en").write_bytes(b"one\ntwo\n")
    (tmp_path / "train.de").write_bytes(b"\xff\n \nthree\n")
    assert [row[0] for row in rows(ParallelTextReader(), at(tmp_path))] == ["train.de:1", "train.de:2", "train.de:3"]


def test_splits_are_found_under_several_names(tmp_path):
    for name in ("train", "dev", "test_2016_flickr", "newstest"):
        for language in ("en", "de"):
            (tmp_path / f"{name}.{language}").touch()
    (tmp_path / "half.en").touch()
    reader = ParallelTextReader()
    assert reader.splits(at(tmp_path)) == ["dev", "newstest", "test_2016_flickr", "train"]
    found = [reader.find(s, at(tmp_path)) for s in ("train", "valid", "val", "validation", "test", "newstest")]
    assert found == ["train", "dev", "dev", "dev", "test_2016_flickr", "newstest"]
    assert canonical("validation") == "valid" and canonical("newstest") == "newstest"
    with pytest.raises(UserError, match=r"half\.en with .*half\.de does not exist; the splits are: dev, newstest"):
        reader.find("half", at(tmp_path))


def test_missing_folder_is_refused():
    with pytest.raises(UserError, match=r"/no/such: no such folder \(data\.path\)"):
        ParallelTextReader().find("train", at(Path("/no/such")))
    with pytest.raises(UserError, match=r"data\.path=DIR"):
        ParallelTextReader().find("train", at(None))


ENTRIES = [{"en": "one", "de": "eins"}, {"en": 'two, "2"\nlines', "de": "zwei"}]
IN_LINES = [ENTRIES[0], {"en": 'two, "2"', "de": '"zwei'}]  # for a format without quotation marks


def entries_of(format: str) -> list[dict[str, str]]:
    """Return the entries that are written in the format."""
    return IN_LINES if format == "tsv" else ENTRIES


def save(folder: Path, format: str) -> None:
    """Write the entries into ``train.FORMAT``."""
    file = folder / f"train.{format}"
    if format == "jsonl":
        file.write_text("".join(json.dumps(e) + "\n" for e in ENTRIES))
    elif format == "parquet":
        pyarrow.parquet.write_table(pa.Table.from_pylist(ENTRIES), file)
    elif format == "tsv":
        file.write_text("".join("\t".join(row) + "\n" for row in (IN_LINES[0], *(e.values() for e in IN_LINES))))
    else:
        import pandas

        pandas.DataFrame(ENTRIES).to_csv(file, index=False)


@pytest.mark.parametrize("format", ["jsonl", "csv", "tsv", "parquet"])
def test_tables_of_each_format_are_read(tmp_path, format):
    save(tmp_path, format)
    found = rows(TableReader(format), at(tmp_path))
    assert [row[1:] for row in found] == [(entry["en"], entry["de"]) for entry in entries_of(format)]
    assert found[0][0].startswith(f"train.{format}:")
    with pytest.raises(UserError, match=r"train\.\w+:\d has no column 'fr', but en, de; set data\.source"):
        rows(TableReader(format), at(tmp_path, target="fr"))


def test_jsonl_problems_are_reported_by_line(tmp_path):
    lines = [b'{"en": "a", "de": "b"}', b"{oops", b"[1]", b'{"en": "\xff", "de": "b"}', b'{"en": null, "de": "b"}']
    (tmp_path / "train.jsonl").write_bytes(b"\n".join([*lines, b'{"en": 3, "de": "b"}']))
    problems = [(r.place.split(":")[1], r.problem) for r in TableReader("jsonl").rows("train", at(tmp_path))]
    expected = [None, "malformed", "malformed", "not UTF-8", "empty", "malformed"]
    assert problems == [(str(i), problem) for i, problem in enumerate(expected, 1)]


def test_csv_problems_are_reported_by_line(tmp_path):
    (tmp_path / "train.csv").write_bytes(b'en,de\na,b\nonly one\n1,2,3\n\xff,b\n"two\nlines",b\n')
    found = [(r.place, r.problem) for r in TableReader("csv").rows("train", at(tmp_path))]
    problems = [None, "malformed", "malformed", "not UTF-8", None]
    assert found == [(f"train.csv:{n}", p) for n, p in zip((2, 3, 4, 5, 7), problems, strict=True)]


def test_gold_links_and_references_are_read(tmp_path):
    entry = {"en": "a b", "de": "x", "alignment": [[0, 0]], "possible": [[1, 0]], "references": ["x", "y"], "id": 3}
    (tmp_path / "test.jsonl").write_text(json.dumps(entry))
    (row,) = TableReader("jsonl").rows("test", at(tmp_path))
    assert row.record == {
        "source": "a b", "target": "x", "alignment": [[0, 0]], "possible": [[1, 0]], "references": ["x", "y"]
    }  # fmt: skip


def test_nested_columns_and_files_in_parts_are_read(tmp_path):
    for part, word in enumerate("ab"):
        table = pa.Table.from_pylist([{"translation": {"en": word, "de": word.upper()}}])
        pyarrow.parquet.write_table(table, tmp_path / f"train-0000{part}-of-00002.parquet")
    reader = TableReader("parquet", column="translation.{}")
    assert reader.splits(at(tmp_path)) == ["train"]
    assert [row[1:] for row in rows(reader, at(tmp_path))] == [("a", "A"), ("b", "B")]


def test_an_unknown_format_is_refused():
    with pytest.raises(UserError, match=r"^format=xml is none of: any, jsonl, csv, tsv, parquet"):
        TableReader("xml")


def test_fingerprint_changes_with_the_content(tmp_path):
    for language in ("en", "de"):
        (tmp_path / f"train.{language}").write_text("one\n")
    before = ParallelTextReader().fingerprint("train", at(tmp_path))
    assert ParallelTextReader().fingerprint("train", at(tmp_path)) == before
    (tmp_path / "train.de").write_text("two\n")
    assert ParallelTextReader().fingerprint("train", at(tmp_path)) != before


HUB = HubReader("someone/something", "0" * 40, "de-en", column="translation.{}")


def test_hub_reader_requests_the_revision(monkeypatch):
    asked = {}

    def load_dataset(*args, **kwargs):
        asked.update(kwargs, args=args)
        return datasets.Dataset.from_list([{"translation": {"en": "one", "de": "eins"}}])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert rows(HUB, at(None), "valid") == [("someone/something validation:0", "one", "eins")]
    assert asked == {
        "args": ("someone/something", "de-en"), "revision": "0" * 40, "split": "validation", "streaming": False
    }  # fmt: skip
    assert HUB.find("dev", at(None)) == "valid"


def test_images_of_the_hub_are_returned_as_the_bytes_of_their_files(monkeypatch):
    file = io.BytesIO()
    Image.new("RGB", (4, 3), "red").save(file, "PNG")
    entries = [{"image": {"bytes": file.getvalue(), "path": "a.png"}, "caption_0": "red", "caption_1": "all red"}]
    texts = dict.fromkeys(("caption_0", "caption_1"), datasets.Value("string"))
    features = datasets.Features(image=datasets.Image(), **texts)
    asked = {}

    def load_dataset(*args, **kwargs):
        asked.update(kwargs)
        return datasets.Dataset.from_list(entries, features=features)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    files = {"train": ["data/train-0.parquet"]}
    hub = HubReader(repository="x/y", revision="main", references=["captions|caption_1|", "caption_2|"], files_of=files)
    (row,) = hub.rows("train", at(None, "image", "captions.0|caption_0"))
    assert asked["data_files"] == files
    assert row.record == {
        "source": "a.png", "target": "red", "references": ["red", "all red"], "image": file.getvalue()
    }  # fmt: skip
    columns = TableReader(references=["caption_1"]).columns(at(None, "image", "caption_0"))
    row = columns.row({"image": {"bytes": b"1", "path": None}, "caption_0": "x", "caption_1": None}, "p:1")
    assert row.record["source"] == "p:1" and row.record["image"] == b"1"


def test_error_without_a_network_suggests_data_path():
    with pytest.raises(UserError, match=r"someone/something .*data\.path=DIR"):
        rows(HUB, at(None))


def test_local_copy_of_a_hub_dataset_may_be_text_or_tables(tmp_path):
    (tmp_path / "text").mkdir()
    for language, word in {"en": "one", "de": "eins"}.items():
        (tmp_path / "text" / f"train.{language}").write_text(word)
    assert rows(HUB, at(tmp_path / "text")) == [("train.en:1", "one", "eins")]
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "train.jsonl").write_text('{"translation": {"en": "one", "de": "eins"}}')
    assert rows(HUB, at(tmp_path / "table")) == [("train.jsonl:1", "one", "eins")]
    with pytest.raises(UserError, match=r"neither SPLIT\.en and SPLIT\.de nor SPLIT\.\{jsonl,csv,tsv,parquet\}"):
        HUB.find("train", at(tmp_path))


def test_row_without_a_column_is_malformed_and_file_without_it_is_refused(tmp_path):
    lines = ['{"en": "a"}', '{"en": "b", "de": "x"}', '{"de": "x"}', '{"en": null}', "{", '{"en": "c", "de": "y"}']
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    found = list(TableReader("jsonl").rows("train", at(tmp_path)))
    assert [row.problem for row in found] == ["malformed", None, "malformed", "malformed", "malformed", None]
    assert found[0].reason == "no column 'de', but en" and found[2].reason == "no column 'en', but de"
    (tmp_path / "train.jsonl").write_text("\n".join([*lines[:1] * 2, "{", *lines[3:5]]))
    with pytest.raises(
        UserError, match=r"^train\.jsonl:1 has no column 'de', but en; set data\.source and data\.target$"
    ):
        list(TableReader("jsonl").rows("train", at(tmp_path)))


def test_null_parent_of_a_nested_column_is_an_empty_cell(tmp_path):
    entries = [{"t": {"en": "a", "de": "x"}}, {"t": None}, {"t": {"en": None, "de": "x"}}]
    pyarrow.parquet.write_table(pa.Table.from_pylist(entries), tmp_path / "train.parquet")
    found = rows(TableReader("parquet", column="t.{}"), at(tmp_path))
    assert [row[1] for row in found] == ["a", "empty", "empty"]
    columns = TableReader().columns(at(None, "image", "captions.0|caption_0"))
    assert columns.row({"image": "a.png", "captions": None, "caption_0": "x"}, "p:1").record["target"] == "x"


def test_row_of_the_hub_that_is_not_utf_8_is_reported(monkeypatch):
    binary = pa.array([b"a", b"\xff", b"c"])
    texts = pa.Array.from_buffers(pa.string(), 3, binary.cast(pa.binary()).buffers())
    loaded = datasets.Dataset(pa.table({"en": texts, "de": ["x", "y", "z"]}))
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **options: loaded)
    assert rows(HubReader("x/y", "main"), at(None)) == [
        ("x/y train:0", "a", "x"), ("x/y train:1", "not UTF-8"), ("x/y train:2", "c", "z")
    ]  # fmt: skip


def test_sources_without_targets_keep_their_order(tmp_path):
    from seq2seq.data.readers.columns import Columns

    columns = Columns(["text"], ["summary"])
    entries = [{"other": "x"}, {"text": "a"}, {"text": None}, {"other": "y"}, {"text": 3}]
    found = list(columns.sources((str(n), entry) for n, entry in enumerate(entries)))
    assert [(place, source if isinstance(source, str) else source.problem) for place, source in found] == [
        ("0", "malformed"), ("1", "a"), ("2", "empty"), ("3", "malformed"), ("4", "malformed")
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"^0 has no column 'text', but other"):
        list(columns.sources([("0", {"other": "x"}), ("1", {"other": "y"})]))


def test_a_wrong_language_is_reported_with_the_files_that_are_there(tmp_path: Path) -> None:
    for name in ("train.en", "train.fr", ".hidden"):
        (tmp_path / name).write_text("a\n")
    with pytest.raises(UserError, match=r"train\.de does not exist; .* has train\.en, train\.fr \(data\.path="):
        ParallelTextReader().find("train", DataLocation(tmp_path, "en", "de"))
    with pytest.raises(UserError, match=r"is empty \(data\.path="):
        (tmp_path / "none").mkdir()
        ParallelTextReader().find("train", DataLocation(tmp_path / "none", "en", "de"))
