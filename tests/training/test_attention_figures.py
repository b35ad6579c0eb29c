"""Tests of the statistics of attention at validation, against those of single sentences."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seq2seq.attention.interventions import intervened
from seq2seq.attention.types import Memory, Query
from seq2seq.batch import Batch
from seq2seq.errors import UserError
from seq2seq.loss import teacher_forced_nll
from seq2seq.model import Seq2Seq
from seq2seq.training.attention_figures import AttentionFigures
from seq2seq.training.fit import fit
from seq2seq.training.options import TrainingOptions
from seq2seq.training.validation import Validation

NAMES = {
    *("attention_normalized_entropy", "attention_logit_spread_source", "attention_logit_spread_target"),
    "nll_increase_averaged",
}


def figures(model: Seq2Seq, corpus: Any, examples: int, rank: int = 0, ranks: int = 1) -> AttentionFigures:
    """Return the statistics of the batches of one process."""
    found = AttentionFigures(examples)
    with torch.no_grad():
        for batch in corpus.loader("valid", rank, ranks):
            found.step(model.eval(), batch)
    return found


def sharpened(model: Seq2Seq) -> Seq2Seq:
    """Return the model with noise added to its weights, so that attention differs from step to step."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return model.eval()


def averaged_nll(model: Seq2Seq, batch: Batch, weights: list[Tensor]) -> float:
    """Return the loss of a sentence if each use of attention weights gets the mean of its rows (1, H, T, S)."""
    turn = cycle([rows.mean(2, keepdim=True) for rows in weights])

    def change(weights: Tensor, query: Query, memory: Memory, first: Tensor | None) -> Tensor:
        return next(turn).expand_as(weights)

    with intervened(model, change):
        return float(teacher_forced_nll(model, batch).nll)


@pytest.mark.parametrize(
    "groups", [["attention=additive"], ["attention=memory"], ["model=transformer", "attention=multi_head"]], ids=str
)
def test_statistics_equal_those_of_single_sentences(groups: list[str], prepare: Callable[..., Any]) -> None:
    """The statistics equal those of single sentences without padding.

    A memory network uses attention weights once in each hop, a Transformer once in each layer.
    """
    _, corpus, model = prepare(*groups)
    model = sharpened(model)
    examples, entropy, increase, tokens = 5, 0.0, 0.0, 0
    for batch in corpus.loader("valid"):
        for row in range(len(batch)):
            if not 0 <= int(batch.index[row]) < examples:
                continue
            one = batch.select(torch.tensor([row]))
            length, width = int(one.target_mask.sum()), int(one.source_mask.sum())
            one = replace(one, target=one.target[:, : length + 1], source=one.tokens[:, :width])
            with torch.no_grad():
                weights = [w for name, w in sorted(model(one, need_weights=True).weights.items()) if "cross" in name]
                last = weights[-1][0]
                entropy += float(torch.special.entr(last.double()).sum(-1).mean()) / math.log(width)
                hops = weights if len(weights) > 1 else [weights[0][:, [h]] for h in range(weights[0].shape[1])]
                increase += averaged_nll(model, one, hops) - float(teacher_forced_nll(model, one).nll)
            tokens += length
    found = figures(model, corpus, examples).finish()
    assert found.keys() == NAMES
    assert found["attention_normalized_entropy"] == pytest.approx(entropy / examples, rel=1e-4)
    assert found["nll_increase_averaged"] == pytest.approx(increase / tokens, rel=1e-3)
    assert abs(increase / tokens) > 1e-3


def test_sums_over_processes_equal_those_of_one_process(prepare: Callable[..., Any]) -> None:
    _, corpus, model = prepare(**{"data.max_tokens": 40})
    model = sharpened(model)
    whole = figures(model, corpus, 6).sums.totals()
    shares = [figures(model, corpus, 6, rank, 3).sums.totals() for rank in range(3)]
    assert whole["sentences"] == 6
    for name, total in whole.items():
        assert sum(share.get(name, 0) for share in shares) == pytest.approx(total, rel=1e-4, abs=1e-4)


def test_statistics_of_uniform_and_no_attention(prepare: Callable[..., Any]) -> None:
    """Uniform rows equal their mean; ``attention=none`` has no statistics."""
    _, corpus, model = prepare("attention=uniform")
    found = figures(sharpened(model), corpus, 8).finish()
    assert found["attention_normalized_entropy"] == pytest.approx(1)
    for name in NAMES - {"attention_normalized_entropy"}:
        assert found[name] == pytest.approx(0, abs=1e-6)
    _, corpus, model = prepare("attention=none")
    assert figures(model, corpus, 8).finish() == {}


def test_validation_reports_the_statistics_unless_switched_off(prepare: Callable[..., Any]) -> None:
    _, corpus, model = prepare()
    for examples, names in ((0, set()), (3, NAMES)):
        validation = Validation(corpus, TrainingOptions(attention_examples=examples))
        for _ in range(2):  # the second validation starts anew
            validation.start()
            with torch.no_grad():
                for batch in corpus.loader("valid"):
                    validation.step(model.eval(), batch)
            validation.finish()
        assert validation.scores.keys() - {"nll", "perplexity", "accuracy", "aer"} == names
    assert validation.attention.sums.totals() == {}
    with pytest.raises(UserError, match=r"attention_examples=-1 must be 0 or a number of sentences"):
        TrainingOptions(attention_examples=-1)


def test_statistics_are_written_to_metrics_csv(prepare: Callable[..., Any], tmp_path: Path) -> None:
    """Each validation writes its statistics to metrics.csv; the result has the last ones."""
    config, corpus, model = prepare(**{"training.attention_examples": 4})
    result = fit(config, corpus, model, tmp_path)
    header, *rows = (tmp_path / "metrics.csv").read_text().splitlines()
    assert {f"validation/{name}" for name in NAMES} <= set(header.split(","))
    column = header.split(",").index("validation/nll_increase_averaged")
    assert result.nll_increase_averaged == float([row.split(",")[column] for row in rows][-1])
    assert result.onset is None
