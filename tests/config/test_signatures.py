"""Tests of signatures that are read from source files: the classes themselves are the oracle."""

from __future__ import annotations

import subprocess
import sys
import typing
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from seq2seq.config import signatures
from seq2seq.config.instantiate import CONF, TOOLS, locate, signature_of
from seq2seq.config.validate import describe
from seq2seq.stored.roles import roles
from tests.sampling import mostly_slow

NAMED = sorted({name for names in roles().targets.values() for name in names})
OPTIONS = [
    "seq2seq.cli.compare.Comparison",
    "seq2seq.cli.evaluate.Evaluation",
    "seq2seq.cli.generate.Generating",
    "seq2seq.evaluation.controls.Control",
    "seq2seq.training.budget.Budget",
]
CALLS = "a function that builds a part"


def shown(hint: object) -> str:
    """Return the description of a type, with one text for all functions, whose types no option has."""
    inner = typing.get_args(hint)
    if Callable in (typing.get_origin(hint), *map(typing.get_origin, inner)):
        return CALLS
    if typing.get_origin(hint) in (tuple, Sequence, list):
        return f"sequence of {len(inner)}"
    return describe(hint)


@pytest.mark.parametrize("path", [*NAMED, *sorted(TOOLS - set(NAMED)), *OPTIONS])
def test_source_and_class_have_the_same_parameters(path: str) -> None:
    found, right = signatures.read(path), signatures.of(locate(path, tools=True))
    assert found is not None
    assert (found.name, found.parameters.keys()) == (right.name, right.parameters.keys())
    # torch's Module takes any argument, and refuses it; its source is not read.
    assert not found.open_ended or right.open_ended
    for name, one in found.parameters.items():
        other = right.parameters[name]
        assert (one.required, one.optional) == (other.required, other.optional), name
        assert one.default is signatures.UNREAD or one.default == other.default, name
        # Types that only type checkers import are unknown to the class.
        assert other.hint is typing.Any or shown(one.hint) == shown(other.hint), name


def test_methods_are_looked_up_in_pythons_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A diamond: D(B, C) takes the constructor of C, not that of A, as Python does."""
    (tmp_path / "diamond.py").write_text(
        "class A:\n    def __init__(self, a: int = 1): ...\n"
        "class B(A): ...\n"
        "class C(A):\n    def __init__(self, c: str, **options): ...\n"
        "class D(B, C):\n    def __init__(self, d: float = 2.0, **options): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import diamond

    found, right = signatures.read("diamond.D"), signatures.of(diamond.D)
    assert found is not None
    assert list(found.parameters) == list(right.parameters) == ["d", "c", "a"]
    assert not found.open_ended


def test_a_package_that_imports_its_own_module_ends_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name ``part`` is a module, not a class."""
    (tmp_path / "selfish").mkdir()
    (tmp_path / "selfish" / "__init__.py").write_text("from . import part\n")
    (tmp_path / "selfish" / "part.py").write_text("class Part:\n    def __init__(self, size: int): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert signatures.read("selfish.part") is None
    found = signatures.read("selfish.part.Part")
    assert found is not None and list(found.parameters) == ["size"]


@pytest.mark.parametrize("path", ["seq2seq.attention.nothing.Here", "seq2seq.errors.Nobody", "seq2seq", "", "math.sin"])
def test_unknown_names_have_no_source(path: str) -> None:
    assert signatures.read(path) is None


@pytest.mark.parametrize("path", ["os.system", "torch.load", "seq2seq.cli.sweep.os.system", "seq2seq.files.text.open"])
def test_only_classes_of_this_package_have_a_signature(path: str) -> None:
    with pytest.raises(Exception, match=r"is refused|does not exist"):
        signature_of(path, tools=True)


@pytest.mark.parametrize(
    "typed",
    mostly_slow(
        [
            "encoder.dropot=0.1",
            "modle=rnn",
            "attention=locl",
            "data.max_tokens=abc",
            "optimizer.lr=-1",
            "training.monitor=blue",
            "trainer.max_epochs=many",
            "training.metrics=[blue]",
            "budget.updates=0",
            "logger.wandb.projekt=x",
        ],
        every=3,
    ),
)
def test_mistakes_are_refused_before_torch_is_imported(typed: str) -> None:
    """Also Lightning and pandas, which take as long."""
    program = (
        "import sys; sys.argv = ['train.py', sys.argv[1]]\n"
        "from seq2seq.cli import commands\n"
        "try:\n    commands.train()\n"
        "finally:\n    print(sorted({'torch', 'lightning', 'pandas'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program, typed], cwd=CONF.parent, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and typed.partition("=")[0] in done.stderr
