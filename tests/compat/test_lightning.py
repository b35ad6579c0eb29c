"""Canary tests of Lightning: a failing test reports what an upgrade has changed."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, Checkpoint, Timer
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.profilers import Profiler
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from seq2seq.compat import lightning as compat

BATCHES = 5  # of an epoch


class Rest:
    """The batches after the first ``start``. The length is that of all, as in ``seq2seq.training.datamodule``."""

    def __init__(self, start: int) -> None:
        self.start = start

    def __len__(self) -> int:
        return BATCHES

    def __iter__(self) -> Iterator[list[Tensor]]:
        return repeat([torch.ones(1, 1)], BATCHES - self.start)


class Tiny(L.LightningModule):
    """A module of one weight and five batches. In the first epoch, ``done`` batches are already trained."""

    def __init__(self, done: int = 0) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.done = done

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self.layer(batch[0]).square().sum()
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)

    def train_dataloader(self) -> Rest:
        return Rest(0 if self.trainer.current_epoch else self.done)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(TensorDataset(torch.ones(1, 1)))


class Events(Callback):
    """Callback that records what ``look`` returns after each batch, and where validations run."""

    def __init__(self, look: Callable[[L.Trainer], Any], is_validation_due: bool = False) -> None:
        self.look, self.is_validation_due = look, is_validation_due
        self.events: list[Any] = []

    def on_train_start(self, trainer: L.Trainer, *_: Any) -> None:
        compat.set_validation(trainer, is_due=self.is_validation_due)

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        compat.set_validation(trainer, is_due=False)
        self.events.append(self.look(trainer))

    def on_validation_start(self, *_: Any) -> None:
        self.events.append("validation")


def trainer_of(tmp_path: Path, **options: Any) -> L.Trainer:
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "default_root_dir": tmp_path,
        "logger": False,
        "max_epochs": 2,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "check_val_every_n_epoch": None,
        "reload_dataloaders_every_n_epochs": 1,
        "val_check_interval": compat.NEVER,
    }
    return L.Trainer(**{**defaults, **options})


def seen(look: Callable[[L.Trainer], Any], tmp_path: Path, **options: Any) -> list[Any]:
    events = Events(look)
    with compat.quiet():
        trainer_of(tmp_path, callbacks=[events], **options).fit(Tiny())
    return events.events


def test_the_last_batch_of_an_update_is_known(tmp_path: Path) -> None:
    epoch = [False, True, False, True, True]  # the last update has one batch
    assert seen(compat.ends_update, tmp_path, accumulate_grad_batches=2) == epoch * 2, (
        "Lightning changed when an update ends under accumulate_grad_batches"
    )


@pytest.mark.parametrize(("limit", "size"), [(1.0, BATCHES), (3, 3)])
def test_the_last_batch_of_an_epoch_is_known(tmp_path: Path, limit: float, size: int) -> None:
    epoch = [False] * (size - 1) + [True]
    assert seen(compat.ends_epoch, tmp_path, limit_train_batches=limit) == epoch * 2, (
        "Lightning changed which batch is the last of an epoch"
    )


def test_batches_are_counted_in_an_epoch_and_in_all(tmp_path: Path) -> None:
    assert seen(compat.epoch_batches, tmp_path) == [1, 2, 3, 4, 5] * 2, "Lightning changed its counter of an epoch"
    assert seen(compat.total_batches, tmp_path) == list(range(1, 11)), "Lightning changed its counter of all epochs"


def test_validation_runs_only_after_the_batches_that_ask_for_it(tmp_path: Path) -> None:
    def look(trainer: L.Trainer) -> int:
        number = compat.total_batches(trainer)
        compat.set_validation(trainer, is_due=number in (3, 5, 8))
        return number

    expected = [1, 2, 3, "validation", 4, 5, "validation", 6, 7, 8, "validation", 9, 10]
    assert seen(look, tmp_path) == expected, "Lightning changed when it reads val_check_batch"


def test_a_timer_of_max_time_or_of_the_callbacks_is_found(tmp_path: Path) -> None:
    assert compat.time_limit(trainer_of(tmp_path)) is None
    assert isinstance(compat.time_limit(trainer_of(tmp_path, max_time="00:01:00:00")), Timer), (
        "Lightning changed how max_time ends training, or where a trainer keeps its callbacks"
    )
    timer = Timer("00:01:00:00")
    assert compat.time_limit(trainer_of(tmp_path, callbacks=[timer])) is timer


def test_a_run_is_attached_to_a_trainer(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path / "before", max_time="00:01:00:00")
    files, first, last = TorchCheckpointIO(), Callback(), Checkpoint()
    compat.attach(trainer, tmp_path / "run", files, [first], last)
    kinds = [type(callback) for callback in trainer.callbacks]
    assert (kinds[0], kinds[-1], Timer in kinds) == (Callback, Checkpoint, True), (
        "Lightning changed where a trainer keeps its callbacks"
    )
    assert trainer.strategy.checkpoint_io is files, "Lightning changed which object writes checkpoints"
    assert trainer.default_root_dir == str(tmp_path / "run"), "Lightning changed where a trainer keeps its directory"


class Steps(DummyLogger):
    """A logger that records the steps of its metrics."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[int | None] = []

    def log_metrics(self, *args: Any, step: int | None = None, **kwargs: Any) -> None:
        self.steps.append(step)


def resumed(tmp_path: Path, done: int, *, validating: bool = False) -> tuple[list[Any], list[int | None]]:
    """Resume a run after ``done`` batches of its first epoch; return its events and the steps that it logs."""
    progress = {"epoch": 0, "batches": done, "total_batches": done, "updates": done, "ends_epoch": done == BATCHES}

    class Progress(Callback):
        def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
            compat.write_progress(checkpoint, **progress, validating=validating)

    with compat.quiet():
        first = trainer_of(tmp_path, callbacks=[Progress()], max_steps=4)
        first.fit(Tiny())
        first.save_checkpoint(tmp_path / "last.ckpt")
        logger = Steps()
        events = Events(lambda t: (t.current_epoch, compat.epoch_batches(t), compat.total_batches(t)), validating)
        second = trainer_of(tmp_path, callbacks=[events], logger=logger, log_every_n_steps=1)
        second.fit(Tiny(done), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    return events.events, logger.steps


def test_a_run_resumes_after_the_batches_that_a_checkpoint_counts(tmp_path: Path) -> None:
    events, steps = resumed(tmp_path, 3)
    rest = [(0, 4, 4), (0, 5, 5), *((1, n, 5 + n) for n in range(1, 6))]
    assert events == rest, "Lightning changed the counters in checkpoint['loops'], or how they are read"
    assert steps == [3, 4, 5, 6, 7, 8, 9], "Lightning changed _batches_that_stepped, the step of what is logged"


def test_a_run_resumes_with_the_next_epoch_after_the_last_batch_of_one(tmp_path: Path) -> None:
    events, _ = resumed(tmp_path, BATCHES)
    assert events == [(1, n, 5 + n) for n in range(1, 6)], "Lightning changed how a checkpoint ends an epoch"


def test_an_interrupted_validation_runs_again_first(tmp_path: Path) -> None:
    events, _ = resumed(tmp_path, 3, validating=True)
    assert events[:2] == ["validation", (0, 4, 4)], "Lightning changed how it recognises an interrupted validation"


def test_the_profiled_actions_cover_all_phases_of_an_update(tmp_path: Path) -> None:
    class Names(Profiler):
        def __init__(self) -> None:
            super().__init__()
            self.names: set[str] = set()

        def start(self, action_name: str) -> None:
            self.names.add(action_name)

        def stop(self, action_name: str) -> None:
            pass

    profiler = Names()
    with compat.quiet():
        trainer_of(tmp_path, profiler=profiler, max_steps=2).fit(Tiny())
    found = {phase for name in profiler.names if (phase := compat.phase_of(name))}
    missing = {action for action, phase in compat.PHASES.items() if phase not in found}
    assert not missing, f"Lightning changed the names of profiled actions: none ends in {missing}"


def warned(run: Callable[[], object]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run()
    return [str(warning.message) for warning in caught]


def test_quiet_training_gives_no_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = "lightning.pytorch.trainer.connectors.data_connector.suggested_max_num_workers"
    monkeypatch.setattr(target, lambda *_: 8)  # a machine on which Lightning recommends workers

    def run() -> None:
        trainer_of(tmp_path, logger=Steps(), log_every_n_steps=50, max_epochs=1).fit(Tiny())

    def quiet() -> None:
        with compat.quiet():
            run()

    loud = warned(run)
    for advice in ("does not have many workers", "smaller than the logging interval"):
        assert any(advice in text for text in loud), f"Lightning changed a warning: none says {advice!r}: {loud}"
    assert warned(quiet) == [], "Lightning gives a new warning"


def test_lightning_still_gives_the_warnings_that_are_matched() -> None:
    package = Path(L.__file__).parent
    text = "".join(file.read_text(encoding="utf-8") for file in package.glob("pytorch/**/*.py"))
    text = re.sub(r'"\s*f?"', "", text)  # joins adjacent string literals
    for advice in compat.ADVICE:
        assert advice in text, f"Lightning changed a warning: none says {advice!r}"


def test_quiet_silences_what_lightning_logs_of_devices(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    levels = {name: logging.getLogger(name).level for name in compat.LOGGERS}
    for name in compat.LOGGERS:
        logging.getLogger(name).setLevel(logging.NOTSET)
    try:
        with caplog.at_level(logging.INFO):
            trainer_of(tmp_path)
            assert "GPU available" in caplog.text, "Lightning changed what it logs of devices, or by which logger"
            caplog.clear()
            with compat.quiet():
                trainer_of(tmp_path)
            assert caplog.text == "", "Lightning changed the names of its loggers"
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
