"""Plots of attention during training, always for the same validation sentences."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from typing_extensions import override

from seq2seq.data.collate import batches_of
from seq2seq.generation.attention_map import attention_maps
from seq2seq.search import Search
from seq2seq.tasks.annotations import annotations_of
from seq2seq.tasks.base import Task
from seq2seq.training.module import Training
from seq2seq.training.options import TrainingOptions
from seq2seq.training.trackers import show_plots
from seq2seq.training.validation import Validation


class AttentionPlots(Callback):
    """Callback that plots the first validation sentences with their generated outputs, into DIRECTORY/step_N.

    Args:
        directory: Parent directory of the plots.
        validation: The validation, which holds the records.
        search: Search that generates the outputs.
        options: Options of training: number of sentences and how often to draw.
        task: The task, which knows how to plot a record.
    """

    def __init__(
        self, directory: Path, validation: Validation, search: Search, options: TrainingOptions, task: Task
    ) -> None:
        self.directory, self.validation, self.search, self.task = directory, validation, search, task
        self.sentences, self.every = options.num_plots, options.plots_every
        self.validations = 0

    @override
    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw the plots if they are due, while the averaged weights are in the model."""
        if trainer.sanity_checking:
            return
        self.validations += 1
        # Without an interval, draw at validations 1, 2, 4, 8, ...: numbers with one bit set.
        due = self.validations % self.every == 0 if self.every else self.validations.bit_count() == 1
        if not (due and trainer.is_global_zero):
            return
        assert isinstance(pl_module, Training)
        paths = list(self._draw(pl_module, self.directory / f"step_{trainer.global_step:07d}"))
        # Send the plots to the trackers too.
        plots = {f"attention/{path.stem}": path for path in paths if path.suffix == ".png"}
        show_plots(trainer.loggers, plots, trainer.global_step)

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return the number of validations so far."""
        return {"validations": self.validations}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the number of validations so far."""
        self.validations = state_dict["validations"]

    def _draw(self, module: Training, directory: Path) -> Iterator[Path]:
        """Draw the attention of each sentence, and yield the paths of the plots."""
        corpus, records = self.validation.corpus, self.validation.records[: self.sentences]
        texts = [record["source"] for record in records]
        for batch in batches_of(texts, corpus.codec, corpus.max_tokens):
            # Generate outputs, then compute their attention by teacher forcing.
            batch = batch.to(module.device)
            found = [hypotheses[0] for hypotheses in self.search(module.model, batch)]
            for row, seen in enumerate(attention_maps(module.model, corpus.codec, batch, found)):
                place = int(batch.index[row])
                output = self.validation.text(found[row], batch.words(row))
                yield from self.task.plot(seen, directory, place, annotations_of(records[place], output))
