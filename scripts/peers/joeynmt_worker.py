"""JoeyNMT's side of the benchmark (Kreutzer et al. 2019): models of our sizes, its own training loop and prediction.

Run by ``scripts/benchmark.py`` as ``PEER_PYTHON -m peers.joeynmt_worker``, in an interpreter
that has ``joeynmt`` and not this package.
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
    """Its config for one of our models; ``folder`` is what ``peers.seq2seq_worker.export`` wrote."""
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
    training: Config = {"batch_size": batch_tokens, "batch_type": "token", "shuffle": True, "epochs": 100}
    training |= {"optimizer": "adamw", "learning_rate": 0.001, "scheduling": "warmupinversesquareroot"}
    training |= {"learning_rate_warmup": 500, "learning_rate_min": 0.0, "clip_grad_norm": 1.0}
    training |= {"label_smoothing": 0.1, "normalization": "tokens"}
    training |= {"logging_freq": 10**6, "validation_freq": 10**6, "keep_best_ckpts": 0}  # that is never
    kind = _transformer() if model == "transformer" else _rnn(model)
    about = {"name": model, "model_dir": f"{run}", "use_cuda": False}
    return {**about, "data": data, "training": training, "testing": {}, "model": kind}


def _transformer() -> Config:
    layers = {"type": "transformer", "num_layers": 3, "num_heads": 4, "hidden_size": 256, "ff_size": 1024}
    layers |= {"dropout": 0.3, "layer_norm": "pre", "embeddings": {"embedding_dim": 256, "scale": True, "dropout": 0.0}}
    return {"tied_embeddings": True, "tied_softmax": True, "encoder": {**layers}, "decoder": {**layers}}


def _rnn(model: str) -> Config:
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
    """``python -m joeynmt train``'s loop, held up where a step's forward pass begins."""
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
    """``joeynmt.prediction.predict``, from text to text, with untrained weights and outputs of one length."""
    from joeynmt import prediction
    from joeynmt.config import parse_global_args

    task, length = gate.task, gate.task["length"]
    config["testing"] = {"batch_size": task["peer_batch"], "beam_size": task["beam"], "beam_alpha": 1.0}
    config["testing"]["max_output_length"] = length + 1  # </s> is counted
    args = parse_global_args(config, rank=0, mode="train")
    model, _, _, data = prediction.prepare(args, rank=0, mode="train")
    prediction.search = partial(prediction.search, min_output_length=length)  # predict() does not pass it on

    def predict(sentences: int) -> int:
        part = copy(data)
        part.data = {data.src_lang: data.data[data.src_lang][:sentences]}
        part.reset_indices()
        said = prediction.predict(model, part, args.device, 0, args=args.test, autocast=args.autocast)[3]
        if {len(tokens) for tokens in said} != {length + 1}:
            raise SystemExit(f"not all of JoeyNMT's outputs have {length + 1} tokens")
        return len(said)

    predict(task["warmup"])
    gate.say(**_about(model))
    while True:
        gate.wait()
        began = time.perf_counter()
        sentences = predict(task["sentences"])
        gate.say(sentences=sentences, tokens=sentences * (length + 1), seconds=time.perf_counter() - began)


def _about(model: Any) -> dict[str, Any]:
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
