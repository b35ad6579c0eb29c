"""Entry point of training: ``fit`` trains a model from a config and writes checkpoints."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback, EarlyStopping
from omegaconf import DictConfig

from seq2seq.compat.lightning import NEVER, attach, quiet
from seq2seq.config.extensions import command
from seq2seq.config.instantiate import build_node, plain
from seq2seq.data.corpus import Corpus
from seq2seq.model import Seq2Seq
from seq2seq.runtime.memory import keep_freed, peak, reset_peak
from seq2seq.runtime.torch_kernels import avoid_wrong_ones
from seq2seq.stored import model_file, resume_file
from seq2seq.tasks.base import Task
from seq2seq.training import launch, trackers
from seq2seq.training.callbacks.annealing import Annealing
from seq2seq.training.callbacks.attention_plots import AttentionPlots
from seq2seq.training.callbacks.averaging import averaging
from seq2seq.training.callbacks.checkpoints import Checkpoints, RunFiles
from seq2seq.training.callbacks.onset import Onset
from seq2seq.training.callbacks.overfit import Overfit, without_dropout
from seq2seq.training.callbacks.profiler import PhaseProfiler, Profile
from seq2seq.training.callbacks.progress import Progress
from seq2seq.training.callbacks.throughput import Throughput
from seq2seq.training.callbacks.validation_report import ValidationReport
from seq2seq.training.datamodule import DataModule
from seq2seq.training.extent import seconds_left
from seq2seq.training.frozen import freeze
from seq2seq.training.interruption import Interrupted, Interruption
from seq2seq.training.module import Training
from seq2seq.training.precision import tell_speed
from seq2seq.training.resume import ResumeState
from seq2seq.training.self_critical import SelfCritical
from seq2seq.training.trackers import FinalReport
from seq2seq.training.trainer_parts import TrainingParts
from seq2seq.training.validation import Validation

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitResult:
    """Result of a training."""

    best: Path  # file of the best model; without validation it has the last weights
    last: Path  # checkpoint from which training can be resumed
    monitor: str  # validation metric that selects the best model
    best_score: float | None  # its best value; None without validation
    best_step: int  # updates before the best validation
    steps: int  # number of updates, including those before a resumption
    epochs: int  # number of epochs; the last one may be incomplete
    tokens: int  # number of target tokens trained on, including those before a resumption
    seconds: float  # time of training without validation, including the time before a resumption
    tokens_per_second: float  # ``tokens`` / ``seconds``
    peak_memory: int | None  # bytes on the GPU, else of the process, with what ran in it before; None: unknown
    skipped: int  # number of updates that were skipped because they were not finite
    stopped_early: bool  # whether ``training.patience`` ended training
    onset: int | None = None  # updates before the first validation with onset of attention (``Onset``)
    nll_increase_averaged: float | None = None  # nats per token at the last validation; None: not measured


def fit(
    config: DictConfig,
    corpus: Corpus,
    model: Seq2Seq,
    run_dir: Path,
    resume: Path | None = None,
    *,
    parts: TrainingParts | None = None,
    score: Callable[[FitResult], FinalReport] | None = None,
) -> FitResult:
    """Train ``model`` on ``corpus``.

    Every checkpoint also contains the config and the tokenizers. If there are several devices, this function starts
    and ends the other processes.

    Args:
        config: The composed config of the run.
        corpus: The data.
        model: The model to train.
        run_dir: Directory of the run.
        resume: Checkpoint from which to resume; None starts a new training.
        parts: Parts that were already built from ``config``; None builds them.
        score: Called after training, before the loggers close. The loggers show the report that it returns.

    Returns:
        The files of the model and the statistics of training.

    Raises:
        UserError: Options that do not fit together, or a loss that is not finite.
        Interrupted: Ctrl-C or SIGTERM, after last.ckpt is written; a SystemExit with the right code.
    """
    # Set up memory and kernels of this process.
    keep_freed()
    avoid_wrong_ones()
    # Build the parts, and check that validation measures the monitored metric.
    parts = TrainingParts.build(config, model) if parts is None else parts
    validation = Validation(corpus, parts.options, model.decoder.output.loss_name)
    if config.trainer.get("limit_val_batches") != 0:
        validation.check(parts.options.monitored)
    with quiet():
        # Start the other processes, unless a launcher has started them.
        session = _Session(config, parts, corpus, model, validation, run_dir)
        devices = session.trainer.num_devices * session.trainer.num_nodes
        alone = devices == 1 or launch.is_launched()
        try:
            with nullcontext() if alone else launch.others(devices, fit, config, corpus, model, run_dir, resume):
                result = session.run(resume)
            # Show the final scores while the loggers are open.
            if score is not None and session.trainer.is_global_zero:
                trackers.show_results(session.trainer.loggers, score(result), config, result.steps)
        finally:
            if session.trainer.is_global_zero:
                trackers.close(session.trainer.loggers)
        return result


class _Session:
    """One training run: the trainer with its data, module, callbacks and loggers."""

    def __init__(
        self,
        config: DictConfig,
        parts: TrainingParts,
        corpus: Corpus,
        model: Seq2Seq,
        validation: Validation,
        run_dir: Path,
    ) -> None:
        options = parts.options
        self.time_option = "budget.seconds" if (config.get("budget") or {}).get("seconds") else "trainer.max_time"
        self.run_dir, self.options, self.trainer = run_dir, options, parts.trainer
        # Prepare the model and the data to overfit one batch.
        if options.overfit is not None:
            without_dropout(model)
            corpus.keep_first_targets()  # a source with several targets cannot predict each with certainty
        freeze(model, options.freeze)
        # Build the Lightning module and the data.
        tokenizers = corpus.codec.tokenizers
        kept = _kept(config, model)
        self.module = Training(
            model,
            parts.criterion,
            parts.optimizer,
            parts.schedule,
            options,
            validation,
            {"config": kept, "tokenizers": {side: tokenizer.state() for side, tokenizer in tokenizers.items()}},
            SelfCritical(options, corpus, model, config.seed) if options.reward else None,
        )
        self.data = DataModule(corpus, config.seed, repeat_first=options.overfit is not None)
        # Build the callbacks.
        self.resume_state = ResumeState(self.data, config.seed, options.validate_every)
        self.throughput = Throughput(config.trainer.get("log_every_n_steps") or 50)
        self.interruption = Interruption(self.resume_state)
        self.files = RunFiles(run_dir / "checkpoints", kept, tokenizers, options.monitored)
        self.checkpoints = Checkpoints(self.files, self.resume_state, options)
        self.early_stopping = EarlyStopping(
            f"validation/{options.monitored}",
            mode=options.direction,
            patience=options.patience or NEVER,
            check_finite=False,  # a score that is not a number is no new best, but later scores may be finite again
            check_on_train_epoch_end=False,
        )
        self.onset = Onset()
        self.task: Task = build_node(config.task)
        # Connect them to the trainer.
        self._attach(config, parts.profiler)
        if self.trainer.strategy.root_device.type == "cpu" and self.trainer.is_global_zero:
            tell_speed(self.trainer.precision, model)

    def run(self, resume: Path | None) -> FitResult:
        """Train to the end, from the checkpoint ``resume`` if it is given, and return the result."""
        began = time.monotonic()
        reset_peak()
        # A killed run may have left the best model under its temporary name.
        if resume is not None and self.trainer.is_global_zero:
            settle(run_dir=self.run_dir, last=resume)
        # Train.
        try:
            self.trainer.fit(self.module, datamodule=self.data, ckpt_path=resume, weights_only=True)
            if self.interruption.received:
                raise Interrupted(self.interruption.received)
        except Interrupted:
            if self.trainer.is_global_zero:
                step = self.trainer.global_step
                log.warning("stopped at step %d; to continue: %s resume=%s", step, command("train"), self.run_dir)
            raise
        # Write the best model, and collect the result.
        c = self.checkpoints
        best = self.files.model
        if self.trainer.is_global_zero:
            best = self.files.finish(self.trainer.global_step, c.best_score is not None)
        seconds, updates = time.monotonic() - began, self.trainer.global_step
        log.info("trained for %.0f seconds, %d updates%s", seconds, updates, self._reason())
        return FitResult(
            best=best,
            last=self.files.last,
            monitor=self.options.monitored,
            best_score=c.best_score,
            best_step=c.best_step,
            steps=self.trainer.global_step,
            epochs=self.resume_state.epochs,
            tokens=int(self.throughput.tokens),
            seconds=self.throughput.seconds,
            tokens_per_second=self.throughput.speed,
            peak_memory=peak(),
            skipped=self.module.update.guard.skipped,
            stopped_early=self.early_stopping.wait_count >= self.early_stopping.patience,
            onset=self.onset.step,
            nll_increase_averaged=self.onset.increase,
        )

    def _reason(self) -> str:
        """Return the reason why training ended before its last planned update; empty without one."""
        if self.early_stopping.wait_count >= self.early_stopping.patience:
            return f"; no new best in training.patience={self.options.patience} validations"
        if seconds_left(self.trainer) == 0:
            return f"; the time of {self.time_option} is over"
        return ""

    def _attach(self, config: DictConfig, profiler: PhaseProfiler | None) -> None:
        """Give the trainer its directory, checkpoints, callbacks and loggers."""
        *callbacks, checkpoints = self._callbacks(profiler, config.trainer.get("enable_progress_bar", True))
        attach(self.trainer, self.run_dir, self.files, callbacks, checkpoints)
        self.trainer.loggers = trackers.build_loggers(config, self.run_dir)

    def _callbacks(self, phases: PhaseProfiler | None, is_shown: bool) -> list[Callback]:
        """Return the callbacks in the order in which they run; ``Checkpoints`` is last and saves the others' state."""
        o, validation = self.options, self.module.validation
        # Add the callbacks that options ask for.
        optional: list[Callback] = []
        if o.num_plots and o.decoding is not None:
            directory = self.run_dir / "attention" / "validation"
            optional.append(AttentionPlots(directory, validation, o.decoding, o, self.task))
        if o.overfit is not None:
            optional.append(Overfit(o.overfit))
        if o.profile is not None and phases is not None:
            optional.append(Profile(o.profile, phases, self.run_dir / "profile.txt"))
        # ``ResumeState`` is first: it decides whether a validation is due.
        report = ValidationReport(validation, o, self.checkpoints)
        return [
            self.resume_state,
            Annealing(),
            *averaging(o),
            self.throughput,
            report,
            *([Progress(self.throughput, report)] if is_shown else []),
            *optional,
            self.early_stopping,
            self.onset,
            self.interruption,
            self.checkpoints,
        ]


def settle(run_dir: Path, last: Path) -> None:
    """Give the file of the best model its final name, after a run that was killed while it saved.

    Args:
        run_dir: Directory of the run. Nothing happens if ``last`` is elsewhere.
        last: Checkpoint that names the digest of the best model.
    """
    content = resume_file.read(last)
    if "format" in content and last.parent == run_dir / "checkpoints":
        model_file.settle(last.parent, content.get("model"))


def _kept(config: DictConfig, model: Seq2Seq) -> dict[str, Any]:
    """Return the config for checkpoints: resolved, and with the description of a pretrained encoder."""
    kept = plain(config)
    model.encoder.describe(kept["encoder"])
    return kept
