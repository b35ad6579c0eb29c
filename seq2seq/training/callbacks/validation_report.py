"""Report of a validation in the log: the main figures, and the output for one record."""

from __future__ import annotations

import logging
import math
import sys
import time

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from typing_extensions import override

from seq2seq.data.collate import batches_of
from seq2seq.metrics.table import rounded
from seq2seq.training.callbacks.checkpoints import Checkpoints
from seq2seq.training.extent import share_done
from seq2seq.training.module import Training
from seq2seq.training.options import TrainingOptions
from seq2seq.training.validation import Validation

log = logging.getLogger(__name__)

REPORTS = 10  # number of reports in a log whose run has a known end, besides the first and the last one
GROWTH = 1.25  # ratio of the numbers of validations at two reports in the log of another run
WIDTH = 80  # longest excerpt of a text


class ValidationReport(Callback):
    """Callback that logs the main figures of a validation and the output for one record, always the same one.

    A terminal gets a report of each validation, a log file or a pipe only of some, evenly over training. All figures of
    all validations are in ``metrics.csv``.

    Args:
        validation: The validation, which holds records, outputs and scores.
        options: Options of training: the monitored metric and the search.
        checkpoints: Callback that knows the best score; it must run after this one.
    """

    def __init__(self, validation: Validation, options: TrainingOptions, checkpoints: Checkpoints) -> None:
        self.validation, self.options, self.checkpoints = validation, options, checkpoints
        self.reported_at = -math.inf  # time of the last report (``time.monotonic``)
        self._count, self._last, self._is_due = 0, -math.inf, False
        self._output: str | None = None
        self._source_is_known = False

    @override
    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Generate the output while the averaged weights are in the model, if a report is due."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        self._count += 1
        self._output = None
        self._is_due = self._due(trainer)
        assert isinstance(pl_module, Training)
        if self._is_due and self.options.decoding is not None:
            self._output = self._generated(pl_module)

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the report, if it is due."""
        if trainer.sanity_checking or not trainer.is_global_zero or not self._is_due:
            return
        self.reported_at = time.monotonic()
        # Report the figures that guide training; ``metrics.csv`` has the others.
        scores, monitored = self.validation.scores, self.options.monitored
        names = dict.fromkeys([monitored, self.validation.loss_name, *self.options.metrics, "aer"])
        figures = ", ".join(
            " ".join([name, *rounded(name, scores[name])]).rstrip()
            for name in sorted(names, key=self.validation.loss_name.__ne__)
            if name in scores
        )
        best = " (best)" if self.options.better(scores[monitored], self.checkpoints.best_score) else ""
        log.info("step %d: validation %s%s", trainer.global_step, figures, best)
        if self._output is not None:
            for line in self._example(self._output):
                log.info("  %s", line)

    def _due(self, trainer: L.Trainer) -> bool:
        """Return True if a report is due, and remember its place in training."""
        share = share_done(trainer)
        # Without a known end, reports become rarer as training goes on.
        place = math.log(self._count, GROWTH) if share is None else share * REPORTS
        is_due = sys.stderr.isatty() or place >= self._last + 1 - 1e-6 or share == 1
        if is_due:
            self._last = place
        return is_due

    def _generated(self, module: Training) -> str:
        """Return the output for the chosen record, without effect on the random numbers of training."""
        validation, search = self.validation, self.options.decoding
        if (known := validation.hypotheses.get(validation.example)) is not None:
            return known
        assert search is not None
        corpus, devices = validation.corpus, [module.device] if module.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            (batch,) = batches_of([validation.records[validation.example]["source"]], corpus.codec, corpus.max_tokens)
            batch = batch.to(module.device)
            return validation.text(search(module.model, batch)[0][0], batch.words(0))

    def _example(self, output: str) -> list[str]:
        """Return the lines that show the chosen record: once its source, then output and reference."""
        record = self.validation.records[self.validation.example]
        source, references = [], record.get("references") or [record["target"]]
        if not self._source_is_known:
            self._source_is_known = True
            source = [f"source     {excerpt(record['source'])}"]
        if output in references:
            return [*source, f"output     {excerpt(output)}   (equals the reference)"]
        return [*source, f"output     {excerpt(output)}", f"reference  {excerpt(references[0])}"]


def excerpt(text: str) -> str:
    """Return a text in one line, cut after 80 characters.

    Args:
        text: Any text.
    """
    line = " ".join(text.split())
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..."
