"""Fixtures of a run that trains in a second: 32 sentence pairs, a model of width 8."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from seq2seq.config.instantiate import build_node
from seq2seq.data.corpus import Corpus
from seq2seq.data.records import Record
from seq2seq.data.toy.generated import Generated
from seq2seq.model import Seq2Seq, build

CONF = Path(__file__).parents[2] / "conf"
SMALL = {
    "seed": 3,
    "data.max_tokens": 64,
    "data.reader.train": 32,
    "data.reader.valid": 8,
    "data.reader.test": 4,
    "model.dim": 8,
    "model.embedding_dim": 8,
    "model.dropout": 0.3,
    "optimizer.lr": 0.01,
    "lr_scheduler.warmup_steps": 4,
    "trainer.max_epochs": 2,
    "trainer.log_every_n_steps": 3,
    "training.monitor": "nll",
    "training.metrics": [],
    "training.num_plots": 0,
}

Run = tuple[DictConfig, Corpus, Seq2Seq]
Prepare = Callable[..., Run]


@cache
def composed(*groups: str) -> DictConfig:
    """Return the config of ``train.py`` with these choices of groups, such as ``lr_scheduler=cosine``."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", list(groups))


@pytest.fixture(scope="session")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which all tests cache the encoded corpus."""
    return tmp_path_factory.mktemp("encoded")


@cache
def drawn(reader: Generated) -> dict[str, list[Record]]:
    """Return the generated records of a reader; equal readers share them."""
    return reader.generate()


@pytest.fixture
def prepare(encoded: Path, monkeypatch: pytest.MonkeyPatch) -> Prepare:
    """Return a function that makes a config, a corpus and a new model.

    Its arguments are choices of groups, such as ``lr_scheduler=cosine``, and values of keys, such as
    ``trainer.max_epochs``.
    """
    monkeypatch.setattr(Generated, "_records", property(drawn))

    def made(*groups: str, **keys: Any) -> Run:
        device = () if any(group.startswith("trainer=") for group in groups) else ("trainer=cpu",)
        config = copy.deepcopy(composed("logger=csv", "lr_scheduler=inverse_sqrt", *device, *groups))
        for key, value in {**SMALL, **keys, "data.cache": str(encoded)}.items():
            OmegaConf.update(config, key, value, merge=False, force_add=True)
        corpus: Corpus = build_node(config.data)
        torch.manual_seed(config.seed)
        return config, corpus, build(config, *corpus.codec.sizes)

    return made
