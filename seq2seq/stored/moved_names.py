"""Old names of modules, classes, keys and metrics, for reading the configs and results of old runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MODULES = {
    "seq2seq.attention.feature_maps": "seq2seq.attention.components.feature_maps",
    "seq2seq.attention.normalizers": "seq2seq.attention.components.normalizers",
    "seq2seq.attention.patterns": "seq2seq.attention.components.patterns",
    "seq2seq.attention.relative": "seq2seq.attention.components.relative_positions",
    "seq2seq.attention.scores": "seq2seq.attention.components.scores",
    "seq2seq.attention.selections": "seq2seq.attention.components.selections",
    "seq2seq.attention.windows": "seq2seq.attention.components.windows",
    "seq2seq.data.folders": "seq2seq.data.readers.folders",
    "seq2seq.data.karpathy": "seq2seq.data.readers.karpathy",
    "seq2seq.data.readers": "seq2seq.data.readers.text",
    "seq2seq.encoders.clip": "seq2seq.encoders.video",
}
"""{old name of a module: current name}."""

CLASSES = {
    "seq2seq.attention.adaptive.Adaptive": "AdaptiveAttention",
    "seq2seq.attention.components.relative_positions.Relative": "RelativeAttention",
    "seq2seq.attention.composed.Composed": "ComposedAttention",
    "seq2seq.attention.coverage.Coverage": "CoverageAttention",
    "seq2seq.attention.gmm.GMM": "GMMAttention",
    "seq2seq.attention.hierarchical.Hierarchical": "HierarchicalAttention",
    "seq2seq.attention.intra_temporal.IntraTemporal": "IntraTemporalAttention",
    "seq2seq.attention.latent.Latent": "LatentAttention",
    "seq2seq.attention.latent_alignment.HardMarginal": "HardMarginalAttention",
    "seq2seq.attention.latent_alignment.Variational": "VariationalAttention",
    "seq2seq.attention.location_aware.LocationAware": "LocationAwareAttention",
    "seq2seq.attention.memory_network.MemoryNetwork": "MemoryNetworkAttention",
    "seq2seq.attention.monotonic.Mocha": "MochaAttention",
    "seq2seq.attention.monotonic.Monotonic": "MonotonicAttention",
    "seq2seq.data.corpus.Corpus": "seq2seq.data.text.TextCorpus",
    "seq2seq.data.readers.folders.ImageFolder": "ImageFolderReader",
    "seq2seq.data.readers.karpathy.Karpathy": "KarpathyReader",
    "seq2seq.data.readers.text.Hub": "seq2seq.data.readers.hub.HubReader",
    "seq2seq.data.readers.text.HubReader": "seq2seq.data.readers.hub.HubReader",
    "seq2seq.data.readers.text.ParallelText": "ParallelTextReader",
    "seq2seq.data.readers.text.Table": "seq2seq.data.readers.tables.TableReader",
    "seq2seq.data.readers.text.TableReader": "seq2seq.data.readers.tables.TableReader",
    "seq2seq.encoders.video.ClipEncoder": "VideoEncoder",
    "seq2seq.training.options.Options": "TrainingOptions",
    "seq2seq.training.schedules.Constant": "ConstantSchedule",
    "seq2seq.training.schedules.Cosine": "CosineSchedule",
    "seq2seq.training.schedules.Halving": "HalvingSchedule",
    "seq2seq.training.schedules.InverseSquareRoot": "InverseSquareRootSchedule",
    "seq2seq.training.schedules.Plateau": "PlateauSchedule",
}
"""{old name of a class in the current module: current name}, with the module if only this class moved."""

METRICS = {f"cost_{name}": f"nll_increase_{name}" for name in ("uniform", "permuted", "frozen")}
"""{old name of a figure in results.json and outputs/*.jsonl: current name}."""
TASKS = {
    "images": "seq2seq.tasks.captioning.Captioning",
    "documents": "seq2seq.tasks.summarisation.Summarisation",
}
"""{option of data: task} for a config without a task; without such an option the task is translation."""

KEYS = {
    "schedule": "lr_scheduler",
    "loss.start": "loss.start_at",
    "training.start_from": "training.init_from",
    "training.plots": "training.num_plots",
    "training.examples": "training.save_attention",
    "training.faithfulness": "training.faithfulness_examples",
    "data.reader.pictures": "data.reader.images",
}
"""{old path of a key in the config of a run: current path}."""

EVALUATION_KEYS = {
    "plots": "num_plots",
    "examples": "save_attention",
    "faithfulness": "faithfulness_examples",
}
"""{old name of an option of ``evaluate.py``: current name}."""

CHOICES = {"encoder": {"clip": "video"}}
"""{group of ``conf/``: {old name of a file: current name}}."""


def renamed(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with the current names of keys and classes.

    Args:
        config: Stored config. Unknown names, and values of an unexpected type, stay unchanged.
    """
    result = {str(key): _classes(value) for key, value in config.items()}
    # Add the task that old configs do not name.
    data, task = result.get("data"), result.get("task") or {}
    if isinstance(data, dict) and isinstance(task, dict) and "_target_" not in task:
        kinds = (kind for option, kind in TASKS.items() if data.get(option))
        result["task"] = {"_target_": next(kinds, "seq2seq.tasks.translation.Translation"), **task}
    # Rename the keys.
    for old, new in KEYS.items():
        _move(result, old.split("."), new.split("."))
    return result


def key(path: str, names: Mapping[str, str] = KEYS) -> str:
    """Return the current path of a key.

    Args:
        path: Path of the key, old or current.
        names: {old path: current path} of keys; they also rename all keys below them.
    """
    for old, new in names.items():
        if path == old or path.startswith(f"{old}."):
            return new + path[len(old) :]
    return path


def class_path(path: str) -> str:
    """Return the current path of a class.

    Args:
        path: Dotted name of the class, old or current.
    """
    module, _, name = path.rpartition(".")
    module = MODULES.get(module, module)
    today = CLASSES.get(f"{module}.{name}", name)
    return today if "." in today else f"{module}.{today}"


def _classes(value: Any) -> Any:
    """Return a part of a config with the current names of classes."""
    if isinstance(value, Mapping):
        node = {key: _classes(below) for key, below in value.items()}
        if isinstance(path := node.get("_target_"), str):
            node["_target_"] = class_path(path)
        return node
    if isinstance(value, list | tuple):
        return [_classes(below) for below in value]
    return value


def _move(config: dict[str, Any], old: list[str], new: list[str]) -> None:
    """Move the value at ``old`` to ``new``, unless ``new`` has a value."""
    # Find the mapping that contains the old key.
    node: Any = config
    for key in old[:-1]:
        node = node.get(key) if isinstance(node, dict) else None
    if not isinstance(node, dict) or old[-1] not in node:
        return
    # Make the mappings above the new key.
    target: Any = config
    for key in new[:-1]:
        target = target.setdefault(key, {}) if isinstance(target, dict) else None
    if isinstance(target, dict) and new[-1] not in target:
        target[new[-1]] = node.pop(old[-1])
