"""Settings of all tests (no network, no experiment tracker, one thread, a fixed seed) and fixtures of trained runs."""

from __future__ import annotations

import os

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", WANDB_MODE="offline", OMP_NUM_THREADS="1")

import copy
import gc
import logging
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from tests import seeding

torch.set_num_threads(1)

TINY = [
    *(
        "logger=csv",
        "trainer=cpu",
        "data.max_tokens=256",
        "data.reader.train=60",
        "data.reader.valid=6",
        "data.reader.test=6",
    ),
    *("model.dim=8", "model.embedding_dim=8", "trainer.max_steps=3", "training.num_plots=1", "decoding.max_length=8"),
]
"""Options of a run that takes a second: three updates of a model of width 8."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option ``--pictures``."""
    parser.addoption("--pictures", type=Path, help="a folder for the pictures that tests of pages take")


def pytest_collection_finish() -> None:
    """Keep the garbage collector from scanning the thousands of tests and the modules, which live to the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def pictures(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return the folder for pictures of pages."""
    folder: Path = request.config.getoption("--pictures") or tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Set the seed before each test."""
    seeding.seed(0)


@pytest.fixture
def full_disk() -> Callable[[], AbstractContextManager[None]]:
    """Return a context that simulates a full disk: the system refuses every write to a file."""

    @contextmanager
    def full() -> Iterator[None]:
        """Limit the size of files to 0 bytes."""
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return full


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Put caches into a temporary folder where a test sets no other."""
    from seq2seq.stored import machine

    folder = tmp_path_factory.mktemp("machine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "cache", lambda: str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def conf_parsed_once() -> Iterator[None]:
    """Parse each file of ``conf`` only once, instead of once for each config that contains it."""
    from omegaconf import OmegaConf

    from seq2seq.config.instantiate import CONF

    load, parsed = OmegaConf.load, {}

    def load_once(file: Any) -> Any:
        """Load a file, and copy the stored result for files of ``conf``."""
        name = str(getattr(file, "name", file))
        if not name.startswith(f"{CONF}{os.sep}"):
            return load(file)
        if name not in parsed:
            parsed[name] = load(file)
        return copy.deepcopy(parsed[name])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OmegaConf, "load", load_once)
        yield


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return the folder that ``make`` fills. Only the first of the workers that need it calls ``make``."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            make(folder)
    return folder


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a finished run. Tests that write into it work on a copy."""
    return made_once(tmp_path_factory, "runs", train_one) / "run"


def train_one(base: Path) -> None:
    """Train one tiny model."""
    from seq2seq.cli import hydra_app, train

    overrides = [hydra_app.as_override(override) for override in [*TINY, f"data.cache={base / 'cache'}"]]
    (config,) = hydra_app.compose("train", overrides)
    train.train(config, base / "run")


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a sweep: two mechanisms with two seeds each, and a Transformer with one seed."""
    return made_once(tmp_path_factory, "sweep", train_five) / "multirun"


def train_five(base: Path) -> None:
    """Train the five models of a sweep."""
    from omegaconf import OmegaConf

    from seq2seq.cli import hydra_app, train

    jobs = [("rnn", attention, seed) for attention in ("additive", "dot") for seed in (1, 2)]
    for number, (model, attention, seed) in enumerate([*jobs, ("transformer", "multi_head", 1)]):
        own = [option for option in TINY if model == "rnn" or not option.startswith("model.embedding_dim")]
        chosen = [f"model={model}", f"attention={attention}", f"seed={seed}"]
        beside = ["training.num_plots=0", "training.faithfulness_examples=2", f"data.cache={base / 'cache'}"]
        options = [hydra_app.as_override(option) for option in [*chosen, *own, *beside]]
        (config,) = hydra_app.compose("train", options)
        run = base / "multirun" / str(number)
        train.train(config, run)
        (run / ".hydra").mkdir(exist_ok=True)
        choices = {"data": "toy_translation", "model": model, "attention": attention}
        OmegaConf.save({"hydra": {"runtime": {"choices": choices}}}, run / ".hydra" / "hydra.yaml")
        typed = [*chosen, *beside, *(option for option in own if "embedding_dim" not in option)]
        OmegaConf.save(OmegaConf.create(typed), run / ".hydra" / "overrides.yaml")


@contextmanager
def logging_kept() -> Iterator[None]:
    """Restore the logging of this process after the context, because a command that runs in it configures logging."""
    root = logging.getLogger()
    level, handlers, filters = root.level, list(root.handlers), list(root.filters)
    levels = {name: logging.getLogger(name).level for name in ("hydra", "lightning.pytorch", "seq2seq")}
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:], root.filters[:] = handlers, filters
        for name, former in levels.items():
            logging.getLogger(name).setLevel(former)


@pytest.fixture
def logging_restored() -> Iterator[None]:
    """Run a test within ``logging_kept``."""
    with logging_kept():
        yield
