"""Start of a command: read the command line, compose and check the config, report an error of the user in one line.

The signatures of the components are the schema. Therefore ``KEY=VALUE`` may set any option, whether or not its YAML
file lists it (Hydra would require ``+``). ``seq2seq.config.validate`` refuses a wrong key and names the right ones.
"""

from __future__ import annotations

import argparse
import copy
import functools
import itertools
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from seq2seq.cli import extension_flags, sweep
from seq2seq.cli.one_line import one_line
from seq2seq.cli.overrides import as_override, groups, keys, shown
from seq2seq.compat import hydra as hydra_compat
from seq2seq.config.instantiate import CONF
from seq2seq.config.validate import suggest
from seq2seq.errors import UnknownOption, UserError
from seq2seq.files.text import speak_utf8
from seq2seq.runtime import interrupts

log = logging.getLogger(__name__)

LONGEST = 2000  # characters of the longest message
SWEEP = ("-m", "--multirun")


def run(
    task: Callable[..., object],
    config_name: str,
    check: Callable[[DictConfig, list[str]], object] | None = None,
) -> None:
    """Compose the config of the command line, and call ``task`` with it, in a sweep once for each job.

    A job of a sweep that fails is reported, and the next job starts.

    Args:
        task: Called with the config and, outside a sweep, with the return value of ``check``. In a sweep it returns the
            value that a sweeper optimises.
        config_name: Name of the config in ``conf``: train, resume, evaluate, generate or compare.
        check: Called with each config and the names of the options on the command line, before a directory is made.

    Raises:
        SystemExit: The command line, the config or the data have an error that the user can repair.
    """
    # Register the resolvers, and read the command line.
    speak_utf8()
    OmegaConf.register_new_resolver("run_of", _run_of, replace=True)
    OmegaConf.register_new_resolver("job_place", sweep.place, replace=True)
    typed, started, built = sys.argv[1:], False, None
    rest, added = extension_flags.taken(typed)
    arguments = [as_override(argument, config_name, sweeps=any(flag in SWEEP for flag in typed)) for argument in rest]
    arguments += extension_flags.overrides(added)

    main_process = os.getpid()

    @functools.wraps(task)
    def job_task(config: DictConfig) -> object:
        nonlocal started
        started = True
        sys.argv[1:] = typed  # a run records its command
        extension_flags.use(added)  # a worker of a launcher does not inherit them
        if os.getpid() != main_process:  # a worker process of a launcher
            interrupts.take_over()
            if os.getppid() == main_process:
                interrupts.end_with(main_process)
        if sweep.is_sweep():
            with _left(config, traceback_wanted):
                return task(config)
        with _one_line(traceback_wanted):  # report errors here: Hydra would add lines of its own
            return task(config) if built is None else task(config, built)

    traceback_wanted = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let Hydra raise its errors instead of printing them
    with _one_line(traceback_wanted):
        # Check all configs before a directory is made.
        flags = _flags(arguments)
        overrides = [argument for argument in arguments if argument not in flags]
        if not set(SWEEP).isdisjoint(flags) or "hydra.mode=MULTIRUN" in overrides:
            sweep.check_directory(_sweep_directory(config_name, overrides))
        job = None
        if all(flag in SWEEP for flag in flags):
            job, built = checked(config_name, overrides, check)
        # Run the command, by Hydra for a sweep or a flag.
        sys.argv[1:] = arguments
        try:
            if flags or job is None:
                built = None
                hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(job_task)()
            else:
                _run_composed(job, job_task)
        except Exception as error:
            if started or isinstance(error, UserError):
                raise
            raise UserError(explain(error)) from error  # Hydra raises errors of many types for wrong hydra.* options


def _run_composed(config: DictConfig, task: Callable[[DictConfig], object]) -> None:
    """Run the only job of a command as Hydra does, with the config that was already composed for the check."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3", job_name=Path(sys.argv[0]).stem):
        hydra_compat.run_job(task, config)


def _flags(arguments: list[str]) -> list[str]:
    """Return the arguments that are not overrides: the flags of Hydra and their values.

    Raises:
        UserError: A flag does not exist, or can't be combined with another.
    """
    parser = hydra_compat.flag_parser()
    parser.exit_on_error = parser.allow_abbrev = False
    try:
        found, unknown = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise UserError(f"{error.argument_name}: {error.message}; --help lists the options") from error
    if unknown:
        raise UserError(f"{shown(unknown[0])} is not an option; write GROUP=CHOICE or KEY=VALUE (--help lists them)")
    if found.experimental_rerun is not None:
        raise UserError("--experimental-rerun is not supported; use resume=RUN to resume a run")
    if found.resolve and not found.cfg:
        raise UserError("--resolve has no effect alone; add --cfg job")
    flags = list(arguments)
    for override in found.overrides:
        flags.remove(override)
    return flags


@contextmanager
def _left(config: DictConfig, traceback_wanted: bool) -> Iterator[None]:
    """Report the error of a job at once, and raise it again for Hydra, which starts the next job."""
    try:
        yield
    except Exception as error:
        if interrupts.received():
            sys.exit(interrupts.INTERRUPTED)
        job = HydraConfig.get()
        mistake = isinstance(error, (UserError, OmegaConfBaseException))
        reason = explain(error) if mistake else f"{type(error).__name__}: {explain(error)}"
        sweep.fail(Path(job.runtime.output_dir), config, reason)
        log.error("job %s failed: %s", job.job.num, reason, exc_info=traceback_wanted or not mistake)
        raise


def _one_line(traceback_wanted: bool) -> AbstractContextManager[None]:
    """Return ``one_line`` for errors of the user, of Hydra and of OmegaConf."""
    mistakes = (UserError, HydraException, OmegaConfBaseException)
    return one_line(mistakes, explain, traceback_wanted=traceback_wanted)


def _sweep_directory(config_name: str, overrides: list[str]) -> Path:
    """Return the directory in which a sweep puts the directories of its jobs."""
    typed = [override for override in overrides if override.lstrip("+").startswith("hydra.sweep.")]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return Path(hydra.compose(config_name, typed, return_hydra_config=True).hydra.sweep.dir)


def checked(
    config_name: str, overrides: list[str], check: Callable[[DictConfig, list[str]], object] | None = None
) -> tuple[DictConfig | None, Any]:
    """Compose the config of each job, and check it.

    If some jobs of a sweep are refused, they are reported; the sweep starts, and they fail in it.

    Args:
        config_name: Name of the config in ``conf``.
        overrides: Overrides in Hydra's grammar.
        check: Called with each config and the names of the options on the command line.

    Returns:
        The config with Hydra's own node, and the return value of ``check``; (None, None) for a sweep.

    Raises:
        UserError: ``check`` refuses all jobs. An unknown option names the choice (GROUP=CHOICE) that does not have it.
    """
    typed = keys(overrides)
    refused: list[UserError] = []
    count, is_single, composed, built = 0, False, None, None
    # Check each job.
    for job, composed in _jobs(config_name, overrides):
        count += 1
        is_single = job == overrides and composed.hydra.mode != RunMode.MULTIRUN
        config = _without_hydra(composed)
        try:
            if check is not None:
                built = check(config, typed)
        except UserError as error:
            if isinstance(error, UnknownOption):
                owner = _chosen(error.node, composed.hydra.runtime.choices) or error.owner
                error = UnknownOption(error.node, error.option, owner, error.hint).with_traceback(error.__traceback__)
            error.add_note(f"job {count - 1} ({shown(', '.join(job))}) will fail")
            refused.append(error)
    # Report the jobs that will fail.
    if refused and len(refused) == count:
        raise refused[0]
    for one in refused:
        print(f"{Path(sys.argv[0]).name}: {one.__notes__[0]}: {one}", file=sys.stderr)
    if not is_single or composed is None:
        return None, None
    # Complete the node of Hydra for the only job.
    with read_write(composed.hydra), open_dict(composed.hydra):
        composed.hydra.mode = RunMode.RUN
        composed.hydra.overrides.hydra.append("hydra.mode=RUN")  # Hydra records it likewise
    return composed, built


def compose(config_name: str, overrides: list[str]) -> Iterator[DictConfig]:
    """Yield the config of each job, without Hydra's own node.

    Args:
        config_name: Name of the config in ``conf``.
        overrides: Overrides in Hydra's grammar.
    """
    return (_without_hydra(config) for _, config in _jobs(config_name, overrides))


def _without_hydra(config: DictConfig) -> DictConfig:
    """Return a copy of ``config`` without Hydra's own node."""
    own = copy.deepcopy(config)
    with read_write(own), open_dict(own):
        del own["hydra"]
    return own


def _jobs(config_name: str, overrides: list[str]) -> Iterator[tuple[list[str], DictConfig]]:
    """Yield (overrides, config with Hydra's own node) of each job."""
    axes = []
    with hydra.initialize_config_dir(str(CONF), version_base="1.3", job_name=Path(sys.argv[0]).stem):
        # Collect the values of each override.
        overrides = [*_params(config_name, overrides), *overrides]
        for override in hydra_compat.parse_overrides(overrides):
            line = str(override.input_line)
            named = override.is_sweep_override() or _names_files(override.value())
            if override.key_or_group in groups() and not named:
                raise UserError(f"{shown(line)}: choose one of the group's files (--help lists them)")
            if override.is_sweep_override() and not (override.is_choice_sweep() or override.is_range_sweep()):
                return  # a sweeper draws the values of interval(...): each job is checked when it starts
            if override.is_sweep_override():
                key = line.partition("=")[0]
                axes.append([f"{key}={value}" for value in override.sweep_string_iterator()])
            else:
                axes.append([line])
        # Compose the config of each combination of values.
        for job in map(list, itertools.product(*axes)):
            try:
                config = hydra.compose(config_name, job, return_hydra_config=True)
            except ConfigCompositionException as error:
                raise UserError(_without(error, config_name, job)) from error
            except (HydraException, OmegaConfBaseException):
                raise
            except Exception as error:  # Hydra raises errors of many types for values that it does not expect
                raise UserError(explain(error)) from error
            yield job, config


def _names_files(value: object) -> bool:
    """Return whether ``value`` can be the choice of a group: a file name, a list of them, or null."""
    values = value if isinstance(value, list) else [value]
    return all(one is None or isinstance(one, str) for one in values)


def _params(config_name: str, overrides: list[str]) -> list[str]:
    """Return the overrides in ``hydra.sweeper.params`` of an experiment, without those on the command line."""
    typed = keys(overrides)
    chosen = [override for override in overrides if override.lstrip("+").startswith("experiment=")]
    if not chosen or "," in chosen[-1]:
        return []
    chosen += [override for override in overrides if override.startswith("hydra.searchpath=")]
    try:
        params = hydra.compose(config_name, chosen, return_hydra_config=True).hydra.sweeper.get("params") or {}
    except (HydraException, OmegaConfBaseException, ValueError, TypeError):
        return []  # errors are reported when the whole config is composed
    return [as_override(f"{key}={value}") for key, value in params.items() if key.lstrip("+") not in typed]


def _choices(config_name: str, job: list[str]) -> dict[str, str | None]:
    """Return {group: file} of a job. A group at another key than its own has the name ``group@key``."""
    return hydra_compat.choices(hydra.compose(config_name, job, return_hydra_config=True))


def _chosen(key: str, among: Mapping[str, str | None]) -> str | None:
    """Return GROUP=CHOICE of the component at ``key``."""
    part = key.rpartition(".")[2]
    groups = (key.replace(".", "/"), f"self_attention@{key}", f"attention/{part}@{key}")
    return next((f"{group}={among[group]}" for group in groups if among.get(group)), None)


def _without(error: Exception, config_name: str, job: list[str]) -> str:
    """Return ``explain(error)``, or the parts of an attention mechanism if it has no such part."""
    refused, _ = hydra_compat.not_overridable(str(error)) or ("", "")
    if not (found := re.fullmatch(r"attention/\w+@?([\w.]*)", refused)):
        return explain(error)
    among = _choices(config_name, [line for line in job if line.partition("=")[0] != refused])
    slot = found[1].partition(".")[0] or "attention"
    if (name := _chosen(slot, among)) is None:
        return explain(error)
    stands = (group for group in among if group.startswith("attention/"))
    parts = sorted(group for group in stands if (group.partition("@")[2].partition(".")[0] or "attention") == slot)
    return f"{name} has no part {refused}; it has: {', '.join(parts) or 'none'}"


def explain(error: Exception) -> str:
    """Return one line about an error: the problem and the remedy.

    Args:
        error: Error of this project, of Hydra or of OmegaConf.
    """
    text = _short(shown(str(error)))
    if isinstance(error, MissingConfigException) and error.options:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        return f"{group} has no choice {name}{suggest(name, error.options)}; it has: {', '.join(sorted(error.options))}"
    if isinstance(error, OverrideParseException):
        typed = _short(shown(str(error.override)))
        return f"{typed!r} can't be read; write GROUP=CHOICE or KEY=VALUE, with quotes around special characters"
    if found := hydra_compat.not_overridable(text):
        group, proposal = found
        return f"{group} can't be chosen here. {proposal or '--help lists the groups.'}"
    return text


def _short(text: str) -> str:
    """Return ``text`` in one line, without its middle if it is longer than ``LONGEST``."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}"


def _run_of(path: str) -> str:
    """Return the directory of the run to which a checkpoint belongs."""
    from seq2seq.checkpoint import run_of  # imports torch: only needed to resume a run

    return str(run_of(path))
