"""Tests of the toy inflections: forms and links are worked out by hand, and stems of evaluation are not in training."""

from __future__ import annotations

import pytest

from seq2seq.data.letters import is_feature
from seq2seq.data.readers.reader import DataLocation
from seq2seq.data.records import fault_of
from seq2seq.data.toy.transduction import CHANGED, FEATURES, ToyTransduction, inflected

AT = DataLocation(None, "lemma", "form")


@pytest.mark.parametrize(
    ("stem", "features", "form"),
    [
        ("kitap", ["ACC"], "kitabı"),  # the last vowel is back and unrounded; p becomes b before a vowel
        ("kitap", ["PL"], "kitaplar"),
        ("kitap", ["PL", "DAT"], "kitaplara"),
        ("kitap", ["LOC"], "kitapta"),  # t after a voiceless consonant; p stays
        ("göz", ["ACC"], "gözü"),
        ("göz", ["LOC"], "gözde"),
        ("göz", ["PL", "ACC"], "gözleri"),  # the vowel follows the plural's e
        ("kutu", ["ACC"], "kutuyu"),  # y between vowels
        ("kutu", ["DAT"], "kutuya"),
        ("renk", ["DAT"], "renğe"),
        ("ağaç", ["ACC"], "ağacı"),
        ("kanat", ["DAT"], "kanada"),
        ("kitap", ["INTS"], "kikitap"),  # reduplication of the first syllable
        ("kitap", ["ITER"], "kitapkitap"),  # reduplication of the stem
        ("kitap", ["CAUS"], "kumitap"),  # infix after the first consonant
        ("kitap", ["PST"], "kitep"),  # the last vowel moves to the front
        ("göz", ["PST"], "goz"),  # or to the back
    ],
)
def test_forms_by_hand(stem: str, features: list[str], form: str) -> None:
    record = inflected(stem, features)
    assert record["source"] == " ".join([*stem, *(f"<{name}>" for name in features)]) and record["target"] == " ".join(
        form
    )


def test_links_by_hand() -> None:
    """k i t a p PL ACC -> k i t a p l a r ı: the plural's a depends on the stem's a, and the last ı on the plural."""
    record = inflected("kitap", ["PL", "ACC"])
    assert record["alignment"] == [[n, n] for n in range(5)] + [[5, 5], [5, 6], [5, 7], [6, 8]]
    assert record["possible"] == [[3, 6], [5, 8]]
    voiced = inflected("kitap", ["ACC"])
    assert voiced["alignment"] == [[n, n] for n in range(6)] and voiced["possible"] == [[5, 4], [3, 5]]


def test_records_are_valid_and_stems_of_evaluation_are_not_in_training() -> None:
    reader = ToyTransduction(train=300, valid=20, test=40, seed=2)
    features: set[str] = set()
    stems: dict[str, set[str]] = {}
    for split in reader.splits(AT):
        records = [row.record for row in reader.rows(split, AT)]
        assert all(record is not None and fault_of(record) is None for record in records)
        for record in records:
            assert {j for _, j in record["alignment"]} == set(range(len(record["target"].split())))
        stems[split] = {"".join(s for s in record["source"].split() if not is_feature(s)) for record in records}
        assert len(stems[split]) == len(records)
        features |= {s for record in records for s in record["source"].split() if is_feature(s)}
    assert not stems["train"] & stems["test"] and not stems["train"] & stems["valid"]
    again = [row.record for row in ToyTransduction(train=300, valid=20, test=40, seed=2).rows("test", AT)]
    assert again == records
    assert features == {f"<{name}>" for several in FEATURES for name in several}
    assert {(name,) for (name,) in CHANGED} < set(FEATURES)
