"""Tests of the messages at the start and at the end of a training."""

from __future__ import annotations

import math
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from seq2seq.cli import hydra_app, messages
from seq2seq.cli.overrides import keys
from seq2seq.config import extensions
from seq2seq.metrics import MetricResult
from seq2seq.tasks.captioning import Captioning
from seq2seq.tasks.translation import Translation
from seq2seq.training.options import TrainingOptions
from tests.cli.test_training_and_use import FITTED

FIGURES = ("perplexity", "accuracy", "bleu", "chrf", "ter", "aer", "aer_uniform", "nll_increase_averaged")
RESULTS = {name: MetricResult(12.3456, f"signature of {name}") for name in FIGURES}
RUN = Path("runs/toy_translation/rnn-additive/2026-01-31_12-00-00")
OPTIONS = TrainingOptions(num_plots=1, decoding=object(), metrics=["bleu"])  # type: ignore[arg-type]


def rows(text: str, columns: int = 80) -> int:
    """Return the number of rows that a text has on a terminal."""
    return sum(max(1, math.ceil(len(line) / columns)) for line in text.splitlines())


@pytest.mark.parametrize("onset", [None, 600])
@pytest.mark.parametrize("best_step", [10, 2940])
def test_the_figures_of_a_run_are_in_sight_at_its_end(onset: int | None, best_step: int) -> None:
    """The longest ending of the default run, with a prompt below it, fits on a terminal of 24 lines."""
    fitted = replace(FITTED, best_score=1.0, best_step=best_step, steps=2940, onset=onset, nll_increase_averaged=0.01)
    text = messages.ending(fitted, RUN, "test", RESULTS, Translation(["bleu"]), OPTIONS, suggest=True)
    assert rows(text) < 24
    names = [line.split()[0] for line in text.splitlines()[1:6]]
    assert names == ["bleu", "chrf", "ter", "perplexity", "aer"]
    assert "bleu          12.3 %  n-gram precision up to 4-grams, with a brevity penalty" in text
    assert ("attention never began" in text) == (onset is None)
    assert f"plots  {RUN}/attention/test" in text and "all 8 figures" in text and "signature of" not in text


def test_all_figures_are_printed_on_request() -> None:
    options = replace(OPTIONS, verbose=True)
    text = messages.ending(FITTED, RUN, "test", RESULTS, Translation(), options, suggest=False)
    assert all(f"signature of {name}" in text for name in FIGURES)
    assert "python" not in text


def test_every_suggestion_is_a_command_that_composes(tmp_path: Path) -> None:
    """The run used attention=general and other options, which the suggestions keep."""
    (tmp_path / ".hydra").mkdir()
    OmegaConf.save(["++seed=2", "attention=general"], tmp_path / ".hydra" / "overrides.yaml")
    choices = {"hydra": {"runtime": {"choices": {"attention": "general"}}}}
    OmegaConf.save(OmegaConf.create(choices), tmp_path / ".hydra" / "hydra.yaml")
    commands = [shlex.split(line) for line in messages.suggestions(tmp_path, Translation())]
    for python, script, *options in commands:
        assert python == "python"
        name = script.removesuffix(".py")
        assert list(hydra_app.compose(name, [hydra_app.as_override(option, name) for option in options]))
    (train,) = [options for _, script, *options in commands if script == "train.py"]
    assert keys(train) == ["seed", "attention"] and train[-1] == "attention=dot"


def test_a_resumed_run_suggests_the_config_files_of_its_first_command(tmp_path: Path) -> None:
    """The command that resumed needs no --config-dir, but the suggested command composes a config again."""
    (tmp_path / ".hydra").mkdir()
    OmegaConf.save(["attention=mine"], tmp_path / ".hydra" / "overrides.yaml")
    stored = {"hydra": {"searchpath": ["file:///somewhere/my files"], "runtime": {"choices": {"attention": "mine"}}}}
    OmegaConf.save(OmegaConf.create(stored), tmp_path / ".hydra" / "hydra.yaml")
    train = "python train.py --config-dir '/somewhere/my files' attention=general"
    assert train in messages.suggestions(tmp_path, Translation())
    # A command with files of its own names these.
    with extensions.using(extensions.Extensions(Path("/other"))):
        assert "python train.py --config-dir /other attention=general" in messages.suggestions(tmp_path, Translation())


def test_runs_in_the_usual_place_are_compared_together() -> None:
    assert "python compare.py runs=runs/toy_translation" in messages.suggestions(RUN, Translation())


def test_images_are_named_as_the_input_of_generation(tmp_path: Path) -> None:
    assert any(" input=FILE " in command for command in messages.suggestions(tmp_path, Captioning()))
