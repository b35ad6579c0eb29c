"""Tests of ``scripts/tune_mechanisms.py``: the points that are tried, the finished trials, and the files it writes."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from seq2seq.cli.hydra_app import compose
from seq2seq.errors import UserError
from tests.conftest import TINY

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))  # `python scripts/tune_mechanisms.py` does the same

import tune_mechanisms
from tune_mechanisms import Trial, main, page, parsed, tuning_of

TOY = "toy_translation"
ROOT_OF_WIDTH = math.sqrt(128)


@pytest.mark.parametrize(
    ("model", "mechanism", "gain", "default"),
    [
        ("rnn", "additive", "attention.score.scale", 1.0),
        ("rnn", "general", "attention.score.scale", 1 / ROOT_OF_WIDTH),
        ("rnn", "dot", "attention.score.scale", 1.0),
        ("transformer", "dot", "attention.score.scale", 1 / ROOT_OF_WIDTH),
        ("transformer", "multi_head", "attention.score.scale", 1.0),
        ("transformer", "memory", "attention.scale", 1 / ROOT_OF_WIDTH),
    ],
)
def test_the_points_lie_around_the_default(model: str, mechanism: str, gain: str, default: float) -> None:
    """The plugin of Hydra reads the space; the expected gains are the formulas of the papers or 1/sqrt(width)."""
    sweeper = pytest.importorskip("hydra_plugins.hydra_optuna_sweeper._impl", reason="an optional extra")
    tuning = tuning_of(TOY, model, mechanism, [])
    assert tuning.common == {"optimizer.lr": 0.003, "lr_scheduler.warmup_steps": 200, gain: None}
    space, fixed = sweeper.create_params_from_overrides([f"{key}={text}" for key, text in tuning.space.items()])
    assert list(space) == list(tuning.common) and not fixed
    assert space["lr_scheduler.warmup_steps"].choices == (50, 100, 200, 400)
    rate, scale = space["optimizer.lr"], space[gain]
    assert type(rate).__name__ == type(scale).__name__ == "LogUniformDistribution"
    assert (rate.low, rate.high) == pytest.approx((0.001, 0.009))
    assert (scale.low, scale.high) == pytest.approx((default / 2, default * 2), rel=1e-3)


def test_a_mechanism_without_a_gain_has_two_options() -> None:
    assert list(tuning_of(TOY, "rnn", "uniform", []).space) == ["optimizer.lr", "lr_scheduler.warmup_steps"]
    assert parsed(["--data", TOY, "seed=2", "--jobs", "2"]).overrides == ["seed=2"]


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[float]], list[list[str]]]:
    """Return a function that replaces sweeps by runs with the nll that it gets, common recipe first.

    It returns the list of the commands, which grows. A command of ``general`` fails.
    """
    monkeypatch.chdir(tmp_path)

    def replaced(scores: Sequence[float]) -> list[list[str]]:
        commands: list[list[str]] = []

        def run(command: Sequence[str]) -> None:
            commands.append(list(command))
            if "attention=general" in command:
                raise UserError("a sweep failed")
            (folder,) = (Path(word.partition("=")[2]) for word in command if word.startswith("hydra.sweep.dir="))
            drawn = "hydra/sweeper=optuna" in command
            for place in range(1, len(scores)) if drawn else [0]:
                write_run(folder / str(place), scores[place], (0.001 * place, 50 * place, 0.5) if place else None)

        monkeypatch.setattr(tune_mechanisms, "run", run)
        return commands

    return replaced


def write_run(folder: Path, nll: float, values: tuple[float, int, float] | None) -> None:
    """Write the files of a finished run that the script reads; None = values of the common recipe."""
    rate, warmup, scale = values or (0.003, 200, None)
    config = {
        "optimizer": {"lr": rate},
        "lr_scheduler": {"warmup_steps": warmup},
        "attention": {"score": {"scale": scale}},
    }
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(json.dumps(config))
    (folder / "results.json").write_text(json.dumps({"valid": {}, "run": {"training": {"best_score": nll}}}))


ARGUMENTS = ["--models", "rnn", "--trials", "3", "--updates", "1200", "--folder", "conf/recipe/tuned"]
WRITTEN = Path("conf", "recipe", "tuned", TOY, "rnn", "additive.yaml")


def test_the_best_trial_is_written(
    runner: Callable[..., list[list[str]]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = runner([2.0, 2.5, 1.5])
    main([*ARGUMENTS, "--mechanisms", "additive", "--jobs", "2"])
    first, second = commands
    assert "budget.updates=1200" in first and "hydra/sweeper=optuna" not in first and second[: len(first)] == first
    assert {"hydra.sweeper.n_trials=2", "hydra.sweeper.sampler.seed=1", "hydra.launcher.n_jobs=2"} <= set(second)
    text = WRITTEN.read_text(encoding="utf-8")
    assert yaml.safe_load(text) == {
        "recipe": "tuned",
        "optimizer": {"lr": 0.002},
        "lr_scheduler": {"warmup_steps": 100},
        "attention": {"score": {"scale": 0.5}},
    }
    assert text.startswith("# @package _global_\n") and "best of 3 trials of 1,200 updates" in text
    assert "# 2.0000: 0.003, 200, null (recipe=common)" in text
    assert "nll 1.5000; recipe=common 2.0000" in capsys.readouterr().out
    # A second start leaves the file as it is.
    main([*ARGUMENTS, "--mechanisms", "additive"])
    assert len(commands) == 2 and capsys.readouterr().out == f"exists: {WRITTEN}\n"


def test_the_common_recipe_may_be_the_best(runner: Callable[..., list[list[str]]]) -> None:
    runner([1.0, 2.5, 1.5])
    main([*ARGUMENTS, "--mechanisms", "additive"])
    found = yaml.safe_load(WRITTEN.read_text(encoding="utf-8"))
    assert (found["optimizer"], found["attention"]) == ({"lr": 0.003}, {"score": {"scale": None}})


def test_other_mechanisms_are_tuned_when_one_fails(
    runner: Callable[..., list[list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    runner([1.0, 2.5, 1.5])
    with pytest.raises(SystemExit, match=r"^tune_mechanisms\.py: not tuned: toy_translation/rnn/general$"):
        main([*ARGUMENTS, "--mechanisms", "general,additive"])
    assert WRITTEN.exists() and capsys.readouterr().err == "tune_mechanisms.py: a sweep failed\n"


@pytest.mark.parametrize("scores", [[1.0, 2.0], [1.0, 2.0, 3.0, 4.0]])
def test_another_number_of_trials_is_refused(
    runner: Callable[..., list[list[str]]], scores: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    runner(scores)
    with pytest.raises(SystemExit):
        main([*ARGUMENTS, "--mechanisms", "additive"])
    assert f"{len(scores)} trials are finished, not 3 with recipe=common" in capsys.readouterr().err
    assert not WRITTEN.exists()


def test_paths_are_not_written() -> None:
    tuning = tuning_of(TOY, "rnn", "additive", [])
    trials = [Trial(1.0, dict(tuning.common)), Trial(2.0, {**tuning.common, "optimizer.lr": 0.01})]
    options = parsed(["data.cache=/home/me", "data.path=/home/me", "model.layers=2", "--trials", "2"])
    assert re.findall("# with.*", page(tuning, trials, options)) == ["# with model.layers=2"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mechanisms", "additve"], "attention has no choice additve; did you mean additive?"),
        (["--trials", "1"], "--trials=1: there must be at least 2"),
    ],
)
def test_wrong_arguments_are_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err


def test_a_wrong_option_of_training_is_one_line() -> None:
    with pytest.raises(SystemExit, match=r"^tune_mechanisms\.py: optimizer has no choice admw; did you mean adamw"):
        main(["--models", "rnn", "--mechanisms", "additive", "optimizer=admw"])


@pytest.mark.slow
def test_two_trials_are_run(tmp_path: Path) -> None:
    """The drawn trial is below the space of the common one, and a second start runs nothing again."""
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="an optional extra")
    tiny = [option for option in TINY if option.startswith(("data.", "model.", "trainer=", "decoding."))]
    places = ["--runs", str(tmp_path / "runs"), "--folder", str(tmp_path / "tuned")]
    chosen = [*tiny, f"data.cache={tmp_path}", "--models", "rnn", "--mechanisms", "dot", "--trials", "2"]
    main([*chosen, *places, "--updates", "3"])
    runs = sorted((tmp_path / "runs").rglob("results.json"))
    before = [file.stat().st_mtime_ns for file in runs]
    file = tmp_path / "tuned" / TOY / "rnn" / "dot.yaml"
    found: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert len(runs) == 2 and found["recipe"] == "tuned"
    main([*chosen, *places, "--updates", "3", "--again"])
    assert [file.stat().st_mtime_ns for file in runs] == before == [file.stat().st_mtime_ns for file in sorted(runs)]
    assert sorted((tmp_path / "runs").rglob("results.json")) == runs


def test_every_tuned_file_can_be_composed() -> None:
    for file in sorted(tune_mechanisms.FOLDER.rglob("*.yaml")):
        data, model, name = file.relative_to(tune_mechanisms.FOLDER).with_suffix("").parts
        (config,) = compose("train", ["recipe=tuned", f"data={data}", f"model={model}", f"attention={name}"])
        node = yaml.safe_load(file.read_text(encoding="utf-8"))
        assert config.recipe == "tuned" and config.optimizer.lr == node["optimizer"]["lr"]
