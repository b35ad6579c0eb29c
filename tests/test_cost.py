"""What a model takes, against torch's profiler and by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

import seq2seq
from seq2seq.cost import flops_per_token
from seq2seq.data.records import Record
from seq2seq.memory import give_back, peak, reset_peak
from seq2seq.scoring import batches


def test_arithmetic_is_what_the_profiler_counts(run: Path) -> None:
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


@pytest.mark.skipif(peak() is None, reason="this system does not tell")
def test_peak_of_memory() -> None:
    reset_peak()
    before = peak()
    held = np.ones(2**25)  # 256 MiB
    during = peak()
    del held
    give_back()
    assert before is not None and during is not None
    assert 2**28 * 0.9 < during - before < 2**28 * 1.2
    reset_peak()
    after = peak()
    assert after is not None and after < during


def test_a_run_tells_its_costs(run: Path) -> None:
    about = json.loads((run / "results.json").read_text())["run"]
    assert about["flops_per_token"] > 0
    assert about["training"]["peak_memory"] > 2**20
    decoding = about["decoding"]
    assert decoding["sentences"] == 6
    assert decoding["sentences_per_second"] == pytest.approx(6 / decoding["seconds"])
