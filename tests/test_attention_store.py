"""Tests of ``attention_store``: weights are read as they were written, except for rounding to 8 bits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from seq2seq import attention_store
from seq2seq.attention_store import AttentionRecord, load, quantised, save
from seq2seq.errors import UserError
from seq2seq.metrics import resampling
from seq2seq.metrics.alignment import agreement, counts
from seq2seq.metrics.gold import GoldLinks


def random_record(place: int, random: np.random.Generator) -> AttentionRecord:
    """Return a record with random weights; rows of weights sum to 1."""

    def weights(*shape: int) -> np.ndarray:
        return random.dirichlet(np.ones(shape[-1]), shape[:-1]).astype(np.float32)

    source, target = ["▁the", "▁bi", "rd", "</s>"], ["▁l'", "été", "</s>"]
    layers = {"cross.0": weights(2, 3, 4), "cross.1": weights(2, 3, 4), "sentinel.cross.1": weights(2, 3, 1) * 0.3}
    return AttentionRecord(
        place, source, target, [0, 1, 1, -1], [0, 0, -1], weights(3, 4), layers, weights(1, 2), sentences=[0] * 4
    )


def test_saved_records_are_read_back_within_half_a_step(tmp_path: Path) -> None:
    kept = [random_record(place, np.random.default_rng(place)) for place in (0, 3)]
    save(tmp_path / "deep" / "test.npz", kept)
    for before, after in zip(kept, load(tmp_path / "deep" / "test.npz"), strict=True):
        for name in attention_store.TEXT:
            given = getattr(before, name)
            assert getattr(after, name) == (list(given) if isinstance(given, tuple) else given)
        assert after.weights.keys() == before.weights.keys()
        arrays = [(before.alignment, after.alignment), (before.reference, after.reference)]
        for one, other in [*arrays, *((before.weights[name], after.weights[name]) for name in before.weights)]:
            step = one.max(-1, keepdims=True) / 255
            assert (np.abs(one - other) <= 0.501 * step).all()


def test_records_beyond_the_limit_keep_only_their_mean_alignment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_store, "MAX_WEIGHTS", 60)  # one record has 54 weights
    save(tmp_path / "test.npz", [random_record(place, np.random.default_rng(place)) for place in (0, 1)])
    first, second = load(tmp_path / "test.npz")
    assert first.weights and not second.weights
    assert second.alignment.shape == (3, 4)


def test_empty_store_is_read_and_broken_files_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "none.npz", [])
    assert load(tmp_path / "none.npz") == []
    (tmp_path / "broken.npz").write_bytes(b"not a zip")
    save(tmp_path / "cut.npz", [random_record(0, np.random.default_rng(0))])
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:-30])
    (tmp_path / "nothing.npz").write_bytes(b"")
    np.savez(tmp_path / "other.npz", weights=np.ones(3))
    for name in ("broken", "cut", "nothing", "other"):
        with pytest.raises(UserError, match=rf"{name}\.npz cannot be read as attention"):
            load(tmp_path / f"{name}.npz")
    blank = AttentionRecord(
        0, ["▁a", "</s>"], ["</s>"], [0, -1], [-1], np.ones((1, 2), np.float32), {}, np.zeros((0, 1))
    )
    save(tmp_path / "blank.npz", [blank])
    assert load(tmp_path / "blank.npz")[0].reference.shape == (0, 1)


def test_quantised_steps_by_hand() -> None:
    steps, largest = quantised([[0.0, 0.5, 1.0], [0.1, -0.2, 0.4], [0, 0, 0]])
    assert steps.tolist() == [[0, 128, 255], [64, 0, 255], [0, 0, 0]]
    assert largest.tolist() == pytest.approx([1.0, 0.4, 0.0])


def test_run_saves_attention_and_the_sums_behind_its_scores(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "outputs" / "test.jsonl").read_text().splitlines()]
    kept = load(run / "attention" / "test.npz")
    assert [one.place for one in kept] == list(range(len(rows)))
    for one, row in zip(kept, rows, strict=True):
        assert "".join(one.source).replace("▁", " ").split()[: len(row["source"].split()) - 1]
        assert one.weights["cross.0"].mean(0) == pytest.approx(one.alignment, abs=0.005)
        assert one.reference is not None
        assert one.reference.shape == (len(row["references"][0].split()), len(row["source"].split()))
    scores = json.loads((run / "results.json").read_text())["test"]
    names = {name for row in rows for name in row["sums"]}
    assert {"bleu", "aer", "aer_input", "perplexity", "accuracy", "nll_increase_frozen", "flips_random"} <= names
    for name in names:
        parts = np.array([row["sums"][name] for row in rows if name in row["sums"]])
        assert scores[name]["score"] == pytest.approx(float(resampling.score(name, parts.sum(0)))), name
    frequencies = json.loads((run / "frequencies.json").read_text())
    assert list(frequencies.values()) == sorted(frequencies.values(), reverse=True)


def test_summed_link_counts_give_the_alignment_error_rate() -> None:
    gold = [
        GoldLinks.of(["a", "b"], ["c", "d"], [(0, 0)], [(1, 1)]),
        GoldLinks.of(["a"], ["c"], [(0, 0)], []),
    ]
    links = [{(0, 0), (1, 1)}, {(0, 0)}]
    rows = counts(links, gold)
    assert rows == [(2, 1, 1, 2), (1, 1, 1, 1)]
    assert agreement(links, gold).aer == pytest.approx(1 - (2 + 3) / (3 + 2))
