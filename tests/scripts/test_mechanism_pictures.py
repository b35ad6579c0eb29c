"""Tests of ``scripts/mechanism_pictures.py``: the attention to one sentence is drawn in a small file."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))  # `python scripts/mechanism_pictures.py` does the same

import mechanism_pictures

from seq2seq.attention_store import AttentionRecord
from seq2seq.data.toy.translation import ToyTranslation


def record(rows: int, columns: int) -> AttentionRecord:
    weights = np.full((rows, columns), 1 / columns, np.float32)
    return AttentionRecord(mechanism_pictures.PLACE, [], [], [], [], weights, reference=weights)


def test_the_sentence_is_drawn_in_few_bytes(tmp_path: Path) -> None:
    gold = ToyTranslation().generate()["test"][mechanism_pictures.PLACE]
    file = tmp_path / "rnn-uniform.png"
    mechanism_pictures.draw(record(len(gold["target"].split()), len(gold["source"].split())), file)
    with Image.open(file) as picture:
        assert picture.width > 200 and picture.height > 200
    assert file.stat().st_size < 10_000


def test_attention_of_another_sentence_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not that of sentence"):
        mechanism_pictures.draw(record(2, 3), tmp_path / "x.png")


def test_runs_of_another_recipe_have_no_picture(run: Path) -> None:
    assert list(mechanism_pictures.pictures([run], seed=1)) == []
