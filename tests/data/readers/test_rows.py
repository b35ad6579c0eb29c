"""Tests of the table formats: which rows are read, which rows are malformed, and which files are refused."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from seq2seq.data.readers.rows import FORMATS, LARGEST_CELL
from seq2seq.data.records import Fault
from seq2seq.errors import UserError


def read(path: Path, content: str | bytes) -> list[tuple[int, Any]]:
    """Write ``content`` to ``path`` and return (line, cells) of each row, or (line, problem)."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    rows = FORMATS[path.suffix[1:]](path)
    return [(n, entry.problem if isinstance(entry, Fault) else list(entry.values())) for n, entry in rows]


def test_unclosed_quotation_mark_makes_one_row_malformed(tmp_path: Path) -> None:
    csv = tmp_path / "x.csv"
    assert read(csv, 'a,b\n1,2\n"3,4\n5,6\n7,8\n') == [
        (2, ["1", "2"]),
        (3, "malformed"),
        (4, ["5", "6"]),
        (5, ["7", "8"]),
    ]
    # the next quotation mark closes it in the middle of a cell
    assert read(csv, 'a,b\n"1,2\n3,4\n5,"6"\n') == [(2, "malformed"), (3, ["3", "4"]), (4, ["5", "6"])]
    # a mark at the end of a line closes it, but the row has the wrong number of cells
    assert read(csv, 'a,b\n"1,2\n3,4\nx,y"\n') == [(2, "malformed"), (3, ["3", "4"]), (4, "malformed")]
    # many unclosed marks
    assert read(csv, "a,b\n" + '"1,2\n3,4\n' * 200) == [
        row for n in range(2, 402, 2) for row in ((n, "malformed"), (n + 1, ["3", "4"]))
    ]


def test_rows_of_several_lines_have_the_number_of_their_last_line(tmp_path: Path) -> None:
    csv = tmp_path / "x.csv"
    assert read(csv, 'a,b\r\n"1\r\n""2""",3\r\n\r\n4,5') == [(3, ['1\r\n"2"', "3"]), (4, "empty"), (5, ["4", "5"])]


def test_row_that_may_contain_other_rows_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Such a row is valid CSV, but two stray quotation marks give the same text; a warning names the row."""
    assert read(tmp_path / "x.csv", 'a,b\n1,"2\n3,4\n5,6"\n') == [(4, ["1", "2\n3,4\n5,6"])]
    assert "x.csv:2: this row has 3 lines, and each line looks like a row" in caplog.text
    caplog.clear()
    assert read(tmp_path / "x.csv", 'a,b\n1,"two\nlines"\n') == [(3, ["1", "two\nlines"])]
    assert not caplog.records


def test_tab_separated_text_has_no_quoting(tmp_path: Path) -> None:
    rows = [(2, ['"1', "2"]), (3, ['"', '""']), (4, "malformed"), (5, "empty"), (6, ['"3"', '4"'])]
    assert read(tmp_path / "x.tsv", 'a\tb\n"1\t2\n"\t""\n"x\n\n"3"\t4"\n') == rows


def test_large_cells_are_read(tmp_path: Path) -> None:
    large = "x y " * 100_000
    assert read(tmp_path / "x.csv", f"a,b\n{large},1\n") == [(2, [large, "1"])]
    assert read(tmp_path / "x.tsv", f"a\tb\n{large}\t1\n") == [(2, [large, "1"])]
    assert read(tmp_path / "x.csv", f"a,b\n1,{'x' * (LARGEST_CELL + 1)}\n2,3\n") == [(2, "malformed"), (3, ["2", "3"])]


@pytest.mark.parametrize(("form", "mark"), [("csv", ","), ("tsv", "\t")])
def test_lines_may_end_in_carriage_returns(tmp_path: Path, form: str, mark: str) -> None:
    rows = [f"a{mark}b", f"1{mark}2", "", f"3{mark}4", ""]
    for end in ("\r", "\n", "\r\n"):
        expected = [(2, ["1", "2"]), (3, "empty"), (4, ["3", "4"])]
        assert read(tmp_path / f"x.{form}", end.join(rows)) == expected


def test_column_names_are_checked(tmp_path: Path) -> None:
    csv = tmp_path / "x.csv"
    assert read(csv, "a,b,,\n1,2,3,4\n") == [(2, ["1", "2"])]  # columns without a name are ignored
    for content, reason in (
        ("a,b,a\n", "the column name 'a' occurs twice"),
        ("\na,b\n", "the first line must name the columns"),
        ('"a,b\n1,2\n', r"x\.csv:1: the column names can't be read: a quotation mark does not end its cell"),
        (b"a,\xff\n", "the column names are not UTF-8"),
    ):
        with pytest.raises(UserError, match=reason):
            read(csv, content)
    assert read(csv, "") == []
    with pytest.raises(UserError, match=r"x\.tsv: the column name 'a' occurs twice"):
        read(tmp_path / "x.tsv", "a\ta\n")


def test_damaged_parquet_is_read_or_refused_in_one_line(tmp_path: Path) -> None:
    """A damaged file is read, or refused with an error of one line that begins with its path."""
    whole, damaged = tmp_path / "x.parquet", tmp_path / "y.parquet"
    values = [f"a cat {n}" for n in range(3000)]
    pyarrow.parquet.write_table(pa.table({"a": values}), whole, row_group_size=500, write_page_checksum=True)
    content, random = whole.read_bytes(), Random(1)
    cuts = [content[:n] for n in (0, 1, 4, len(content) // 2, len(content) - 1)]
    flips = []
    for _ in range(40):
        place = random.choice([random.randrange(4), random.randrange(len(content) - 2000, len(content))])
        flips.append(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
    for bad in [*cuts, *flips, b"no parquet at all", content[4:], b"\0" * 5000]:
        damaged.write_bytes(bad)
        try:
            list(FORMATS["parquet"](damaged))
        except UserError as error:
            assert str(error).startswith(str(damaged)) and "\n" not in str(error)


def test_parquet_with_duplicate_column_names_is_refused(tmp_path: Path) -> None:
    table = pa.table([pa.array(["x"]), pa.array(["y"])], names=["a", "a"])
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(UserError, match="the column name 'a' occurs twice"):
        list(FORMATS["parquet"](tmp_path / "x.parquet"))
