"""What generation writes."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from seq2seq.inference import Generation, Output
from seq2seq.outputs import Writer

BREAKS = "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
"""Characters that break a line for some programs; a space alone parts words."""


@pytest.mark.parametrize("character", BREAKS)
def test_a_text_is_one_line_and_its_copied_words_are_marked(
    tmp_path: Path, character: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"a b{character}c d{character}"
    for mark, expected in ((False, "a b c d\n"), (True, "a [b c] d\n")):
        with Writer(tmp_path / "out.txt", mark_copied=mark) as writer:
            writer.write(Generation("x", [Output(text, 0.0, 0.0, True)], copied=[0.1, 0.9, 0.2]), {}, ())
        assert (tmp_path / "out.txt").read_text(encoding="utf-8") == expected


def test_words_are_those_that_were_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", out := io.StringIO())
    with Writer(mark_copied=True) as writer:
        writer.write(Generation("x", [Output("a b", 0.0, 0.0, True)], copied=[0.9, 0.6]), {}, ())
        writer.write(Generation("", []), {}, ())
    assert out.getvalue() == "[a] [b]\n\n"
