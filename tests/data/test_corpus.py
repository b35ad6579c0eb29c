"""Tests of ``TextCorpus`` from folder to batches: reproducibility, resuming, ranks, policies and caching."""

from __future__ import annotations

import logging
import pickle
from collections import Counter
from collections.abc import Iterable

import pytest
import torch

from seq2seq.batch import BOS, EOS, Batch
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.errors import UserError
from tests.data.conftest import sentences, write


def plain(batches: Iterable[Batch]) -> list[tuple]:
    """Return the batches as values that can be compared."""
    return [(b.source.tolist(), b.target.tolist(), b.index.tolist(), b.target_tokens) for b in batches]


def test_batches_have_each_record_once(make):
    corpus = make()
    records = corpus.records("train")
    seen = []
    for batch in corpus.train_loader(seed=1, epoch=0):
        for row, target, index in zip(batch.source, batch.target, batch.index, strict=True):
            assert corpus.source_tokenizer.decode(row.tolist()) == records[index]["source"]
            assert corpus.target_tokenizer.decode(target.tolist()) == records[index]["target"]
            assert EOS in row and target[0] == BOS and EOS in target
            seen.append(int(index))
        assert batch.target_tokens == int(batch.target_mask.sum())
        assert len(batch) * max(batch.source.shape[1], batch.target.shape[1] - 1) <= 100
    assert sorted(seen) == list(range(200))


def test_a_vocabulary_that_is_too_large_is_reported_once(make, caplog):
    caplog.set_level(logging.INFO)
    tokenizers = make({"type": "word", "vocab_size": 500}).codec.tokenizers
    (line,) = [message for message in caplog.messages if "vocab_size" in message]
    sizes = f"{len(tokenizers['source'])} source and {len(tokenizers['target'])} target"
    assert line == f"data.tokenizer.vocab_size=500: the texts have only {sizes} pieces"


@pytest.mark.parametrize("options", [{}, {"streaming": True, "buffer_size": 30}])
@pytest.mark.parametrize("sampling", [0.0, 0.2])
def test_epoch_depends_only_on_seed_and_number(make, options, sampling):
    tokenizer = {"type": "unigram", "joint": True, "vocab_size": 60, "sampling": sampling}
    epoch = plain(make(tokenizer, **options).train_loader(1, 3))
    state = torch.get_rng_state()
    assert plain(make(tokenizer, **options).train_loader(1, 3)) == epoch
    assert plain(make(tokenizer, **options, workers=2).train_loader(1, 3)) == epoch
    assert (torch.get_rng_state() == state).all()
    assert plain(make(tokenizer, **options).train_loader(1, 4)) != epoch
    assert plain(make(tokenizer, **options).train_loader(2, 3)) != epoch


@pytest.mark.parametrize("options", [{}, {"streaming": True, "buffer_size": 30}])
@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_continues_as_if_never_stopped(make, options, workers):
    corpus = make(workers=workers, **options)
    whole = plain(corpus.train_loader(1, 0))
    assert len(whole) > 10
    for start in (0, 1, 7, len(whole)):
        assert plain(corpus.train_loader(1, 0, start_batch=start)) == whole[start:]


@pytest.mark.parametrize("options", [{}, {"streaming": True, "buffer_size": 30}])
@pytest.mark.parametrize("world_size", [2, 3])
def test_batches_of_all_ranks_equal_those_of_one_process(make, options, world_size):
    corpus = make(**options)
    alone = [b for b in corpus.train_loader(1, 0) if b.target_tokens]
    shares = [list(corpus.train_loader(1, 0, rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert len({len(share) for share in shares}) == 1
    together = [batch for step in zip(*shares, strict=True) for batch in step]
    assert plain(b for b in together if b.target_tokens) == plain(alone)
    assert sum(b.target_tokens for b in together) == sum(b.target_tokens for b in alone)


def test_streaming_gives_the_same_records(make):
    counts = [
        Counter(tuple(row) for b in make(**o).train_loader(1, 0) for row in _without_padding(b))
        for o in ({}, {"streaming": True, "buffer_size": 30})
    ]
    assert counts[0] == counts[1]


def _without_padding(batch: Batch) -> list[tuple[int, ...]]:
    """Return the pairs of a batch without padding."""
    return [
        (*s[s != 0].tolist(), *t[t != 0].tolist()) for s, t in zip(batch.source, batch.target, strict=True) if t.any()
    ]


@pytest.mark.parametrize("options", [{}, {"streaming": True, "buffer_size": 30}])
def test_pickled_loaders_give_the_same_batches(make, options):
    corpus = make({"type": "bpe", "vocab_size": 60, "sampling": 0.1}, **options)
    loader = corpus.train_loader(1, 0)
    dataset = (loader.buffers if options else loader).dataset
    first = next(iter(dataset)) if options else [dataset[0]]
    sent = pickle.loads(pickle.dumps(dataset))
    assert plain(next(iter(sent)) if options else [sent[0]]) == plain(first)


@pytest.mark.parametrize("world_size", [1, 3])
def test_evaluation_covers_a_split_once(make, world_size):
    corpus = make()
    shares = [list(corpus.loader("val", rank, world_size)) for rank in range(world_size)]
    assert len({len(share) for share in shares}) == 1
    index = [i for share in shares for batch in share for i in batch.index.tolist() if i >= 0]
    assert sorted(index) == list(range(20))


def test_records_keep_the_order_of_the_files(make, folder):
    corpus = make()
    lines = (folder / "test.b").read_text().splitlines()
    assert [r["target"] for r in corpus.records("test")] == lines
    assert [r["references"] for r in corpus.records("test")] == [[line] for line in lines]
    assert corpus.records("valid").path == corpus.records("dev").path == corpus.records("val").path
    assert corpus.has("validation") and not corpus.has("newstest")
    with pytest.raises(
        UserError, match=r"newstest\.a with .*newstest\.b does not exist; the splits are: test, train, val"
    ):
        corpus.records("newstest")


def test_max_tokens_follows_the_training_split_unless_it_is_given(make, folder):
    assert make(max_tokens=None).max_tokens == 512  # 200 pairs
    write(folder, "train", a=["n " * 99] * 2048, b=["n"] * 2048)  # 100 tokens with </s>
    corpus = make(max_tokens=None)
    assert corpus.max_tokens == 1024
    assert corpus.epoch()[0] == len(list(corpus.train_loader(1, 0))) == -(-2048 // 10)  # rows of 100 tokens
    assert make(max_tokens=300).max_tokens == 300


def test_max_tokens_has_a_default_without_a_stored_training_split(make, folder):
    assert make(max_tokens=None, streaming=True).max_tokens == 4096
    corpus = make(max_tokens=None)
    tokenizers = corpus.codec.tokenizers
    (folder / "train.a").unlink()
    (folder / "train.b").unlink()
    (alone := make(max_tokens=None)).use(tokenizers)
    assert alone.max_tokens == 4096
    assert len(list(alone.loader("test"))) == 1


def test_tokenizers_are_joint_or_separate(make):
    separate, joint = make(), make({"joint": True})
    assert separate.source_tokenizer != separate.target_tokenizer
    assert joint.source_tokenizer == joint.target_tokenizer
    assert len(joint.source_tokenizer) > 4


def test_one_tokenizer_model_without_the_other_is_refused(make):
    for side in ("source_model", "target_model"):
        with pytest.raises(UserError, match=r"^tokenizer\.(source|target)_model=null, but"):
            make({side: "a.model"})


def test_tokenizers_can_be_loaded_from_files_or_checkpoints(make, folder, tmp_path):
    trained = Tokenizer.train(["some words"], type="word", vocab_size=9)
    (tmp_path / "given.model").write_bytes(trained.model)
    given = make({"source_model": str(tmp_path / "given.model"), "target_model": str(tmp_path / "given.model")})
    assert given.source_tokenizer == trained
    (folder / "train.a").unlink()  # tokenizers of a checkpoint need no training split
    corpus = make()
    corpus.use({"source": trained, "target": trained})
    assert len(corpus.records("test")) == 10
    assert corpus.target_tokenizer == trained


def test_tokenizers_of_a_checkpoint_sample_as_before(make):
    tokenizer = {"type": "unigram", "joint": True, "vocab_size": 60, "sampling": 0.4}
    before, after = make(tokenizer), make(tokenizer)
    state = before.source_tokenizer.state()
    after.use({side: Tokenizer.from_state(state) for side in ("source", "target")})
    assert plain(before.train_loader(1, 0)) == plain(after.train_loader(1, 0))


def test_bad_records_are_reported_and_dropped(make, folder, caplog):
    source = sentences(6, 1)
    source[1] = "  "
    write(folder, "train", a=[*source, "long " * 60], b=[*sentences(5, 2), "", "short"])
    with (folder / "train.a").open("ab") as file:
        file.write(b"\xff\xfe\n")
    with (folder / "train.b").open("a") as file:
        file.write("one\nmore\n")
    with pytest.raises(UserError, match=r"train\.b:9: without a counterpart \(train\).*data\.on_mismatch=drop"):
        make().setup()
    corpus = make(max_length=50, on_mismatch="drop")
    with caplog.at_level(logging.WARNING):
        corpus.setup()
    assert [line for line in caplog.messages if line.startswith("train")] == [
        "train: 2 empty, dropped: train.a:2, train.b:6",
        "train: 1 too long, dropped: train.a:7",
        "train: 1 not UTF-8, dropped: train.a:8",
        "train: 1 without a counterpart, dropped: train.b:9",
    ]
    assert corpus.report["train"].kept == len(corpus.records("train")) == 4
    again = make(max_length=50, on_mismatch="drop")  # from the cache: the report is still there
    again.setup()
    assert again.report == corpus.report


def test_policy_for_long_sentences_applies_to_training_only(make, folder):
    for split in ("train", "test"):
        write(folder, split, a=["long " * 60, "a b"], b=["short", "c d"])
    assert len(make(max_length=50).records("train")) == 1
    assert len(make(max_length=50).records("test")) == 2
    truncating = make(max_length=50, on_long="truncate", max_tokens=1000)
    (batch,) = truncating.train_loader(1, 0)
    assert batch.source.shape == (2, 50)
    assert sorted((batch.source == EOS).nonzero()[:, 1].tolist()) == [2, 49]
    assert truncating.report["train"].lines() == ["train: 1 too long, truncated: train.a:1"]
    with pytest.raises(UserError, match=r"train\.a:1: too long.*data\.on_long=truncate or drop"):
        make(max_length=50, on_long="error").records("train")


def test_long_sources_of_evaluation_are_cut_and_references_are_not(make, folder):
    """Evaluation cuts sources over the limit and keeps targets; training counts a dropped record once, as too long."""
    for split in ("train", "test"):
        write(folder, split, a=["long " * 2000, "a b", "c " * 60], b=["d " * 1500, "e f", "g"])
    corpus = make(max_tokens=10_000)
    assert corpus.data.policy.max_source_tokens == 1024
    batches = list(corpus.loader("test"))
    assert max(batch.source.shape[1] for batch in batches) == 1024
    assert max(batch.target.shape[1] for batch in batches) == 1502  # <s> and </s> too
    assert corpus.report["test"].kept == 3
    assert corpus.report["test"].lines() == ["test: 1 sources over 1024 tokens, cut: test.a:1"]
    corpus.setup(["train"])
    assert corpus.report["train"].counts == {"too long": 1} and corpus.report["train"].kept == 2
    shorter = make(max_source_tokens=20, max_length=50)
    shorter.setup(["train"])
    assert shorter.report["train"].counts == {"too long": 1, "sources over 20 tokens": 1}


def test_streaming_stores_nothing_of_the_training_split(make, tmp_path):
    corpus = make(streaming=True, buffer_size=30)
    corpus.setup()
    list(corpus.train_loader(1, 0))
    assert set(corpus.report) == {"valid", "test"}
    assert len(list((tmp_path / "cache").glob("*.arrow"))) == 2


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_records_of_a_stream_are_reported_in_one_line(make, folder, workers):
    corpus = make(streaming=True, buffer_size=30, workers=workers, on_bad="error")
    corpus.setup(["valid"])
    write(folder, "train", a=["a", "", "c"], b=["x", "y", "z"])
    with pytest.raises(UserError) as error:
        list(corpus.train_loader(1, 0))
    assert str(error.value) == "train.a:2: empty (train); repair the data or set data.on_bad=drop"


def test_cache_is_used_until_the_data_change(make, folder, tmp_path):
    def files() -> dict[str, int]:
        return {f.name: f.stat().st_mtime_ns for f in (tmp_path / "cache").iterdir()}

    make().setup()
    made = files()
    make().setup()
    assert files() == made
    with (folder / "test.a").open("a") as a, (folder / "test.b").open("a") as b:
        a.write("one more\n"), b.write("noch einer\n")
    changed = make()
    changed.setup()
    assert len(changed.records("test")) == 11
    assert len(files()) == len(made) + 1


def test_empty_training_split_is_refused(make, folder):
    write(folder, "train", a=[], b=[])
    with pytest.raises(UserError, match="empty"):
        make().setup()
