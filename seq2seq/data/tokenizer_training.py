"""Training a SentencePiece model on the texts of a corpus."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence

from sentencepiece import SentencePieceTrainer

from seq2seq.batch import BOS, EOS, PAD, SPECIALS, UNK
from seq2seq.compat.sentencepiece import is_without_text, needed_vocabulary
from seq2seq.data.piece_vocabulary import one_line
from seq2seq.errors import UserError

LONGEST_WORD = 1000  # characters that are kept of a word: the library fails on words of 10,000 characters
LONGEST_LINE = 10_000  # characters of a line: the library skips lines of a megabyte, and is slow on repetitive ones


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
    """Train a model on one thread, so that the same texts give the same model.

    Args:
        texts: Texts to learn from.
        type: Type of the model: unigram, bpe, word or char.
        vocab_size: Largest number of pieces.
        normalization: Name of SentencePiece's normalization rule.
        character_coverage: Share of the characters of the texts that get a piece.
        user_defined_symbols: Symbols that always stay one piece.
        byte_fallback: Whether unknown characters are written as UTF-8 bytes.
        split_digits: Whether each digit is one piece.

    Returns:
        Content of a SentencePiece model file.

    Raises:
        UserError: No model can be made from the texts. An error of ``texts`` itself is passed on unchanged.
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
            # Other programs read this: a known word's piece contains its space, and <unk> needs the space here.
            unk_surface=(" " if type == "word" else "") + SPECIALS[UNK],
            max_sentence_length=1 << 20,  # bytes
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        if lines.failure is not None:
            # The error came from ``texts``, not from the library.
            raise lines.failure from None
        raise UserError(_explanation(str(error), vocab_size)) from error
    return model.getvalue()


class _Lines:
    """Texts as lines that the library accepts.

    The library reports an error of its iterator as its own error. ``failure`` keeps the original error.
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
    """Yield a text as one line, or as several if it is very long; words that are too long are cut."""
    line = one_line(text)
    if len(line) <= LONGEST_WORD:
        yield line
        return
    part: list[str] = []
    size = 0
    # Collect words until the line is long enough.
    for word in line.split():
        if size > LONGEST_LINE:
            yield " ".join(part)
            part, size = [], 0
        part.append(word[:LONGEST_WORD])
        size += len(part[-1]) + 1
    yield " ".join(part)


def _explanation(error: str, vocab_size: int) -> str:
    """Return a message for an error of the library."""
    if needed := needed_vocabulary(error):
        return (
            f"data.tokenizer.vocab_size={vocab_size} is too small: the characters of the text alone take {needed}; "
            "raise it, or lower data.tokenizer.character_coverage"
        )
    if is_without_text(error):
        return "the training split is empty: there is no text to train a tokenizer on"
    return f"data.tokenizer: SentencePiece could not train a tokenizer: {' '.join(error.split())}"
