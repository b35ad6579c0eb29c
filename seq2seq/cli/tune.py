"""``evaluate.py tune={OPTION:[VALUES]}``: find the decoding options that score best, and store them with the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from omegaconf import DictConfig

from seq2seq.cli.merge_overrides import search_of
from seq2seq.config import validate
from seq2seq.config.instantiate import plain
from seq2seq.data.records import Record
from seq2seq.errors import UserError
from seq2seq.generation.generator import TrainedModel
from seq2seq.metrics import MetricResult, score
from seq2seq.metrics.table import get_metric
from seq2seq.stored.tuned_decoding import save_tuned


def candidates(
    config: DictConfig, grid: Mapping[str, Any], beside: Mapping[str, Any]
) -> list[tuple[dict[str, Any], DictConfig]]:
    """Return (options, config) of each combination of the values to try.

    Args:
        config: Config of the run.
        grid: {option of decoding: values to try}.
        beside: Options that all trials share: options that were tuned before, and options on the command line.

    Raises:
        UserError: The decoding of the run has no such option, or an option has no list of possible values.
    """
    # Check the options and their values.
    if not isinstance(grid, Mapping) or not grid:
        raise UserError(
            f"tune={grid} must name options of decoding and their values, as in tune={{length_penalty:[0.8,1.0]}}"
        )
    for name, values in grid.items():
        if name.startswith("_") or name not in config.decoding:
            raise UserError(f"tune: decoding has no option {name}{validate.suggest(name, config.decoding)}")
        # Each option needs a list, because a single value would be no choice.
        if not isinstance(values, list) or not values:
            raise UserError(f"tune: {name}={values} must be a list of values, as in tune={{{name}:[0.8,1.0]}}")
    # Put each combination into the config.
    trials = []
    for combination in product(*grid.values()):
        options = {**beside, **dict(zip(grid, combination, strict=True))}
        changed = config.copy()
        changed.decoding.update(options)
        validate.check_nodes("decoding", plain(changed.decoding))
        search_of(changed)  # refuse wrong values before anything is decoded
        trials.append((options, changed))
    return trials


def tune(
    trained: TrainedModel,
    trials: Sequence[tuple[dict[str, Any], DictConfig]],
    records: Sequence[Record],
    *,
    split: str,
    metric: str,
    max_tokens: int,
) -> dict[str, MetricResult]:
    """Decode records with each trial, print a table, and store the best options in the directory of the run.

    Args:
        trained: Model of the run.
        trials: (options, config) of each trial.
        records: Records of the split.
        split: Name of the split, for the table and the stored file.
        metric: Metric by which the trials are compared.
        max_tokens: Bound on the tokens of a batch, with padding.

    Returns:
        {metric: result of the best trial}; the first of trials with equal scores.
    """
    references = [list(record.get("references") or [record["target"]]) for record in records]
    sources = [record["source"] for record in records]
    results: list[MetricResult] = []
    reference_words = sum(len(several[0].split()) for several in references)
    print(f"{split}: {metric} and length ratio (output words / reference words) by decoding options")
    # Score each trial.
    for options, config in trials:
        outputs = [one.text for one in trained.generate(sources, search=search_of(config), max_tokens=max_tokens)]
        results.append(score([metric], outputs, references)[metric])
        ratio = sum(len(text.split()) for text in outputs) / max(reference_words, 1)
        print(f"  {_typed(options):40}  {results[-1].score:6.2f}  {ratio:.3f}", flush=True)
    # Store the best options.
    sign = -1 if get_metric(metric).higher_is_better is False else 1
    best = max(range(len(trials)), key=lambda index: sign * results[index].score)
    listed = [{**options, metric: result.score} for (options, _), result in zip(trials, results, strict=True)]
    path = save_tuned(trained.run, trials[best][0], split, metric, listed)
    print(f"best  {_typed(trials[best][0])}; stored in {path}, which evaluation and generation read")
    return {metric: results[best]}


def _typed(options: Mapping[str, Any]) -> str:
    """Return options of decoding as overrides."""
    return " ".join(f"decoding.{name}={value}" for name, value in options.items())
