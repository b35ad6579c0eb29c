"""Tests of ``CaptionCorpus``: how images and captions form batches, and how bad files are handled."""

from __future__ import annotations

import json
import logging
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from seq2seq.batch import PAD
from seq2seq.data.captions import CaptionCorpus
from seq2seq.data.images import Images
from seq2seq.data.readers.reader import DataLocation
from seq2seq.data.readers.tables import TableReader
from seq2seq.data.record_policy import Report
from seq2seq.data.tokenizer import TokenizerOptions
from seq2seq.data.toy.captioning import ToyCaptioning
from seq2seq.data.vocabulary import UnknownTokens
from seq2seq.errors import UserError

COLOURS = ["red", "green", "blue", "black", "white", "orange"]
Make = Callable[..., CaptionCorpus]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write six training images with one to three captions each, and three validation images."""
    (tmp_path / "images").mkdir()
    for split, count in (("train", 6), ("val", 3)):
        rows = []
        for n in range(count):
            Image.new("RGB", (20 + 4 * n, 30), COLOURS[n]).save(tmp_path / "images" / f"{split}{n}.png")
            captions = [f"a {COLOURS[n]} image", f"all {COLOURS[n]}", f"this is {COLOURS[n]} all over"][: 1 + n % 3]
            rows.append({"image": f"images/{split}{n}.png", "captions": captions})
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.fixture
def make(folder: Path) -> Make:
    """Return a function that builds a corpus of the images in ``folder``."""

    def made(**options: Any) -> CaptionCorpus:
        words = TokenizerOptions(type="word", vocab_size=40, joint=False)
        settings = {"images": Images(size=32), "max_tokens": 64, "tokenizer": words, "cache": str(folder / "cache")}
        settings |= {"reader": TableReader(references=["captions"]), "path": str(folder)}
        return CaptionCorpus(name="mine", source="image", target="captions.0", **{**settings, **options})

    return made


def captions_of_epoch(corpus: CaptionCorpus, **options: Any) -> list[tuple[str, str]]:
    """Return (file, caption) of every row of an epoch."""
    rows = []
    for batch in corpus.train_loader(**{"seed": 1, "epoch": 0, **options}):
        assert batch.source is None and batch.images is not None and batch.target is not None
        for row, target in enumerate(batch.target.tolist()):
            name = Path(batch.images.files[int(batch.images.rows[row])]).name
            rows.append((name, corpus.codec.text([i for i in target[1:] if i > 3])))
    return rows


def test_captions_of_an_image_share_a_batch_with_one_copy_of_the_image(make: Make) -> None:
    corpus = make()
    rows = captions_of_epoch(corpus)
    assert len(rows) == len(set(rows)) == 12
    for batch in corpus.train_loader(seed=1, epoch=0):
        assert len(set(batch.images.files)) == len(batch.images.files) == len(batch.images.pixels)
        counts = Counter(batch.index.tolist())
        assert all(count == 1 + place % 3 for place, count in counts.items())
        assert batch.target_tokens == int((batch.target[:, 1:] != PAD).sum())


def test_captions_option_draws_one_caption_per_epoch_or_takes_the_first(make: Make) -> None:
    corpus = make(captions="one")
    epochs = [frozenset(captions_of_epoch(corpus, epoch=epoch)) for epoch in range(8)]
    assert all(len(rows) == len({name for name, _ in rows}) == 6 for rows in epochs)
    assert len(set(epochs)) > 2 and frozenset(captions_of_epoch(corpus, epoch=3)) == epochs[3]
    assert {text for rows in epochs for name, text in rows if name == "train5.png"} == {
        "a orange image", "all orange", "this is orange all over",
    }  # fmt: skip
    first = captions_of_epoch(make(captions="first"))
    assert sorted(first) == sorted((f"train{n}.png", f"a {COLOURS[n]} image") for n in range(6))


def test_epochs_resume_and_are_shared_among_ranks(make: Make) -> None:
    """A loader that starts at batch 1 gives the rest of the epoch; the batches of two ranks interleave to the epoch."""
    corpus = make(max_sentences=2)
    whole = [batch.index.tolist() for batch in corpus.train_loader(seed=3, epoch=1)]
    later = [batch.index.tolist() for batch in corpus.train_loader(seed=3, epoch=1, start_batch=1)]
    assert later == whole[1:]
    ranks = [[b.index.tolist() for b in corpus.train_loader(3, 1, rank=r, world_size=2)] for r in (0, 1)]
    together = [rows for pair in zip(*ranks, strict=True) for rows in pair]
    assert together[: len(whole)] == whole and together[len(whole) :] in ([], [[-1]])


def test_padding_of_an_image_does_not_depend_on_its_batch(make: Make) -> None:
    corpus = make(max_sentences=2)
    seen: dict[str, torch.Tensor] = {}
    for epoch in range(3):
        for batch in corpus.train_loader(seed=1, epoch=epoch):
            assert batch.images.pixels.shape[1:] == (1, 3, 32, 32)
            for file, pixels, (_, height, width) in zip(
                batch.images.files, batch.images.pixels, batch.images.sizes.tolist(), strict=True
            ):
                assert max(height, width) == 32 and not pixels[:, :, height:].any() and not pixels[..., width:].any()
                assert seen.setdefault(file, pixels).equal(pixels)


def test_evaluation_takes_each_image_with_its_first_caption(make: Make) -> None:
    corpus = make()
    (batch,) = corpus.loader("valid")
    assert sorted(batch.index.tolist()) == [0, 1, 2]
    records = corpus.records("valid")
    assert [len(record["references"]) for record in records] == [1, 2, 3]
    for row, place in enumerate(batch.index.tolist()):
        assert corpus.codec.text([i for i in batch.target[row].tolist() if i > 3]) == records[place]["target"]
        assert records[place]["source"].endswith(f"images/val{place}.png")


def test_tokenizer_needs_only_a_target_model(make: Make, folder: Path) -> None:
    (folder / "own.model").write_bytes(make().codec.target.model)
    own = TokenizerOptions(type="word", joint=False, target_model=str(folder / "own.model"))
    assert make(tokenizer=own).codec.target.model == make().codec.target.model


def test_pickled_dataset_gives_the_same_batch(make: Make) -> None:
    corpus = make()
    again = pickle.loads(pickle.dumps(corpus.train_loader(seed=1, epoch=0).dataset))
    first, second = corpus.train_loader(seed=1, epoch=0).dataset[0], again[0]
    assert first.target.equal(second.target) and first.images.pixels.equal(second.images.pixels)


def test_unreadable_images_are_reported_and_dropped_or_refused(
    make: Make, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "images" / "train1.png").write_bytes(b"no image")
    (folder / "images" / "train2.png").unlink()
    with caplog.at_level(logging.WARNING):
        corpus = make()
        corpus.setup(("train",))
    assert len(corpus.records("train")) == 4
    assert "train: 2 unreadable image, dropped: train.jsonl:2" in caplog.text
    assert "train1.png (not an image)" in caplog.text
    with pytest.raises(UserError, match=r"train\.jsonl:2 .*train1\.png \(not an image\): unreadable image"):
        make(on_bad="error").setup(("train",))


def test_image_that_becomes_unreadable_during_training_is_skipped(
    make: Make, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    corpus = make(max_sentences=1)
    corpus.setup(("train",))
    (folder / "images" / "train5.png").write_bytes(b"gone bad")
    rows = [batch.index.tolist() for batch in corpus.train_loader(seed=1, epoch=0)]
    assert sorted(rows) == [[-1], [0], [1, 1], [2, 2, 2], [3], [4, 4]]
    assert "train5.png: not an image; left out" in caplog.text


def test_repaired_images_are_used_and_a_moved_cache_is_rebuilt(make: Make, folder: Path) -> None:
    image = (folder / "images" / "train1.png").read_bytes()
    (folder / "images" / "train1.png").unlink()
    assert len(make().records("train")) == 5
    file = make().file("train")
    written = file.stat().st_mtime_ns
    assert make().file("train") == file and file.stat().st_mtime_ns == written  # no image was repaired
    (folder / "images" / "train1.png").write_bytes(image)
    assert len(make().records("train")) == 6
    toy = ToyCaptioning(train=3, valid=1, test=1)
    options = {"name": "toy", "source": "a", "target": "b", "reader": toy, "images": Images(size=32)}
    first = CaptionCorpus(**options, cache=str(folder / "one"))
    assert Path(first.records("train")[0]["source"]).is_file()
    (folder / "one").rename(folder / "two")
    second = CaptionCorpus(**options, cache=str(folder / "two"))
    assert all(Path(record["source"]).is_file() for record in second.records("train"))


@pytest.mark.parametrize(("on_long", "kept"), [("drop", 1), ("truncate", 2)])
def test_long_captions_are_dropped_cut_or_refused(
    make: Make, caplog: pytest.LogCaptureFixture, on_long: str, kept: int
) -> None:
    """Two captions "this is ... all over" have 6 tokens with </s>, over max_length=5; the other captions are kept."""
    corpus = make(on_long=on_long, max_length=5)
    texts = [text for name, text in captions_of_epoch(corpus) if name == "train5.png"]
    assert len(texts) == 1 + kept
    assert ("this is orange all" in texts) is (on_long == "truncate")
    assert "train: 2 too long" in caplog.text
    with pytest.raises(UserError, match="too long"):
        make(on_long="error", max_length=5).setup(("train",))


def test_unknown_words_are_counted_in_kept_captions_only(make: Make) -> None:
    """The first caption is too long and is not counted; one word of the second caption is unknown."""
    corpus = make(max_length=5)
    corpus.setup(("train",))
    record: Any = {**corpus.records("train")[0], "references": ["one two three four five six", "zzz a red image"]}
    unknown = {"target": UnknownTokens()}
    columns = corpus.encoding.columns(corpus.codec, record, "here", Report("train"), unknown, training=True)
    assert columns is not None and len(columns["captions"]) == 1
    assert unknown["target"].as_dict() == {"tokens": 6, "unknown": 1, "found": ["zzz"]}


def test_rows_of_one_image_are_joined(folder: Path, make: Make) -> None:
    """A table with one caption per row, like Flickr's files, gives one record per image; rows may be in any order."""
    lines = ["image,caption", *(f"images/train{n}.png,say {k} of {n}" for k in range(3) for n in range(2))]
    for split in ("train", "val"):
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")
    words = TokenizerOptions(type="word", vocab_size=40, joint=False)
    corpus = CaptionCorpus(
        name="csv", source="image", target="caption", reader=TableReader(format="csv"), path=str(folder),
        tokenizer=words,
        images=Images(size=32), cache=str(folder / "cache"),
    )  # fmt: skip
    records = corpus.records("train")
    assert [record["references"] for record in records] == [[f"say {k} of {n}" for k in range(3)] for n in range(2)]


def test_list_in_a_column_is_several_captions(folder: Path) -> None:
    """Empty captions are dropped and the other captions of the image are kept, with and without ``references``."""
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    rows[5]["captions"][0] = " "
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    wanted = [[text for text in row["captions"] if text.strip()] for row in rows]
    for reader in (TableReader(), TableReader(references=["captions"])):
        corpus = CaptionCorpus(
            name="mine", source="image", target="captions", reader=reader, path=str(folder), images=Images(size=32),
            tokenizer=TokenizerOptions(type="word", vocab_size=40, joint=False), cache=str(folder / "cache"),
        )  # fmt: skip
        records = corpus.records("train")
        assert [record["references"] for record in records] == wanted
        assert [record["target"] for record in records] == [texts[0] for texts in wanted]


def test_regions_stay_with_their_captions(make: Make, folder: Path) -> None:
    """Each row has one caption and the boxes of its words; a caption without boxes gets an empty list."""
    box, none = [0.0, 0.0, 0.5, 0.5], []
    rows = [
        {"image": "images/train0.png", "captions": ["a red"], "regions": [[none, box]]},
        {"image": "images/train0.png", "captions": ["all of it"]},
        {"image": "images/train0.png", "captions": ["red"], "regions": [[box]]},
        {"image": "images/train1.png", "captions": ["a green"], "regions": [[box]]},  # boxes of one word, not two
        {"image": "images/train2.png", "captions": ["a blue"], "regions": [[none, box], []]},  # boxes of two captions
    ]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = make()
    (record,) = corpus.records("train")
    assert record["references"] == ["a red", "all of it", "red"]
    assert record["regions"] == [[none, box], [], [box]]
    assert corpus.report["train"].counts == {"malformed": 2}
    assert "train.jsonl:5 (lists of regions: 2, captions: 1)" in corpus.report["train"].places["malformed"]
    with pytest.raises(UserError, match=r"train\.jsonl:1: regions need the whole image; .*data\.images\.fit=pad"):
        make(images=Images(size=32, fit="crop")).setup(("train",))


def test_one_table_is_split_by_a_column_or_by_a_hash(make: Make, folder: Path) -> None:
    """A column names the split, or a hash of the image's path, so that all captions of an image share a split."""
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    for row, split in zip(rows, ["train", "train", "val", "train", "test", "dev"], strict=True):
        row["split"] = split
    one = folder / "all.jsonl"
    one.write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = make(path=str(one))
    found = {split: len(corpus.records(split)) for split in ("train", "valid", "test")}
    assert found == {"train": 3, "valid": 2, "test": 1}
    many = folder / "many.csv"
    lines = [f"images/train0.png?{n},a {k}" for n in range(400) for k in range(2)]
    many.write_text("\n".join(["image,caption", *lines]) + "\n")
    at, reader = DataLocation(many, "image", "caption"), TableReader()
    assert reader.splits(at) == ["all", "test", "train", "valid"]
    assert len(list(reader.rows("all", at))) == 800
    assert len({reader.fingerprint(split, at) for split in reader.splits(at)}) == 4
    sources_of = {split: [row.record["source"] for row in reader.rows(split, at)] for split in reader.splits(at)[1:]}
    assert sum(map(len, sources_of.values())) == 800 and len(set().union(*sources_of.values())) == 400
    assert sum(len(set(sources)) for sources in sources_of.values()) == 400  # no image is in two splits
    assert all(40 < len(sources_of[split]) < 130 for split in ("valid", "test"))
    rows[2]["split"] = ""
    one.write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = make(path=str(one))
    assert [len(corpus.records(split)) for split in ("train", "valid", "test")] == [3, 1, 1]
    (place,) = corpus.report["train"].places["malformed"]
    assert place.startswith("all.jsonl:3 (the column split names no split")
    with pytest.raises(UserError, match=r"all\.jsonl:3 \(the column split names no split.*on_bad=drop"):
        make(path=str(one), on_bad="error").setup(("train",))
    with pytest.raises(UserError, match=r"none\.csv: no such file \(data\.path\)"):
        make(path=str(folder / "none.csv")).setup(("train",))
    with pytest.raises(UserError, match=r"all\.txt is neither a folder nor a jsonl, csv, tsv, parquet file"):
        one.rename(folder / "all.txt")
        make(path=str(folder / "all.txt")).setup(("train",))


def test_split_without_readable_images_is_refused(make: Make, folder: Path) -> None:
    for file in (folder / "images").glob("train*.png"):
        file.unlink()
    with pytest.raises(UserError, match=r"train\.jsonl has no record that can be used"):
        make().setup(("train",))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"captions": "some"}, r"^captions=some is none of: all, one, first"),
     ({"tokenizer": TokenizerOptions(type="bpe", sampling=0.1)}, r"captions=one")],
)  # fmt: skip
def test_invalid_options_are_refused(make: Make, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(**options)
