"""Tests of options without effect: typed ones are refused, those of an experiment are allowed."""

from __future__ import annotations

import re

import pytest

from seq2seq.cli import hydra_app, train
from seq2seq.errors import UserError
from tests.sampling import mostly_slow


def check_line(line: str) -> None:
    """Check a command line as ``train.py`` checks it."""
    hydra_app.checked("train", [hydra_app.as_override(word) for word in ["logger=csv", *line.split()]], train.check)


@pytest.mark.parametrize(
    "line",
    mostly_slow(
        [
            "training.ema_decay=0.9",
            "training.average_last=3 training.averaging=ema",
            "training.reward_samples=3",
            "training.patience=3 trainer.limit_val_batches=0",
            "training.plots_every=2 training.num_plots=0",
            "training.plot_format=pdf training.num_plots=0",
            "training.attention_examples=9 trainer.limit_val_batches=0",
            "training.decoding.max_length=9 training.num_plots=0 training.metrics=[]",
            "trainer.gradient_clip_algorithm=norm trainer.gradient_clip_val=null",
            "trainer.limit_predict_batches=3",
            "trainer.max_epochs=3 budget.updates=25",
            "trainer.max_steps=3 debug=batch",
            "budget.updates=25 debug=batch",
            "budget.tokens=25 debug=overfit",
            "encoder.overlap=3",
            "loss.weights.foo=1",
            "loss.weights.coverage=2",
            "loss.start_at.kl=0.5 attention=coverage",
            "loss.start_at.doubly_stochastic=0.5",
            "loss.baseline_decay=0.5",
            "loss.baseline_decay=0.5 attention=hard",
            "attention.selection.anneal_to=0.9 attention=hard attention.selection.final_soft=1",
            "loss.label_smoothing=0.2 training.reward=bleu training.init_from=RUN",
            "task.foo=1",
            "task.max_epochs=3 trainer.max_epochs=5",
            "logger.other.name=x",
        ],
        every=3,
    ),
)
def test_typed_options_without_effect_are_refused(line: str) -> None:
    key = re.escape(line.partition("=")[0].replace("logger.other.name", "logger.other"))
    with pytest.raises(UserError, match=rf"^{key}\b.* has no effect") as caught:
        check_line(line)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "line",
    mostly_slow(
        [
            "training.averaging=ema training.ema_decay=0.9 training.patience=3 training.plots_every=2",
            "attention=coverage loss.weights.coverage=2 loss.start_at.coverage=0.5",
            "attention=hard attention.selection.baseline=moving loss.baseline_decay=0.5",
            "attention=hard attention.selection.anneal_from=0.3 attention.selection.draws=2",
            "debug=batch trainer.max_epochs=4 trainer.max_steps=3",
            "debug=overfit",
            "budget.updates=25 trainer.log_every_n_steps=1",
            "encoder.chunk=8 encoder.overlap=3 task.max_length=20 task.metrics=[bleu]",
            "training.num_plots=0 trainer.limit_val_batches=0",  # turns off what the defaults turn on
        ],
        every=3,
    ),
)
def test_typed_options_with_an_effect_are_accepted(line: str) -> None:
    check_line(line)


def test_an_experiment_may_set_an_option_that_a_typed_option_makes_useless() -> None:
    """The experiment sets ema_decay; the user turns averaging off."""
    check_line("experiment=multi30k_rnn training.averaging=none")


@pytest.mark.parametrize(
    ("line", "message"),
    mostly_slow(
        [
            ("model.dim=-1", "model.dim=-1: must be int at least 1"),  # not encoder.dim, which was not typed
            ("model.layers=10000000", "model.layers=10000000: must be int at least 1"),
            ("model.dim=200000", "model.dim and layers make .* parameters"),
            ("seed=-1", "seed=-1: must be int at least 0"),
            ("trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches=0: must be int at least 1"),
            ("trainer.devices=99999", "trainer.devices=99999: each process needs a CPU, but this machine has"),
            ("trainer.num_nodes=2", "trainer.num_nodes above 1 needs a launcher"),
            ("trainer.fast_dev_run=true", "trainer.fast_dev_run is set by the application; use debug=batch"),
            ("budget=3", "budget=3 is not a set of options; use budget.NAME=VALUE"),
            ("attention.score=-1", "attention.score=-1: must be"),
            ("encoder._partial_=x", "encoder._partial_=x: must be bool"),
            ("encoder._target_=5", "encoder._target_=5: must be the name of a class"),
        ],
        every=3,
    ),
)
def test_impossible_values_are_refused_before_training(line: str, message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        check_line(line)
