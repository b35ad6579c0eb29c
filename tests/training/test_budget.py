"""Tests of budgets: models and lengths of training, compared with what runs report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from omegaconf import DictConfig

from seq2seq.cli import hydra_app, train
from seq2seq.config.instantiate import build_node
from seq2seq.data.corpus import Corpus
from seq2seq.errors import UserError
from seq2seq.model import build
from seq2seq.training.budget import Budget
from tests.conftest import TINY
from tests.sampling import mostly_slow

SIZES = (544, 544)


def composed(*overrides: str) -> DictConfig:
    """Return the config of ``train.py`` with these overrides."""
    (config,) = hydra_app.compose("train", [hydra_app.as_override(override) for override in overrides])
    return config


def trained(tmp_path: Path, run: Path, *overrides: str) -> dict[str, object]:
    """Train a small run under a budget, and return its entry in results.json."""
    small = [option for option in TINY if not option.startswith("trainer.max_steps")]
    cache = f"data.cache={run.parent / 'cache'}"
    config = composed(*small, cache, "training.faithfulness_examples=0", "training.num_plots=0", *overrides)
    train.train(config, tmp_path / "run")
    report: dict[str, object] = json.loads((tmp_path / "run" / "results.json").read_text())["run"]
    return report


@pytest.mark.parametrize(
    ("model", "attention"),
    mostly_slow(
        [(model, name) for name in ("additive", "memory", "multi_head") for model in ("rnn", "transformer")], every=5
    ),
)
def test_models_meet_a_budget_of_parameters(model: str, attention: str) -> None:
    config = composed(f"model={model}", f"attention={attention}", "budget.parameters=700000")
    made = Budget.of(config).sized(config, SIZES)
    count = sum(parameter.numel() for parameter in build(made, *SIZES).parameters())
    assert count == pytest.approx(700_000, rel=0.02)
    assert made.model.dim % (2 * made.model.heads) == 0
    assert made.model.dim != config.model.dim


@pytest.mark.parametrize(
    ("overrides", "heads"),
    [
        (["model=transformer", "encoder=rnn", "decoder=rnn"], 4),  # no part has a feed-forward layer
        (["model=rnn", "encoder=transformer", "decoder=transformer"], 4),  # no part has a width of embeddings
        (["model=rnn", "attention=multi_head", "attention.heads=3"], 3),
    ],
)
def test_models_of_mixed_parts_meet_a_budget_of_parameters(overrides: list[str], heads: int) -> None:
    made = Budget.of(config := composed(*overrides, "budget.parameters=700000")).sized(config, SIZES)
    count = sum(parameter.numel() for parameter in build(made, *SIZES).parameters())
    assert count == pytest.approx(700_000, rel=0.1)
    assert made.model.dim % heads == 0


def test_budget_that_fixed_widths_exceed_is_refused() -> None:
    config = composed("experiment=bahdanau2015", "data=toy_translation", "budget.parameters=2000000")
    with pytest.raises(UserError, match=r"budget\.parameters=2000000 can't be met: .*encoder\.dim=2000 stays"):
        Budget.of(config).sized(config, SIZES)


@pytest.mark.parametrize("debug", ["batch", "overfit", "profile"])
def test_debug_options_replace_the_budget_of_training(debug: str) -> None:
    """The debug options end training, so they replace the budget of the experiment."""
    config = composed("experiment=tatoeba", "data.path=.", f"debug={debug}", "logger=csv")
    assert not {"updates", "tokens", "seconds"} & {name for name, value in config.budget.items() if value is not None}


@pytest.mark.slow
def test_budget_of_target_tokens_ends_training(run: Path, tmp_path: Path) -> None:
    report = trained(tmp_path, run, "budget.tokens=3000")
    corpus: Corpus = build_node(composed(*TINY, f"data.cache={run.parent / 'cache'}").data)
    corpus.setup()
    updates, tokens = corpus.epoch()
    assert tokens == sum(len(batch.target_out[batch.target_mask]) for batch in corpus.train_loader(1, 0))
    training = report["training"]
    assert isinstance(training, dict)
    assert training["steps"] == -(-3000 * updates // tokens)
    assert training["tokens"] == pytest.approx(3000, rel=0.1)


def test_budget_of_updates_ends_training(run: Path, tmp_path: Path) -> None:
    training = trained(tmp_path, run, "budget.updates=5", "attention=dot")["training"]
    assert isinstance(training, dict)
    assert training["steps"] == 5


def test_budget_of_seconds_anneals_the_learning_rate_by_time(run: Path, tmp_path: Path) -> None:
    training = trained(tmp_path, run, "budget.seconds=2", "trainer.log_every_n_steps=1", "lr_scheduler.warmup_steps=0")
    seconds = training["training"]
    assert isinstance(seconds, dict)
    assert 1 < seconds["seconds"] < 5
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("train/learning_rate")
    rates = [float(row.split(",")[column]) for row in rows[1:] if row.split(",")[column]]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.2 * rates[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["budget.tokens=5", "budget.updates=3"], "^budget.updates=3 and tokens=5 both say"),
        (["budget.tokens=0"], "budget.tokens=0: must be one of int at least 1, null"),
        (["budget.parameters=many"], "budget.parameters=many: must be one of int at least 1, null"),
        (
            ["budget.epochs=3"],
            "budget.epochs: Budget has no option epochs; there are: parameters, seconds, tokens, updates",
        ),
    ],
)
def test_impossible_budgets_are_refused(options: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        train.check(composed(*options))
