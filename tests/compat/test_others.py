"""Canary tests of Python, SentencePiece and matplotlib: a failing test reports what an upgrade has changed."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import warnings
from collections.abc import Iterable

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sentencepiece import SentencePieceTrainer

from seq2seq.compat.matplotlib import without_glyph_warnings
from seq2seq.compat.python import is_overlong_cell
from seq2seq.compat.sentencepiece import is_without_text, needed_vocabulary


def trained(texts: Iterable[str], size: int) -> str:
    """Return the error of SentencePiece, or "" where it can train."""
    try:
        SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_writer=io.BytesIO(), vocab_size=size, model_type="bpe", minloglevel=2
        )
    except RuntimeError as error:
        return str(error)
    return ""


def test_the_needed_vocabulary_size_is_read_from_the_error() -> None:
    texts = ["abc def ghi jkl"]
    needed = needed_vocabulary(trained(texts, 6))
    assert needed is not None, "SentencePiece changed its error for a vocabulary that is too small"
    assert needed_vocabulary(trained(texts, needed - 1)) == needed
    assert trained(texts, needed) == "", "SentencePiece changed the size that it asks for"


def test_the_error_for_missing_text_is_recognised() -> None:
    assert is_without_text(trained([], 30)), "SentencePiece changed its error for missing text"
    assert not is_without_text(trained(["abc def"], 4))


def test_missing_glyphs_are_drawn_without_a_warning() -> None:
    figure = Figure()
    figure.text(0, 0, "\N{EGYPTIAN HIEROGLYPH A001}", family="DejaVu Sans")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with without_glyph_warnings():
            FigureCanvasAgg(figure).draw()
    assert not caught, f"matplotlib changed its warning for missing glyphs: {caught[0].message}"
    with pytest.warns(UserWarning, match="missing from font"):
        FigureCanvasAgg(figure).draw()


def test_the_error_for_an_overlong_cell_is_recognised() -> None:
    before = csv.field_size_limit(10)
    try:
        with pytest.raises(csv.Error) as overlong:
            list(csv.reader(["a,12345678901"], strict=True))
        with pytest.raises(csv.Error) as unclosed:
            list(csv.reader(['a,"b'], strict=True))
    finally:
        csv.field_size_limit(before)
    assert is_overlong_cell(overlong.value), "Python changed the error of csv for an overlong cell"
    assert not is_overlong_cell(unclosed.value)


def test_a_running_resource_tracker_keeps_the_signal_mask() -> None:
    script = """
import signal
from seq2seq.compat.python import start_resource_tracker
start_resource_tracker()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
start_resource_tracker()  # as the first spawned process does
assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, f"Python changed its resource tracker: {result.stderr}"
