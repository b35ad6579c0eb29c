"""Attention drawn as training goes: the same validation sentences at every validation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import WandbLogger

from seq2seq.batch import EOS
from seq2seq.data.collate import batches_of
from seq2seq.plots.sentence import save_sentence
from seq2seq.search import Search, force
from seq2seq.training.module import Training
from seq2seq.training.validation import Validation


class Pictures(Callback):
    """Draws the first ``sentences`` of the validation split with what the model says, into DIRECTORY/step_N."""

    def __init__(self, directory: Path, validation: Validation, search: Search, sentences: int) -> None:
        self.directory, self.validation, self.search, self.sentences = directory, validation, search, sentences

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """While the averaged weights are in the model."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, Training)
        paths = list(self._draw(pl_module, self.directory / f"step_{trainer.global_step:07d}"))
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                for path in paths:
                    logger.log_image(f"attention/{path.stem}", [str(path)], step=trainer.global_step)

    def _draw(self, module: Training, directory: Path) -> Iterator[Path]:
        corpus, records = self.validation.corpus, self.validation.records[: self.sentences]
        texts = [record["source"] for record in records]
        for batch in batches_of(texts, corpus.source_tokenizer, corpus.max_tokens):
            batch = batch.to(module.device)
            found = [hypotheses[0] for hypotheses in self.search(module.model, batch)]
            for row, forced in enumerate(force(module.model, batch, found)):
                place = int(batch.index[row])
                # gold links are those of the reference
                right = self.validation.has_gold and self.validation.text(found[row]) == records[place]["target"]
                yield from save_sentence(
                    directory,
                    place,
                    {name: weights.float().cpu().numpy() for name, weights in forced.weights.items()},
                    corpus.source_tokenizer.pieces(batch.source[row][batch.source_mask[row]].tolist()),
                    corpus.target_tokenizer.pieces([*found[row].tokens, EOS]),
                    gold=self.validation.gold(place) if right else None,
                )
