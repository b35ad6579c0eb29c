"""Tests of malicious configs in models and runs from other people: forged values at every key.

There are four ways to open a run: ``seq2seq.load``, ``generate.py``, ``evaluate.py`` and ``train.py resume=``. A way
that would use the forged value refuses the config in one line. No way writes a file outside the run, opens a
connection, or shows a variable of the environment.
"""

from __future__ import annotations

import copy
import hashlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from omegaconf import DictConfig, OmegaConf

import seq2seq
from seq2seq import checkpoint
from seq2seq.cli import evaluate, generate, hydra_app, train
from seq2seq.config.instantiate import CONF
from seq2seq.errors import UserError
from seq2seq.stored import machine, model_file, plain, resume_file
from tests.sampling import mostly_slow

SECRET = "a-secret-of-this-machine"
ALL = ("load", "generate", "evaluate", "resume")
READING = ("evaluate", "resume")  # ways that also build a reader
CANARY = "CANARY"  # placeholder of a path where no file may appear
WRITER = {"_target_": "seq2seq.generation.writer.OutputWriter", "output": CANARY}
FAIL = {"_target_": "seq2seq.cli.sweep.fail", "folder": CANARY, "reason": "x"}
WORK = {"_target_": "seq2seq.training.launch._work", "work": "x"}
SYSTEM = {"_target_": "os.system", "command": f"touch {CANARY}"}
PARTIAL = {"_partial_": True}
HUB = {"_target_": "seq2seq.data.readers.hub.HubReader", "repository": "own/set", "revision": "x"}
RNN = "seq2seq.encoders.rnn.RNNEncoder"
SUMMARIES = {"_target_": "seq2seq.tasks.summarisation.Summarisation", "metrics": ["rouge1"]}
BACKBONE = {"_target_": "seq2seq.encoders.backbone.BackboneEncoder", "_partial_": True, "dim": 8}
RESNET = {"model_type": "resnet", "hidden_sizes": [8], "depths": [1], "embedding_size": 8, "out_features": ["stage1"]}
NUMBERS = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}

CODE: list[tuple[str, Any, tuple[str, ...]]] = [
    ("encoder", {**SYSTEM, **PARTIAL}, ALL),
    ("encoder._target_", "subprocess.Popen", ALL),
    ("encoder._target_", "seq2seq.checkpoint.torch.load", ALL),
    ("encoder._target_", "seq2seq.decoders.rnn.RNNDecoder", ALL),
    ("encoder._target_", 5, ALL),
    ("encoder._target_", ["os.system"], ALL),
    ("encoder.frames", WRITER, ALL),
    ("encoder.self_attention", {**WORK, **PARTIAL}, ALL),
    ("encoder._partial_", "yes", ALL),
    ("encoder._partial_", False, ALL),
    ("decoder", WRITER, ALL),
    ("decoder._target_", "builtins.eval", ALL),
    ("decoder.attention", {**WORK, **PARTIAL}, ALL),
    ("decoder.attention._target_", RNN, ALL),
    ("decoder.attention.score", {**WRITER, **PARTIAL}, ALL),
    ("decoder.attention.window._target_", "seq2seq.attention.components.scores.Dot", ALL),
    ("decoder.attention.normalizer", [WRITER], ALL),
    ("decoder.bridge", SYSTEM, ALL),
    ("attention", WORK, ALL),
    ("self_attention", FAIL, ALL),
    ("encoder_self", FAIL, ALL),
    ("decoder_self", WRITER, ALL),
    ("default_self", WRITER, ALL),
    ("decoding", FAIL, ALL),
    ("decoding._target_", "seq2seq.loss.Criterion", ALL),
    ("decoding.beam_size", WRITER, ALL),
    ("loss", WORK, ALL),
    ("loss._target_", "seq2seq.search.Beam", ALL),
    ("loss._partial_", True, ALL),
    ("loss.weights", FAIL, ALL),
    ("data", WRITER, ALL),
    ("data._target_", "seq2seq.data.readers.tables.TableReader", ALL),
    ("data.reader", FAIL, ALL),
    ("data.reader", {"_target_": "datasets.load_dataset", "path": "own/set"}, ALL),
    ("data.reader._target_", "seq2seq.data.text.TextCorpus", ALL),
    ("data.tokenizer", WRITER, ALL),
    ("data.images", WRITER, ALL),
    ("data.name", WRITER, ALL),
    ("task", WRITER, ALL),
    ("task.metrics", [FAIL], ALL),
    ("model.dim", WRITER, ALL),
    ("model", {"share_embeddings": False, "x": SYSTEM}, ALL),
    ("seed", WRITER, ALL),
    ("hydra", {"launcher": SYSTEM}, ALL),
    ("evaluation", WRITER, ALL),
    ("training", {"_target_": "seq2seq.files.writing.write_text", "path": CANARY, "text": "x"}, ALL),
    ("training.decoding", FAIL, ALL),
    ("optimizer", {"_target_": "torch.hub.load", "repo_or_dir": "x", "model": "y"}, ("resume",)),
    ("optimizer._target_", "torch.optim.lr_scheduler.LambdaLR", ("resume",)),
    ("lr_scheduler", WRITER, ALL),
    ("trainer", WORK, ("resume",)),
    ("trainer.callbacks", [WRITER], ("resume",)),
    ("trainer.plugins", [WRITER], ("resume",)),
    ("trainer.plugins", "own_plugin", ("resume",)),
    ("trainer.profiler", FAIL, ("resume",)),
    ("trainer.profiler", "simple", ("resume",)),
    ("trainer.strategy", "deepspeed", ("resume",)),
    ("trainer.strategy", WRITER, ("resume",)),
    ("trainer.model_registry", "somebody/else", ("resume",)),
    ("trainer.default_root_dir", CANARY, ("resume",)),
    ("trainer.logger", True, ("resume",)),
    ("logger.own", WRITER, ("resume",)),
    ("logger.csv", WRITER, ("resume",)),
    ("logger.csv._target_", "lightning.pytorch.loggers.WandbLogger", ("resume",)),
    ("logger", [WRITER], ("resume",)),
    ("logger.../x", {}, ("resume",)),
]
"""Cases (key, value, ways that refuse it) that name classes, functions and plugins to run.

Only ``resume`` uses the trainer, the logger and the optimizer.
"""

PLACES: list[tuple[str, Any, tuple[str, ...]]] = [
    ("data.cache", CANARY, ()),
    ("data.path", "https://example.com/data", READING),
    ("data.path", "s3://bucket/data", READING),
    ("data.path", "zip://x::http://example.com/x.zip", READING),
    ("data.tokenizer.source_model", "/etc/passwd", ()),
    ("data.reader", {**HUB, "repository": "https://example.com/set"}, READING),
    ("data.reader", {**HUB, "repository": "/etc"}, READING),
    ("data.reader", {**HUB, "repository": "json"}, READING),
    ("data.reader", {**HUB, "jsonl": "https://example.com/{split}.jsonl"}, READING),
    ("data.reader", {**HUB, "files_of": {"train": ["http://example.com/x.csv"]}}, READING),
    ("data.reader", {**HUB, "files_of": {"train": ["/etc/passwd"]}}, READING),
    ("data.reader", {**HUB, "files_of": {"test": ["../../x.csv"]}}, READING),
    (
        "data.reader",
        {"_target_": "seq2seq.data.readers.karpathy.KarpathyReader", "file": "/etc/passwd", "images": "x"},
        READING,
    ),
    ("encoder", {**BACKBONE, "name": "own/network"}, ALL),
    ("encoder", {**BACKBONE, "name": "x", "cache": CANARY}, ALL),
    ("encoder", {**BACKBONE, "name": "x", "architecture": {"network": "hf_hub:own/x"}}, ALL),
    ("encoder", {**BACKBONE, "name": "x", "architecture": {"network": {"model_type": "own"}}}, ALL),
    *(
        ("encoder", {**BACKBONE, "name": "x", "architecture": {**NUMBERS, "network": {**RESNET, **more}}}, ALL)
        for more in (
            {"attn_implementation": "own/kernel"},
            {"_attn_implementation": "own/kernel:attention"},
            {"attn_implementation": "flash_attention_2"},
            {"sub": {"_attn_implementation": {"": "own/kernel"}}},
            {"experts_implementation": "own/kernel"},
            {"auto_map": {"AutoBackbone": "own/x--m.C"}},
            {"quantization_config": {"quant_method": "own"}},
            {"hidden_act": "own/kernel"},
            {"model_type": "timm_wrapper", "architecture": "hf_hub:own/x"},
        )
    ),
    ("logger.csv.save_dir", CANARY, ()),
    ("training.init_from", "https://example.com/run", ()),
]
"""Cases with paths and addresses: reading from them is refused; writing to them has no effect."""

SIZES: list[tuple[str, Any, tuple[str, ...]]] = [
    ("encoder.layers", 10_000_000, ALL),
    ("encoder.layers", 900, ALL),
    ("decoder.layers", 900, ALL),
    ("encoder.dim", 200_000, ALL),
    ("encoder.dim", -8, ALL),
    ("encoder.dim", 0, ALL),
    ("encoder.dim", "8", ALL),
    ("encoder.dim", None, ALL),
    ("encoder.dim", True, ALL),
    ("encoder.dim", float("nan"), ALL),
    ("encoder.dim", 10**30, ALL),
    ("decoder.embedding_dim", 10**9, ALL),
    ("decoder.attention.heads", -1, ALL),
    ("decoder.attention.heads", 10**9, ALL),
    ("decoder.unknown", 1, ALL),
    ("decoding.beam_size", 10**9, ALL),
    ("decoding.max_length", "long", ALL),
    ("encoder", None, ALL),
    ("encoder", 5, ALL),
    ("encoder", {"dim": 8}, ALL),
    ("decoder", [], ALL),
    ("decoding", None, ALL),
    ("data", None, ALL),
    ("data", [1], ALL),
    ("data.tokenizer", 3, ALL),
    ("data.images", 3, ALL),
    ("data.documents", "yes", ALL),
    ("data.max_source_tokens", -1, ALL),
    ("data.max_target_tokens", "x", ALL),
    ("model", [1], ALL),
    ("model", None, ALL),
    ("model.share_embeddings", "no", ALL),
    ("model.share_embeddings", True, ALL),
    ("task", None, READING),
    ("task.metrics", 5, READING),
    ("task", {**SUMMARIES, "lead_words": "many"}, READING),
    ("seed", "x", READING),
    ("loss", None, READING),
    ("loss.label_smoothing", "much", READING),
    ("data.reader", None, READING),
    ("data.reader.train", "many", READING),
    ("data.reader.train", 10**12, ALL),
    ("data.workers", 100_000, ALL),
    ("trainer.devices", 100_000, ("resume",)),
    ("trainer.num_nodes", 100_000, ("resume",)),
    ("data.max_tokens", "many", READING),
    ("training", None, ("resume",)),
    ("training.num_plots", "x", ("resume",)),
    ("trainer", None, ("resume",)),
    ("trainer.max_steps", "x", ("resume",)),
    ("trainer.accelerator", "tpu; rm", ("resume",)),
    ("optimizer", None, ("resume",)),
    ("optimizer.lr", "x", ("resume",)),
    ("lr_scheduler", {}, ("resume",)),
    ("unknown", 1, ("resume",)),
]
"""Cases with sizes that do not match the stored weights, and values of a wrong type."""

REFERENCES = [
    "${oc.env:SEQ2SEQ_SECRET}",
    "${oc.env:SEQ2SEQ_SECRET,x}",
    "${oc.${data.name}:SEQ2SEQ_SECRET}",
    "${oc.select:${oc.env:SEQ2SEQ_SECRET}}",
    "${oc.select:nothing,${oc.env:SEQ2SEQ_SECRET}}",
    "${oc.select: nothing , ${ oc.env:SEQ2SEQ_SECRET}}",
    "x-${oc.env:SEQ2SEQ_SECRET}-x",
    "${oc.decode:1}",
    "${oc.create:{a:1}}",
    "${oc.dict.keys:data}",
    "${oc.deprecated:data.name}",
    "${now:%Y}",
    "${hydra:runtime.cwd}",
    "${run_of:/etc}",
    "${job_place:}",
    "${options:train}",
    "${nowhere}",
    "${task.metrics",
]
"""Interpolations that are refused in old configs. New configs may not contain any interpolation."""

YAMLS = {
    "aliases": "a: &a [1, 2]\nb: [*a, *a]\n",
    "alias bomb": "a: &a [x, x]\n" + "b: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n",
    "python": "encoder: !!python/object/apply:os.system ['touch CANARY']\n",
    "bytes": "encoder: {_target_: seq2seq.training.launch._work, work: !!binary gASVAAAAAA==}\n",
    "deep": "a: " + "[" * 3000 + "]" * 3000 + "\n",
    "large": "a: " + "x" * (5 << 20) + "\n",
    "many": "a: [" + "1, " * 100_000 + "1]\n",
    "list": "- 1\n",
    "empty": "",
    "invalid YAML": "a: b: c: {",
    "not UTF-8": b"\xff\xfe\x00",
}


MANY = pytest.mark.slow
"""Reading 100,000 values takes a second, so this case is slow; a faster test checks the same limit without a file."""


def put(config: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Return a copy of ``config`` with ``value`` at ``key``; nodes above it are made if needed."""
    found = copy.deepcopy(config)
    node: Any = found
    *above, last = key.split(".") if not key.startswith("logger...") else ["logger", "../x"]
    for name in above:
        if not isinstance(node.get(name), dict):
            node[name] = {}
        node = node[name]
    node[last] = value
    return found


def with_canary(value: Any, canary: Path) -> Any:
    """Return ``value`` with the path of the canary in place of its placeholder."""
    return yaml.safe_load(yaml.safe_dump(value).replace(CANARY, str(canary)))


class ForgedRun:
    """A run with a forged config, and the four ways to open it."""

    def __init__(self, run: Path, tmp_path: Path, commands: dict[str, DictConfig]) -> None:
        self.source, self.folder = run / "checkpoints", tmp_path / "run" / "checkpoints"
        self.folder.mkdir(parents=True)
        self.content, self.commands = resume_file.read(self.source / "last.ckpt"), commands
        (tmp_path / "input").write_text("the cat\n")
        self.input, self.output = tmp_path / "input", tmp_path / "output"

    def forge(self, change: Callable[[dict[str, Any]], Any]) -> None:
        """Write the model and last.ckpt with a changed config and with valid digests."""
        opened = checkpoint.load(self.source)
        config = OmegaConf.to_container(opened.config)
        tokenizers = {side: tokenizer.model for side, tokenizer in opened.codec.tokenizers.items()}
        self.write_model(change(config), tokenizers, opened.weights)
        content = {**self.content, "config": change(self.content["config"]), "model": None}
        resume_file.write(self.folder / "last.ckpt", content)

    def write_model(self, config: Any, tokenizers: dict[str, bytes], weights: dict[str, torch.Tensor]) -> None:
        """Write a model file with this config, whatever its content."""
        beside = model_file.write_beside(self.folder, config, tokenizers, keep=False)
        self.seal(beside, weights)

    def seal(self, beside: dict[str, str], weights: dict[str, torch.Tensor]) -> None:
        """Write the weights, with the digests of the other files."""
        kinds = checkpoint.load(self.source).codec.tokenizers
        about = {"files": beside, "tokenizers": {side: kinds[side].type for side in kinds}}
        model_file.write(self.folder / "model.safetensors", weights, {**about, "step": 1, "score": 1.0, "monitor": "x"})

    def open(self, way: str) -> None:
        """Open the run in one of the ways ``ALL``."""
        run = self.folder.parent
        if way == "load":
            seq2seq.load(run)
        elif way == "generate":
            generate.generate(self._with("generate", checkpoint=run, input=self.input, output=self.output))
        elif way == "evaluate":
            evaluate.evaluate(self._with("evaluate", checkpoint=run, output=run.parent / "evaluation"))
        else:
            config = self._with("resume", resume=run)
            train.check(config)
            train.train(config, run)

    def _with(self, hydra_app: str, **values: Path) -> DictConfig:
        """Return the composed config of a command with these values."""
        return OmegaConf.merge(self.commands[hydra_app], {key: str(value) for key, value in values.items()})  # type: ignore[return-value]


@pytest.fixture(scope="module")
def commands() -> dict[str, DictConfig]:
    """Return the config of each command, composed without a run."""
    quick = ["++faithfulness_examples=0", "++num_plots=0", "++save_attention=0", "++split=valid"]
    typed = {"generate": ["++checkpoint=x"], "evaluate": ["++checkpoint=x", *quick], "resume": ["++resume=x"]}
    return {name: next(hydra_app.compose(name, overrides)) for name, overrides in typed.items()}


@pytest.fixture
def forgery(run: Path, tmp_path: Path, commands: dict[str, DictConfig]) -> ForgedRun:
    """Return a run whose config can be forged."""
    return ForgedRun(run, tmp_path, commands)


@pytest.fixture(autouse=True)
def no_connection_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[None]:
    """Check after each test that it opened no connection and that no output or file contains the secret."""
    tried: list[Any] = []

    def refuse(*args: Any, **kwargs: Any) -> Any:
        tried.append(args)
        raise OSError("no network")

    monkeypatch.setenv("SEQ2SEQ_SECRET", SECRET)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield
    shown = capsys.readouterr()
    assert not tried
    assert SECRET not in shown.out + shown.err
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and SECRET in file.read_text(errors="replace")]


def refused(forgery: ForgedRun, name: str) -> str | None:
    """Return the error of opening the run in one way, or None. The error is one line and comes within 10 seconds."""
    began = time.process_time()
    try:
        forgery.open(name)
    except UserError as error:
        assert time.process_time() - began < 10
        assert "\n" not in str(error) and len(str(error)) < 1000 and SECRET not in str(error)
        return str(error)
    return None


def name_of_case(case: tuple[str, Any, tuple[str, ...]]) -> str:
    """Return the key and the start of the value, as the id of a test."""
    return f"{case[0]}={str(case[1])[:40]}"


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=name_of_case(case), marks=[pytest.mark.slow] if index % 7 else [])
        for index, case in enumerate([*CODE, *PLACES, *SIZES])
    ],
)
def test_forged_values_are_refused_and_have_no_effect(
    case: tuple[str, Any, tuple[str, ...]], forgery: ForgedRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key, value, refusing = case
    canary = tmp_path / "canary"
    forgery.forge(lambda config: put(config, key, with_canary(value, canary)))
    for name in refusing or ALL:
        message = refused(forgery, name)
        assert (message is not None) == (name in refusing), (name, message)
        assert not canary.exists()
        assert SECRET not in caplog.text


@pytest.mark.parametrize("text", mostly_slow(REFERENCES, every=6))
def test_interpolations_are_refused(text: str, forgery: ForgedRun) -> None:
    """Interpolations are refused in new configs, and in configs of versions that stored them unresolved."""
    forgery.forge(lambda config: put(config, "data.name", text))
    for name in ALL:
        assert "data.name=" in (refused(forgery, name) or ""), name
    old = {key: value for key, value in forgery.content.items() if key not in ("format", "model")}
    for path, config in (("data.name", {"name": "oc.env"}), ("logger.csv.x", {}), ("model.dim", {})):
        for file in forgery.folder.iterdir():
            file.unlink()
        forged = put(put(old["config"], "data.name", config.get("name", "env")), path, text)
        torch.save({**old, "config": forged}, forgery.folder / "last.ckpt")
        for name in ALL:
            assert path in (refused(forgery, name) or ""), name


@pytest.mark.parametrize(
    "parts",
    [
        {"a": "$", "b": "{oc.env:SEQ2SEQ_SECRET}", "name": "${a}${b}"},
        {"a": "${", "b": "oc.env:SEQ2SEQ_SECRET}", "name": "${a}${b}"},
        {"a": "{oc.env:SEQ2SEQ_SECRET}", "name": "$${a}"},
        {"a": "{oc.env:SEQ2SEQ_SECRET}", "name": "$${oc.select:a,x}"},
        {"name": "$${oc.select:nothing,'{oc.env:SEQ2SEQ_SECRET}'}"},
        {"a": "{oc.env:SEQ2SEQ_SECRET}", "b": "$${a}", "name": "${b}"},
    ],
    ids=lambda parts: parts["name"],
)
def test_interpolations_made_of_several_parts_are_refused(parts: dict[str, str], forgery: ForgedRun) -> None:
    old = {key: value for key, value in forgery.content.items() if key not in ("format", "model")}
    name, others = parts["name"], {key: value for key, value in parts.items() if key != "name"}
    torch.save({**old, "config": {**put(old["config"], "data.name", name), **others}}, forgery.folder / "last.ckpt")
    for way in ALL:
        assert "is refused" in (refused(forgery, way) or ""), way


@pytest.mark.parametrize("key", ["step", "shape"])
@pytest.mark.parametrize("number", [float("inf"), float("nan"), "x", None, [1]], ids=str)
def test_invalid_metadata_of_a_model_file_are_refused(key: str, number: Any, forgery: ForgedRun) -> None:
    forgery.forge(lambda config: config)
    file = forgery.folder / "model.safetensors"
    raw = file.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    metadata = {**json.loads(header["__metadata__"]["seq2seq"]), "sha256": model_file.BLANK}
    if key == "step":
        metadata["step"] = number
    else:
        next(tensor for name, tensor in header.items() if name != "__metadata__")["shape"] = [number, 3]
    header["__metadata__"]["seq2seq"] = json.dumps(metadata)
    text = json.dumps(header).encode()
    blank = len(text).to_bytes(8, "little") + text + raw[8 + size :]
    digest = hashlib.sha256(blank).hexdigest()
    file.write_bytes(blank.replace(model_file.BLANK.encode(), digest.encode(), 1))
    for way in ("load", "generate"):
        assert "model.safetensors is refused" in (refused(forgery, way) or ""), way


def test_references_that_grow_exponentially_or_in_a_circle_are_refused(forgery: ForgedRun) -> None:
    old = {key: value for key, value in forgery.content.items() if key not in ("format", "model")}
    nodes = {f"n{i}": {"x": f"${{n{i + 1}}}", "y": f"${{n{i + 1}}}"} for i in range(60)} | {"n60": 1}
    texts = {f"n{i}": f"${{n{i + 1}}}${{n{i + 1}}}" for i in range(60)} | {"n60": "x"}
    for bomb in (nodes, texts, {"a": "${b}", "b": "${a}"}, {"a": {"b": "${a}"}}):
        torch.save({**old, "config": {**old["config"], **bomb}}, forgery.folder / "last.ckpt")
        for name in ("load", "resume"):
            assert "is refused" in (refused(forgery, name) or "")


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=MANY if kind == "many" else []) for kind in YAMLS])
def test_only_plain_yaml_within_bounds_is_read(kind: str, forgery: ForgedRun, tmp_path: Path) -> None:
    forgery.forge(lambda config: config)
    weights = model_file.weights(forgery.folder / "model.safetensors")
    text = YAMLS[kind]
    content = text if isinstance(text, bytes) else text.replace(CANARY, str(tmp_path / "canary")).encode()
    (forgery.folder / "config.yaml").write_bytes(content)
    names = ("config.yaml", "source.model", "target.model")
    forgery.seal({name: hashlib.sha256((forgery.folder / name).read_bytes()).hexdigest() for name in names}, weights)
    for name in ALL[:3]:
        assert "config.yaml" in (refused(forgery, name) or "")
    assert not (tmp_path / "canary").exists()


def test_more_than_100000_values_are_refused() -> None:
    with pytest.raises(UserError, match="more than 100000 values"):
        plain.check({"a": [1] * 100_000}, "config.yaml")


def test_stored_loggers_are_replaced_by_those_of_this_installation(caplog: pytest.LogCaptureFixture) -> None:
    """Other options of the stored loggers are ignored with a warning."""
    stored = {"wandb": {"_target_": "x", "offline": False, "dir": "/elsewhere", "project": "mine"}}
    usual = yaml.safe_load((CONF / "logger" / "wandb.yaml").read_text())["wandb"]
    found = machine.resumed({**PLAIN, "logger": stored}, {"logger": {"wandb": {"project": "typed"}}}, source="file")
    assert found["logger"] == {"wandb": usual} and usual["offline"] is True
    assert "logger.wandb.dir=/elsewhere" in caplog.text and "logger.wandb.offline=False" in caplog.text
    assert "project" not in caplog.text  # the user typed it, so there is no warning


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ({"path": "https://example.com/x"}, None),
        ({"path": "/elsewhere", "cache": "/mine", "workers": 2}, None),
        ({"reader": {"jsonl": "https://example.com/{split}.jsonl"}}, None),
        ({"max_tokens": 9}, "data.max_tokens is fixed by the run"),
        ({"reader": {"train": 9}}, "data.reader.train is fixed by the run"),
    ],
)
def test_typed_options_of_data_replace_stored_ones(typed: dict[str, Any], message: str | None) -> None:
    if message is not None:
        with pytest.raises(UserError, match=message):
            machine.resumed(PLAIN, {"data": typed}, source="file")
        return
    found = machine.resumed(PLAIN, {"data": typed}, source="file")["data"]
    assert found["cache"] == typed.get("cache", machine.cache())
    assert found["path"] == typed.get("path", "x") and found["reader"] == {**READER, **typed.get("reader", {})}


READER = {"_target_": "seq2seq.data.readers.tables.TableReader"}
PLAIN: dict[str, Any] = {"data": {"path": "x", "cache": "/theirs", "reader": READER}, "trainer": {}, "logger": {}}


def test_copy_without_forged_values_opens_in_every_way(forgery: ForgedRun) -> None:
    """The refusals above come from the forged values, not from rewriting the files."""
    forgery.forge(lambda config: config)
    for name in ALL:
        assert refused(forgery, name) is None, name
