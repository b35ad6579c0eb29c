"""Messages of a training for people: what is trained, at its start; what to look at and to try, at its end."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from omegaconf import DictConfig

from seq2seq.cli.overrides import retyped
from seq2seq.config.extensions import Extensions, command, current
from seq2seq.data.corpus import Corpus
from seq2seq.evaluation.results import format_main, format_table
from seq2seq.metrics import MetricResult
from seq2seq.metrics.faithfulness import ONSET
from seq2seq.model import Seq2Seq
from seq2seq.run_directory import HYDRA, RESULTS
from seq2seq.stored.plain import read_yaml
from seq2seq.tasks.base import Task
from seq2seq.training.fit import FitResult
from seq2seq.training.frozen import is_named
from seq2seq.training.options import TrainingOptions

NEVER_BEGAN = (
    f"attention never began: averaged attention costs {{:.3f}} nats per token (< {ONSET});\n       "
    "try other trainer.max_epochs, data.max_tokens, attention/score or warmup_steps"
)
LATE = 0.1
"""Last share of the updates. If the best validation is in it, longer training may help."""
RUN_DEPTH = 4
"""Number of names in the usual path of a run: runs/DATA/MODEL-ATTENTION/DATE_TIME."""
PARTS = ("encoder", "decoder", "attention")
"""Config groups that name a model."""


def beginning(
    config: DictConfig, model: Seq2Seq, corpus: Corpus, trainer: L.Trainer, run: Path, plan: str
) -> list[str]:
    """Return the lines that describe a training before its first update.

    Args:
        config: Config of the run.
        model: The model.
        corpus: The data, which are set up.
        trainer: The trainer, which knows its devices.
        run: Directory of the run.
        plan: Size of the batches, and the planned updates and epochs (``training/plan.py:summary``).
    """
    # Name the parts by the choices of the config groups, or by their classes if those are unknown.
    choices = _choices(run)
    names = [f"{part}={choices[part]}" for part in PARTS if choices.get(part)]
    names = names or [type(part).__name__ for part in (model.encoder, model.decoder)]
    parameters = sum(parameter.numel() for parameter in model.parameters())
    names_frozen = config.training.get("freeze") or ()
    frozen = sum(
        parameter.numel()
        for key, parameter in model.named_parameters()
        if any(is_named(key, name) for name in names_frozen)
    )
    # Name the devices.
    count = trainer.num_devices * trainer.num_nodes
    device = _device(type(trainer.accelerator).__name__.removesuffix("Accelerator"))
    processes = f"{count} processes" if count > 1 else "1 process"
    # Count the records; those of a stream are not known.
    records = [f"{report.kept:,} {split}" for split, report in corpus.report.items()]
    sizes = " and ".join(f"{len(tokenizer):,} {side}" for side, tokenizer in corpus.codec.tokenizers.items())
    return [
        f"model: {', '.join(names)}; {parameters:,} parameters" + (f", {frozen:,} of them frozen" if frozen else ""),
        f"device: {device}, {processes}, precision {config.trainer.precision}",
        f"data: {corpus.name}, {' + '.join(records) or 'streamed'} records; vocabulary {sizes}",
        f"plan: {plan}",
        f"run: {run}",
    ]


def short(run: Path) -> Path:
    """Return the path of a run from the current directory, if the run is below it.

    Args:
        run: Directory of the run.
    """
    here = Path.cwd()
    return run.relative_to(here) if run.is_relative_to(here) else run


def _choices(run: Path) -> Mapping[str, Any]:
    """Return the choices of the config groups that a run stores; empty if it stores none."""
    choices = _of_hydra(run, "runtime", "choices")
    return choices if isinstance(choices, Mapping) else {}


def _folder(run: Path) -> list[str]:
    """Return the words that add the user's config files of a run, if this command has none of its own."""
    path = _of_hydra(run, "searchpath")
    if current().folder is not None or not isinstance(path, list) or not path:
        return []
    return Extensions(Path(str(path[0]).removeprefix("file://"))).words()


def _of_hydra(run: Path, *keys: str) -> Any:
    """Return a value of the node ``hydra`` that a run stores; None if there is none."""
    found = read_yaml(path) if (path := run / HYDRA / "hydra.yaml").is_file() else {}
    for key in ("hydra", *keys):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _device(kind: str) -> str:
    """Return the name of a device, by the name of Lightning's accelerator."""
    if kind == "CUDA":
        return f"GPU ({torch.cuda.get_device_name()})"
    if kind == "MPS":
        return "GPU (MPS)"
    threads = torch.get_num_threads()
    return f"{kind} ({platform.machine()}, {threads} thread{'s' * (threads > 1)})"


def ending(
    fitted: FitResult,
    run: Path,
    split: str,
    metrics: Mapping[str, MetricResult],
    task: Task,
    options: TrainingOptions,
    *,
    suggest: bool,
) -> str:
    """Return the text that ends a training: figures, places of the files, and commands to try.

    Args:
        fitted: Result of training.
        run: Directory of the run.
        split: Name of the scored split.
        metrics: Results by name of the metric.
        task: Task, which knows its main metrics.
        options: Options of training, which say whether attention was drawn and whether all metrics are shown.
        suggest: Whether to suggest commands to try.
    """
    verbose = options.verbose
    lines = [split, format_table(metrics) if verbose else format_main(metrics, task), "", f"run    {run}"]
    lines += [f"plots  {run / 'attention' / split}"] if options.num_plots else []
    lines += [] if verbose else [f"more   {RESULTS} in the run has all {len(metrics)} figures"]
    # After a single update (debug=batch) there is no trend and nothing to try.
    if fitted.steps == 1:
        return "\n".join(lines)
    if fitted.onset is None and fitted.nll_increase_averaged is not None:
        lines.append(NEVER_BEGAN.format(round(fitted.nll_increase_averaged, 3) + 0.0))
    lines.append(outlook(fitted, run))
    if suggest:
        lines += ["next   " + "\n       ".join(suggestions(run, task))]
    return "\n".join(lines)


def suggestions(run: Path, task: Task) -> list[str]:
    """Return commands to try after a training.

    Args:
        run: Directory of the run.
        task: Task, which knows what its inputs are.
    """
    place = shlex.quote(str(run))
    # The same run with another mechanism, into another directory.
    other = "dot" if _choices(run).get("attention") == "general" else "general"
    again = " ".join(
        [command("train"), *_folder(run), *_typed(run, "attention", "hydra.run.dir"), f"attention={other}"]
    )
    inputs = "" if "text" in task.reads else " input=FILE"
    # In the usual place, the runs on one dataset are together.
    together = run.parents[1] if run.parts[0] == "runs" and len(run.parts) == RUN_DEPTH else f"[{place},OTHER_RUN]"
    return [
        f"{command('evaluate')} checkpoint={place} decoding=greedy",
        f"{command('generate')} checkpoint={place}{inputs} plots=plots",
        again,
        f"{command('compare')} runs={together}",
    ]


def outlook(fitted: FitResult, run: Path) -> str:
    """Return a message about the best update, with a command for more training if validation was still improving.

    Args:
        fitted: Result of training.
        run: Directory of the run.
    """
    if fitted.best_score is None:
        return "nothing was validated: the model of the last update is kept"
    best = f"best   {fitted.monitor} of validation at update {fitted.best_step:,} of {fitted.steps:,}"
    if fitted.best_step <= (1 - LATE) * fitted.steps:
        return best
    again = f"{command('train')} resume={shlex.quote(str(run))} trainer.max_epochs={2 * fitted.epochs}"
    return f"{best}, still improving; to train longer:\n       {again}"


def _typed(run: Path, *without: str) -> list[str]:
    """Return the options that started a run, as words of a command, without some of them."""
    typed = read_yaml(path) if (path := run / HYDRA / "overrides.yaml").is_file() else []
    return retyped(map(str, typed or []), without=without)
