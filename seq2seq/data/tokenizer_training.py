"""Training a SentencePiece model on the texts of a corpus."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence

from sentencepiece import SentencePieceTrainer

from seq2seq.batch import BOS, EOS, PAD, SPECIALS, UNK
from seq2seq.compat.sentencepiece import is_without_text, needed_vocabulary
from seq2seq.data.piece_vocabulary import one_line
from seq2seq.errors import UserError

LONGEST_WORD = 1000  # characters of a word that a tokenizer learns from: the library fails on words of 10,000
LONGEST_LINE = 10_000  # and of a line: the library skips those of a megabyte, and is slow where they repeat themselves


def train_model(
    texts: Iterable[str],
    type: str,
    vocab_size: int,
    normalization: str,
    character_coverage: float,
    user_defined_symbols: Sequence[str],
    byte_fallback: bool,
    split_digits: bool,
) -> bytes:
    """Train on ``texts``, on one thread, so that the same texts give the same model.

    Raises:
        UserError: no model can be made of the texts. What reading ``texts`` raises is passed on as it is.
    """
    model, lines = io.BytesIO(), _Lines(texts)
    try:
        SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type=type,
            vocab_size=vocab_size,
            hard_vocab_limit=False,
            normalization_rule_name=normalization,
            character_coverage=character_coverage,
            user_defined_symbols=list(user_defined_symbols),
            byte_fallback=byte_fallback,
            split_digits=split_digits,
            pad_id=PAD,
            unk_id=UNK,
            bos_id=BOS,
            eos_id=EOS,
            pad_piece=SPECIALS[PAD],
            unk_piece=SPECIALS[UNK],
            bos_piece=SPECIALS[BOS],
            eos_piece=SPECIALS[EOS],
            # for other programs that read the model: a word's piece brings its space along, an unknown one cannot
            unk_surface=(" " if type == "word" else "") + SPECIALS[UNK],
            max_sentence_length=1 << 20,  # bytes
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        if lines.failure is not None:
            raise lines.failure from None
        raise UserError(_explanation(str(error), vocab_size)) from error
    return model.getvalue()


class _Lines:
    """The texts that a tokenizer learns from, as lines that the library takes.

    The library tells an error of its iterator as its own: the error itself is kept in ``failure``.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts = texts
        self.failure: BaseException | None = None

    def __iter__(self) -> Iterator[str]:
        try:
            for text in self.texts:
                yield from _stretches(text)
        except GeneratorExit:
            raise
        except BaseException as error:
            self.failure = error
            raise


def _stretches(text: str) -> Iterator[str]:
    """A text as one line, or several where it is very long; words that are too long to learn from are cut."""
    line = one_line(text)
    if len(line) <= LONGEST_WORD:
        yield line
        return
    stretch: list[str] = []
    size = 0
    for word in line.split():
        if size > LONGEST_LINE:
            yield " ".join(stretch)
            stretch, size = [], 0
        stretch.append(word[:LONGEST_WORD])
        size += len(stretch[-1]) + 1
    yield " ".join(stretch)


def _explanation(error: str, vocab_size: int) -> str:
    if needed := needed_vocabulary(error):
        return (
            f"data.tokenizer.vocab_size={vocab_size} is too small: the characters of the text alone take {needed}; "
            "raise it, or lower data.tokenizer.character_coverage"
        )
    if is_without_text(error):
        return "no text to train a tokenizer on: the training split is empty"
    return f"SentencePiece could not train a tokenizer (data.tokenizer): {' '.join(error.split())}"
