"""Check that every file of conf/data composes and builds; with ``-m online``, read the datasets of the hub as well."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from seq2seq.config.instantiate import build_node
from seq2seq.data.corpus import Corpus
from seq2seq.data.readers.hub import HubReader
from tests.sampling import mostly_slow

CONF = Path(__file__).parents[2] / "conf"
CHOICES = sorted(file.stem for file in (CONF / "data").glob("*.yaml"))
HUB = [name for name in CHOICES if ".HubReader" in (CONF / "data" / f"{name}.yaml").read_text()]


def corpus(name: str, tmp_path: Path) -> Corpus:
    """Build the corpus of a file of conf/data."""
    mine = [f"data.cache={tmp_path / 'cache'}"]
    if name not in HUB and not name.startswith("toy_"):
        mine += [f"data.path={tmp_path}", "data.source=en", "data.target=de"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", [f"data={name}", *mine])
    return build_node(config.data)


@pytest.mark.parametrize("name", mostly_slow(CHOICES, every=3))
def test_configuration_builds_and_pins_the_revision_of_a_hub_dataset(name, tmp_path):
    made = corpus(name, tmp_path)
    assert made.name == name and isinstance(made.data.reader, HubReader) == (name in HUB)
    named = name in HUB and made.data.reader.files_of  # the names contain a hash of the content
    assert name not in HUB or named or re.fullmatch(r"[0-9a-f]{40}", made.data.reader.revision)
    for file in (file for files in (named or {}).values() for file in files):
        assert re.fullmatch(r"data/\w+-\d+-of-\d+-[0-9a-f]{16}\.parquet", file)


@pytest.mark.parametrize("name", CHOICES)
def test_configuration_has_a_description_and_a_task(name):
    text = (CONF / "data" / f"{name}.yaml").read_text()
    assert re.match(r"# \w.+\.\n", text)
    assert re.search(r"^  - override /task@_global_\.task: \w+$", text, re.MULTILINE)


@pytest.mark.online
@pytest.mark.parametrize("name", HUB)
def test_hub_dataset_has_its_splits_and_columns(name, tmp_path, monkeypatch):
    import datasets.config
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    made = corpus(name, tmp_path)
    for split in ("train", "valid", "test"):
        sliced = "[" in made.data.reader.parts[split]  # a slice of a split cannot be streamed
        rows = list(islice(made.data.reader.rows(split, made.data.at, streaming=not sliced), 3))
        assert all(row.record and row.record["source"] != row.record["target"] for row in rows)
