"""Tests of files of gold links: the links that are read, and the errors of broken files."""

from __future__ import annotations

import json

import pytest

from seq2seq.errors import UserError
from seq2seq.metrics.gold import GoldLinks, read_gold

LINE = {"src": ["he", "says", "no"], "tgt": ["il", "dit", "non"], "sure": [[0, 0], [2, 2]], "possible": [[1, 1]]}


def test_links_of_the_format_of_wpt03_are_read(tmp_path):
    path = tmp_path / "gold.jsonl"
    path.write_text(json.dumps(LINE) + "\n\n" + json.dumps({**LINE, "tgt": ["no\u2028", "é", "x"]}, ensure_ascii=False))
    first, second = read_gold(path)
    assert first == GoldLinks.of(LINE["src"], LINE["tgt"], [(0, 0), (2, 2)], [(1, 1)])
    assert first.possible == {(0, 0), (1, 1), (2, 2)}
    assert second.target == ("no\u2028", "é", "x")


def test_swapped_exchanges_source_and_target():
    gold = GoldLinks.of("abc", "xy", [(2, 0)], [(0, 1)])
    assert gold.swapped() == GoldLinks.of("xy", "abc", [(0, 2)], [(1, 0)])
    assert gold.swapped().swapped() == gold


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "not JSON: "),
        (b"\xff", "not UTF-8 at byte 0"),
        (b"[]", "not a JSON object"),
        (json.dumps({"src": ["a"], "tgt": ["b"]}).encode(), "no 'sure'"),
        (json.dumps({**LINE, "src": "he says no"}).encode(), "'src' must be a list of words"),
        (json.dumps({**LINE, "tgt": []}).encode(), "'tgt' must be a list of words"),
        (json.dumps({**LINE, "sure": ["0-0"]}).encode(), r"'sure' must be a list of pairs"),
        (json.dumps({**LINE, "possible": [[0, 1, 2]]}).encode(), r"'possible' must be a list of pairs"),
        (json.dumps({**LINE, "sure": [[0, 3]]}).encode(), "link 0-3 points outside 3 source and 3 target words"),
        (json.dumps({**LINE, "possible": [[-1, 0]]}).encode(), "link -1-0 points outside"),
    ],
)
def test_errors_name_file_and_line(tmp_path, line, said):
    path = tmp_path / "gold.jsonl"
    path.write_bytes(json.dumps(LINE).encode() + b"\n" + line + b"\n")
    with pytest.raises(UserError, match=rf"gold\.jsonl, line 2: {said}"):
        read_gold(path)


def test_missing_and_empty_files_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"none\.jsonl: No such file"):
        read_gold(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(UserError, match=r"empty\.jsonl: no sentence pairs"):
        read_gold(tmp_path / "empty.jsonl")
