"""Worker of the benchmark for this application: training as in ``train.py``, decoding as in ``generate.py``.

``scripts/benchmark.py`` runs it as ``python -m peers.seq2seq_worker``.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
from omegaconf import DictConfig
from peers.benchmark_runner import ROOT
from peers.worker_protocol import Gate, Steps

from seq2seq.cli.hydra_app import compose
from seq2seq.cli.overrides import as_override
from seq2seq.config.instantiate import build_node
from seq2seq.data.corpus import Corpus
from seq2seq.generation.generator import TrainedModel
from seq2seq.model import Seq2Seq, build
from seq2seq.runtime.memory import keep_freed
from seq2seq.training.fit import fit

_RNN = "model=rnn model.dim=512 model.embedding_dim=256 model.layers=1"
MODELS = {
    "transformer": "model=transformer model.dim=256 model.ff_dim=1024 model.layers=3 model.heads=4 "
    "model.attention_dropout=0.3 model.embedding_dropout=0",
    "rnn-additive": f"{_RNN} attention=additive",
    "rnn-general": f"{_RNN} attention=general",
}
COMMON = (
    "data=multi30k data.tokenizer.type=bpe data.tokenizer.vocab_size=8000 data.tokenizer.joint=true "
    "data.max_tokens=4096 model.dropout=0.3 model.share_embeddings=true loss.label_smoothing=0.1 optimizer=adamw "
    "trainer=cpu trainer.gradient_clip_val=1.0 training.validate_every=1000000 logger=csv"
)


def config_of(model: str, data: str | None, *overrides: str) -> DictConfig:
    """Return the config of a model, as ``train.py`` composes it.

    Args:
        model: Name of the model, a key of ``MODELS``.
        data: Folder with a copy of Multi30k; None = from the hub.
        overrides: Further options of ``train.py``.
    """
    typed = [*MODELS[model].split(), *COMMON.split(), f"data.cache={ROOT / 'data' / 'cache'}", *overrides]
    (config,) = compose(
        "train", [as_override(override) for override in typed + ([f"data.path={data}"] if data else [])]
    )
    return config


def train(gate: Gate) -> None:
    """Run the training loop of ``train.py``; it waits for the benchmark between rounds.

    Args:
        gate: Connection to the benchmark.

    Raises:
        SystemExit: Training ends before the benchmark.
    """
    # Build data and model.
    task = gate.task
    precision = "bf16-mixed" if task["precision"] == "bf16" else "32-true"
    sized = f"data.max_tokens={task['batch_tokens']}", f"trainer.precision={precision}"
    config = config_of(task["model"], task["data"], *sized, *task["overrides"])
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    corpus, model = _prepared(config)
    steps = Steps(gate, **_about(model))

    # Train; the hook stops training between rounds.
    def begin(model: torch.nn.Module, args: tuple[Any, ...]) -> None:
        if model.training:
            steps(args[0].target_tokens)

    model.register_forward_pre_hook(begin)
    fit(config, corpus, model, Path(task["folder"]) / f"{task['model']}-{task['precision']}")
    raise SystemExit("training ended before the benchmark; use fewer --rounds or --steps")


def decode(gate: Gate) -> None:
    """Run ``seq2seq.load(RUN).generate`` from text to text, with untrained weights and outputs of one length.

    Args:
        gate: Connection to the benchmark.
    """
    # Build data and model.
    task, length = gate.task, gate.task["length"]
    limits = (f"min_length={length}", f"max_length={length}", f"max_length_offset={length}")
    decoding = ("decoding=beam", f"decoding.beam_size={task['beam']}", *(f"decoding.{limit}" for limit in limits))
    config = config_of(task["model"], task["data"], *decoding, *task["overrides"])
    keep_freed()  # as the commands do
    torch.manual_seed(config.seed)
    corpus, model = _prepared(config)
    trained = TrainedModel(model.eval(), corpus.codec, config, Path(), torch.device("cpu"))
    texts = [record["source"] for record in corpus.records("test")][: task["sentences"]]

    # Warm up and measure the rounds.
    trained.generate(texts[: task["warmup"]])
    gate.say(**_about(model))
    while True:
        gate.wait()
        began = time.perf_counter()
        trained.generate(texts)
        gate.say(sentences=len(texts), tokens=len(texts) * (length + 1), seconds=time.perf_counter() - began)


def export(corpus: Corpus, folder: Path) -> None:
    """Write the data for a peer: SPLIT.SIDE files, ``bpe.model``, and its tokens in ``pieces.txt``.

    The test split has no targets, because outputs are not scored.

    Args:
        corpus: The data.
        folder: Target folder.
    """
    # Write the texts.
    for name in ("train.source", "train.target", "valid.source", "valid.target", "test.source"):
        split, side = name.split(".")
        lines = (f"{dict(record)[side]}\n" for record in corpus.records(split))
        (folder / name).write_text("".join(lines), encoding="utf-8")

    # Write the tokenizer.
    tokenizer = corpus.target_tokenizer
    (folder / "bpe.model").write_bytes(tokenizer.model)
    pieces = (f"{piece}\n" for piece in tokenizer.pieces(range(len(tokenizer))))
    (folder / "pieces.txt").write_text("".join(pieces), encoding="utf-8")


def _prepared(config: DictConfig) -> tuple[Corpus, Seq2Seq]:
    """Return the corpus and an untrained model."""
    corpus: Corpus = build_node(config.data)
    corpus.setup()
    return corpus, build(config, *corpus.codec.sizes)


def _about(model: Seq2Seq) -> Mapping[str, Any]:
    """Return the number of parameters, of threads, and versions."""
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "threads": torch.get_num_threads(),
        "versions": {"Python": platform.python_version(), "torch": torch.__version__},
    }


if __name__ == "__main__":
    _gate = Gate()
    {"train": train, "decode": decode}[_gate.task["what"]](_gate)
