"""Teacher-forced passes over a batch: one pass, or the several passes that an ``Estimator`` compares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from seq2seq.attention.components.selections import Baseline, Estimator, Reading, drawing, reading
from seq2seq.batch import Batch
from seq2seq.decoders.base import Decoded
from seq2seq.errors import UserError
from seq2seq.model import Seq2Seq

READINGS: dict[Baseline, Reading] = {"soft": "soft", "self_critical": "likeliest"}
"""Reading mode of attention in the pass that is the baseline."""


@dataclass(frozen=True)
class Passes:
    """Passes over one batch, all with the same dropout masks."""

    draws: Sequence[Decoded]  # passes with independent samples
    estimator: Estimator = field(default_factory=Estimator)  # how the samples learn from their costs
    reference: Decoded | None = None  # pass without gradient whose costs are the baseline


def teacher_forced(model: Seq2Seq, batch: Batch, *, need_weights: bool = False) -> Passes:
    """Return the passes of ``model`` over ``batch`` that its estimator needs.

    If the first pass is soft, it samples nothing and stays the only one. The source is encoded once, unless the
    encoder samples.

    Args:
        model: The model.
        batch: The batch with its targets.
        need_weights: Whether the draws return their attention weights.

    Returns:
        The draws, and the reference pass if the baseline needs one.
    """
    estimator = estimator_of(model)
    # Most models need a single pass.
    if estimator.draws == 1 and estimator.baseline not in READINGS:
        return Passes([model(batch, need_weights=need_weights)], estimator)
    # Make the first pass; a soft one needs no other.
    encoded = None if drawing(model.encoder) else model.encode(batch, need_weights=need_weights)
    state = RandomState(batch.index.device)
    first = model(batch, encoded=encoded, need_weights=need_weights)
    draws, reference = [first], None
    if first.log_prob is None or not first.log_prob.any():
        return Passes(draws, estimator)
    # Repeat the pass with the same dropout masks and other samples.
    for draw in range(1, estimator.draws):
        with state.replayed(), reading(model, "sample", draw):
            draws.append(model(batch, encoded=encoded, need_weights=need_weights))
    # Make the pass of the baseline.
    if estimator.baseline in READINGS:
        with torch.no_grad(), state.replayed(), reading(model, READINGS[estimator.baseline]):
            reference = model(batch, encoded=encoded)
    return Passes(draws, estimator, reference)


def estimator_of(model: Seq2Seq) -> Estimator:
    """Return the estimator that all hard selections of ``model`` share.

    Args:
        model: The model.

    Returns:
        The shared estimator, or the default one if no selection samples.

    Raises:
        UserError: The selections have different estimators, or ``credit=token`` is used in an encoder, whose samples
            belong to no target token.
    """
    declared = {selection.estimator for selection in drawing(model)}
    if len(declared) > 1:
        raise UserError(
            "hard selections of one model share their costs, so credit, baseline and draws must be the same in all of "
            f"them; there are {', '.join(sorted(map(str, declared)))}"
        )
    estimator = declared.pop() if declared else Estimator()
    # The samples of an encoder concern all target tokens.
    if estimator.credit == "token" and drawing(model.encoder):
        raise UserError("credit=token: the samples of an encoder belong to no target token; use selection.credit=to_go")
    return estimator


class RandomState:
    """State of the random generators of torch, for passes that repeat the same random numbers.

    Args:
        device: Device of the passes. The state is taken of the CPU and, if it is a GPU, of this GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.cuda = [device] if device.type == "cuda" else []
        self.states = torch.get_rng_state(), *map(torch.cuda.get_rng_state, self.cuda)

    @contextmanager
    def replayed(self) -> Iterator[None]:
        """Use the saved state in the block; afterwards restore the state from before the block."""
        # ``fork_rng`` restores the generators after the block.
        with torch.random.fork_rng(self.cuda):
            torch.set_rng_state(self.states[0])
            for device, state in zip(self.cuda, self.states[1:], strict=True):
                torch.cuda.set_rng_state(state, device)
            yield
