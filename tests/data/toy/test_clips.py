"""Tests of toy clips: captions name the moments in order, and each region covers the frames with its object."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from seq2seq.data.images import Images
from seq2seq.data.toy.clips import ToyClips
from seq2seq.data.toy.scenes import COLOURS, SHAPES
from seq2seq.errors import UserError


def test_regions_of_words_cover_the_frames_with_their_objects(tmp_path: Path) -> None:
    made = ToyClips(train=30, valid=2, test=10).generate()
    for number, record in enumerate([*made["train"], *made["test"]]):
        file = tmp_path / f"{number}.png"
        file.write_bytes(record["image"])
        frames = Images(size=32, frames=8).open(file)
        assert frames.shape == (8, 3, 32, 32)
        words = record["target"].split()
        for word, box in zip(words, record["regions"][0], strict=True):
            if word not in COLOURS:
                assert bool(box) is (word in (*SHAPES, "small", "big", "striped", "dotted"))
                continue
            seen = [
                bool((abs(frame.transpose(1, 2, 0).astype(int) - COLOURS[word]).max(2) < 12).any()) for frame in frames
            ]
            start, end = round(8 * box[0]), round(8 * box[2])
            assert all(seen[start:end]) and end > start
            if words.count(word) == 1:
                assert not any(seen[:start]) and not any(seen[end:])


def test_both_captions_name_the_same_moments_in_opposite_order() -> None:
    for record in ToyClips(train=20, valid=1, test=1).generate()["train"]:
        forwards, backwards = sorted(record["references"], key=lambda text: not text.startswith("first"))
        moments = forwards.removeprefix("first a ").split(" , then a ")
        assert backwards.removeprefix("a ").split(" after a ") == moments[::-1]
        assert len(moments) in (2, 3)


def test_each_test_record_has_a_pair_that_is_not_in_training() -> None:
    made = ToyClips(train=200, valid=20, test=40, novel=("colour", "shape")).generate()

    def pairs(text: str) -> set[tuple[str, str]]:
        words = text.split()
        return {(a, b) for a, b in pairwise(words) if a in COLOURS and b in SHAPES}

    learnt = set().union(*(pairs(record["target"]) for split in ("train", "valid") for record in made[split]))
    assert all(pairs(record["target"]) - learnt for record in made["test"])
    assert np.all([len(record["references"]) == 2 for record in made["test"]])


@pytest.mark.parametrize(("options", "message"), [({"frames": 2}, "frames=2"), ({"share": 0}, "share=0")])
def test_invalid_options_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        ToyClips(**options)
