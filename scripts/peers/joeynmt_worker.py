"""Worker of the benchmark for JoeyNMT (Kreutzer et al. 2019): models of our sizes, JoeyNMT's training and prediction.

``scripts/benchmark.py`` runs it as ``PEER_PYTHON -m peers.joeynmt_worker``, with an interpreter that has ``joeynmt``
and not this package.
"""

from __future__ import annotations

import platform
import time
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

from peers.worker_protocol import Gate, Steps

Config = dict[str, Any]


def config_of(model: str, folder: Path, run: Path, batch_tokens: int = 4096) -> Config:
    """Return JoeyNMT's config of one of our models.

    Args:
        model: Name of the model, a key of ``peers.seq2seq_worker.MODELS``.
        folder: Folder with the data that ``peers.seq2seq_worker.export`` wrote.
        run: Folder for outputs of JoeyNMT.
        batch_tokens: Size of a batch, in tokens.
    """
    # Data.
    tokenizer = {"model_file": f"{folder}/bpe.model", "model_type": "bpe", "pretokenizer": "none"}
    language = {"max_length": 256, "level": "bpe", "voc_file": f"{folder}/pieces.txt"}
    language |= {"tokenizer_type": "sentencepiece", "tokenizer_cfg": tokenizer}
    data: Config = {
        "dataset_type": "plain",
        "train": f"{folder}/train",
        "dev": f"{folder}/valid",
        "test": f"{folder}/test",
    }
    data |= {"src": {"lang": "source", **language}, "trg": {"lang": "target", **language}}

    # Training, without logs, validations and checkpoints.
    training: Config = {"batch_size": batch_tokens, "batch_type": "token", "shuffle": True, "epochs": 100}
    training |= {"optimizer": "adamw", "learning_rate": 0.001, "scheduling": "warmupinversesquareroot"}
    training |= {"learning_rate_warmup": 500, "learning_rate_min": 0.0, "clip_grad_norm": 1.0}
    training |= {"label_smoothing": 0.1, "normalization": "tokens"}
    training |= {"logging_freq": 10**6, "validation_freq": 10**6, "keep_best_ckpts": 0}

    # Model.
    kind = _transformer() if model == "transformer" else _rnn(model)
    about = {"name": model, "model_dir": f"{run}", "use_cuda": False}
    return {**about, "data": data, "training": training, "testing": {}, "model": kind}


def _transformer() -> Config:
    """Return the config of the Transformer."""
    layers = {"type": "transformer", "num_layers": 3, "num_heads": 4, "hidden_size": 256, "ff_size": 1024}
    layers |= {"dropout": 0.3, "layer_norm": "pre", "embeddings": {"embedding_dim": 256, "scale": True, "dropout": 0.0}}
    return {"tied_embeddings": True, "tied_softmax": True, "encoder": {**layers}, "decoder": {**layers}}


def _rnn(model: str) -> Config:
    """Return the config of an RNN."""
    attention = {"rnn-additive": "bahdanau", "rnn-general": "luong"}[model]
    layer = {"type": "recurrent", "rnn_type": "lstm", "num_layers": 1, "dropout": 0.3}
    layer |= {"embeddings": {"embedding_dim": 256, "dropout": 0.3}}
    decoder = {"hidden_size": 512, "hidden_dropout": 0.3, "init_hidden": "bridge", "input_feeding": True}
    return {
        "tied_embeddings": True,
        "tied_softmax": False,
        "encoder": {**layer, "hidden_size": 256, "bidirectional": True},
        "decoder": {**layer, **decoder, "attention": attention},
    }


def train(gate: Gate, config: Config) -> None:
    """Run the training loop of ``python -m joeynmt train``; it waits for the benchmark between rounds.

    Args:
        gate: Connection to the benchmark.
        config: Config of JoeyNMT.
    """
    from joeynmt import training

    prepare = training.prepare

    def hooked(*args: Any, **kwargs: Any) -> Any:
        model, *data = prepare(*args, **kwargs)
        steps = Steps(gate, **_about(model))
        model.register_forward_pre_hook(lambda _, args, batch: steps(batch["ntokens"]), with_kwargs=True)
        return model, *data

    training.prepare = hooked
    training.train(rank=0, world_size=None, cfg=config, skip_test=True)


def decode(gate: Gate, config: Config) -> None:
    """Run ``joeynmt.prediction.predict`` from text to text, with untrained weights and outputs of one length.

    Args:
        gate: Connection to the benchmark.
        config: Config of JoeyNMT.
    """
    # Build the model.
    from joeynmt import prediction
    from joeynmt.config import parse_global_args

    task, length = gate.task, gate.task["length"]
    config["testing"] = {"batch_size": task["peer_batch"], "beam_size": task["beam"], "beam_alpha": 1.0}
    config["testing"]["max_output_length"] = length + 1  # </s> is counted
    args = parse_global_args(config, rank=0, mode="train")
    model, _, _, data = prediction.prepare(args, rank=0, mode="train")
    prediction.search = partial(prediction.search, min_output_length=length)  # predict() has no such option

    def predict(sentences: int) -> int:
        part = copy(data)
        part.data = {data.src_lang: data.data[data.src_lang][:sentences]}
        part.reset_indices()
        said = prediction.predict(model, part, args.device, 0, args=args.test, autocast=args.autocast)[3]
        if {len(tokens) for tokens in said} != {length + 1}:
            raise SystemExit(f"JoeyNMT: some outputs do not have {length + 1} tokens")
        return len(said)

    # Warm up and measure the rounds.
    predict(task["warmup"])
    gate.say(**_about(model))
    while True:
        gate.wait()
        began = time.perf_counter()
        sentences = predict(task["sentences"])
        gate.say(sentences=sentences, tokens=sentences * (length + 1), seconds=time.perf_counter() - began)


def _about(model: Any) -> dict[str, Any]:
    """Return the number of parameters, of threads, and versions."""
    import joeynmt
    import torch

    versions = {"JoeyNMT": joeynmt.__version__, "Python": platform.python_version(), "torch": torch.__version__}
    parameters = sum(p.numel() for p in model.parameters())
    return {"parameters": parameters, "threads": torch.get_num_threads(), "versions": versions}


if __name__ == "__main__":
    _gate = Gate()
    _run = Path(_gate.task["folder"]) / f"joeynmt-{_gate.task['model']}"
    _run.mkdir()
    _config = config_of(_gate.task["model"], _run.parent, _run, _gate.task.get("batch_tokens", 0))
    {"train": train, "decode": decode}[_gate.task["what"]](_gate, _config)
