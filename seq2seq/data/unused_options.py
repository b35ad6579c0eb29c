"""Check for options of ``data`` that would have no effect.

Only options that the user typed are refused, because the user expects an effect of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from seq2seq.data.corpus import Corpus
from seq2seq.data.tokenizer import LEARNT
from seq2seq.errors import UserError

# Options without effect if the tokenizers exist already.
TOKENIZERS = tuple(
    f"data.tokenizer.{name}" for name in ("type", "target_type", *LEARNT, "source_model", "target_model")
)
OF_TRAINING = "copy", "captions", "max_tokens", "max_sentences", "workers", "pin_memory", "buffer_size"
"""Options of a corpus that evaluation does not read: it uses those of the model, and batches by ``max_tokens=N``."""


def check_training(corpus: Corpus, typed: Iterable[str], init_from: str | None = None) -> None:
    """Refuse typed options that have no effect on training.

    Args:
        corpus: Corpus to train on.
        typed: Keys that the user set, such as ``data.tokenizer.vocab_size``.
        init_from: Run whose weights and tokenizers training starts from, if there is one.

    Raises:
        UserError: An option has no effect; the message names the option and the reason.
    """
    # Collect the options without effect, each with the reason.
    reasons: dict[str, str] = {}
    if "source" not in corpus.sides:
        only = f"data={corpus.name} has only one tokenizer, for captions"
        reasons |= dict.fromkeys(("data.tokenizer.joint", "data.tokenizer.source_model"), only)
    if not corpus.documents:
        reasons["data.max_source_sentences"] = "data.documents=false"
    for name, lacks in {"group": "columns", "language": "files of several languages", "features": "features"}.items():
        if name not in corpus.data.reader.reads:
            reasons[f"data.{name}"] = f"data={corpus.name} has no {lacks}"
    if not corpus.streaming:
        reasons["data.buffer_size"] = "data.streaming=false"
    # Existing tokenizers are not trained.
    if corpus.options.source_model or corpus.options.target_model:
        given = "the tokenizers are those of data.tokenizer.source_model and target_model"
        reasons |= {f"data.tokenizer.{name}": given for name in LEARNT}
    if init_from:
        reasons |= dict.fromkeys(TOKENIZERS, f"the tokenizers are those of training.init_from={init_from}")
    # The reader ignores some options at this location.
    reasons |= {f"data.{name}": reason for name, reason in corpus.data.reader.unread(corpus.data.at).items()}
    _refuse(typed, reasons)


def check_evaluation(typed: Iterable[str]) -> None:
    """Refuse typed options of ``data`` that have no effect on evaluation.

    Args:
        typed: Keys that the user set.

    Raises:
        UserError: An option has no effect; the message names the option and the reason.
    """
    reasons = dict.fromkeys((*TOKENIZERS, "data.tokenizer.sampling"), "the tokenizers are those of the checkpoint")
    reasons |= {f"data.{name}": "it belongs to training, or is read from the checkpoint" for name in OF_TRAINING}
    _refuse(typed, {**reasons, "data.max_tokens": "batches are bounded by max_tokens=N"})


def _refuse(typed: Iterable[str], reasons: Mapping[str, str]) -> None:
    """Raise an error for the first typed option that has a reason."""
    for key in typed:
        if key in reasons:
            raise UserError(f"{key} has no effect here: {reasons[key]}; remove it")
