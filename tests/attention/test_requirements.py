"""Tests of the checks that mechanisms make of their source and their options."""

from __future__ import annotations

import pytest

from seq2seq.attention.requirements import at_least_1, refuse_regions, refuse_self
from seq2seq.attention.types import SourceSpec
from seq2seq.errors import UserError


def test_counts_below_1_are_refused() -> None:
    at_least_1(heads=1, dim=None)
    with pytest.raises(UserError, match=r"^dim=0 must be at least 1"):
        at_least_1(heads=1, dim=0)


@pytest.mark.parametrize("source", [SourceSpec(4, is_self=True), SourceSpec(4, causal=True)])
def test_self_attention_is_refused(source: SourceSpec) -> None:
    refuse_self(SourceSpec(4, axes=2))
    with pytest.raises(UserError, match="remembers where it looked"):
        refuse_self(source)
    with pytest.raises(UserError, match=r"^no$"):
        refuse_self(source, "no")


def test_regions_are_refused() -> None:
    refuse_regions(SourceSpec(4, is_self=True))
    with pytest.raises(UserError, match="image regions"):
        refuse_regions(SourceSpec(4, axes=2))
