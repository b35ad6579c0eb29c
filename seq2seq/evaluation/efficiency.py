"""What a model takes: arithmetic and memory of its passes, and how fast it decodes. Training's time is ``fit``'s."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from seq2seq.data.records import Record
from seq2seq.evaluation.evaluate import EvaluationResult, batches
from seq2seq.generation.generator import TrainedModel
from seq2seq.loss import Criterion, teacher_forced
from seq2seq.runtime.memory import allocated, allocated_on_gpu
from seq2seq.search.base import evaluating

MAX_RECORDS = 32  # records


def cost(trained: TrainedModel, records: Sequence[Record], scored: EvaluationResult) -> dict[str, Any]:
    """Return ``flops_per_token`` of a forward pass, and ``decoding``: sentences and seconds, attention included."""
    said = sum(1 for one in scored.generations if one.outputs)
    rate = said / scored.search_seconds if scored.search_seconds else None
    found: dict[str, Any] = {
        "decoding": {"sentences": said, "seconds": scored.search_seconds, "sentences_per_second": rate}
    }
    if (flops := flops_per_token(trained, records[:MAX_RECORDS])) is not None:
        found["flops_per_token"] = flops
    return found


def flops_per_token(trained: TrainedModel, records: Sequence[Record]) -> float | None:
    """Return the floating-point operations per target token of the teacher-forced forward pass, output layer included.

    One record at a time is passed. Those of matrix products and convolutions count, a multiplication and an addition as
    two; those that go number by number (tanh, softmax) do not. None without a record that can be read.
    """
    counter, tokens = FlopCounterMode(display=False), 0
    with torch.no_grad(), evaluating(trained.model), _countable(), counter:
        for record in records:
            for batch in batches(trained, [record], max_tokens=1):
                trained.model.decoder.log_probs(trained.model(batch))
                tokens += batch.target_tokens
    return counter.get_total_flops() / tokens if tokens else None


def update_memory(
    trained: TrainedModel, criterion: Criterion, records: Sequence[Record], max_tokens: int
) -> int | None:
    """Return the most bytes that the forward and backward pass of one batch of the longest ``records`` hold at once.

    These are activations and gradients in fp32, neither weights nor the optimiser's state. None without a batch, or
    without room for it beside what training still holds.
    """
    batch = next(batches(trained, records, max_tokens), None)
    if batch is None:
        return None
    measure = allocated if trained.device.type == "cpu" else allocated_on_gpu
    try:
        model = copy.deepcopy(trained.model).train()
        with torch.random.fork_rng():
            return measure(
                lambda: criterion(
                    teacher_forced(model, batch, need_weights=criterion.needs_weights), batch
                ).total.backward()
            )
    except torch.OutOfMemoryError:  # no reason to lose a run's results
        return None


@contextmanager
def _countable() -> Iterator[None]:
    """Compute an LSTM and fused attention from the products that are counted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TF32 on Intel's GPUs
        with torch.backends.mkldnn.flags(enabled=False), sdpa_kernel(SDPBackend.MATH):
            yield
