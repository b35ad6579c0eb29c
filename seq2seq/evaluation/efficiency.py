"""Efficiency of a model: operations and memory of its passes, and speed of decoding.

``seq2seq.training.fit`` measures the time of training.
"""

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

MAX_RECORDS = 32  # records whose operations are counted


def cost(trained: TrainedModel, records: Sequence[Record], scored: EvaluationResult) -> dict[str, Any]:
    """Return the costs of decoding and of a forward pass.

    Args:
        trained: Trained model.
        records: Records of a split; the first ``MAX_RECORDS`` are used for ``flops_per_token``.
        scored: Result of the evaluation of the split.

    Returns:
        ``decoding``, with the number of decoded sentences, the seconds (computation of attention included) and the
        rate; and ``flops_per_token``, if it can be measured.
    """
    decoded = sum(1 for generation in scored.generations if generation.outputs)
    rate = decoded / scored.search_seconds if scored.search_seconds else None
    costs: dict[str, Any] = {
        "decoding": {"sentences": decoded, "seconds": scored.search_seconds, "sentences_per_second": rate}
    }
    if (flops := flops_per_token(trained, records[:MAX_RECORDS])) is not None:
        costs["flops_per_token"] = flops
    return costs


def flops_per_token(trained: TrainedModel, records: Sequence[Record]) -> float | None:
    """Return the floating-point operations per target token of the teacher-forced forward pass.

    The output layer is included. Operations of matrix products and convolutions count, where a multiplication and an
    addition are two operations. Elementwise operations (tanh, softmax) do not count.

    Args:
        trained: Trained model.
        records: Records to pass, one at a time.

    Returns:
        Operations per token; None if no record can be read.
    """
    # max_tokens=1 puts each record into a batch of its own, so that there is no padding.
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
    """Return the peak memory of the forward and backward pass of one batch of the longest records, in bytes.

    It consists of activations and gradients in fp32, without weights and the state of the optimiser.

    Args:
        trained: Trained model.
        criterion: Training loss.
        records: Records of a split.
        max_tokens: Maximum number of tokens of a batch.

    Returns:
        Bytes; None if there is no batch, or if it does not fit in memory beside the data that training still holds.
    """
    # Batches start with the longest records.
    batch = next(batches(trained, records, max_tokens), None)
    if batch is None:
        return None
    measure = allocated if trained.device.type == "cpu" else allocated_on_gpu

    # A copy of the model and forked generators keep the run as it is.
    try:
        model = copy.deepcopy(trained.model).train()
        with torch.random.fork_rng():
            return measure(
                lambda: criterion(
                    teacher_forced(model, batch, need_weights=criterion.needs_weights), batch
                ).total.backward()
            )
    except torch.OutOfMemoryError:
        # The results of the run matter more than this measurement.
        return None


@contextmanager
def _countable() -> Iterator[None]:
    """Compute LSTMs and fused attention by matrix products, which the counter sees."""
    with warnings.catch_warnings():
        # Ignore a warning about TF32 on GPUs of Intel.
        warnings.simplefilter("ignore")
        with torch.backends.mkldnn.flags(enabled=False), sdpa_kernel(SDPBackend.MATH):
            yield
