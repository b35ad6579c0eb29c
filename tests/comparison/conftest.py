"""Small finished runs to compare."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from seq2seq import command, workflows
from tests.conftest import TINY


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two mechanisms, two seeds each, and a Transformer with one, as a sweep leaves them."""
    base = tmp_path_factory.mktemp("sweep")
    jobs = [("rnn", attention, seed) for attention in ("additive", "dot") for seed in (1, 2)]
    for number, (model, attention, seed) in enumerate([*jobs, ("transformer", "multi_head", 1)]):
        own = [option for option in TINY if model == "rnn" or not option.startswith("model.embedding_dim")]
        chosen = [f"model={model}", f"attention={attention}", f"seed={seed}"]
        beside = ["training.faithfulness=2", f"data.cache={base / 'cache'}"]
        options = [command.forced(option) for option in [*chosen, *own, *beside]]
        (config,) = command.compose("train", options)
        run = base / "multirun" / str(number)
        workflows.train(config, run)
        (run / ".hydra").mkdir()
        choices = {"data": "toy_translation", "model": model, "attention": attention}
        OmegaConf.save({"hydra": {"runtime": {"choices": choices}}}, run / ".hydra" / "hydra.yaml")
        typed = [*chosen, *beside, *(option for option in own if "embedding_dim" not in option)]
        OmegaConf.save(OmegaConf.create(typed), run / ".hydra" / "overrides.yaml")
    return base / "multirun"
