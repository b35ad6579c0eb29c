"""Check that attention begins to learn under the default recipe: its scores get a gradient, and after 150 updates its
weights are neither uniform nor, as after long training, almost one-hot.
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
from seq2seq.loss import likelihood
from seq2seq.model import Seq2Seq, build
from seq2seq.training.optimization import parameter_groups
from seq2seq.training.trainer_parts import TrainingParts
from seq2seq.training.update import Update
from tests.catalogue import choices

UPDATES = 150
MIN_GRADIENT = 0.01  # as a share of the first gradient at the scores
MIN_ENTROPY = 0.15  # as a share of the maximum; below it the softmax is saturated before the model has learnt anything
MAX_ENTROPY = 0.98  # as a share of the maximum; above it the weights are nearly uniform

WITHOUT_SCORES = {"gmm", "linear", "performer"}
WITHOUT_CHOICE = {"none", "uniform"}
ONE_HOT = {"gumbel", "hard", "mocha", "monotonic"}
"""They weigh one position, or a chunk of two (mocha), from the start, so that their entropy is always small."""
BEGINS_LATE = {("rnn", "scaled_dot"), ("rnn", "variational")}
"""docs/explanation/learning.md explains these: no paper divides the dot product of LSTM states by sqrt(d), and the
prior of variational attention learns only from the inference network.
"""
SMALL = "data.max_tokens=128"
"""Batches of a quarter of the size, for the quick cases. The bounds separate good models from bad ones here too."""
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
    """Measurements of the cross-attention of each layer over ``UPDATES`` updates."""

    gradients: list[list[float]]  # per layer and update, norm of the loss' gradient at the scores
    entropies: list[float]  # of the weights after training, as shares of the maximum
    nll: float  # after training, in nats per token of the last batch

    @property
    def gradient(self) -> float:
        """Return the smallest ratio, over layers, of the last gradient to the first (means over five updates)."""
        return min(sum(norms[-5:]) / sum(norms[:5]) for norms in self.gradients)

    @property
    def entropy(self) -> float:
        """Return the smallest entropy of the layers."""
        return min(self.entropies)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that caches the encoded toy corpus for all models."""
    return tmp_path_factory.mktemp("cache")


def recipe(cache: Path, *overrides: str) -> DictConfig:
    """Return the configuration of ``python train.py OVERRIDES``."""
    (config,) = compose("train", [as_override(o) for o in (f"data.cache={cache}", "logger=csv", *overrides)])
    return config


@lru_cache(maxsize=1)
def read(cache: Path, *options: str) -> Corpus:
    """Return the toy corpus under ``options`` of the data, the same for all models."""
    corpus: Corpus = build_node(recipe(cache, *options).data)
    corpus.setup()
    return corpus


def course(cache: Path, *overrides: str, change: Callable[[Seq2Seq], None] = lambda model: None) -> Course:
    """Apply ``change`` to a new model, train it for ``UPDATES`` updates of the default recipe and measure it."""
    # 1. Build the parts of a run.
    config = recipe(cache, *overrides)
    corpus = read(cache, *(override for override in overrides if override.startswith(("data", "task="))))
    lightning.seed_everything(config.seed, verbose=False)
    model = build(config, *corpus.codec.sizes).train()
    change(model)
    parts = TrainingParts.build(config, model)
    optimizer = parts.optimizer(parameter_groups(model, parts.options.weight_decay_on))
    schedule = parts.schedule(optimizer)
    schedule.plan(config.trainer.max_epochs * corpus.epoch()[0])
    update = Update(model, parts.criterion, parts.options)

    # 2. Train, and record the gradient at the scores.
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

    # 3. Measure the entropy of the weights.
    with torch.no_grad():
        decoded = model.eval()(batch, need_weights=True)
        nll = float(likelihood(decoded, batch).nll) / batch.target_tokens
    return Course(norms, [entropy(decoded.weights[f"cross.{layer}"], batch) for layer in range(layers)], nll)


def epochs(corpus: Corpus, seed: int) -> Iterator[Batch]:
    """Yield the batches of one epoch after another."""
    return (batch for epoch in count() for batch in corpus.train_loader(seed, epoch))


def watch(attention: nn.Module, squares: list[Tensor]) -> None:
    """Append the squared norm of each gradient at the scores to ``squares``.

    The scores are the outputs of the score modules, or else the inputs of the normalizers.
    """

    def note(scores: Tensor) -> None:
        """Record the gradient of these scores."""
        if scores.requires_grad:
            scores.register_hook(lambda gradient: squares.append(gradient.square().sum()))

    def with_weights(module: nn.Module, inputs: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Ask the mechanism for its weights."""
        return inputs, {**options, "need_weights": True}  # because a fused kernel has no scores

    attention.register_forward_pre_hook(with_weights, with_kwargs=True)
    scores = [module for module in attention.modules() if isinstance(module, Score)]
    for score in scores:
        score.register_forward_hook(lambda module, inputs, output: note(output))
    if not scores:
        for module in attention.modules():
            if isinstance(module, Normalizer):
                module.register_forward_pre_hook(lambda module, inputs: note(inputs[0]))


def entropy(weights: Tensor, batch: Batch) -> float:
    """Return the mean over rows of -sum a log a / log S: rows sum to one, and S is the number of real positions."""
    shares = weights / weights.sum(-1, keepdim=True).clamp_min(1e-9)
    each = -torch.xlogy(shares, shares).sum(-1) / batch.source_mask.sum(1).log()[:, None, None]
    return float(each[batch.target_mask[:, None].expand_as(each)].mean())


@pytest.mark.parametrize(("kind", "name", "batches"), CASES)
def test_attention_begins_to_learn(cache: Path, kind: str, name: str, batches: str | None) -> None:
    """The scores keep a gradient, and the entropy lies between the bounds (or above, for ``BEGINS_LATE``)."""
    result = course(cache, f"model={kind}", f"attention={name}", *([batches] if batches else []))
    assert result.gradient > MIN_GRADIENT
    if (kind, name) in BEGINS_LATE:
        assert result.entropy > MAX_ENTROPY
    elif name not in ONE_HOT:
        assert MIN_ENTROPY < result.entropy < MAX_ENTROPY


@pytest.mark.slow
@pytest.mark.parametrize(("name", "batches"), [("general", None), ("dot", None), ("general", SMALL)])
def test_a_scale_in_the_initial_values_does_not_last(cache: Path, name: str, batches: str | None) -> None:
    """Attention saturates if scores aren't scaled: an older general, whose W began at Xavier's / sqrt(Q), and Luong's
    dot of vectors of unit variance.
    """

    def fold(model: Seq2Seq) -> None:
        """Divide W of general attention by sqrt(Q)."""
        for module in model.modules():
            if isinstance(module, General):
                with torch.no_grad():
                    module.weight.mul_(module.query_dim**-0.5)

    chosen = ["model=transformer", f"attention={name}", "attention.score.scale=1", *([batches] if batches else [])]
    result = course(cache, *chosen, change=fold)
    assert result.entropy < MIN_ENTROPY


@pytest.mark.slow
@pytest.mark.parametrize("name", ["first_order", "monotone_marginal"])
def test_a_chain_of_alignments_learns_to_transduce(cache: Path, name: str) -> None:
    """After 150 updates, the nll is below a third of that of guessing: 32 characters would have log 32 = 3.5 nats."""
    toy = ["task=transduction", "data=toy_transduction"]
    assert course(cache, *toy, "model=rnn", f"attention={name}").nll < 1.15
