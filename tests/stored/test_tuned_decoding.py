"""Tests of RUN/decoding.yaml: it is written and read, and unknown options are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from seq2seq.errors import UserError
from seq2seq.stored.tuned_decoding import FILE, save_tuned, with_tuned

CONFIG = OmegaConf.create({"decoding": {"_target_": "x", "length_penalty": 1.0, "beam_size": 5}})


def test_tuned_options_are_written_and_read(tmp_path: Path) -> None:
    assert with_tuned(CONFIG, tmp_path) == CONFIG
    assert save_tuned(
        tmp_path, {"length_penalty": 0.6}, "valid", "bleu", [{"length_penalty": 0.6, "bleu": 3.0}]
    ).is_file()
    assert with_tuned(CONFIG, tmp_path).decoding == {"_target_": "x", "length_penalty": 0.6, "beam_size": 5}
    assert CONFIG.decoding.length_penalty == 1.0


@pytest.mark.parametrize(
    "content",
    [
        "decoding: {_target_: os.system}",
        "decoding: {beams: 3}",
        "decoding: {beam_size: {a: 1}}",
        "[1]",
        "decoding: 3",
        "a: &a [*a]",
    ],
)
def test_unknown_options_are_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(UserError, match=FILE):
        with_tuned(CONFIG, tmp_path)
