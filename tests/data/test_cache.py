"""Tests of the cache: damaged and missing files are noticed, reported and made again."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from seq2seq.batch import Batch
from seq2seq.data import arrow, cache
from seq2seq.data.captions import CaptionCorpus
from seq2seq.data.corpus import Corpus
from seq2seq.data.images import Images
from seq2seq.data.tokenizer import TokenizerOptions
from seq2seq.data.toy.captioning import ToyCaptioning
from seq2seq.errors import UserError
from seq2seq.files import sealed
from tests.damage import damage


def values(batches: Iterable[Batch]) -> list[Any]:
    """Return the source, target and image values of each batch."""
    return [
        (
            None if b.source is None else b.source.tolist(),
            None if b.target is None else b.target.tolist(),
            None if b.images is None else b.images.pixels.sum((1, 2, 3, 4)).tolist(),
        )
        for b in batches
    ]


def contents(corpus: Corpus) -> list[Any]:
    """Return the records, pieces, batches and reports of a corpus."""
    corpus.setup()
    splits = [split for split in ("train", "valid", "test") if corpus.has(split)]
    records = [list(corpus.records(split)) for split in splits]
    pieces = [tokenizer.pieces(range(len(tokenizer))) for tokenizer in corpus.codec.tokenizers.values()]
    return [records, pieces, values(corpus.train_loader(1, 0)), values(corpus.loader("valid")), corpus.report]


def check_repair(make: Callable[[], Corpus], folder: Path, damages: int, seed: int) -> None:
    """Damage files of a cache one after another; check each time that a new corpus equals the first one."""
    sealed._verified.clear()
    first, random = contents(make()), Random(seed)
    whole = {file: file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}
    assert len(whole) > 2
    lines: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("seq2seq").addHandler(handler)
    for _ in range(damages):
        file = random.choice(list(whole))
        kind = damage(file, [other for other in whole if other.suffix == file.suffix and other != file], random)
        sealed._verified.clear()
        lines.clear()
        assert contents(make()) == first, (kind, file)
        assert kind == "remove" or any(str(file) in line for line in lines), (kind, file, lines)
        assert {f: f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()} == whole, (kind, file)


def in_a_process(target: Callable[..., None], *arguments: Any) -> None:
    """Run ``target`` in a process, so that a segmentation fault does not end the tests."""
    process = multiprocessing.get_context("fork").Process(target=target, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0


MANY = pytest.mark.parametrize("damages", [20, pytest.param(200, marks=pytest.mark.slow)])


@MANY
def test_damage_to_texts_and_tokenizers_is_noticed_and_repaired(make, tmp_path, damages):
    options = {"type": "bpe", "vocab_size": 60, "joint": False}
    in_a_process(check_repair, lambda: make(options), tmp_path / "cache", damages, 0)


@MANY
def test_damage_to_images_is_noticed_and_repaired(tmp_path, damages):
    def make() -> CaptionCorpus:
        words = TokenizerOptions(type="word", vocab_size=40, joint=False)
        return CaptionCorpus(
            "drawn", "image", "caption", ToyCaptioning(train=4, valid=2, test=2), Images(size=32), tokenizer=words,
            max_tokens=64, cache=str(tmp_path / "cache"),
        )  # fmt: skip

    in_a_process(check_repair, make, tmp_path / "cache", damages, 1)


def test_cache_file_that_is_copied_over_another_is_noticed(tmp_path, caplog):
    for name in "ab":
        with cache.writing(tmp_path / f"{name}.model") as temporary:
            temporary.write_text(name)
    (tmp_path / "a.model").write_bytes((tmp_path / "b.model").read_bytes())
    assert sealed.content(tmp_path / "a.model") is None
    assert caplog.messages == [f"{tmp_path / 'a.model'} is damaged; it is made again"]
    assert sealed.content(tmp_path / "b.model") == (b"b", {})


def test_change_of_any_bit_of_a_sealed_file_is_noticed(tmp_path):
    file = tmp_path / "a.model"
    with cache.writing(file, lambda: {"rows": 3}) as temporary:
        temporary.write_bytes(b"content")
    whole = file.read_bytes()
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        sealed._verified.clear()
        assert sealed.content(file) is None, bit


def test_seal_stores_the_metadata_after_the_content_is_written(tmp_path):
    metadata = {"rows": 0}
    with cache.writing(tmp_path / "a", lambda: metadata) as temporary:
        temporary.write_bytes(b"x" * 1000)
        metadata["rows"] = 3
    sealed._verified.clear()
    assert sealed.content(tmp_path / "a") == (b"x" * 1000, {"rows": 3})
    assert sealed.opened(tmp_path / "b") is None


def test_a_verified_file_is_read_again_only_if_it_may_have_changed(tmp_path, monkeypatch):
    """``_digest`` is None here, so reading a file again raises a TypeError."""
    with cache.writing(tmp_path / "a") as temporary:
        temporary.write_bytes(b"x")
    sealed._verified.clear()
    assert sealed.opened(tmp_path / "a") == {}
    monkeypatch.setattr(sealed, "_digest", None)
    assert sealed.opened(tmp_path / "a") == {}
    about = (tmp_path / "a").stat()
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes())
    os.utime(tmp_path / "a", ns=(about.st_atime_ns, about.st_mtime_ns))  # the modification time is unchanged
    with pytest.raises(TypeError):
        sealed.opened(tmp_path / "a")


def test_unpickled_records_trust_verified_files_and_notice_changes(tmp_path, monkeypatch):
    arrow.write(tmp_path / "a.arrow", [{"source": "s", "target": "t", "references": ["t"]}])
    sent = pickle.dumps(arrow.Records(tmp_path / "a.arrow"))
    sealed._verified.clear()  # as in another process
    with monkeypatch.context() as patch:
        patch.setattr(sealed, "_digest", None)
        assert pickle.loads(sent)[0]["source"] == "s"
    sealed._verified.clear()
    content = bytearray((tmp_path / "a.arrow").read_bytes())
    content[300] ^= 1
    (tmp_path / "a.arrow").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.arrow is gone or damaged while it is in use; start again"):
        pickle.loads(sent)
    (tmp_path / "a.arrow").unlink()
    with pytest.raises(UserError, match=r"a\.arrow is gone or damaged"):
        pickle.loads(sent)


def test_a_file_that_is_removed_while_it_is_read_stays_readable(make, tmp_path):
    corpus = make(workers=1)
    batches = values(corpus.train_loader(1, 0))
    loader = corpus.train_loader(1, 0)
    for file in (tmp_path / "cache").glob("*.arrow"):
        file.unlink()
    assert values(loader) == batches


def test_processes_can_write_the_same_files_at_once(make):
    expected, queue = contents(make()), multiprocessing.get_context("fork").SimpleQueue()

    def build(start: float) -> None:
        time.sleep(max(0.0, start - time.time()))
        queue.put(contents(make(cache=again)) == expected)

    again = str(Path(make().folder).parent / "again")
    start = time.time() + 0.2
    processes = [multiprocessing.get_context("fork").Process(target=build, args=(start,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [queue.get() for _ in processes] == [True, True, True]
    assert not list(Path(again).glob(".*"))


def test_files_of_killed_writers_are_removed_after_a_day(tmp_path):
    for name, age in (("old", 90_000), ("new", 60)):
        left = tmp_path / f".writing-{name}.arrow"
        left.write_text("half")
        os.utime(left, (time.time() - age, time.time() - age))
    with cache.writing(tmp_path / "a") as temporary:
        temporary.touch()
    assert sorted(file.name for file in tmp_path.iterdir()) == [".writing-new.arrow", "a"]


def test_options_and_versions_that_change_a_file_change_its_key(make, tmp_path, folder, monkeypatch):
    def files() -> set[str]:
        return {file.name for file in (tmp_path / "cache").iterdir()}

    make().setup()
    bpe = {"type": "bpe", "vocab_size": 400}
    for tokenizer in (
        {"vocab_size": 50},
        {"normalization": "nfkc"},
        {"max_records": 100},
        {**bpe, "byte_fallback": True},
        {**bpe, "user_defined_symbols": ["n1"]},
        {**bpe, "split_digits": True},
    ):
        before = files()
        make(tokenizer).setup()
        assert files() > before, tokenizer
    for options in ({"max_length": 11}, {"documents": True}):
        before = files()
        make(**options).setup()
        assert files() > before, options
    before = files()
    monkeypatch.setattr("seq2seq.data.cache.version", lambda library: "0.0")  # another version of SentencePiece
    make().setup()
    assert files() > before


def test_digest_depends_on_the_suffix(tmp_path):
    from seq2seq.data.readers.reader import digest

    for suffix in ("csv", "tsv"):
        (tmp_path / f"train.{suffix}").write_text('a,b\n"x\ty",z\n')
    assert digest([tmp_path / "train.csv"]) != digest([tmp_path / "train.tsv"])


def test_unwritable_cache_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"data\.cache=DIR"), cache.writing(tmp_path / "file" / "a"):
        pass


def test_different_contents_have_different_keys():
    assert cache.key("a", 1) == cache.key("a", 1) != cache.key("a", 2)
