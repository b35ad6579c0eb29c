"""Check that ``conf/decoding`` lists every option of every search with its default."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from seq2seq import search
from seq2seq.config.instantiate import build_node

FILES = sorted((Path(__file__).parents[2] / "conf" / "decoding").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_file_has_the_options_and_defaults_of_its_class(file: Path) -> None:
    node = OmegaConf.load(file)
    built = build_node(node)
    assert built == type(built)()
    assert set(node) == {"_target_", *(field.name for field in dataclasses.fields(built))}
    assert file.read_text().startswith("# ")


def test_every_search_has_a_file() -> None:
    assert {file.stem for file in FILES} == {"beam", "exact", "greedy", "sample"}
    made_by_controls = {"secondpass"}
    kinds = {kind.__name__.lower() for kind in search.Search.__subclasses__()}
    assert kinds - made_by_controls == {"beam", "exact", "greedy", "sample"}
