"""Files are whole or not there: errors and kills between any two steps leave the old content."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from seq2seq.errors import UserError
from seq2seq.files.writing import PREFIX, write_bytes, write_text, writing


def test_the_content_takes_the_place_of_the_old(tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "results.json"
    write_text(file, "old\r\n")
    assert file.read_bytes() == b"old\r\n"  # no ends of lines are translated
    write_bytes(file, b"new")
    assert file.read_bytes() == b"new" and os.listdir(file.parent) == ["results.json"]
    mask = os.umask(0o027)
    os.umask(mask)
    assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~mask


def test_an_error_leaves_the_old_content_and_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    write_text(file, "old")
    with pytest.raises(ZeroDivisionError), writing(file) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert file.read_text() == "old" and os.listdir(tmp_path) == ["results.json"]


def test_a_full_disk_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = tmp_path / "a.arrow"
    write_text(file, "old")
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UserError, match=r"a\.arrow can't be written \(No space left on device\); set data\.cache=DIR$"):
        write_text(file, "new", "set data.cache=DIR")
    assert file.read_text() == "old" and os.listdir(tmp_path) == ["a.arrow"]


@pytest.mark.parametrize("step", ["sync", "replace"])
def test_killed_before_the_name_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
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


def test_what_another_file_lacks_is_not_said_of_this_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="source"), writing(tmp_path / "made"):
        (tmp_path / "source").read_text()


def test_what_utf_8_cannot_hold_is_escaped(tmp_path: Path) -> None:
    """A path of the command line that is no UTF-8 stands in results.json, which must not be lost for it."""
    write_text(tmp_path / "x.json", json.dumps({"żółw": "a\udcff"}, ensure_ascii=False))
    text = (tmp_path / "x.json").read_bytes().decode()
    assert text == '{"żółw": "a\\udcff"}' and json.loads(text) == {"żółw": "a\udcff"}
