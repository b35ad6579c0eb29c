"""What every test starts from: no network, no experiment tracker, one thread, a fixed seed; and one trained run."""

from __future__ import annotations

import os

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", WANDB_MODE="offline", OMP_NUM_THREADS="1")

from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)

TINY = [
    *("logger=csv", "data.max_tokens=256", "data.reader.train=60", "data.reader.valid=6", "data.reader.test=6"),
    *("model.dim=8", "model.embedding_dim=8", "trainer.max_steps=3", "training.plots=1", "decoding.max_length=8"),
]
"""A run of a second: three updates of a model of width 8."""


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished run; tests that write into it work on a copy."""
    from seq2seq import command, workflows

    base = tmp_path_factory.mktemp("runs")
    overrides = [command.forced(override) for override in [*TINY, f"data.cache={base / 'cache'}"]]
    (config,) = command.compose("train", overrides)
    workflows.train(config, base / "run")
    return base / "run"
