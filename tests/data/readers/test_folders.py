"""Tests of ``ImageFolderReader``: folders of images with tables of captions."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from seq2seq.data.captions import CaptionCorpus
from seq2seq.data.images import Images
from seq2seq.data.readers.folders import ImageFolderReader
from seq2seq.data.readers.reader import DataLocation
from seq2seq.data.tokenizer import TokenizerOptions
from seq2seq.errors import UserError


def test_each_split_is_a_folder_with_a_table(tmp_path: Path) -> None:
    for split, name in (("train", "metadata.jsonl"), ("validation", "metadata.csv")):
        (tmp_path / split / "deep").mkdir(parents=True)
        Image.new("RGB", (8, 8), "red").save(tmp_path / split / "deep" / "a.png")
        rows = {
            "metadata.jsonl": '{"file_name": "deep/a.png", "text": "a red one"}\n{"file_name": "b.png", "text": ""}\n',
            "metadata.csv": "file_name,caption\ndeep/a.png,all red\n",
        }
        (tmp_path / split / name).write_text(rows[name])
    (tmp_path / "notes").mkdir()
    reader, at = ImageFolderReader(), DataLocation(tmp_path, "file_name", "text|caption")
    assert reader.splits(at) == ["train", "validation"] and reader.find("valid", at) == "validation"
    first, second = reader.rows("train", at)
    assert first.record == {"source": "train/deep/a.png", "target": "a red one"}
    assert (second.place, second.record["target"]) == ("train/metadata.jsonl:2", "")
    words = TokenizerOptions(type="word", vocab_size=20, joint=False)
    corpus = CaptionCorpus(
        "mine", at.source, at.target, reader, Images(size=8), str(tmp_path), words, cache=str(tmp_path / "cache")
    )
    assert [Path(record["source"]).is_file() for record in corpus.records("valid")] == [True]
    assert corpus.records("valid")[0]["references"] == ["all red"]
    with pytest.raises(UserError, match=r"test/metadata\.jsonl does not exist; the splits are: train, validation"):
        reader.find("test", at)
