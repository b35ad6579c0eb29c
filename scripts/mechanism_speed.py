"""``scripts/catalogue.py --speed``: training speed and memory of each mechanism on the toy corpus.

Speed is relative to a plain mechanism. All models of a slot take turns in one process: each does a few updates on the
same batches.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import islice
from statistics import median
from typing import Any

import lightning
from peers.timing import seconds

from seq2seq.attention.base import Attention
from seq2seq.batch import Batch
from seq2seq.cli.hydra_app import compose
from seq2seq.cli.overrides import as_override
from seq2seq.config.instantiate import build_node, build_tool
from seq2seq.data.corpus import Corpus
from seq2seq.errors import UserError
from seq2seq.loss import teacher_forced
from seq2seq.model import build
from seq2seq.runtime.memory import allocated
from seq2seq.training.gradients import regularise, rescale

PLAIN = {"attention": "dot", "self_attention": "multi_head"}
"""Reference mechanism of each slot."""
BATCHES = 4


class Trainee:
    """A model with its loss and optimiser, for single training updates.

    Args:
        overrides: Options of ``train.py``.
        source_vocabulary: Size of the source vocabulary.
        target_vocabulary: Size of the target vocabulary.
    """

    def __init__(self, overrides: Sequence[str], source_vocabulary: int, target_vocabulary: int) -> None:
        (config,) = compose("train", [as_override(override) for override in overrides])
        lightning.seed_everything(config.seed, verbose=False)
        self.model = build(config, source_vocabulary, target_vocabulary).train()
        self.criterion = build_node(config.loss).train()
        self.mechanisms = [module for module in self.model.modules() if isinstance(module, Attention)]
        self.optimizer = build_tool(config.optimizer, list(self.model.parameters()))
        self.clip = config.trainer.gradient_clip_val

    def update(self, batch: Batch) -> None:
        """Do one training update as in ``seq2seq.training``, without logs and callbacks.

        Args:
            batch: The batch.
        """
        self.optimizer.zero_grad()
        passes = teacher_forced(self.model, batch, need_weights=self.criterion.needs_weights)
        losses = self.criterion(passes, batch)
        losses.total.backward()

        # The losses are sums over tokens, so divide the gradients by the number of tokens.
        scale = 1.0 / losses.tokens
        regularise(self.model.parameters(), self.mechanisms, self.criterion.weights, scale)
        rescale(self.model.parameters(), scale, self.clip)
        self.optimizer.step()

        # Some mechanisms limit their parameters after an update.
        for mechanism in self.mechanisms:
            mechanism.constrain()

    @property
    def parameters(self) -> int:
        """Number of parameters of the model."""
        return sum(parameter.numel() for parameter in self.model.parameters())


def measure(
    slot: str, model: str, names: Iterable[str], rounds: int, overrides: Sequence[str] = ()
) -> dict[str, dict[str, Any]]:
    """Measure the mechanisms of a slot.

    Args:
        slot: ``attention`` or ``self_attention``.
        model: ``rnn`` or ``transformer``.
        names: Names of mechanisms.
        rounds: Number of measured rounds.
        overrides: Further options of ``train.py``.

    Returns:
        For each name ``parameters``, ``tokens_per_second``, ``relative`` (speed, reference = 1) and ``peak`` (bytes);
        or ``refused``, the reason why the model cannot use the mechanism.
    """
    # Load the batches.
    (config,) = compose("train", [as_override(override) for override in (f"model={model}", *overrides)])
    corpus: Corpus = build_node(config.data)
    batches = list(islice(corpus.train_loader(seed=1, epoch=0), BATCHES))
    tokens = sum(batch.target_tokens for batch in batches)
    vocabularies = corpus.codec.sizes

    # Build the models and measure their memory.
    trainees, found = dict[str, Trainee](), dict[str, dict[str, Any]]()
    for name in dict.fromkeys((PLAIN[slot], *names)):
        try:
            trainee = Trainee([f"model={model}", f"{slot}={name}", *overrides], *vocabularies)
            largest = max(batches, key=_numbers)
            trainee.update(largest)  # creates the optimiser's state
        except UserError as error:
            if name == PLAIN[slot]:
                raise
            found[name] = {"refused": str(error)}
            continue
        trainees[name] = trainee
        found[name] = {"parameters": trainee.parameters, "peak": allocated(partial(trainee.update, largest))}

    # Measure their times, in turn.
    times: dict[str, list[float]] = {name: [] for name in trainees}
    for number in range(rounds + 1):
        print(f"{slot} {model}: round {number} of {rounds}", file=sys.stderr)
        for name, trainee in trainees.items():
            took = seconds(partial(_update_all, trainee, batches))
            if number:  # the first round is a warm-up
                times[name].append(took)

    # Compare them with the reference, round by round.
    plain = times[PLAIN[slot]]
    for name, rounds_of in times.items():
        found[name]["tokens_per_second"] = tokens / median(rounds_of)
        found[name]["relative"] = median(a / b for a, b in zip(plain, rounds_of, strict=True))
    return found


def _numbers(batch: Batch) -> int:
    """Return how many ids of both sides a batch holds."""
    assert batch.source is not None
    return batch.source.numel() + batch.target_in.numel()


def _update_all(trainee: Trainee, batches: Iterable[Batch]) -> None:
    for batch in batches:
        trainee.update(batch)
