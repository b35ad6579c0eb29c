"""Tests of the table of missed links, with links written by hand."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))  # `python scripts/link_errors.py` does the same

from link_errors import misses


def test_missed_links_by_hand() -> None:
    """Target word 0 has the gold word "the" and is linked to "cow"; word 1 is right; word 2 has no gold link."""
    record = {"source": "the cow", "target": "x y z", "alignment": [[0, 0], [1, 1]]}
    right = {"hypothesis": "x y z", "alignment": "1-0 1-1 0-2"}
    wrong = {"hypothesis": "x y", "alignment": "1-0"}
    counted = misses([record, record], [right, wrong])
    assert counted.links == {"the": 1, "cow": 1}
    assert counted.missed == {"the": 1}
    assert counted.table().splitlines() == [
        "1 of 2 links are missed",
        "",
        "the                  1 of     1   linked to: cow",
    ]


def test_a_link_to_one_of_several_gold_words_is_right() -> None:
    record = {"source": "will sing now", "target": "x", "alignment": [[0, 0], [1, 0]]}
    assert not misses([record], [{"hypothesis": "x", "alignment": "1-0"}]).missed
    assert misses([record], [{"hypothesis": "x", "alignment": "2-0"}]).missed == {"will sing": 1}
