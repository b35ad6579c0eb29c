"""Check that every choice of optimizer, schedule and logger in ``conf/`` works."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from seq2seq.config.instantiate import build_tool
from seq2seq.training.fit import fit
from seq2seq.training.schedules import Schedule
from seq2seq.training.trackers import FinalReport

CONF = Path(__file__).parents[2] / "conf"


def choices(group: str) -> list[str]:
    """Return the choices of a group in ``conf/``."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def composed(*overrides: str) -> DictConfig:
    """Return the config of ``train.py`` with these overrides."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", list(overrides))


@pytest.mark.parametrize("name", choices("optimizer"))
def test_optimizers_reduce_a_loss(name: str) -> None:
    parameter = torch.nn.Parameter(torch.tensor([3.0, -2.0]))
    optimizer = build_tool(composed(f"optimizer={name}").optimizer, [{"params": [parameter]}])
    before = parameter.square().sum()
    for _ in range(5):
        optimizer.zero_grad()
        parameter.square().sum().mul(0.1).backward()
        optimizer.step()
    assert parameter.square().sum() < before


@pytest.mark.parametrize("name", choices("lr_scheduler"))
def test_schedules_are_built_on_an_optimizer(name: str) -> None:
    config = composed(f"lr_scheduler={name}")
    optimizer = build_tool(config.optimizer, [torch.nn.Parameter(torch.zeros(1))])
    assert isinstance(build_tool(config.lr_scheduler, optimizer), Schedule)


def test_debug_overfit_turns_regularisation_off() -> None:
    config = composed("debug=overfit")
    assert (config.loss.label_smoothing, config.optimizer.weight_decay) == (0.0, 0.0)
    assert config.training.overfit == 0.01 and config.trainer.limit_val_batches == 0


def test_tensorboard_logs_scores_of_the_fitted_model(prepare: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="an optional extra")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit(
        *prepare("logger=tensorboard", **{"trainer.max_steps": 3}),
        tmp_path,
        score=lambda fitted: FinalReport("test", {"test/bleu": 12.5}),
    )
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("test/bleu")] == [12.5]
    assert "test/bleu" not in (tmp_path / "metrics.csv").read_text()


def test_wandb_logs_offline_and_ends_with_the_run(prepare: Callable[..., Any], tmp_path: Path) -> None:
    keys, report = {"trainer.max_steps": 3, "training.num_plots": 1}, FinalReport("test", {"test/bleu": 12.5})
    for name in ("one", "two"):
        fit(*prepare("logger=wandb", **keys), tmp_path / name, score=lambda fitted: report)
        (run,) = (tmp_path / name / "wandb").glob("offline-run-*")
        assert list(run.rglob("*.png"))
        (log,) = run.glob("*.wandb")
        deadline = time.monotonic() + 30  # wandb writes the file in another process
        while b"test/bleu" not in log.read_bytes():
            assert time.monotonic() < deadline
            time.sleep(0.1)
