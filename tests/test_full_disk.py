"""Tests of a full disk: each write fails with one line that names the file, and keeps the earlier file."""

from __future__ import annotations

import ast
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seq2seq import attention_store
from seq2seq.errors import UserError
from seq2seq.evaluation import results
from seq2seq.files.writing import write_bytes, write_text
from seq2seq.plots import heatmap
from seq2seq.plots.document import save_document
from seq2seq.plots.sheet import save_sheet
from seq2seq.tasks.translation import Translation
from seq2seq.training.callbacks.profiler import PhaseProfiler, Profile

PACKAGE = Path(__file__).parents[1] / "seq2seq"
ONE = np.ones((1, 1), dtype=np.float32)
CORPUS = SimpleNamespace(streaming=False, records=lambda split: [{"source": "a", "target": "b"}])

WRITERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "results": ("results.json", lambda folder: results.save_results(folder / "results.json", {"test": {}}, {})),
    "frequencies": ("frequencies.json", lambda folder: results.save_frequencies(folder, CORPUS)),  # type: ignore[arg-type]
    "gold": (
        "outputs/gold.jsonl",
        lambda folder: results.save_gold(folder, "gold", [], [], [], {}, Translation(), plots=0, examples=0),
    ),
    "attention": ("test.npz", lambda folder: attention_store.save(folder / "test.npz", [])),
    "heat-map": ("00000_cross.png", lambda folder: heatmap.save(folder / "00000_cross", ONE, ["a"], ["b"])),
    "document": (
        "00000_document.png",
        lambda folder: save_document(folder, 0, ONE, ["▁a"], ["▁b"], [0], [0], sentences=[0]),
    ),
    "sheet": (
        "00000_sheet.png",
        lambda folder: save_sheet(folder, 0, Image.new("RGB", (8, 8)), ONE, [[0, 0]], [1, 1], ["a"], [0]),
    ),
    "profile": (
        "profile.txt",
        lambda folder: Profile(1, PhaseProfiler(), folder / "profile.txt").on_train_end(
            SimpleNamespace(is_global_zero=True),  # type: ignore[arg-type]
            None,  # type: ignore[arg-type]
        ),
    ),
    "text": ("table.md", lambda folder: write_text(folder / "table.md", "text")),
    "bytes": ("a.bin", lambda folder: write_bytes(folder / "a.bin", b"bytes")),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_failed_write_keeps_the_earlier_file(tmp_path: Path, kind: str, full_disk: Callable[[], Any]) -> None:
    name, write = WRITERS[kind]
    write(tmp_path)
    (tmp_path / name).write_text("old")
    before = sorted(os.listdir(tmp_path))
    if kind == "gold":  # without records, the only file to write is that of attention
        (tmp_path / name).unlink()
    with full_disk(), pytest.raises(UserError, match=r"can't be written \(File too large\)") as caught:
        write(tmp_path)
    assert "\n" not in str(caught.value)
    assert kind == "gold" or (name in str(caught.value) and (tmp_path / name).read_text() == "old")
    assert sorted(os.listdir(tmp_path)) == before
    write(tmp_path)  # succeeds when there is room again
    assert kind == "gold" or (tmp_path / name).read_bytes() != b"old"


def test_failure_to_make_a_file_is_reported_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk without free inodes fails when the temporary file is made."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / ".writing-x"))

    (tmp_path / "a.txt").write_text("old")
    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(UserError, match=r"a\.txt can't be written \(No space left on device\)$"):
        write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"


WRITES = ("savefig", "savez", "savez_compressed", "open", "fdopen")
METHODS = ("write_text", "write_bytes")  # methods of Path; the functions of these names are in ``files.writing``
ELSEWHERE = {
    "files/writing.py": "the other writers use it",
    "generation/attention_map.py": "it makes a picture in memory",
    "training/csv_logger.py": "it appends rows",
    "runtime/memory.py": "it resets a peak of the system, and writes no file",
}


def test_files_are_written_only_through_a_temporary_file() -> None:
    """Every call in the package that writes a file writes to the temporary file of ``files.writing``."""
    found: Counter[str] = Counter()
    for file in PACKAGE.rglob("*.py"):
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute | ast.Name)):
                continue
            name = call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id
            receiver = getattr(getattr(call.func, "value", None), "id", None)
            values = [*call.args, *(keyword.value for keyword in call.keywords)]
            texts = [value.value for value in values if isinstance(value, ast.Constant)]
            modes = [text for text in texts if isinstance(text, str) and set(text) <= set("wxab+t")]
            reads = name in ("open", "fdopen") and not any(set(mode) & set("wxa+") for mode in modes)
            first = getattr(values[0], "id", None) if values else None
            written = name in WRITES or (name in METHODS and isinstance(call.func, ast.Attribute))
            if written and not reads and "temporary" not in (receiver, first):
                found[str(file.relative_to(PACKAGE))] += 1
    assert set(found) <= set(ELSEWHERE), found
