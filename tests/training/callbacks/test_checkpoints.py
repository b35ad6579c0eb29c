"""Tests of checkpoints: their content, when they are written, and failures while writing."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from seq2seq import checkpoint
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.stored import model_file, resume_file
from seq2seq.training.callbacks.checkpoints import Checkpoints
from seq2seq.training.fit import fit


def is_plain(value: Any) -> bool:
    """Return True if a value consists of built-in containers, numbers, strings and tensors only."""
    if isinstance(value, Mapping):
        return type(value).__name__ in ("dict", "OrderedDict") and all(map(is_plain, [*value, *value.values()]))
    if type(value) in (list, tuple):
        return all(map(is_plain, value))
    return value is None or type(value) in (bool, int, float, str, torch.Tensor)


def test_last_checkpoint_is_plain_and_self_contained(prepare: Callable[..., Any], tmp_path: Path) -> None:
    config, corpus, model = prepare(**{"training.patience": 5, "training.averaging": "last"})
    result = fit(config, corpus, model, tmp_path)
    state = torch.load(result.last, weights_only=True)
    assert is_plain(state)
    assert state["config"] == OmegaConf.to_container(config, resolve=True)
    for side in ("source", "target"):
        tokenizer = Tokenizer.from_state(state["tokenizers"][side])
        assert tokenizer == getattr(corpus, f"{side}_tokenizer")
    weights = {k.removeprefix("model."): v for k, v in state["state_dict"].items() if k.startswith("model.")}
    model.load_state_dict(weights)


def test_best_model_is_a_folder_with_config_and_tokenizers(prepare: Callable[..., Any], tmp_path: Path) -> None:
    config, corpus, model = prepare(**{"training.averaging": "last"})
    result = fit(config, corpus, model, tmp_path)
    assert sorted(file.name for file in result.best.parent.iterdir()) == [
        *("config.yaml", "last.ckpt", "model.safetensors", "source.model", "target.model")
    ]
    opened = checkpoint.load(result.best)
    resolved = OmegaConf.to_container(config, resolve=True)
    assert isinstance(resolved, dict)
    kept = {key: value for key, value in resolved.items() if key not in ("trainer", "logger", "budget")}
    assert opened.config == kept
    assert opened.codec.tokenizers == corpus.codec.tokenizers
    opened.load_into(model)
    about = model_file.about(result.best)
    assert (about.step, about.score, about.monitor) == (result.best_step, result.best_score, "nll")


def column(run: Path, name: str) -> list[tuple[int, float]]:
    """Return (step, value) of the rows of metrics.csv that have a value in the column."""
    with (run / "metrics.csv").open() as file:
        return [(int(row["step"]), float(row[name])) for row in csv.DictReader(file) if row.get(name)]


@pytest.mark.parametrize(("monitor", "best"), [("nll", min), ("accuracy", max)])
def test_best_model_has_the_best_monitored_score(
    monitor: str, best: Callable[..., Any], prepare: Callable[..., Any], tmp_path: Path
) -> None:
    keys = {"training.monitor": monitor, "training.validate_every": 2, "optimizer.lr": 0.1}
    result = fit(*prepare(**keys), tmp_path)
    scores = column(tmp_path, f"validation/{monitor}")
    step, score = best(scores, key=lambda pair: pair[1])  # min and max return the first of equal scores
    assert (result.best_step, result.best_score) == (step, pytest.approx(score))
    assert (about := model_file.about(result.best)).step == step and about.score == result.best_score
    assert torch.load(result.last, weights_only=True)["global_step"] == result.steps


def test_patience_ends_training(prepare: Callable[..., Any], tmp_path: Path) -> None:
    keys = {"training.monitor": "accuracy", "training.mode": "min", "training.patience": 2, "trainer.max_epochs": 50}
    result = fit(*prepare(**keys, **{"training.validate_every": 3}), tmp_path)
    scores = [score for _, score in column(tmp_path, "validation/accuracy")]
    place = scores.index(min(scores))
    assert result.stopped_early and len(scores) == place + 1 + 2


def test_the_last_step_is_always_validated(prepare: Callable[..., Any], tmp_path: Path) -> None:
    keys = {"trainer.max_steps": 8, "trainer.max_epochs": -1, "training.validate_every": 3}
    fit(*prepare(**keys), tmp_path)
    assert [step for step, _ in column(tmp_path, "validation/nll")] == [3, 6, 8]


def test_last_checkpoint_is_saved_by_steps_or_minutes(
    prepare: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    original = Checkpoints._save
    monkeypatch.setattr(
        Checkpoints, "_save", lambda self, trainer: (saved.append(trainer.global_step), original(self, trainer))
    )
    keys = {"trainer.max_epochs": 1, "training.save_minutes": None}
    steps = fit(*prepare(**keys, **{"training.save_steps": 4}), tmp_path / "steps").steps
    assert saved == [*range(4, steps, 4), steps]
    saved.clear()
    fit(*prepare(**{"trainer.max_epochs": 1, "training.save_minutes": 1e-9}), tmp_path / "minutes")
    assert saved == list(range(1, steps + 1))


def test_without_validation_the_best_model_is_the_last(prepare: Callable[..., Any], tmp_path: Path) -> None:
    result = fit(*prepare(**{"trainer.limit_val_batches": 0, "trainer.max_epochs": 1}), tmp_path)
    assert result.best_score is None
    state = torch.load(result.last, weights_only=True)
    assert state["global_step"] == result.steps and model_file.about(result.best).score is None
    for name, weight in checkpoint.load(result.best).weights.items():
        assert torch.equal(weight, state["state_dict"][f"model.{name}"])


def test_failed_write_keeps_the_previous_file(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    resume_file.write(path, {"step": 1})
    with pytest.raises((AttributeError, TypeError, RuntimeError)):
        resume_file.write(path, {"a": torch.zeros(1000), "step": (lambda: 2)})  # a lambda can't be pickled
    assert resume_file.read(path) == {"step": 1, "format": 1}
