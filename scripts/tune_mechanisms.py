"""Tune learning rate, warm-up and gain of mechanisms, with the same number of trials for each, for ``recipe=tuned``.

    python scripts/tune_mechanisms.py                                     # twelve mechanisms in both models, hours
    python scripts/tune_mechanisms.py --models rnn --mechanisms dot,hard  # some of them
    python scripts/tune_mechanisms.py --data multi30k data.path=DIR       # on other data, with options of train.py

The first trial of a mechanism has the values of ``recipe=common``. So the tuned values are never worse than these on
the validation split. Optuna draws the other trials at random, because a sampler that models the results needs more
trials than these. All mechanisms have the same seed. So they are tried at the same points, relative to their defaults;
only mechanisms without a gain, such as ``uniform``, have points of their own.

The trial with the lowest nll on the validation split is written to conf/recipe/tuned/DATA/MODEL/MECHANISM.yaml. A
mechanism that has this file is left out. Started again after Ctrl-C, the command does only what is not finished.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from benchmark import positive
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from seq2seq.cli.hydra_app import compose, explain
from seq2seq.cli.overrides import as_override, keys
from seq2seq.comparison.run_config import IGNORED_KEYS, config_of
from seq2seq.config.instantiate import CONF
from seq2seq.config.option_text import choices
from seq2seq.config.validate import suggest
from seq2seq.errors import UserError
from seq2seq.files.writing import write_text
from seq2seq.model import build, without_memory
from seq2seq.run_directory import RESULTS, results

ROOT = Path(__file__).parents[1]
FOLDER = CONF / "recipe" / "tuned"
MODELS = ("rnn", "transformer")
MECHANISMS = (
    *("additive", "general", "dot", "multi_head", "local", "hard", "gumbel", "hard_marginal", "variational"),
    *("entmax15", "sparsemax", "memory"),
)
LR, WARMUP = "optimizer.lr", "lr_scheduler.warmup_steps"
GAINS = ("attention.score.scale", "attention.scale")
"""Options of which a mechanism has one, if it has a gain at all."""
LR_FACTOR, GAIN_FACTOR = 3.0, 2.0
"""Learning rate and gain are drawn between the default divided and multiplied by these, uniformly in the logarithm."""
WARMUPS = (50, 100, 200, 400)  # updates
FIXED = (
    *("logger=csv", "training.monitor=nll", "training.metrics=[]", "training.test=false", "training.num_plots=0"),
    *("training.save_attention=0", "training.faithfulness_examples=0", "training.attention_examples=0"),
    "training.nonfinite=skip",
)
"""Options of all trials: they measure nll on the validation split, nothing else that takes time, and never give up."""


@dataclass(frozen=True)
class Tuning:
    """The trials of one mechanism in one model."""

    data: str
    model: str
    mechanism: str
    common: Mapping[str, Any]  # values of recipe=common, by key
    space: Mapping[str, str]  # values to draw from, by key, in Hydra's grammar

    @property
    def name(self) -> str:
        """Path of the file below the folder of tuned values, without its ending."""
        return f"{self.data}/{self.model}/{self.mechanism}"

    @property
    def options(self) -> list[str]:
        """Choices of ``train.py`` for all trials."""
        return [f"data={self.data}", f"model={self.model}", f"attention={self.mechanism}"]


@dataclass(frozen=True)
class Trial:
    """A finished trial."""

    nll: float  # best on the validation split
    values: Mapping[str, Any]


def tuning_of(data: str, model: str, mechanism: str, overrides: Sequence[str]) -> Tuning:
    """Return the trials of a mechanism: its default values, and the space around them.

    Args:
        data: Choice of ``data=``.
        model: Choice of ``model=``.
        mechanism: Choice of ``attention=``.
        overrides: Further options of all trials.

    Raises:
        UserError: The model can't be built with this mechanism.
    """
    choice = [f"data={data}", f"model={model}", f"attention={mechanism}", *overrides]
    (config,) = compose("train", [as_override(option) for option in choice])
    common = {LR: config.optimizer.lr, WARMUP: config.lr_scheduler.warmup_steps}
    space = {LR: _around(config.optimizer.lr, LR_FACTOR), WARMUP: f"choice({','.join(map(str, WARMUPS))})"}
    if gain := next((key for key in GAINS if has_option(config, key)), None):
        common[gain] = OmegaConf.select(config, gain)
        space[gain] = _around(default_gain(config, gain), GAIN_FACTOR)
    return Tuning(data, model, mechanism, common, space)


def has_option(config: DictConfig, key: str) -> bool:
    """Return whether a config has an option, which may be null.

    Args:
        config: Composed config.
        key: Key of the option.
    """
    parent, _, name = key.rpartition(".")
    return name in (OmegaConf.select(config, parent) or ())


def default_gain(config: DictConfig, key: str) -> float:
    """Return the gain that a mechanism has if the option is null, which its constructor derives from the widths.

    Args:
        config: Composed config.
        key: Key of the option.
    """
    with without_memory():
        mechanism = build(config, 8, 8).decoder.cross_attention(0)
    gain: float = attrgetter(key.removeprefix("attention."))(mechanism)
    return gain


def _around(value: float, factor: float) -> str:
    """Return the interval from ``value`` / ``factor`` to ``value`` * ``factor``, with even odds in the logarithm."""
    low, high = (
        float(f"{end:.4g}") for end in (value / factor, value * factor)
    )  # whole numbers would be drawn as such
    return f"tag(log,interval({low},{high}))"


def commands(tuning: Tuning, folder: Path, options: argparse.Namespace) -> list[list[str]]:
    """Return the command of the common trial and the command of the drawn trials.

    Both sweeps have one directory, in which a finished job is recognised by its config.

    Args:
        tuning: The trials.
        folder: Directory of the sweeps.
        options: Options of the command line.
    """
    train = [sys.executable, str(ROOT / "train.py"), "-m", *tuning.options, *options.overrides, *FIXED]
    train += [f"budget.updates={options.updates}", f"hydra.sweep.dir={folder}"]
    drawn = ["hydra/sweeper=optuna", "hydra/sweeper/sampler=random", f"hydra.sweeper.sampler.seed={options.seed}"]
    drawn += [f"hydra.sweeper.{name}={options.trials - 1}" for name in ("n_trials", "n_jobs")]
    drawn += ["hydra.sweeper.max_failure_rate=1.0", *(f"{key}={values}" for key, values in tuning.space.items())]
    if options.jobs > 1:
        drawn += ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={options.jobs}"]
    return [train, train + drawn]


def run(command: Sequence[str]) -> None:
    """Run a sweep to its end; after Ctrl-C wait until it has saved its state.

    Args:
        command: Words of the command.

    Raises:
        UserError: The sweep failed.
    """
    process = subprocess.Popen(command)
    try:
        code = process.wait()
    except KeyboardInterrupt:
        sys.exit(process.wait())
    if code:
        raise UserError(f"a sweep failed (its messages are above): {shlex.join(command[1:])}")


def finished(folder: Path, keys: Sequence[str]) -> list[Trial]:
    """Return the finished trials of a directory, best first.

    Args:
        folder: Directory of the sweeps.
        keys: Keys of the tuned options.
    """
    found = []
    for path in sorted(file.parent for file in folder.glob(f"*/{RESULTS}")):
        nll = ((results(path) or {}).get("run", {}).get("training") or {}).get("best_score")
        config = OmegaConf.create(config_of(path))
        if nll is not None:
            found.append(Trial(nll, {key: OmegaConf.select(config, key) for key in keys}))
    return sorted(found, key=lambda trial: trial.nll)


def page(tuning: Tuning, trials: Sequence[Trial], options: argparse.Namespace) -> str:
    """Return the text of a file with tuned values: all trials as comments, then the values of the best.

    Args:
        tuning: The trials that were wanted.
        trials: The finished trials, best first.
        options: Options of the command line.

    Raises:
        UserError: Trials are missing, or there are others too.
    """
    if len(trials) != options.trials or all(trial.values != tuning.common for trial in trials):
        raise UserError(
            f"{tuning.name}: {len(trials)} trials are finished, not {options.trials} with recipe=common among them; "
            "start the command again, or choose another directory with --runs"
        )
    about = f"best of {options.trials} trials of {options.updates:,} updates by nll on the validation split"
    lines = ["# @package _global_", f"# {' '.join(tuning.options)}: {about}"]
    if others := [option for option in options.overrides if keys([option])[0] not in IGNORED_KEYS]:
        lines.append(f"# with {shlex.join(others)}")
    # Show all trials.
    lines += ["# Written by scripts/tune_mechanisms.py", f"# nll: {', '.join(tuning.common)}"]
    for trial in trials:
        values = ", ".join("null" if value is None else f"{value:.4g}" for value in trial.values.values())
        lines.append(f"# {trial.nll:.4f}: {values}{' (recipe=common)' if trial.values == tuning.common else ''}")
    node = OmegaConf.create({"recipe": "tuned"})
    for key, value in trials[0].values.items():
        OmegaConf.update(node, key, value)
    return "\n".join([*lines, OmegaConf.to_yaml(node)])


def listed(group: str) -> Callable[[str], list[str]]:
    """Return a function that reads an argument as choices of a group, between commas.

    Args:
        group: Config group of ``train.py``.
    """

    def read(text: str) -> list[str]:
        names, known = text.split(","), choices(group)
        if wrong := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{group} has no choice {wrong[0]}{suggest(wrong[0], known)}")
        return names

    return read


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line.

    Args:
        arguments: Command line; None = ``sys.argv``.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    some = f"default: {', '.join(MECHANISMS)}"
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="options of train.py for all trials")
    parser.add_argument("--data", default="toy_translation", choices=choices("data"), metavar="DATA", help="the data")
    parser.add_argument("--models", type=listed("model"), default=MODELS, metavar="A,B", help="default: both")
    parser.add_argument("--mechanisms", type=listed("attention"), default=MECHANISMS, metavar="A,B", help=some)
    parser.add_argument(
        "--trials", type=positive, default=6, help="trials of each mechanism, the common recipe included"
    )
    parser.add_argument("--updates", type=positive, default=1200, help="updates of a trial")
    parser.add_argument("--seed", type=int, default=1, help="seed of the drawn trials")
    parser.add_argument("--jobs", type=positive, default=1, help="trials at a time (with OMP_NUM_THREADS=1)")
    parser.add_argument("--runs", type=Path, default=Path("multirun/tuning"), help="directory of the runs")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="folder of the files with tuned values")
    parser.add_argument(
        "--again", action="store_true", help="also write files that exist; finished runs are not run again"
    )
    options = parser.parse_intermixed_args(arguments)
    if options.trials < 2:
        parser.error(f"--trials={options.trials}: there must be at least 2, the first with the common recipe")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line program.

    Args:
        arguments: Command line; None = ``sys.argv``.
    """
    options, failed = parsed(arguments), []
    try:
        # Look at all mechanisms before the first run.
        pairs = [(model, name) for model in options.models for name in options.mechanisms]
        tunings = [tuning_of(options.data, *pair, options.overrides) for pair in pairs]
        # Tune those that have no file yet.
        for tuning in tunings:
            file = options.folder / f"{tuning.name}.yaml"
            if file.exists() and not options.again:
                print(f"exists: {file}")
                continue
            folder = options.runs / f"{tuning.name}-{options.updates}"
            try:
                for command in commands(tuning, folder, options):
                    run(command)
                trials = finished(folder, list(tuning.common))
                write_text(file, page(tuning, trials, options))
            except UserError as error:
                failed.append(tuning.name)
                print(f"tune_mechanisms.py: {error}", file=sys.stderr)
            else:
                common = next(trial.nll for trial in trials if trial.values == tuning.common)
                print(f"written: {file} (nll {trials[0].nll:.4f}; recipe=common {common:.4f})", flush=True)
    except (UserError, HydraException) as error:
        sys.exit(f"tune_mechanisms.py: {explain(error)}")
    if failed:
        sys.exit(f"tune_mechanisms.py: not tuned: {', '.join(failed)}")


if __name__ == "__main__":
    main()
