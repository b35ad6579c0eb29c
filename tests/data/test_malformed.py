"""Check that each row of a file becomes a record or is read_all with its line, in every format.

The expected numbers of rows and good rows come from the way the files are made, not from a reader.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet
import pytest

from seq2seq.data.readers.folders import ImageFolderReader
from seq2seq.data.readers.hub import HubReader
from seq2seq.data.readers.karpathy import KarpathyReader
from seq2seq.data.readers.reader import DataLocation, Reader
from seq2seq.data.readers.tables import TableReader
from seq2seq.data.readers.text import ParallelTextReader
from seq2seq.data.record_policy import MAX_PLACES, Policy, Report, accepted

ROWS = 400  # per file: 3,200 rows for the eight kinds of files
AT = ("en", "de")

Line = tuple[bytes, str | None]  # a row, and the source of its record (None if the row is bad)


def good(n: int) -> dict[str, Any]:
    """Return a good row with number ``n``."""
    return {"en": f"a cat {n}", "de": f"eine Katze {n}"}


def read_all(reader: Reader, path: Path, split: str = "train", at: tuple[str, str] = AT) -> tuple[list[str], Report]:
    """Return the sources of the accepted records, and the report of the other rows."""
    report = Report(split)
    rows = reader.rows(split, DataLocation(path, *at))
    return [record["source"] for _, record in accepted(rows, Policy(on_mismatch="drop"), report)], report


def dropped(report: Report) -> list[str]:
    """Return the places of all dropped rows."""
    return [place for places in report.places.values() for place in places]


def check_all_rows_are_counted(lines: list[Line], found: list[str], report: Report, prefix: str, first: int) -> None:
    """Check that good rows are records in their order, and that each other row is read_all with its line."""
    assert found == [source for _, source in lines if source is not None]
    assert sum(report.counts.values()) == len(lines) - len(found) <= MAX_PLACES
    numbers = sorted(int(place.removeprefix(prefix).split(" ")[0]) for place in dropped(report))
    assert numbers == [n for n, (_, source) in enumerate(lines, first) if source is None]


def text_line(n: int, random: Random) -> Line:
    """Draw a line of the first of two files; its counterpart in the second file is good."""
    bad = [b"", b" \t ", b"\xff cat", b"a\x00cat", b"\xed\xa0\x80 half a pair", b"\xc3", b"\xe2\x80\xa8"]
    if random.random() < 0.5:
        return random.choice(bad), None
    source = random.choice([f"a cat {n}", f'"a cat {n}', f"a\u2028cat\x0b\x85 {n}", f"a\tcat\r {n}", "x" * 100_000])
    return source.encode(), source


def json_line(n: int, random: Random) -> Line:
    """Draw a line of JSON Lines and the source of its record."""
    entry, raw = good(n), json.dumps(good(n))
    wrong: list[dict[str, Any]] = [
        {"en": "a"}, {"de": "x"}, {}, {"EN": 1, "de": "x"}, {**entry, "en": None}, {**entry, "en": 3}, {**entry,
        "de": []},
        {**entry, "de": [1]}, {**entry, "en": {"a": 1}}, {**entry, "en": float("nan")}, {**entry, "en": "a\ud83d"},
        {**entry, "de": "\udc00"}, {**entry, "en": "a\0b"}, {**entry, "references": ["\ud800"]}, {**entry,
        "references": 5},
        {**entry, "references": [1]}, {**entry, "references": [["x"]]}, {**entry, "alignment": "0-0"},
        {**entry, "alignment": [[0]]}, {**entry, "alignment": [[99, 99]]}, {**entry, "alignment": [[-1, 0]]},
        {**entry, "alignment": [[0.5, 0]]}, {**entry, "alignment": [[True, 0]]}, {**entry, "alignment": {"0": 0}},
        {**entry, "alignment": [[10**30, 0]]}, {**entry, "possible": [[0, 3]]}, {**entry, "possible": 1},
        {**entry, "origins": [0]}, {**entry, "origins": [0, 0, 5]}, {**entry, "origins": "x"}, {**entry,
        "origins": [0, None, 0]},
        {**entry, "regions": [[["x"]]]}, {**entry, "regions": [[[0, 0, float("inf"), 1]]]}, {**entry, "regions": 7},
        {**entry, "regions": [[[0, 0, 1]]]}, {**entry, "regions": [[[0, 0, 30, 40]]]},
    ]  # fmt: skip
    bad: list[str | bytes] = [
        *map(json.dumps, wrong), "", "  ", "{", "[]", "3", "null", '"en"', raw[:-1], raw + raw, "[" * 100_000,
        "\ufeff" + raw,
        '{"a":' * 100_000, raw.replace("a cat", "\\ud800"), raw.encode().replace(b"cat", b"\xff"), "\0" * 9,
        "{'en': 'a'}",
        '{"en": ' + "9" * 5000 + "}",
    ]  # fmt: skip
    if random.random() < 0.6:
        line = random.choice(bad)
        return line if isinstance(line, bytes) else line.encode(), None
    links = {"alignment": [[0, 0], [2, 2]], "possible": [[1, 1]], "origins": [0, -1, 0], "references": ["x", ""]}
    kept = {**entry, **random.choice([{}, links, {"more": float("nan")}, {"alignment": None}, {"en": ["a", "b"]}])}
    return json.dumps(kept).encode(), "\n".join(kept["en"]) if isinstance(kept["en"], list) else kept["en"]


def csv_line(n: int, random: Random) -> Line:
    """Draw a line of CSV and the source of its record."""
    bad = [
        b"", b"one", b"a,b,c", b",", b"a,", b",b", b"\xff,b", b'"a"b,c', b'a,"b"c', b'"never closed,b', b'a,"b',
        b"a\0,b",
        b'"a,b', b'x,y"z",', b'a,"b""',
    ]  # fmt: skip
    if random.random() < 0.5:
        return random.choice(bad), None
    plain, quoted = f"a cat {n}", f'a "cat", {n}'
    kept = [
        (f"{plain},x", plain),
        (f'"{plain}","x, y"', plain),
        ('"' + quoted.replace('"', '""') + '",x', quoted),
        (f"'{plain}',it's", f"'{plain}'"),
        (f"a\u2028b\x0b{n},x", f"a\u2028b\x0b{n}"),
    ]
    line, source = random.choice(kept)
    return line.encode(), source


def tsv_line(n: int, random: Random) -> Line:
    """Draw a line of tab-separated text and the source of its record."""
    bad = [b"", b"one", b"a\tb\tc", b"\t", b"a\t", b"\tb", b"\xff\tb", b"a\0\tb", b"a\t\xed\xbf\xbf", b" "]
    if random.random() < 0.5:
        return random.choice(bad), None
    source = random.choice([f"a cat {n}", f'"a cat {n}', f'a "cat" {n}"', '"', f"a,b {n}", f"a\u2028b\x85{n}"])
    return f"{source}\t{random.choice(['x', chr(34) + 'x'])}".encode(), source


FILES: dict[str, tuple[Callable[[int, Random], Line], bytes]] = {
    "jsonl": (json_line, b""),
    "csv": (csv_line, b"en,de\n"),
    "tsv": (tsv_line, b"en\tde\n"),
}


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("form", FILES)
def test_tables(tmp_path: Path, form: str, end: bytes) -> None:
    make, header = FILES[form]
    random = Random(f"{form} {end!r}")
    lines = [make(n, random) for n in range(ROWS)]
    lines.append(next(line for line in lines if line[0]))  # not blank, because the last line end is optional
    last, mark = random.choice([b"", end]), random.choice([b"", b"\xef\xbb\xbf"])
    content = end.join([header.strip()] * bool(header) + [line for line, _ in lines]) + last
    (tmp_path / f"train.{form}").write_bytes(mark + content)
    found, report = read_all(TableReader(form), tmp_path)
    check_all_rows_are_counted(lines, found, report, f"train.{form}:", 2 if header else 1)


def test_parallel_text(tmp_path: Path) -> None:
    random = Random(5)
    lines = [text_line(n, random) for n in range(ROWS)]
    (tmp_path / "train.en").write_bytes(b"".join(line + b"\n" for line, _ in lines))
    (tmp_path / "train.de").write_bytes(b"x\n" * (ROWS + 20))
    found, report = read_all(ParallelTextReader(), tmp_path)
    assert found == [source for _, source in lines if source is not None]
    assert report.counts["without a counterpart"] == 20
    assert len(found) + sum(report.counts.values()) == ROWS + 20 == len(found) + len(set(dropped(report)))


@pytest.mark.parametrize("form", ["jsonl", "csv", "tsv"])
def test_rows_of_one_table_with_several_splits(tmp_path: Path, form: str) -> None:
    """Each row names its split or leaves it empty; it is read in one split, or read_all in one split."""
    random = Random(form)
    names = ["train", "valid", "val", "test", "", " ", " train "]
    split_names = [random.choice(names) for _ in range(ROWS)]
    rows = [{**good(n), "split": name} for n, name in enumerate(split_names)]
    for row in random.sample(rows, 50):
        row["en"] = ""
    mark = {"csv": ",", "tsv": "\t"}.get(form, "")
    lines = [mark.join(row.values()) if mark else json.dumps(row) for row in rows]
    if not mark:
        lines += [
            "{",
            '{"en": "a", "de": "b"}',
            '{"split": "test", "de": "b"}',
            '{"split": ["test"], "en": "a", "de": "b"}',
        ]
    (tmp_path / f"all.{form}").write_text((f"{mark.join(rows[0])}\n" if mark else "") + "\n".join(lines) + "\n")
    reports = {split: read_all(TableReader(), tmp_path / f"all.{form}", split) for split in ("train", "valid", "test")}
    kept = sum(len(found) for found, _ in reports.values())
    assert kept == sum(bool(row["en"] and name.strip()) for row, name in zip(rows, split_names, strict=True))
    assert kept + sum(sum(report.counts.values()) for _, report in reports.values()) == len(lines)
    assert (
        len({place.split(" ")[0] for _, report in reports.values() for place in dropped(report)}) == len(lines) - kept
    )
    everything, report = read_all(TableReader(), tmp_path / f"all.{form}", "all")
    assert len(everything) + sum(report.counts.values()) == len(lines)


def test_parquet(tmp_path: Path) -> None:
    random = Random(7)
    cells = [random.choice([None, "", " ", f"a cat {n}", f"a cat {n}", "a\0b"]) for n in range(ROWS)]
    raw = [None if cell is None else cell.encode() for cell in cells]
    for place in random.sample(range(ROWS), 40):
        raw[place], cells[place] = b"\xff", None
    links = pa.array([[[random.choice([0, 0, 9]), 0]] for _ in range(ROWS)])
    pyarrow.parquet.write_table(
        pa.table({"en": _unchecked_strings(raw), "de": ["x"] * ROWS, "alignment": links}), tmp_path / "train.parquet"
    )
    found, report = read_all(TableReader(), tmp_path)
    fine = [
        cell for cell, link in zip(cells, links.to_pylist(), strict=True)
        if cell and cell.strip() and "\0" not in cell and link[0][0] < len(cell.split())
    ]  # fmt: skip
    assert found == fine and len(fine) + sum(report.counts.values()) == ROWS


def _unchecked_strings(raw: list[bytes | None]) -> pa.Array:
    """Return an array of strings whose bytes are not checked to be UTF-8."""
    binary = pa.array(raw, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(binary), binary.buffers())


def test_rows_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a stream may have different columns; each is a record or is read_all."""
    random = Random(8)
    rows: list[dict[str, Any]] = [
        random.choice(
            [{"translation": {"en": f"a {n}", "de": "x"}}, {"translation": {"en": "a"}}, {"translation": None}, {}]
        )
        for n in range(ROWS)
    ]
    streamed = datasets.IterableDataset.from_generator(lambda: iter(rows))
    hub = HubReader("someone/something", "0" * 40, column="translation.{}")
    monkeypatch.setattr("datasets.load_dataset", lambda *args, **options: streamed)
    report = Report("train")
    found = list(accepted(hub.rows("train", DataLocation(None, *AT), streaming=True), Policy(), report))
    assert len(found) == sum(len(row.get("translation") or {}) == 2 for row in rows)
    assert len(found) + sum(report.counts.values()) == ROWS


def test_images_in_a_folder(tmp_path: Path) -> None:
    random = Random(9)
    rows = [
        random.choice(['{"file_name": "a.png", "text": "x"}', '{"file_name": "a.png"}', "{", "[]"]) for _ in range(ROWS)
    ]
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "metadata.jsonl").write_text("\n".join(rows))
    found, report = read_all(ImageFolderReader(), tmp_path, at=("file_name", "text"))
    assert len(found) == sum("text" in row for row in rows)
    assert len(found) + sum(report.counts.values()) == ROWS


def test_karpathys_splits(tmp_path: Path) -> None:
    random = Random(10)
    fine = {"filename": "a.jpg", "split": "train", "sentences": [{"raw": "a dog"}]}
    bad = [
        5, None, [], "x", {}, {**fine, "split": None}, {**fine, "split": 3}, {**fine, "filename": 3}, {**fine,
        "sentences": 3},
        {**fine, "sentences": []}, {**fine, "sentences": [{"raw": 1}]}, {**fine, "sentences": [{"raw": "\ud800"}]},
        {**fine, "sentences": "x"}, {"split": "train", "sentences": [{"raw": "a"}]}, {**fine, "sentences": [None]},
    ]  # fmt: skip
    images = [random.choice([fine, {**fine, "split": "val"}, random.choice(bad)]) for _ in range(ROWS)]
    (tmp_path / "x.json").write_bytes(b"\xef\xbb\xbf" + json.dumps({"images": images}).encode())
    results = [read_all(KarpathyReader("x.json"), tmp_path, split) for split in ("train", "val")]
    kept = [len(found) for found, _ in results]
    assert kept == [images.count(fine), images.count({**fine, "split": "val"})]
    assert sum(kept) + sum(sum(report.counts.values()) for _, report in results) == ROWS
