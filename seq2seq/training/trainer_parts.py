"""Parts of a training besides model and data, built from a config before any data is read."""

from __future__ import annotations

from dataclasses import dataclass, replace

import lightning as L
from lightning.pytorch.strategies import DDPStrategy
from omegaconf import DictConfig

from seq2seq.compat.lightning import NEVER, quiet
from seq2seq.config.instantiate import build_node, build_tool, plain
from seq2seq.errors import UserError
from seq2seq.loss import Criterion
from seq2seq.model import Seq2Seq
from seq2seq.training.callbacks.profiler import PhaseProfiler
from seq2seq.training.optimization import OptimizerFactory, ScheduleFactory
from seq2seq.training.options import TrainingOptions
from seq2seq.training.precision import accelerator_of, check_precision, precision_of

SET_HERE = {
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
"""Options of ``lightning.Trainer`` that the application sets, with the option that a user sets instead."""


@dataclass(frozen=True)
class TrainingParts:
    """Parts of one training run. The trainer gets callbacks and loggers later, since they need the run directory."""

    options: TrainingOptions  # the ``training`` node
    criterion: Criterion  # the ``loss`` node
    optimizer: OptimizerFactory  # makes the optimiser
    schedule: ScheduleFactory  # makes the learning-rate schedule
    profiler: PhaseProfiler | None  # measures the phases of an update; None without ``training.profile``
    trainer: L.Trainer  # without callbacks and loggers

    @staticmethod
    def build(config: DictConfig, model: Seq2Seq) -> TrainingParts:
        """Build the parts that ``config`` selects.

        Args:
            config: The composed config of the run.
            model: The model; it may be on the meta device.

        Raises:
            UserError: A constructor rejects its options, or this machine lacks what they need.
        """
        profiler = PhaseProfiler() if config.training.get("profile") else None
        trainer = _trainer(config, model, profiler)
        return TrainingParts(
            _options(config, model),
            build_node(config.loss),
            build_tool(config.optimizer),
            build_tool(config.lr_scheduler),
            profiler,
            trainer,
        )


def _options(config: DictConfig, model: Seq2Seq) -> TrainingOptions:
    """Build the options, with the loss of a sparse output layer as the metric that selects the best checkpoint."""
    options: TrainingOptions = build_node(config.training)
    output = model.decoder.output
    if not output.sparse:
        return options
    if options.reward is not None:
        raise UserError(
            f"training.reward={options.reward} needs the gradient of log p, which has no bound where a sparse output "
            "layer gives almost p = 0; use decoder/output=softmax"
        )
    if options.monitor in ("nll", "perplexity"):
        raise UserError(
            f"training.monitor={options.monitor} is undefined, because a sparse output layer gives words p = 0; use "
            f"training.monitor={output.loss_name}"
        )
    return replace(options, monitor=options.monitor or output.loss_name)


def _trainer(config: DictConfig, model: Seq2Seq, profiler: PhaseProfiler | None) -> L.Trainer:
    """Build the trainer, and check its options."""
    # Reject options that the application sets.
    options = plain(config.trainer)
    if taken := sorted(set(options) & set(SET_HERE)):
        raise UserError(f"trainer.{taken[0]} is set by the application; use {SET_HERE[taken[0]]}")
    # Set up DDP. All processes compute the same buffers, from the number of the update or from gathered values.
    # Broadcasting them in validation would require the same number of batches in each process.
    strategy = options.get("strategy", "auto")
    if strategy == "ddp":
        strategy = DDPStrategy(broadcast_buffers=False, find_unused_parameters=model.encoder.trains_later)
    # Build the trainer without callbacks and loggers.
    with quiet():
        trainer: L.Trainer = build_tool(
            config.trainer,
            accelerator=accelerator_of(config.trainer),
            precision=precision_of(config.trainer),
            strategy=strategy,
            logger=False,
            profiler=profiler,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            check_val_every_n_epoch=None,
            val_check_interval=NEVER,  # ``ResumeState`` decides when to validate
            reload_dataloaders_every_n_epochs=1,
            use_distributed_sampler=False,
        )
    check_precision(config.trainer, model)
    return trainer
