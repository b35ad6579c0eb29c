"""Options of ``data`` that would change nothing: typed ones are refused, since whoever types one means something."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from seq2seq.data.corpus import Corpus
from seq2seq.data.tokenizer import LEARNT
from seq2seq.errors import UserError

TOKENIZERS = tuple(f"data.tokenizer.{name}" for name in ("type", *LEARNT, "source_model", "target_model"))
OF_TRAINING = "copy", "captions", "max_tokens", "max_sentences", "workers", "pin_memory", "buffer_size"
"""Options of a corpus that evaluation does not read: it takes the model's own, and batches by ``max_tokens=N``."""


def check_training(corpus: Corpus, typed: Iterable[str], init_from: str | None = None) -> None:
    """Refuse typed options that training on ``corpus`` would not heed.

    Args:
        corpus: What is trained on.
        typed: The keys that the user set, such as ``data.tokenizer.vocab_size``.
        init_from: The run whose weights and tokenizers training starts from, if there is one.

    Raises:
        UserError: one line that names the option, and why it has no effect.
    """
    reasons: dict[str, str] = {}
    if "source" not in corpus.sides:
        only = f"data={corpus.name} has one tokenizer, of the captions"
        reasons |= dict.fromkeys(("data.tokenizer.joint", "data.tokenizer.source_model"), only)
    if not corpus.documents:
        reasons["data.max_source_sentences"] = "data.documents=false"
    if not corpus.streaming:
        reasons["data.buffer_size"] = "data.streaming=false"
    if corpus.options.source_model or corpus.options.target_model:
        given = "the tokenizers are those of data.tokenizer.source_model and target_model"
        reasons |= {f"data.tokenizer.{name}": given for name in LEARNT}
    if init_from:
        reasons |= dict.fromkeys(TOKENIZERS, f"the tokenizers are those of training.init_from={init_from}")
    reasons |= {f"data.{name}": reason for name, reason in corpus.data.reader.unread(corpus.data.at).items()}
    _refuse(typed, reasons)


def check_evaluation(typed: Iterable[str]) -> None:
    """Refuse typed options of ``data`` that evaluation would not heed."""
    reasons = dict.fromkeys((*TOKENIZERS, "data.tokenizer.sampling"), "the tokenizers are those of the checkpoint")
    reasons |= {f"data.{name}": "it is the checkpoint's, or of training alone" for name in OF_TRAINING}
    _refuse(typed, {**reasons, "data.max_tokens": "batches are bounded by max_tokens=N"})


def _refuse(typed: Iterable[str], reasons: Mapping[str, str]) -> None:
    for key in typed:
        if key in reasons:
            raise UserError(f"{key} has no effect here: {reasons[key]}; remove it")
