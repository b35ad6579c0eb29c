"""Tests of the costs of a model, against torch's profiler and against a count by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

import seq2seq
from seq2seq.cli import hydra_app
from seq2seq.config.instantiate import build_node
from seq2seq.data.records import Record
from seq2seq.evaluation.efficiency import flops_per_token, update_memory
from seq2seq.evaluation.evaluate import batches
from seq2seq.generation.generator import TrainedModel
from seq2seq.loss import Criterion
from seq2seq.model import build
from seq2seq.runtime.memory import give_back, peak, reset_peak
from tests.conftest import TINY


def test_flops_equal_those_of_the_profiler(run: Path) -> None:
    trained = seq2seq.load(run)
    rows = [json.loads(line) for line in (run / "outputs" / "test.jsonl").read_text().splitlines()]
    records = [Record(source=row["source"], target=row["references"][0]) for row in rows[:2]]
    total = tokens = 0
    for record in records:
        (batch,) = batches(trained, [record], 1)
        tokens += batch.target_tokens
        with (
            torch.no_grad(),
            torch.backends.mkldnn.flags(enabled=False),
            profile(activities=[ProfilerActivity.CPU], with_flops=True) as seen,
        ):
            trained.model.decoder.log_probs(trained.model(batch))
        products = ("aten::mm", "aten::addmm", "aten::bmm")
        total += sum(event.flops for event in seen.key_averages() if event.key in products)
    assert flops_per_token(trained, records) == pytest.approx(total / tokens)
    assert flops_per_token(trained, []) is None


@pytest.mark.parametrize("length", [3, 9])
def test_flops_of_a_transformer_equal_a_count_by_hand(tmp_path: Path, length: int) -> None:
    """Fused attention is counted like any other, and its count grows with the number of attended places."""
    options = ["model=transformer", "attention=multi_head", f"data.cache={tmp_path / 'cache'}"]
    (config,) = hydra_app.compose("train", [hydra_app.as_override(option) for option in (*TINY, *options)])
    corpus = build_node(config.data)
    corpus.setup()
    model = build(config, *corpus.codec.sizes)
    trained = TrainedModel(model, corpus.codec, config, tmp_path, torch.device("cpu"))
    record = Record(source=" ".join(["the"] * (length - 1)), target=" ".join(["x"] * (length - 1)))
    (batch,) = batches(trained, [record], 1)
    n, d, f, layers = length, config.model.dim, config.model.ff_dim, config.model.layers
    assert (batch.source.shape[1], batch.target_tokens) == (n, n)  # with </s>
    projections, attended, feed_forward = 4 * n * d * d, 2 * n * n * d, 2 * n * d * f
    encoder, decoder = projections + attended + feed_forward, 2 * (projections + attended) + feed_forward
    products = layers * (encoder + decoder) + n * d * corpus.codec.sizes[1]
    assert flops_per_token(trained, [record]) == pytest.approx(2 * products / n)


def test_memory_of_an_update_is_independent_of_earlier_work(run: Path) -> None:
    trained = seq2seq.load(run)
    rows = [json.loads(line) for line in (run / "outputs" / "test.jsonl").read_text().splitlines()]
    records = [Record(source=row["source"], target=row["references"][0]) for row in rows]
    state = torch.get_rng_state()
    first = update_memory(trained, Criterion(0.1), records, 1024)
    block = np.ones(2**22)  # more than the model
    del block
    assert update_memory(trained, Criterion(0.1), records, 1024) == first
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in trained.model.parameters())
    weights = sum(parameter.numel() * parameter.element_size() for parameter in trained.model.parameters())
    assert first is not None and first > weights  # the gradients and the activations
    assert update_memory(trained, Criterion(), [], 1024) is None


def test_update_memory_is_none_if_measuring_runs_out_of_memory(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(work: object) -> int:
        raise torch.OutOfMemoryError

    monkeypatch.setattr("seq2seq.evaluation.efficiency.allocated", full)
    records = [Record(source="a bird .", target="la bird .")]
    assert update_memory(seq2seq.load(run), Criterion(), records, 1024) is None


@pytest.mark.skipif(peak() is None, reason="this system does not report peak memory")
def test_peak_memory_includes_a_large_array_until_it_is_reset() -> None:
    give_back()
    reset_peak()
    before = peak()
    block = np.ones(2**25)  # 256 MiB
    during = peak()
    del block
    give_back()
    assert before is not None and during is not None
    assert 2**28 * 0.9 < during - before < 2**28 * 1.2
    reset_peak()
    after = peak()
    assert after is not None and after < during


def test_a_run_reports_its_costs(run: Path) -> None:
    about = json.loads((run / "results.json").read_text())["run"]
    assert about["flops_per_token"] > 0
    assert about["training"]["peak_memory"] > about["update_memory"] > 2**14
    decoding = about["decoding"]
    assert decoding["sentences"] == 6
    assert decoding["sentences_per_second"] == pytest.approx(6 / decoding["seconds"])
