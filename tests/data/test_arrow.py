"""Tests of encoded records on disk: they are read as they were written, in parts and after pickling."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from seq2seq.data import arrow


def rows(count: int) -> list[dict]:
    """Return ``count`` records with random source ids."""
    random = np.random.default_rng(0)
    return [
        {
            "source": f"s{i}", "target": f"t{i}", "references": [f"t{i}"], "alignment": [[0, i]] if i % 2 else None,
            "source_ids": random.integers(0, 99, i % 7).tolist(), "target_ids": [i, i + 1],
        }
        for i in range(count)
    ]  # fmt: skip


def test_written_records_are_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(arrow, "ROWS_AT_ONCE", 10)
    written = rows(35)
    arrow.write(tmp_path / "a.arrow", written)
    ids = arrow.TokenLists(tmp_path / "a.arrow", "source_ids")
    for view in (ids, pickle.loads(pickle.dumps(ids))):
        assert [view[i].tolist() for i in range(len(view))] == [row["source_ids"] for row in written]
        assert view.lengths.tolist() == [len(row["source_ids"]) for row in written]
    records = pickle.loads(pickle.dumps(arrow.Records(tmp_path / "a.arrow")))
    assert len(records) == 35
    assert records[3] == {"source": "s3", "target": "t3", "references": ["t3"], "alignment": [[0, 3]]}
    assert "alignment" not in records[2]
    assert records[-1]["source"] == "s34" and [r["source"] for r in records[33:]] == ["s33", "s34"]
    assert [r["source"] for r in records] == [row["source"] for row in written]
    with pytest.raises(IndexError):
        records[35]


def test_empty_split_has_no_records(tmp_path):
    arrow.write(tmp_path / "a.arrow", [])
    assert len(arrow.Records(tmp_path / "a.arrow")) == len(arrow.TokenLists(tmp_path / "a.arrow", "source_ids")) == 0
