"""Check that every block of code in the documentation works: commands, shell and Python."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from seq2seq.cli import compare, evaluate, generate, hydra_app, train
from seq2seq.cli import help as help_text
from seq2seq.cli.merge_overrides import own_options
from seq2seq.cli.overrides import as_override, keys
from seq2seq.cli.tune import candidates
from seq2seq.config import validate
from seq2seq.config.instantiate import build_node, plain
from seq2seq.evaluation.controls import Control
from seq2seq.training import precision
from tests.pages import COMMANDS, PAGES, ROOT, Block, blocks, name_of, program_lines, simple_commands
from tests.sampling import mostly_slow

LANGUAGES = {"bash", "python", "yaml", "console", "text"}
"""Languages of blocks. ``text`` is a tree of files, a formula or the output of a command; it cannot be run."""

HOW_TO = "docs/how-to/"
COVERED = {
    (HOW_TO + "add_a_mechanism.md", "python"): "tests/attention/test_page.py",
    (HOW_TO + "add_a_mechanism.md", "yaml"): "tests/attention/test_page.py",
    (HOW_TO + "add_an_encoder.md", "python"): "tests/encoders/test_page.py",
    (HOW_TO + "add_an_encoder.md", "yaml"): "tests/encoders/test_page.py",
    (HOW_TO + "add_a_dataset.md", "python"): "tests/data/test_page.py",
    (HOW_TO + "add_a_dataset.md", "yaml"): "tests/data/test_page.py",
    (HOW_TO + "add_a_task.md", "python"): "tests/tasks/test_page.py",
    (HOW_TO + "add_a_task.md", "yaml"): "tests/tasks/test_page.py",
    (HOW_TO + "add_a_metric.md", "python"): "tests/metrics/test_page.py",
    (HOW_TO + "use_your_own_classes.md", "python"): "tests/cli/test_extension_flags.py",
    (HOW_TO + "use_your_own_classes.md", "yaml"): "tests/cli/test_extension_flags.py",
    ("README.md", "python"): "tests/test_doc_blocks.py",
    ("docs/quickstart.md", "python"): "tests/test_doc_blocks.py",
}
"""Test file that runs the Python or YAML of each page."""

CREATED = {
    HOW_TO + "add_a_dataset.md": ("data=mydata", "data=bars", "data.path=data/bars", "data=toy_past_tense"),
    HOW_TO + "add_a_task.md": ("data=toy_past_tense", "task=past_tense", "evaluation.control=reversed_words"),
    HOW_TO + "add_an_encoder.md": ("encoder=convolution", "encoder@encoder.words=convolution", "encoder.kernel=5"),
    HOW_TO + "add_a_metric.md": ("task.metrics=[bleu,length_error]", "metric=length_error"),
}
"""Options that need files which the reader of a page writes; commands are composed without these options."""

PLUGINS = ("hydra/launcher=", "hydra.launcher.", "hydra/sweeper=", "hydra.sweeper.")
"""Options of packages of the extra ``sweeps``, which the tests do not install."""

PLACEHOLDERS = {"NAME": "additive", "MODEL": "rnn", "N": "2000"}
"""Valid values for the placeholders in commands. The placeholder ``OPTIONS`` is skipped instead."""

ELSEWHERE = ("trainer=gpu", "trainer=mps")
"""Choices that need a GPU: commands with them are composed but not checked."""

SHELL = {"echo", "printf", "mkdir", "for", "export", "source", "xz", "head", "python3", "joey/bin/pip", "bash", "pip"}
STUBS = "python() { :; }; python3() { :; }; make() { :; }; pip() { :; }; bash() { :; }; source() { :; }; "

BASH = [block for page in PAGES for block in blocks(page, "bash")]
LINES = sorted({(name_of(page), *words[1:]) for page in PAGES for words in program_lines(page)})


def options_of(page: str, words: list[str]) -> list[str]:
    """Return the options of a command that can be composed here."""
    skipped = ("-m", "--cfg", "job", "OPTIONS", *CREATED.get(page, ()))
    options = []
    for word in words:
        key, equals, value = word.partition("=")
        if word not in skipped and not word.startswith(PLUGINS):
            value = re.sub(
                r"^interval\((.+),.+\)$", r"\1", value
            )  # a sweeper draws from the interval; take its lower bound
            options.append(f"{key}{equals}{PLACEHOLDERS.get(value, value)}")
    return options


def composed(command: str, options: list[str]) -> DictConfig:
    """Return the config of a command, or of the first job of a sweep."""
    overrides = [as_override(option, command, sweeps=command == "train") for option in options]
    (config,) = islice(hydra_app.compose(command, overrides), 1)
    return config


def check_train(options: list[str]) -> None:
    """Check options as ``train.py`` does before it reads data."""
    if resumed := [option for option in options if option.startswith("resume=")]:
        composed("resume", options)
        check_train([option for option in options if option not in resumed])
        return
    config = composed("train", options)
    if not set(ELSEWHERE) & set(options):
        train.check(config, keys([as_override(option) for option in options]))


def check_use(command: str, options: list[str]) -> None:
    """Check the options of ``evaluate.py`` or ``generate.py``, including options that change the config of a run."""
    config = composed(command, options)
    groups = evaluate.GROUPS if command == "evaluate" else ("decoding",)
    changes = [option for option in options if option.partition("=")[0].partition(".")[0] in groups]
    check_train(changes)
    if command == "generate":
        own_options(config, generate.Generating, groups)
        return
    config = OmegaConf.masked_copy(config, [str(key) for key in config if key != "encoder"])  # as evaluate.py does
    settings = own_options(config, evaluate.Evaluation, groups)
    validate.check_options("evaluation", settings.evaluation, Control)
    images = composed("train", ["data=toy_captioning"])
    Control(build_node(images.task), **settings.evaluation)
    if settings.tune is not None:
        candidates(composed("train", changes), settings.tune, {})


def shortened(line: tuple[str, ...]) -> str:
    """Return page and command, at most 110 characters, as the id of a test."""
    return f"{line[0].rpartition('/')[2]}:{' '.join(line[1:])}"[:110]


def mostly_first_pages(lines: list[tuple[str, ...]]) -> list[Any]:
    """Mark two thirds of the commands slow, except the commands of README and quickstart."""
    first = [line for line in lines if line[0].endswith(("README.md", "quickstart.md"))]
    return [*[(line,) for line in first], *mostly_slow([(line,) for line in lines if line not in first], every=3)]


@pytest.mark.parametrize(("line",), mostly_first_pages(LINES), ids=shortened)
def test_commands_are_composed_and_their_options_checked(
    line: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The pages are for all machines, also for those that can do more than this one.
    monkeypatch.setattr(precision, "bf16_has_lstm", lambda: True)
    page, script, *words = line
    options, command = options_of(page, words), script.removesuffix(".py")
    if {"--help", "--version"} & set(words) or any(word.startswith("list=") for word in words):
        assert help_text.answer(command, words)
        return
    if command == "train":
        check_train(options)
    elif command == "compare":
        config = composed(command, options)
        validate.check_options("", plain(config), compare.Comparison)
    else:
        check_use(command, options)


def test_pages_have_many_commands_of_all_kinds() -> None:
    counts = [sum(script == f"{name}.py" for _, script, *_ in LINES) for name in ("train", "evaluate", "generate")]
    assert all(count >= 8 for count in counts) and len(LINES) > 100


@pytest.mark.parametrize("option", ["encoder.dropot=0.1", "attention=locall", "decoding.beam=3", "trainer.epochs=2"])
def test_wrong_option_is_detected(option: str) -> None:
    with pytest.raises(Exception, match=r"no option|locall|beam|epochs"):
        check_train([option])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_has_a_known_language_and_a_test(page: Path) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES, block
        if block.language in ("python", "yaml"):
            test = COVERED.get((block.page, block.language))
            assert test and (ROOT / test).exists(), block
        if block.language == "text":
            assert not re.search(r"^(python|make|pip) ", block.text, re.MULTILINE), block


@pytest.mark.parametrize("block", BASH, ids=str)
def test_shell_blocks_run(block: Block, tmp_path: Path) -> None:
    """Each block runs without errors in an empty folder; stubs replace Python, make, pip, bash and source."""
    for name in ("input.txt", "joey/bin/pip"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(
        ["bash", "-euc", STUBS + block.text],
        cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("block", BASH, ids=str)
def test_programs_in_shell_blocks_exist_and_accept_the_flags(block: Block) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    made = {path for text in blocks(ROOT / block.page) for path in re.findall(r"tests/[\w/]+\.py", text.text)}
    for words in simple_commands(block.text):
        program, *rest = words
        if program == "make":
            targets = (ROOT / "Makefile").read_text(encoding="utf-8")
            assert all(re.search(rf"^{word}:", targets, re.MULTILINE) for word in rest if "=" not in word), words
        elif program == "python" and rest[0] == "-m":
            paths = [word for word in rest[2:] if "/" in word]
            assert rest[1] == "pytest" and all((ROOT / path).exists() or path in made for path in paths), words
        elif program == "python" and "/" in rest[0]:
            script = (ROOT / rest[0]).read_text(encoding="utf-8")
            flags = [word.partition("=")[0] for word in rest[1:] if word.startswith("--")]
            sources = script + "".join(file.read_text(encoding="utf-8") for file in (ROOT / "scripts").glob("*.py"))
            assert all(f'"{flag}"' in sources for flag in flags), words
        elif program == "pip":
            (extra,) = re.findall(r"\[(\w+)\]", rest[-1])
            assert extra in extras, words
        elif program == "bash":
            assert (ROOT / rest[0]).exists(), words
        else:
            assert program in SHELL or rest[0].removesuffix(".py") in COMMANDS, words


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_python_of_readme_and_quickstart_runs(page: str, run: Path) -> None:
    (block,) = blocks(ROOT / page, "python")
    code = re.sub(r'seq2seq\.load\("[^"]+"\)', f"seq2seq.load({str(run)!r})", block.text)
    assert str(run) in code
    names: dict[str, object] = {}
    for line in code.splitlines():
        if re.match(r"result\.", line):
            assert eval(line.partition("  #")[0], names) is not None
        else:
            exec(line, names)


@pytest.mark.parametrize("block", [block for page in PAGES for block in blocks(page, "console")], ids=str)
def test_console_blocks_show_the_actual_error_messages(block: Block) -> None:
    typed, message = block.text.rstrip("\n").split("\n")
    (words,) = simple_commands(typed.removeprefix("$ "))
    with pytest.raises(Exception) as caught:
        hydra_app.checked("train", [as_override(word) for word in words[2:]], train.check)
    assert f"train.py: {hydra_app.explain(caught.value)}".startswith(message.removesuffix(", ..."))
