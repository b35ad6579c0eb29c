"""Tests of ``scripts/download.py`` with a local HTTP server."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import re
import sys
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "download.py"


class Quiet(SimpleHTTPRequestHandler):
    """Serve files without writing a log."""

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def script():
    """Import ``scripts/download.py`` as a module."""
    spec = importlib.util.spec_from_file_location("download", SCRIPT)
    module = sys.modules["download"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def home(tmp_path, script, monkeypatch):
    """Serve a dataset of two files, one of them compressed, and yield the folder that is served."""
    served = tmp_path / "served"
    served.mkdir()
    contents = {"train.en": b"one\ntwo\n", "train.de": "fünf\n".encode()}
    (served / "train.en.gz").write_bytes(gzip.compress(contents["train.en"]))
    (served / "train.de").write_bytes(contents["train.de"])
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(served)))
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    files = {"train.en": ("train.en.gz", sums["train.en"]), "train.de": ("train.de", sums["train.de"])}
    source = script.Source(f"http://127.0.0.1:{server.server_port}", files, "free")
    monkeypatch.setitem(script.DATASETS, "small", source)
    yield served
    server.shutdown()
    server.server_close()


def test_files_are_downloaded_and_decompressed(script, home, tmp_path, capsys):
    assert script.main(["small", "--to", str(tmp_path / "to")]) == 0
    assert {f.name: f.read_text() for f in (tmp_path / "to").iterdir()} == {
        "train.en": "one\ntwo\n",
        "train.de": "fünf\n",
    }
    assert f"data=small data.path={tmp_path / 'to'}" in capsys.readouterr().err


def test_existing_files_are_kept_and_damaged_files_are_downloaded_again(script, home, tmp_path, capsys):
    script.main(["small", "--to", str(tmp_path / "to")])
    (tmp_path / "to" / "train.de").write_text("cut sho")
    (home / "train.en.gz").unlink()
    assert script.main(["small", "--to", str(tmp_path / "to")]) == 0
    assert (tmp_path / "to" / "train.de").read_text() == "fünf\n"
    assert "train.en: exists already" in capsys.readouterr().err


def test_file_with_a_wrong_checksum_is_refused(script, home, tmp_path, capsys):
    (home / "train.de").write_text("sechs\n")
    assert script.main(["small", "--to", str(tmp_path / "to")]) == 1
    assert re.search(r"download\.py: train\.de: SHA-256 is \w{64}, not \w{64}", capsys.readouterr().err)
    assert not (tmp_path / "to" / "train.de").exists()


def test_errors_are_reported_in_one_line(script, home, tmp_path, capsys):
    (home / "train.en.gz").write_bytes(b"not gzip")
    assert script.main(["small", "--to", str(tmp_path / "to")]) == 1
    assert script.main(["small", "--to", str(tmp_path / "to"), "--from", "http://127.0.0.1:1/no"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert "not a gzip file" in lines[0] and "http://127.0.0.1:1/no/train.en.gz: cannot be downloaded" in lines[1]
    assert len(lines) == 2


def test_a_mirror_may_be_a_folder(script, home, tmp_path):
    moved = replace(script.DATASETS["small"], url="http://127.0.0.1:1")
    script.download(moved, tmp_path / "to", home.as_uri())
    assert len(list((tmp_path / "to").iterdir())) == 2


def test_datasets_have_https_addresses_and_different_checksums(script):
    for source in script.DATASETS.values():
        assert source.url.startswith("https://")
        assert all(re.fullmatch(r"[0-9a-f]{64}", sha) for _, sha in source.files.values())
        assert len({sha for _, sha in source.files.values()}) == len(source.files)
