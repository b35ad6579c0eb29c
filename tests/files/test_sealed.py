"""Tests of sealed files: a changed, incomplete or renamed file counts as missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from seq2seq.files import sealed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Write a sealed file, and return its path."""
    with sealed.writing(tmp_path / "part", "free some space", lambda: {"rows": 3}) as temporary:
        temporary.write_bytes(b"content")
    return tmp_path / "part"


def test_content_and_description_are_read_back(path: Path) -> None:
    assert sealed.content(path) == (b"content", {"rows": 3})
    assert path.read_bytes().startswith(b"content{")  # the seal follows the content


def test_a_renamed_file_counts_as_missing(path: Path) -> None:
    path.rename(path.with_name("other"))
    assert sealed.opened(path) is None
    assert sealed.opened(path.with_name("other")) is None


@pytest.mark.parametrize("at", [0, 8, -1, -10, -20])  # in the content, the description, the mark and the digest
def test_a_changed_byte_is_reported(path: Path, at: int, caplog: pytest.LogCaptureFixture) -> None:
    changed = bytearray(path.read_bytes())
    changed[at] ^= 1
    path.write_bytes(changed)
    assert sealed.content(path) is None
    assert f"{path} is damaged; it is made again" in caplog.text


def test_an_incomplete_file_counts_as_missing(path: Path) -> None:
    whole = path.read_bytes()
    for size in (0, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert sealed.content(path) is None


def test_a_failed_write_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), sealed.writing(tmp_path / "part", "free some space") as temporary:
        temporary.write_bytes(b"half")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
