"""Tests of the onset of attention in a comparison: means over seeds, and runs without an onset."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from seq2seq.comparison.analysis import MeanOnset, onset_of
from seq2seq.comparison.systems import System
from seq2seq.comparison.tables import attention_table, onset


def make_system(*training: dict[str, Any]) -> System:
    """Return a system of runs with these figures of training."""
    return System("entry", cast(Any, [SimpleNamespace(about={"training": each}) for each in training]))


def test_onset_is_the_mean_over_runs_in_which_attention_began() -> None:
    begun, later = ({"onset": step, "nll_increase_averaged": 0.4} for step in (300, 500))
    never = {"onset": None, "nll_increase_averaged": 0.02}
    assert onset_of(make_system(begun, later)) == MeanOnset(400, never=0, runs=2)
    assert onset_of(make_system(begun, never, later, never)) == MeanOnset(400, never=2, runs=4)
    assert onset_of(make_system(never)) == MeanOnset(None, never=1, runs=1)
    assert onset_of(make_system({}, {"onset": None, "nll_increase_averaged": None})) is None  # no run measured it
    assert onset_of(make_system({}, begun)) == MeanOnset(300, never=0, runs=1)


@pytest.mark.parametrize(
    ("known", "text", "value"),
    [
        (MeanOnset(1400, 0, 3), "1,400", 1400),
        (MeanOnset(350.4, 1, 3), "350 (never in 1 of 3)", 350.4),
        (MeanOnset(None, 3, 3), "never", None),
        (None, "–", None),
    ],
)
def test_cell_of_the_onset_in_the_table(known: MeanOnset | None, text: str, value: float | None) -> None:
    onsets = {} if known is None else {"entry": known}
    analysis = cast(Any, SimpleNamespace(onsets=onsets, names=["entry"], plain={}, estimates={}))
    cell = onset(analysis, "entry")
    assert (cell.text, cell.value) == (text, value)
    head, rows = attention_table(analysis)
    assert head == ([""] if known is None else ["", "onset"]) and len(rows[0]) == len(head)
