"""Tests of ranges in signatures, and of the check of configs that reads them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
import torch
from lightning import Trainer

from seq2seq.config.ranges import Count, CountOrZero, Positive, Range, Share
from seq2seq.config.validate import check_options
from seq2seq.errors import UserError


@dataclass
class Numbers:
    """A target whose options have ranges."""

    count: Count = 1
    some: CountOrZero | None = None
    rate: Positive = 1.0
    share: Share = 0.5
    end: Annotated[int, Range(1, also=-1)] = -1
    free: float = 0.0
    several: Sequence[float] = ()
    named: dict[str, Any] = field(default_factory=dict)


@pytest.mark.parametrize(
    "options",
    [
        {"count": 1, "some": 0, "rate": 1e-9, "share": 0, "end": -1, "free": -5},
        {"count": 2**40, "some": None, "rate": 3, "share": 1.0, "end": 7, "several": [1, -2.5]},
    ],
)
def test_numbers_in_their_ranges_pass(options: dict[str, Any]) -> None:
    check_options("x", options, Numbers)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("count", 0, "x.count=0: must be int at least 1"),
        ("count", 1.5, "x.count=1.5: must be int at least 1"),
        ("count", True, "x.count=True: must be int at least 1"),
        ("some", -1, "x.some=-1: must be one of int at least 0, null"),
        ("rate", 0, "x.rate=0: must be float above 0"),
        ("rate", math.nan, "x.rate=nan: must be float above 0"),
        ("share", 1.01, "x.share=1.01: must be float at least 0 and at most 1"),
        ("end", 0, "x.end=0: must be int at least 1, or -1"),
        ("free", math.nan, "x.free=nan: must be a number between -9e+15 and 9e+15"),
        ("free", -math.inf, "x.free=-inf: must be a number between -9e+15 and 9e+15"),
        ("count", 10**20, "x.count=100000000000000000000: must be a number between -9e+15 and 9e+15"),
        ("several", [1.0, math.inf], "x.several=inf: must be a number between -9e+15 and 9e+15"),
        ("named", {"a": {"b": math.nan}}, "x.named=nan: must be a number between -9e+15 and 9e+15"),
    ],
)
def test_numbers_out_of_their_ranges_are_named(key: str, value: object, message: str) -> None:
    with pytest.raises(UserError) as caught:
        check_options("x", {key: value}, Numbers)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("target", "key", "value"),
    [
        (Trainer, "accumulate_grad_batches", 0),
        (Trainer, "max_epochs", 0),
        (Trainer, "max_steps", -2),
        (Trainer, "limit_train_batches", 0),
        (Trainer, "gradient_clip_val", -1.0),
        (torch.optim.AdamW, "lr", -1e-3),
        (torch.optim.SGD, "momentum", -0.1),
    ],
)
def test_other_packages_options_have_ranges_too(target: Any, key: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"^x\.{key}={value}: must be "):
        check_options("x", {key: value}, target)
