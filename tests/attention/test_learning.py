"""Attention begins to learn under the default recipe: its scores get a gradient, and after a while it looks neither
everywhere nor, as if it had learnt already, at one place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import count, islice
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from seq2seq.attention.base import Attention
from seq2seq.attention.components.normalizers import Normalizer
from seq2seq.attention.components.scores import General, Score
from seq2seq.batch import Batch
from seq2seq.cli.hydra_app import as_override, compose
from seq2seq.config.instantiate import build_node
from seq2seq.data.corpus import Corpus
from seq2seq.model import Seq2Seq, build
from seq2seq.training.optimization import parameter_groups
from seq2seq.training.trainer_parts import TrainingParts
from seq2seq.training.update import Update
from tests.catalogue import choices

UPDATES = 150
MIN_GRADIENT = 0.01  # of what reached the scores at first
MIN_ENTROPY = 0.15  # of the maximum: below it a softmax has chosen before the model has learnt what to choose
MAX_ENTROPY = 0.98  # above it every place is as good as another

WITHOUT_SCORES = {"gmm", "linear", "performer"}
WITHOUT_CHOICE = {"none", "uniform"}
ONE_HOT = {"gumbel", "hard", "mocha", "monotonic"}
"""Their weights are those of one position from the start, or of a chunk of two (mocha), and have little entropy."""
BEGINS_LATE = {("rnn", "scaled_dot"), ("rnn", "variational"), ("transformer", "variational")}
"""docs/explanation/learning.md: no paper divides the dot of LSTM states by sqrt(d), and the prior of variational
attention learns from the inference network alone.
"""
SMALL = "data.max_tokens=128"
"""Batches of a quarter: what a short look takes. The bounds part health from faults with them too."""
CASES = [
    *(("rnn", "additive", SMALL), ("transformer", "general", SMALL)),
    *(
        pytest.param(model, name, None, marks=pytest.mark.slow)
        for model in ("rnn", "transformer")
        for name in choices("attention")
        if name not in WITHOUT_SCORES | WITHOUT_CHOICE
    ),
]


@dataclass(frozen=True)
class Course:
    """What ``UPDATES`` updates did to the cross-attention of each layer."""

    gradients: list[list[float]]  # norm of the loss' gradient at the scores, an update each
    entropies: list[float]  # of the weights then, as shares of the maximum

    @property
    def gradient(self) -> float:
        """What is left of the first gradient in the layer that has least, by means over five updates."""
        return min(sum(norms[-5:]) / sum(norms[:5]) for norms in self.gradients)

    @property
    def entropy(self) -> float:
        """That of the layer that has least."""
        return min(self.entropies)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy corpus, encoded once for all models."""
    return tmp_path_factory.mktemp("cache")


def recipe(cache: Path, *overrides: str) -> DictConfig:
    """``python train.py OVERRIDES``, as far as training goes."""
    (config,) = compose("train", [as_override(o) for o in (f"data.cache={cache}", "logger=csv", *overrides)])
    return config


@lru_cache(maxsize=1)
def read(cache: Path, *options: str) -> Corpus:
    """The toy corpus, the same for all models, under ``options`` of the data."""
    corpus: Corpus = build_node(recipe(cache, *options).data)
    corpus.setup()
    return corpus


def course(cache: Path, *overrides: str, change: Callable[[Seq2Seq], None] = lambda model: None) -> Course:
    """Train for ``UPDATES`` updates of the default recipe, beginning with what ``change`` makes of the model."""
    # 1. What a run is made of.
    config = recipe(cache, *overrides)
    corpus = read(cache, *(override for override in overrides if override.startswith("data.")))
    lightning.seed_everything(config.seed, verbose=False)
    model = build(config, *corpus.codec.sizes).train()
    change(model)
    parts = TrainingParts.build(config, model)
    optimizer = parts.optimizer(parameter_groups(model, parts.options.weight_decay_on))
    schedule = parts.schedule(optimizer)
    schedule.plan(config.trainer.max_epochs * corpus.epoch()[0])
    update = Update(model, parts.criterion, parts.options)

    # 2. Its updates, with the gradient at the scores.
    slots = [module.source.slot for module in model.decoder.modules() if isinstance(module, Attention)]
    layers = slots.count("attention")
    norms: list[list[float]] = [[] for _ in range(layers)]
    squares: list[list[Tensor]] = [[] for _ in range(layers)]
    for layer, own in enumerate(squares):
        watch(model.decoder.cross_attention(layer), own)
    for step, batch in enumerate(islice(epochs(corpus, config.seed), UPDATES)):
        update.loss(batch, step).backward()
        for own, course_of_layer in zip(squares, norms, strict=True):
            course_of_layer.append(float(sum(own)) ** 0.5 / batch.target_tokens)
            own.clear()
        update.apply(optimizer, step, clip=config.trainer.gradient_clip_val)
        optimizer.zero_grad()
        schedule.step()

    # 3. Where it looks then.
    with torch.no_grad():
        decoded = model.eval()(batch, need_weights=True)
    return Course(norms, [entropy(decoded.weights[f"cross.{layer}"], batch) for layer in range(layers)])


def epochs(corpus: Corpus, seed: int) -> Iterator[Batch]:
    """The batches of one epoch after the other."""
    return (batch for epoch in count() for batch in corpus.train_loader(seed, epoch))


def watch(attention: nn.Module, squares: list[Tensor]) -> None:
    """Add to ``squares`` that of each gradient that reaches the scores, wherever they are made."""

    def note(scores: Tensor) -> None:
        if scores.requires_grad:
            scores.register_hook(lambda gradient: squares.append(gradient.square().sum()))

    def with_weights(module: nn.Module, inputs: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return inputs, {**options, "need_weights": True}  # a fused kernel has no scores to look at

    attention.register_forward_pre_hook(with_weights, with_kwargs=True)
    scores = [module for module in attention.modules() if isinstance(module, Score)]
    for score in scores:
        score.register_forward_hook(lambda module, inputs, output: note(output))
    if not scores:
        for module in attention.modules():
            if isinstance(module, Normalizer):
                module.register_forward_pre_hook(lambda module, inputs: note(inputs[0]))


def entropy(weights: Tensor, batch: Batch) -> float:
    """Mean over rows (B, H, T, S) of -sum a log a / log S, S the real positions; rows are divided by their sums."""
    shares = weights / weights.sum(-1, keepdim=True).clamp_min(1e-9)
    each = -torch.xlogy(shares, shares).sum(-1) / batch.source_mask.sum(1).log()[:, None, None]
    return float(each[batch.target_mask[:, None].expand_as(each)].mean())


@pytest.mark.parametrize(("kind", "name", "batches"), CASES)
def test_attention_begins(cache: Path, kind: str, name: str, batches: str | None) -> None:
    result = course(cache, f"model={kind}", f"attention={name}", *([batches] if batches else []))
    assert result.gradient > MIN_GRADIENT
    if (kind, name) in BEGINS_LATE:
        assert result.entropy > MAX_ENTROPY
    elif name not in ONE_HOT:
        assert MIN_ENTROPY < result.entropy < MAX_ENTROPY


@pytest.mark.slow
@pytest.mark.parametrize(("name", "batches"), [("general", None), ("dot", None), ("general", SMALL)])
def test_a_scale_in_the_initial_values_does_not_last(cache: Path, name: str, batches: str | None) -> None:
    """General as it was, W starting at Xavier's / sqrt(Q), and Luong's dot of vectors of unit variance."""

    def fold(model: Seq2Seq) -> None:
        for module in model.modules():
            if isinstance(module, General):
                with torch.no_grad():
                    module.weight.mul_(module.query_dim**-0.5)

    chosen = ["model=transformer", f"attention={name}", "attention.score.scale=1", *([batches] if batches else [])]
    result = course(cache, *chosen, change=fold)
    assert result.entropy < MIN_ENTROPY
