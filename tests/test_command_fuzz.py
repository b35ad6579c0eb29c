"""Tests of random command lines: each is accepted, or refused in one line without a ``++`` that was not typed."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hydra.core.global_hydra import GlobalHydra

from seq2seq.cli import help as help_text
from seq2seq.cli import hydra_app, train
from seq2seq.cli.overrides import PATHS

KEYS = [
    *(
        "a",
        "a.b",
        "",
        "a..b",
        ".a",
        "a.",
        "1",
        "x y",
        "ü",
        "a-b",
        "a@b",
        "@",
        "a/b",
        "hydra",
        "hydra.run",
        "hydra.mode",
    ),
    *(
        "attention",
        "attention/score",
        "attention.score",
        "attention.dropout",
        "model.dim",
        "model.layers",
        "decoder.cell",
    ),
    *("data", "data.path", "data.max_tokens", "data._target_", "encoder._partial_", "loss.weights", "loss.weights.kl"),
    *(
        "loss.start_at.coverage",
        "seed",
        "seed.x",
        "trainer",
        "trainer.precision",
        "trainer.max_time",
        "trainer.devices",
    ),
    *(
        "task.metrics",
        "training.num_plots",
        "optimizer",
        "optimizer.lr",
        "lr_scheduler",
        "logger",
        "logger.csv",
        "experiment",
    ),
    *(
        "debug",
        "budget",
        "budget.updates",
        "checkpoint",
        "input",
        "runs",
        "outputs.x",
        "resume",
        "hydra.sweeper._target_",
    ),
    *("hydra/launcher", "hydra.job_logging.x", "hydra.searchpath", "defaults", "true", "x" * 3000),
]
VALUES = [
    *(
        "1",
        "-1",
        "0",
        "nan",
        "inf",
        "1e400",
        "99999999999999999999",
        "null",
        "true",
        "[]",
        "{}",
        "[1,2]",
        "{a:1}",
        "a,b",
    ),
    *(
        "'x'",
        '"x',
        "x'",
        "ü",
        "a=b",
        "a#b",
        "(",
        "par(1)",
        "[[[",
        "{{{",
        "${x}",
        "${",
        "${oc.env:HOME}",
        "\\",
        "\\'",
        " ",
    ),
    *("", "~", "~/x", "???", "x" * 5000, "\udcff", "\x01", "a\nb", "${a:${b:${c}}}", "interval(0,1)", "choice(1,2)"),
    *(
        "range(1,3)",
        "glob(*)",
        "sort(3,1)",
        ":",
        "!",
        "&",
        "|",
        ";",
        "$(ls)",
        "`ls`",
        "%",
        "@",
        "--x",
        "[nan]",
        "..",
        "/",
    ),
]
LAUNCHED = re.compile(r"^\d\d:\d\d:\d\d (Launching \d+ jobs|\t#\d+ :).*\n", re.MULTILINE)  # Hydra's log of a sweep
BEFORE = [*[""] * 16, "+", "++", "~", "+++", "-", "--", " "]
FLAGS = [
    *("-m", "--multirun", "--cfg", "--cfg=job", "--help", "--config-name", "-cn=x", "--resolve", "-p"),
    *("--experimental-rerun=x", "--shell-completion", "--nonsense"),
]


@pytest.fixture(autouse=True)
def _empty_directory_and_restored_logging(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Run each test in an empty directory and restore the handlers of the root logger afterwards.

    When Hydra configures logging, it closes all handlers. The handler of absl would close pytest's stderr.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging, "shutdown", lambda *handlers: None)
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def random_line(random: Random) -> tuple[str, list[str]]:
    """Return a random command and its arguments."""
    words = []
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        sign = random.choice([*["="] * 16, "", "==", ":"])
        words.append(random.choice(BEFORE) + random.choice(KEYS) + sign + random.choice(VALUES))
    if random.random() < 0.15:
        words.append(random.choice(FLAGS))
    return random.choice(["train", "train", *PATHS]), words


pytestmark = pytest.mark.usefixtures("logging_restored")


def outcome(name: str, words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a command line and return its complete output on stderr."""
    monkeypatch.setattr(sys, "argv", ["program.py", *words])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # pytest restores it, even if the command changes it
    GlobalHydra.instance().clear()
    capsys.readouterr()
    said: object = ""
    try:
        if not help_text.answered(name, words):
            hydra_app.run(lambda *_: None, name, train.check if name in ("train", "resume") else None)
    except SystemExit as ended:
        said = ended.code
    text = capsys.readouterr().err
    return text + (said if isinstance(said, str) else "")


def check_random_lines(
    seed: int, count: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check that ``count`` random command lines print at most one line, without a traceback."""
    random, failed = Random(seed), []
    for _ in range(count):
        name, words = random_line(random)
        text = LAUNCHED.sub("", outcome(name, words, capsys, monkeypatch))
        plain = "++" not in text or any("++" in word for word in words)
        if "Traceback" in text or text.count("\n") > 1 or not plain:
            failed.append((name, words, text))
    assert not failed


def test_a_few_command_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    check_random_lines(1, 20, capsys, monkeypatch)


@pytest.mark.slow
def test_many_command_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    check_random_lines(2, 500, capsys, monkeypatch)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cfg"], "--cfg/-c: expected one argument"),
        (["--cfg", "all the rest"], "--cfg/-c: invalid choice"),
        (["--nonsense"], "--nonsense is not an option; write GROUP=CHOICE or KEY=VALUE"),
        (["--resolve"], "--resolve has no effect alone; add --cfg job"),
        (["--experimental-rerun=x"], "--experimental-rerun is not supported; use resume=RUN"),
        (["experiment=0"], "experiment=0: choose one of the group's files"),
        (["task.metrics=5"], "task.metrics=5: must be Sequence[str]"),
        (["attention=[nan]"], "attention=[nan]: choose one of the group's files"),
        (["-m", "--multirun", "seed=-1"], "seed=-1: must be int at least 0"),
        (["--help", "attention=locall"], "attention has no choice locall; did you mean local?"),
    ],
)
def test_wrong_flags_and_choices_are_refused(
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert outcome("train", words, capsys, monkeypatch).startswith(f"program.py: {message}")
