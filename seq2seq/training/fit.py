"""Training, from a config and what it describes to checkpoints."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.strategies import DDPStrategy
from omegaconf import DictConfig

from seq2seq.compat.lightning import NEVER, quiet
from seq2seq.config.instantiate import build_node, build_tool, plain
from seq2seq.data.captions import CaptionCorpus
from seq2seq.data.corpus import Corpus
from seq2seq.encoders.backbone import BackboneEncoder
from seq2seq.errors import UserError
from seq2seq.model import Seq2Seq
from seq2seq.runtime.kernels import avoid_wrong_ones
from seq2seq.runtime.memory import keep_freed, peak, reset_peak
from seq2seq.stored import model_file, resume_file
from seq2seq.training import launch
from seq2seq.training.callbacks.annealing import Annealing
from seq2seq.training.callbacks.attention_plots import AttentionPlots
from seq2seq.training.callbacks.averaging import averaging
from seq2seq.training.callbacks.checkpoints import Checkpoints, RunFiles
from seq2seq.training.callbacks.overfit import Overfit, without_dropout
from seq2seq.training.callbacks.profiler import PhaseProfiler, Profile
from seq2seq.training.callbacks.progress import Progress
from seq2seq.training.callbacks.throughput import Throughput
from seq2seq.training.csv_logger import CSVLogger
from seq2seq.training.datamodule import DataModule
from seq2seq.training.interruption import Interrupted, Interruption
from seq2seq.training.module import Training
from seq2seq.training.options import TrainingOptions
from seq2seq.training.precision import check_precision, precision_of, tell_speed
from seq2seq.training.resume import ResumeState
from seq2seq.training.self_critical import SelfCritical
from seq2seq.training.validation import Validation

log = logging.getLogger(__name__)

OURS = {
    "callbacks": "training.*",
    "check_val_every_n_epoch": "training.validate_every",
    "default_root_dir": "hydra.run.dir",
    "barebones": "debug=profile",
    "enable_checkpointing": "training.save_steps and save_minutes",
    "enable_model_summary": "results.json, which counts the parameters",
    "fast_dev_run": "debug=batch",
    "logger": "logger=csv|wandb|tensorboard",
    "num_sanity_val_steps": "debug=batch",
    "overfit_batches": "debug=overfit",
    "profiler": "debug=profile",
    "reload_dataloaders_every_n_epochs": "data.*",
    "use_distributed_sampler": "data.*",
    "val_check_interval": "training.validate_every",
}
"""Options of ``lightning.Trainer`` that are set here, and what a user sets instead."""


@dataclass(frozen=True)
class FitResult:
    """What training came to; the ``best`` model is of the last weights where there was no validation."""

    best: Path
    last: Path
    monitor: str
    best_score: float | None
    best_step: int
    steps: int  # updates, of all sittings together
    epochs: int
    tokens: int  # target tokens trained on, likewise
    seconds: float  # spent training on them
    tokens_per_second: float
    peak_memory: int | None  # bytes: on the GPU, or of the process with what ran in it before
    skipped: int  # updates left out because they were not finite
    stopped_early: bool


def fit(
    config: DictConfig,
    corpus: Corpus,
    model: Seq2Seq,
    run_dir: Path,
    resume: Path | None = None,
    *,
    score: Callable[[FitResult], Mapping[str, float]] | None = None,
) -> FitResult:
    """Trains ``model`` on ``corpus`` as ``config`` says, or goes on from the checkpoint ``resume``.

    Every checkpoint also carries the config and the tokenizers. With several devices, the other processes are started
    and ended in here. ``score`` is called once training is over and before the run's trackers close, which show the
    figures that it returns by name.

    Raises:
        UserError: options that cannot be, or a loss that is not finite.
        Interrupted: by Ctrl-C or SIGTERM, after last.ckpt was written; a SystemExit with the right code.
    """
    keep_freed()
    avoid_wrong_ones()
    options: TrainingOptions = build_node(config.training)
    validation = Validation(corpus, options)
    if config.trainer.get("limit_val_batches") != 0:
        validation.check(options.monitored)
    with quiet():
        session = _Session(config, options, corpus, model, validation, run_dir)
        devices = session.trainer.num_devices * session.trainer.num_nodes
        alone = devices == 1 or launch.is_launched()
        try:
            with nullcontext() if alone else launch.others(devices, fit, config, corpus, model, run_dir, resume):
                result = session.run(resume)
            if score is not None and session.trainer.is_global_zero:
                session.show(score(result))
        finally:
            session.close()
        return result


class _Session:
    """The trainer and what it is made of."""

    def __init__(
        self,
        config: DictConfig,
        options: TrainingOptions,
        corpus: Corpus,
        model: Seq2Seq,
        validation: Validation,
        run_dir: Path,
    ) -> None:
        self.run_dir, self.options = run_dir, options
        if options.overfit is not None:
            without_dropout(model)
            if isinstance(corpus, CaptionCorpus):
                corpus.captions = "first"  # of one picture several can't all be certain
        tokenizers = corpus.codec.tokenizers
        kept = _kept(config, model)
        self.module = Training(
            model,
            build_node(config.loss),
            build_tool(config.optimizer),
            build_tool(config.schedule),
            options,
            validation,
            {"config": kept, "tokenizers": {side: tokenizer.state() for side, tokenizer in tokenizers.items()}},
            SelfCritical(options, corpus, model, config.seed) if options.reward else None,
        )
        self.data = DataModule(corpus, config.seed, repeat_first=options.overfit is not None)
        self.position = ResumeState(self.data, config.seed, options.validate_every)
        self.curves = Throughput(config.trainer.get("log_every_n_steps") or 50)
        self.interruption = Interruption(self.position)
        self.files = RunFiles(run_dir / "checkpoints", kept, tokenizers, options.monitored)
        self.checkpoints = Checkpoints(self.files, self.position, options)
        self.early_stopping = EarlyStopping(
            f"validation/{options.monitored}",
            mode=options.direction,
            patience=options.patience or NEVER,
            check_finite=False,  # not-a-number is no new best; the run may come back from it
            check_on_train_epoch_end=False,
        )
        self.trainer = self._trainer(config)
        if self.trainer.strategy.root_device.type == "cpu" and self.trainer.is_global_zero:
            tell_speed(self.trainer.precision, model)

    def run(self, resume: Path | None) -> FitResult:
        """Trains to the end."""
        began = time.monotonic()
        reset_peak()
        if resume is not None and self.trainer.is_global_zero:
            settle(run_dir=self.run_dir, last=resume)
        try:
            self.trainer.fit(self.module, datamodule=self.data, ckpt_path=resume, weights_only=True)
            if self.interruption.received:
                raise Interrupted(self.interruption.received)
        except Interrupted:
            if self.trainer.is_global_zero:
                step = self.trainer.global_step
                log.warning("stopped at step %d; to go on: python train.py resume=%s", step, self.run_dir)
            raise
        c = self.checkpoints
        best = self.files.model
        if self.trainer.is_global_zero:
            best = self.files.finish(self.trainer.global_step, c.best_score is not None)
        log.info("trained for %.0f seconds, %d updates", time.monotonic() - began, self.trainer.global_step)
        return FitResult(
            best=best,
            last=self.files.last,
            monitor=self.options.monitored,
            best_score=c.best_score,
            best_step=c.best_step,
            steps=self.trainer.global_step,
            epochs=self.position.epochs,
            tokens=int(self.curves.tokens),
            seconds=self.curves.seconds,
            tokens_per_second=self.curves.speed,
            peak_memory=peak(),
            skipped=self.module.guard.skipped,
            stopped_early=self.early_stopping.wait_count >= self.early_stopping.patience,
        )

    def show(self, scores: Mapping[str, float]) -> None:
        """Hands the trackers what the finished run came to; the curves end where training did."""
        for logger in self.trainer.loggers:
            if not isinstance(logger, CSVLogger):
                logger.log_metrics(dict(scores), self.trainer.global_step)
                logger.save()

    def close(self) -> None:
        """Ends the run's page: the next run of a sweep begins its own."""
        for logger in self.trainer.loggers:
            if isinstance(logger, WandbLogger) and self.trainer.is_global_zero:
                logger.experiment.finish()

    def _trainer(self, config: DictConfig) -> L.Trainer:
        chosen = plain(config.trainer)
        check_precision(chosen, self.module.model)
        if taken := sorted(set(chosen) & set(OURS)):
            raise UserError(f"trainer.{taken[0]} is set by the application; use {OURS[taken[0]]}")
        strategy = chosen.get("strategy", "auto")
        if strategy == "ddp":
            # buffers are alike in all processes: they follow from the update's number, or from what all were told
            # (``processes``); sending them in validation would need equal batches
            waiting = any(isinstance(m, BackboneEncoder) and m.train_from for m in self.module.modules())
            strategy = DDPStrategy(broadcast_buffers=False, find_unused_parameters=waiting)
        phases = PhaseProfiler() if self.options.profile else None
        trainer: L.Trainer = build_tool(
            config.trainer,
            precision=precision_of(config.trainer),
            strategy=strategy,
            callbacks=self._callbacks(phases, chosen.get("enable_progress_bar", True)),
            logger=_loggers(config, self.run_dir),
            profiler=phases,
            plugins=[self.files],
            default_root_dir=self.run_dir,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            check_val_every_n_epoch=None,
            val_check_interval=NEVER,  # ``ResumeState`` says when
            reload_dataloaders_every_n_epochs=1,
            use_distributed_sampler=False,
        )
        return trainer

    def _callbacks(self, phases: PhaseProfiler | None, is_shown: bool) -> list[Callback]:
        """In the order in which they act. ``Checkpoints`` comes last, when all others know of the update."""
        o, validation = self.options, self.module.validation
        optional: list[Callback] = []
        if o.plots and o.decoding is not None:
            directory = self.run_dir / "attention" / "validation"
            optional.append(AttentionPlots(directory, validation, o.decoding, o))
        if o.overfit is not None:
            optional.append(Overfit(o.overfit))
        if o.profile is not None and phases is not None:
            optional.append(Profile(o.profile, phases, self.run_dir / "profile.txt"))
        return [
            self.position,
            Annealing(),
            *averaging(o),
            self.curves,
            *([Progress(self.curves)] if is_shown else []),
            *optional,
            self.early_stopping,
            self.interruption,
            self.checkpoints,
        ]


def settle(run_dir: Path, last: Path) -> None:
    """Put the best model that ``last`` names into its place."""
    content = resume_file.read(last)
    if "format" in content and last.parent == run_dir / "checkpoints":
        model_file.settle(last.parent, content.get("model"))


def _kept(config: DictConfig, model: Seq2Seq) -> dict[str, Any]:
    """The config as it is stored: resolved, and with what a network of another library is built of."""
    kept = plain(config)
    node: dict[str, Any] | None = kept["encoder"]
    for module in (model.encoder, getattr(model.encoder, "frames", None)):
        if isinstance(module, BackboneEncoder) and node is not None:
            node["architecture"] = module.architecture
        node = (node or {}).get("frames")
    return kept


def _loggers(config: DictConfig, run_dir: Path) -> list[Logger]:
    try:
        return [build_tool(node, save_dir=run_dir) for node in (config.get("logger") or {}).values()]
    except ModuleNotFoundError as error:
        names = ", ".join(map(str, config.logger))
        raise UserError(f"logger: one of {names} needs a package that is not installed: {error}") from error
