"""Tests of ``scripts/house.py``: this tree keeps the limits, and counts of a small tree equal those by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))  # `python scripts/house.py` does the same

import house
from house import LIMITS, House

FILES = {
    "pyproject.toml": """
[[tool.importlinter.contracts]]
type = "forbidden"

[[tool.importlinter.contracts]]
type = "layers"
layers = ["cli", "data : model", "tasks", "errors"]
""",
    "cottage/__init__.py": '"""A package."""\n',
    "cottage/errors.py": '"""Errors of users."""\n\n\nclass UserError(ValueError):\n    """What a user can mend."""\n',
    "cottage/model.py": """import math

from cottage import errors
from cottage.data import codec


class Row:
    '''One row.'''

    def width(self, size: int) -> int:
        '''Return the width, which
        is more than one line.'''
        # a comment of more than twenty-five characters
        return math.isqrt(size) + errors.UserError.number
""",
    "cottage/data/__init__.py": "",
    "cottage/data/codec.py": """class Codec:
    pass


class ImageCodec(Codec):
    pass


class ClipCodec(ImageCodec):
    pass


class Row:
    pass
""",
    "cottage/cli/__init__.py": "",
    "cottage/cli/run.py": """from cottage.data.codec import ClipCodec, Codec
from cottage.errors import UserError
from cottage.tasks.one import check


def run(codec: Codec) -> bool:
    return isinstance(codec, (ClipCodec, dict)) and isinstance(codec, Codec)
""",
    "cottage/cli/other.py": "import cottage.cli.run\nimport cottage.errors\n",
    "cottage/tasks/__init__.py": "",
    "cottage/tasks/one.py": """from cottage.data.codec import ImageCodec


def check(codec: object) -> bool:
    return isinstance(codec, ImageCodec)
""",
    "tests/cli/test_run.py": "",
    "tests/test_codec.py": "",
}


@pytest.fixture(scope="module")
def cottage(tmp_path_factory: pytest.TempPathFactory) -> House:
    root = tmp_path_factory.mktemp("house")
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return House(root, "cottage")


def test_arrows_between_parts_count_once(cottage: House) -> None:
    assert cottage.arrows == {
        *[("cli", "data"), ("cli", "errors"), ("cli", "tasks")],
        *[("model", "data"), ("model", "errors"), ("tasks", "data")],
    }


def test_arrows_upwards_or_to_a_sibling_are_reported(cottage: House) -> None:
    assert cottage.upward() == ["model -> data", "tasks -> data"]


def test_all_other_counts_equal_those_by_hand(cottage: House) -> None:
    found = {count.name: list(count.items) for count in cottage.counts()}
    assert found["loose modules"] == ["errors.py", "model.py"]
    assert found["class names defined twice"] == ["Row: data/codec.py, model.py"]
    assert found["docstrings of 3 words or fewer"] == [
        *("__init__.py:1: A package.", "errors.py:1: Errors of users.", "model.py:7: One row."),
    ]
    assert found["docstrings that begin as a fragment"] == ["errors.py:4: What a user can mend."]
    assert found["public functions without Args"] == [
        *("cli/run.py:6: run", "model.py:10: width", "tasks/one.py:4: check"),
    ]
    assert found["isinstance on classes of a task"] == ["cli/run.py:7: isinstance(codec, (ClipCodec, dict))"]
    assert found["modules without a test file"] == [
        *["cli/other.py", "data/codec.py", "errors.py", "model.py", "tasks/one.py"],
    ]
    assert found["longest module (lines)"] == ["model.py"]
    numbers = {count.name: count.number for count in cottage.counts()}
    lengths = [5, 14, 14, 7, 2, 5]
    assert numbers["full-line comments (% of lines)"] == pytest.approx(100 / (sum(lengths) + 1))  # 1 of __init__.py
    assert numbers["median module (lines)"] == 6 and numbers["longest module (lines)"] == max(lengths)


def test_code_lines_exclude_imports_docstrings_and_comments(cottage: House) -> None:
    model_lines = [line.strip() for line, place in cottage.code_lines() if place.startswith("cottage/model.py")]
    assert model_lines == [
        "def width(self, size: int) -> int:",
        "return math.isqrt(size) + errors.UserError.number",
    ]


@pytest.fixture(scope="module")
def tree() -> House:
    return House()


def test_this_tree_keeps_the_limits(tree: House) -> None:
    counts = tree.counts()
    assert {*LIMITS} <= {count.name for count in counts}
    assert not [f"{count.number:g} {count.name}" for count in counts if count.is_broken]


def test_a_broken_limit_gives_exit_code_1(
    cottage: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(house, "House", lambda: cottage)
    monkeypatch.setattr(sys, "argv", ["house.py"])
    with pytest.raises(SystemExit) as ended:
        house.main()
    assert ended.value.code == 1
    assert "     2  arrows back up  (at most 0, BROKEN)" in capsys.readouterr().out.splitlines()


def test_drawn_lines_hide_their_modules_and_answers_name_them(
    tree: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(house, "House", lambda: tree)
    answers = tmp_path / "answers.txt"
    shown = []
    for _ in range(2):
        monkeypatch.setattr(sys, "argv", ["house.py", "--draw", "5", "--seed", "3", "--answers", str(answers)])
        house.main()
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    places = [line.split()[1] for line in answers.read_text(encoding="utf-8").splitlines()]
    for line, place in zip(shown[0].splitlines(), places, strict=True):
        file, number = place.split(":")
        text = (house.ROOT / file).read_text(encoding="utf-8").splitlines()[int(number) - 1]
        assert line.partition("  ")[2].strip().endswith(text.strip()) and "seq2seq/" not in line
