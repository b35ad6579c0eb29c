"""Tests of output files: commands never overwrite their inputs, and failures keep the old files."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seq2seq.cli import compare, hydra_app
from seq2seq.cli import generate as generate_command
from seq2seq.errors import UserError
from seq2seq.files.writing import growing
from seq2seq.generation.generator import Generation, Output, TrainedModel
from seq2seq.generation.writer import OutputWriter
from seq2seq.tasks.base import Task

TEXT = b"the bird chose the cow .\na young woman gladly believed .\n"


def generate(*overrides: str) -> None:
    """Run ``generate.py`` with these overrides."""
    (config,) = hydra_app.compose("generate", [hydra_app.as_override(override) for override in overrides])
    generate_command.generate(config)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a working directory with an input under four names and a link to a missing file."""
    (tmp_path / "in.txt").write_bytes(TEXT)
    (tmp_path / "symbolic.txt").symlink_to("in.txt")
    os.link(tmp_path / "in.txt", tmp_path / "hard.txt")
    (tmp_path / "dangling.txt").symlink_to("new.txt")
    (tmp_path / "below").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def content(folder: Path) -> dict[str, bytes]:
    """Return the bytes of each file in a folder."""
    return {str(file): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.mark.parametrize("name", ["in.txt", "./in.txt", "symbolic.txt", "hard.txt", "below/in.txt"])
@pytest.mark.parametrize("option", ["output", "alignments"])
def test_an_output_that_is_the_input_is_refused(run: Path, folder: Path, option: str, name: str) -> None:
    before = content(folder)
    with pytest.raises(UserError, match=rf"^{option}={name} is also read \(input=in.txt\)"):
        generate(f"checkpoint={run}", "input=in.txt", f"{option}={name}")
    assert content(folder) == before


@pytest.mark.parametrize("name", ["new.txt", "./new.txt", "dangling.txt", "below/new.txt"])
def test_two_outputs_in_one_file_are_refused(run: Path, folder: Path, name: str) -> None:
    before = content(folder)
    with pytest.raises(UserError, match=rf"output=new.txt is also alignments={name}"):
        generate(f"checkpoint={run}", "input=in.txt", "output=new.txt", f"alignments={name}")
    assert content(folder) == before


def test_an_output_that_is_an_open_input_is_refused(run: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (folder / "in.txt").open("rb+") as file:
        with pytest.raises(UserError, match="is also read"):
            generate(f"checkpoint={run}", "input=in.txt", f"output=/dev/fd/{file.fileno()}")
        stdin = os.dup(0)
        os.dup2(file.fileno(), 0)  # as the shell does for < in.txt
        try:
            with pytest.raises(UserError, match=r"output=hard.txt is also read \(input=/dev/stdin\)"):
                generate(f"checkpoint={run}", "output=hard.txt")
        finally:
            os.dup2(stdin, 0)
            os.close(stdin)
    assert (folder / "in.txt").read_bytes() == TEXT


@pytest.mark.parametrize("name", ["checkpoints/best.ckpt", "config.yaml", "outputs/test.jsonl", "checkpoints/mine.txt"])
def test_files_of_the_run_are_refused_as_outputs(run: Path, folder: Path, name: str) -> None:
    copy = Path(shutil.copytree(run, folder / "run"))
    before = content(copy)
    with pytest.raises(UserError, match=r"run; choose another file|is also read"):
        generate("checkpoint=run", "input=in.txt", f"output=run/{name}")
    assert content(copy) == before
    generate("checkpoint=run", "input=in.txt", "output=run/mine.txt")  # a new file in the folder is allowed
    assert len((copy / "mine.txt").read_text().splitlines()) == 2


def test_a_report_over_its_own_inputs_is_refused(tmp_path: Path) -> None:
    report = tmp_path / "report"
    report.mkdir()
    for name in ("comparison.json", "table.md"):
        (report / name).write_text("a line\n")
    (tmp_path / "linked").symlink_to(report / "table.md")
    for option in (f"outputs.a={report / 'table.md'}", f"outputs.a={tmp_path / 'linked'}"):
        asked = [option, f"references={report / 'table.md'}", "metric=bleu", f"output={report}"]
        (config,) = hydra_app.compose("compare", [hydra_app.as_override(override) for override in asked])
        with pytest.raises(UserError, match=r"output=.*table\.md is also read \(outputs\.a="):
            compare.compare(config)
    assert (report / "table.md").read_text() == "a line\n"


def test_a_wrong_model_keeps_the_old_output(folder: Path) -> None:
    (folder / "out.txt").write_text("kept\n")
    with pytest.raises(UserError):
        generate("checkpoint=nowhere", "input=in.txt", "output=out.txt")
    assert (folder / "out.txt").read_text() == "kept\n" and not (folder / "out.txt.partial").exists()


def test_interrupted_output_is_kept_beside_the_old_file(
    run: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After Ctrl-C the old file is kept, and the file with the lines of the first group is reported."""
    (folder / "out.txt").write_text("kept\n")
    whole, calls = TrainedModel.stream, []

    def stopped(self: TrainedModel, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return whole(self, *args, **kwargs)

    monkeypatch.setattr(Task, "group_size", 1)
    monkeypatch.setattr(TrainedModel, "stream", stopped)
    for name in ("out.txt.partial", "out.txt1.partial"):  # the second run keeps the file of the first
        calls.clear()
        with pytest.raises(KeyboardInterrupt):
            generate(f"checkpoint={run}", "input=in.txt", "output=out.txt")
        assert f"out.txt is not finished; the lines written so far are in {folder / name}" in caplog.text
        assert len((folder / name).read_text().splitlines()) == 1
    assert (folder / "out.txt").read_text() == "kept\n"


def test_an_output_replaces_the_file_behind_a_link(folder: Path) -> None:
    (folder / "old").write_text("old")
    (folder / "old").chmod(0o640)
    (folder / "link").symlink_to("old")
    with growing(folder / "link") as file:
        file.write("new")
        assert (folder / "old").read_text() == "old"
    assert (folder / "link").is_symlink() and (folder / "old").read_text() == "new"
    assert (folder / "old").stat().st_mode & 0o777 == 0o640


def test_a_pipe_is_written_directly(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with OutputWriter(f"/dev/fd/{writing}") as writer:
        writer.write(Generation("a", []), {}, ())
    os.close(writing)
    assert os.read(reading, 100) == b"\n"
    os.close(reading)


def test_a_full_disk_is_reported_with_the_name_of_the_output(tmp_path: Path, full_disk: Callable[[], Any]) -> None:
    (tmp_path / "a.txt").write_text("kept")
    writer = OutputWriter(tmp_path / "a.txt", alignments=tmp_path / "b.txt")
    with full_disk(), pytest.raises(UserError, match=r"a\.txt can't be written \(File too large\)$"), writer:
        writer.write(Generation("a", []), {}, ())
        writer.flush()
    assert (tmp_path / "a.txt").read_text() == "kept"
    assert sorted(os.listdir(tmp_path)) == ["a.txt"]


def test_no_output_is_made_if_the_second_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match="can't be written"),
        OutputWriter(tmp_path / "a", alignments=tmp_path / "file" / "b"),
    ):
        pass
    assert os.listdir(tmp_path) == ["file"]


def test_stdout_is_written_and_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr("sys.stdout", written)
    with OutputWriter() as writer:
        writer.write(Generation("a", []), {}, ())
    assert written.getvalue() == "\n" and not written.closed


BREAKS = "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
"""Characters that end a line for some programs; only a space separates words."""


@pytest.mark.parametrize("character", BREAKS)
def test_a_text_is_one_line_with_its_copied_words_marked(
    tmp_path: Path, character: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"a b{character}c d{character}"
    for mark, expected in ((False, "a b c d\n"), (True, "a [b c] d\n")):
        with OutputWriter(tmp_path / "out.txt", mark_copied=mark) as writer:
            writer.write(Generation("x", [Output(text, 0.0, 0.0, True)], copied=[0.1, 0.9, 0.2]), {}, ())
        assert (tmp_path / "out.txt").read_text(encoding="utf-8") == expected


def test_each_copied_word_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", out := io.StringIO())
    with OutputWriter(mark_copied=True) as writer:
        writer.write(Generation("x", [Output("a b", 0.0, 0.0, True)], copied=[0.9, 0.6]), {}, ())
        writer.write(Generation("", []), {}, ())
    assert out.getvalue() == "[a] [b]\n\n"
