"""Tests of writing files: after an error or a kill at any step, a file has its old content."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from seq2seq.errors import UserError
from seq2seq.files.writing import PREFIX, write_bytes, write_text, writing


def test_new_content_replaces_the_old(tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "results.json"
    write_text(file, "old\r\n")
    assert file.read_bytes() == b"old\r\n"  # line ends are not translated
    write_bytes(file, b"new")
    assert file.read_bytes() == b"new" and os.listdir(file.parent) == ["results.json"]
    mask = os.umask(0o027)
    os.umask(mask)
    assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~mask


def test_an_error_keeps_the_old_content_and_no_other_file(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    write_text(file, "old")
    with pytest.raises(ZeroDivisionError), writing(file) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert file.read_text() == "old" and os.listdir(tmp_path) == ["results.json"]


def test_a_full_disk_is_reported_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = tmp_path / "a.arrow"
    write_text(file, "old")
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UserError, match=r"a\.arrow can't be written \(No space left on device\); set data\.cache=DIR$"):
        write_text(file, "new", "set data.cache=DIR")
    assert file.read_text() == "old" and os.listdir(tmp_path) == ["a.arrow"]


@pytest.mark.parametrize("step", ["sync", "replace"])
def test_a_kill_before_the_rename_keeps_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    file = tmp_path / "results.json"
    write_text(file, "old")
    child = os.fork()
    if not child:
        target = "seq2seq.files.writing.sync" if step == "sync" else "pathlib.Path.replace"
        monkeypatch.setattr(target, lambda *args: os._exit(9))
        write_text(file, "new")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert file.read_text() == "old"
    assert [name.startswith(PREFIX) for name in os.listdir(tmp_path) if name != "results.json"] == [True]


def test_errors_of_other_files_are_not_reported_for_this_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="source"), writing(tmp_path / "made"):
        (tmp_path / "source").read_text()


def test_characters_outside_utf_8_are_escaped(tmp_path: Path) -> None:
    """results.json may contain a path of the command line that is not UTF-8, and must still be written."""
    write_text(tmp_path / "x.json", json.dumps({"żółw": "a\udcff"}, ensure_ascii=False))
    text = (tmp_path / "x.json").read_bytes().decode()
    assert text == '{"żółw": "a\\udcff"}' and json.loads(text) == {"żółw": "a\udcff"}
