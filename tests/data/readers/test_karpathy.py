"""Tests of ``KarpathyReader``: JSON files in the format of Karpathy's splits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seq2seq.data.readers.karpathy import KarpathyReader
from seq2seq.data.readers.reader import DataLocation
from seq2seq.errors import UserError

READER = KarpathyReader("dataset_x.json", "{filepath}/{filename}")


def at(path: Path) -> DataLocation:
    """Return the location of the dataset."""
    return DataLocation(path, "image", "caption")


def entry(name: str, split: str, *captions: str) -> dict:
    """Return the entry of one image in a file of splits."""
    return {"filename": name, "filepath": "val2014", "split": split, "sentences": [{"raw": text} for text in captions]}


def test_splits_images_and_captions(tmp_path: Path) -> None:
    images = [
        entry("a.jpg", "train", "A dog.", "Two  dogs\n"),
        entry("b.jpg", "restval", "A cat."),
        entry("c.jpg", "val", "x"),
        entry("d.jpg", "train", " "),
        {"filename": "e.jpg", "split": "train", "sentences": [{"raw": "no path"}]},
    ]
    (tmp_path / "dataset_x.json").write_text(json.dumps({"images": images}))
    assert READER.splits(at(tmp_path)) == ["train", "val"]
    assert READER.find("valid", at(tmp_path)) == "val"
    rows = list(READER.rows("train", at(tmp_path)))
    assert [row.record for row in rows[:2]] == [
        {"source": "val2014/a.jpg", "target": "A dog.", "references": ["A dog.", "Two dogs"]},
        {"source": "val2014/b.jpg", "target": "A cat.", "references": ["A cat."]},
    ]
    assert [(row.place, row.problem) for row in rows[2:]] == [
        ("dataset_x.json: images[3]", "empty"),
        ("dataset_x.json: images[4]", "malformed"),
    ]
    first = READER.fingerprint("train", at(tmp_path))
    (tmp_path / "dataset_x.json").write_text(json.dumps({"images": images[:1]}))
    assert READER.fingerprint("train", at(tmp_path)) != first


def test_missing_and_invalid_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset_x\.json: No such file or directory; download the splits"):
        READER.splits(at(tmp_path))
    for content in ("[]", "{", '{"photos": []}'):
        (tmp_path / "dataset_x.json").write_text(content)
        with pytest.raises(UserError, match="not in the format of Karpathy's splits"):
            READER.splits(at(tmp_path))
    (tmp_path / "dataset_x.json").write_text('{"images": []}')
    with pytest.raises(UserError, match=r"split train in .*dataset_x\.json does not exist"):
        READER.find("train", at(tmp_path))
