"""Tests of signals during training: the checkpoint, the message and the exit code."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from seq2seq.training.fit import fit
from seq2seq.training.interruption import Interrupted, Interruption
from seq2seq.training.module import Training


def test_sigterm_saves_a_checkpoint_and_reports_how_to_resume(
    prepare: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]
    config, corpus, model = prepare()
    seen: list[int] = []

    def send(module: nn.Module, args: Any) -> None:
        seen.append(1)
        if len(seen) == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    model.register_forward_pre_hook(send)
    with pytest.raises(Interrupted) as stopped:
        fit(config, corpus, model, tmp_path)
    assert stopped.value.code == 143
    assert f"stopped at step 5; to continue: python train.py resume={tmp_path}" in caplog.text
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 5
    assert [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)] == before


def test_second_signal_ends_the_process_at_once(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        try:
            module = Training.__new__(Training)
            vars(module)["update"] = SimpleNamespace()
            Interruption(None).on_train_start(None, module)  # reads neither the trainer nor its position
            os.kill(os.getpid(), signal.SIGINT)
            (tmp_path / "one update more").touch()
            os.kill(os.getpid(), signal.SIGINT)
            (tmp_path / "never").touch()
        finally:
            os._exit(99)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGINT
    assert [path.name for path in tmp_path.iterdir()] == ["one update more"]
