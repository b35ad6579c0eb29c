"""Tests of plans: batch size and number of epochs by the size of the data, and explicit options that replace them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from omegaconf import OmegaConf

from seq2seq.training.budget import Budget
from seq2seq.training.plan import planned, planned_epochs, summary, updates_of

OPEN = {"data.max_tokens": None, "trainer.max_epochs": None}


@pytest.mark.parametrize(
    ("updates", "epochs"),
    [
        (240, 30),
        (67, 30),  # 2,010 updates
        (66, 31),  # 30 epochs would be 1,980 updates
        (25, 80),
        (20, 100),
        (2, 100),  # the maximum of epochs, although these are only 200 updates
        (3_333, 30),  # 99,990 updates
        (3_334, 29),
        (60_000, 1),
        (300_000, 1),
    ],
)
def test_planned_epochs_by_hand(updates: int, epochs: int) -> None:
    assert planned_epochs(updates) == epochs


def test_plan_of_a_small_data_set(prepare: Callable[..., Any]) -> None:
    config, corpus, _ = prepare(**OPEN)
    batches = list(corpus.train_loader(1, 0))
    plan, line = planned(config, corpus)
    assert plan.data.max_tokens == corpus.max_tokens == 512
    assert len(batches) == 2  # 32 pairs, whose longer side has about 13 tokens
    assert plan.trainer.max_epochs == 100
    assert line == "batches of 512 tokens, 2 updates an epoch; 200 updates in all, 100 epochs"
    assert config.trainer.max_epochs is None


def test_updates_depend_on_accumulation_devices_and_limits(prepare: Callable[..., Any]) -> None:
    config, corpus, _ = prepare(**{**OPEN, "data.max_tokens": 16, "data.reader.train": 320})
    batches = len(list(corpus.train_loader(1, 0)))
    assert updates_of(config, corpus) == batches > 100
    OmegaConf.set_struct(config, False)
    config.trainer.accumulate_grad_batches = 3
    assert updates_of(config, corpus) == math.ceil(batches / 3)
    config.trainer.devices = 2
    assert updates_of(config, corpus) == math.ceil(math.ceil(batches / 2) / 3)
    config.trainer.limit_train_batches = 12
    assert updates_of(config, corpus) == 4
    config.trainer.limit_train_batches = 1.0
    config.trainer.update(accumulate_grad_batches=1, devices=1)
    assert planned(config, corpus)[0].trainer.max_epochs == 30
    assert updates_of(config, corpus) == batches


def test_plan_of_a_stream_has_no_number_of_updates(prepare: Callable[..., Any]) -> None:
    config, corpus, _ = prepare(**OPEN, **{"data.streaming": True})
    plan, line = planned(config, corpus)
    assert (plan.data.max_tokens, plan.trainer.max_epochs) == (4096, 30)
    assert line == "batches of 4,096 tokens; 30 epochs"


@pytest.mark.parametrize(
    "keys",
    [
        {"trainer.max_epochs": 2},
        {"trainer.max_epochs": None, "trainer.max_steps": 7},
        {"trainer.max_epochs": -1},
        {"trainer.max_epochs": None, "budget.updates": 7},
        {"trainer.max_epochs": None, "budget.seconds": 1.5},
    ],
)
def test_explicit_options_replace_the_plan(prepare: Callable[..., Any], keys: dict[str, Any]) -> None:
    config, corpus, _ = prepare(**keys)
    ended = Budget.of(config).ended(config, corpus)
    assert planned(ended, corpus)[0] is ended  # the batch size of 64 tokens is explicit, too


def test_plan_keeps_a_limit_of_time(prepare: Callable[..., Any]) -> None:
    config, corpus, _ = prepare(**OPEN, **{"trainer.max_time": "00:00:15:00"})
    plan = planned(config, corpus)[0].trainer
    assert (plan.max_epochs, plan.max_time) == (100, "00:00:15:00")


@pytest.mark.parametrize(
    ("trainer", "updates", "line"),
    [
        ({"max_epochs": 30}, 240, "batches of 1,024 tokens, 240 updates an epoch; 7,200 updates in all, 30 epochs"),
        (
            {"max_epochs": 30, "max_steps": 7},
            240,
            "batches of 1,024 tokens, 240 updates an epoch; 7 updates in all",
        ),
        ({"max_epochs": -1, "max_steps": 50}, 240, "batches of 1,024 tokens, 240 updates an epoch; 50 updates in all"),
        (
            {"max_epochs": -1, "max_time": {"seconds": 90.0}},
            1200,
            "batches of 1,024 tokens, 1,200 updates an epoch; at most 90 seconds",
        ),
        (
            {"max_epochs": 2, "max_time": "00:00:15:00"},
            10,
            "batches of 1,024 tokens, 10 updates an epoch; 20 updates in all, 2 epochs; at most 00:00:15:00",
        ),
        ({"max_epochs": 1}, 1, "batches of 1,024 tokens, 1 update an epoch; 1 update in all, 1 epoch"),
        ({"max_epochs": 30}, None, "batches of 1,024 tokens; 30 epochs"),
        ({"max_epochs": -1, "max_steps": 50}, None, "batches of 1,024 tokens; 50 updates in all"),
    ],
)
def test_summary_line_by_hand(trainer: dict[str, Any], updates: int | None, line: str) -> None:
    assert summary(OmegaConf.create(trainer), 1024, updates) == line
