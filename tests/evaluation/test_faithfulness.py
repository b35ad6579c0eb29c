"""Tests of the faithfulness of a small trained run, against slow and plain computations of the same figures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from pytest import MonkeyPatch
from torch import Tensor, nn

import seq2seq
from seq2seq.batch import UNK, Batch
from seq2seq.cli import hydra_app, train
from seq2seq.data.collate import collate
from seq2seq.data.records import Record
from seq2seq.evaluation import faithfulness as module
from seq2seq.evaluation.evaluate import forced
from seq2seq.evaluation.faithfulness import faithfulness
from seq2seq.generation.generator import TrainedModel
from tests.conftest import TINY

TOKENS = 4096


@pytest.fixture(scope="module")
def trained(run: Path) -> TrainedModel:
    return seq2seq.load(run)


@pytest.fixture(scope="module")
def record(run: Path) -> Record:
    row = json.loads((run / "outputs" / "test.jsonl").read_text().splitlines()[0])
    return Record(source=row["source"], target=row["references"][0])


@pytest.mark.parametrize("most", [None, 3])  # the number of measured steps of a record that is too long
def test_erasing_gives_the_figures_of_erasing_one_by_one(
    trained: TrainedModel, record: Record, most: int | None, monkeypatch: MonkeyPatch
) -> None:
    (seen,) = forced(trained, [record], TOKENS)
    assert seen is not None
    if most is not None:
        assert most < len(seen.target)
        monkeypatch.setattr(module, "MAX_WORK", most * max(most, len(seen.source)))
    found = faithfulness(trained, [record], TOKENS)
    source, target = (torch.tensor(ids)[None] for ids in (trained.codec(record).source, trained.codec(record).target))
    words, draw = np.array(seen.source_words), Random(0)
    lost: dict[str, list[float]] = {"attended": [], "random": []}
    flips: dict[str, list[bool]] = {"attended": [], "random": []}

    def said(ids: Tensor) -> Tensor:
        with torch.no_grad():
            return trained.model.log_probs(Batch(ids, torch.tensor([0]), target))[0]

    plain = said(source)
    for t, row in enumerate(seen.alignment):
        mass = [row[words == word].sum() for word in range(max(words) + 1)]
        top = int(np.argmax(mass))
        other = draw.choice([word for word in range(len(mass)) if word != top])
        if most is not None and t >= most:
            continue
        for name, word in (("attended", top), ("random", other)):
            erased = said(torch.where(torch.from_numpy(words == word), UNK, source))
            y = int(target[0, t + 1])
            lost[name].append(float(plain[t, y] - erased[t, y]))
            flips[name].append(int(plain[t].argmax()) != int(erased[t].argmax()))
    for name in ("attended", "random"):
        assert found[f"erased_{name}"].score == pytest.approx(np.mean(lost[name]), abs=1e-6)
        assert found[f"flips_{name}"].score == pytest.approx(np.mean(flips[name]))


def test_gradients_equal_finite_differences(trained: TrainedModel, record: Record) -> None:
    """x . dy/dx = d y((1 + e) x) / de, where the embedding of each source token is scaled separately."""
    batch = collate([trained.codec(record)], [0])
    length, size = batch.target_out.shape[1], batch.tokens.shape[1]
    steps = torch.arange(length)
    _, _, gradient = module._gradients(trained, batch.select(torch.zeros_like(steps)), steps)
    model = trained.model.double()
    try:
        scale = torch.ones(1, size, 1, dtype=torch.float64)

        def scaled(embedding: nn.Module, inputs: object, output: Tensor) -> Tensor:
            return output * scale

        hook = model.encoder.embedding.table.register_forward_hook(scaled)
        expected = np.zeros((length, size))
        for place in range(size):
            values = []
            for change in (1e-5, -1e-5):
                scale[0, place] = 1 + change
                with torch.no_grad():
                    values.append(model.log_probs(batch)[0, steps, batch.target_out[0]])
            scale[0, place] = 1
            expected[:, place] = (values[0] - values[1]).numpy() / 2e-5
        hook.remove()
    finally:
        model.float()
    np.testing.assert_allclose(gradient, expected, atol=1e-5)


def test_uniform_attention_has_no_nll_increase(run: Path, tmp_path: Path) -> None:
    options = [*TINY, "attention=uniform", f"data.cache={run.parent / 'cache'}"]
    (config,) = hydra_app.compose("train", [hydra_app.as_override(option) for option in options])
    scores = train.train(config, tmp_path / "run")
    for name in ("uniform", "permuted", "frozen"):
        assert scores[f"nll_increase_{name}"].score == pytest.approx(0, abs=1e-6)
    assert "gradient_tau" in scores or scores["attention_normalized_entropy"].score == pytest.approx(1)


def test_steps_that_attend_to_no_word_are_not_counted(
    trained: TrainedModel, record: Record, monkeypatch: MonkeyPatch
) -> None:
    """Every other step attends only to ``</s>``: only the remaining steps are counted."""
    (seen,) = forced(trained, [record], TOKENS)
    assert seen is not None
    weights = seen.alignment.copy()
    weights[::2], weights[::2, -1] = 0, 1
    monkeypatch.setattr(module, "forced", lambda *_: [replace(seen, layers=[weights])])
    found = faithfulness(trained, [record], TOKENS)
    for name in ("erased_attended", "erased_random", "flips_attended", "flips_random"):
        ((_, count),) = found[name].per_record or ()
        assert count == len(weights) // 2
    weights[:], weights[:, -1] = 0, 1
    assert not {"erased_attended", "flips_random"} & faithfulness(trained, [record], TOKENS).keys()


def test_any_of_equally_attended_words_may_be_erased() -> None:
    tied = np.array([1, 2, 5])
    assert {module._one_of(tied, Random(seed)) for seed in range(20)} == {1, 2, 5}
    assert module._one_of(np.array([4]), Random(0)) == 4


def test_no_records_give_no_figures(trained: TrainedModel) -> None:
    assert faithfulness(trained, [], TOKENS) == {}


def test_the_first_output_is_kept_and_the_hook_is_removed() -> None:
    """The first of two outputs is kept. The module has no hook afterwards."""
    layer = nn.Linear(2, 2)
    with module._first_output(layer) as found:
        first = layer(torch.ones(1, 2))
        layer(torch.zeros(1, 2))
    assert len(found) == 1 and found[0] is first
    assert not layer._forward_hooks
