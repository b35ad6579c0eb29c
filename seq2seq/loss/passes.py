"""The teacher-forced passes over a batch that training asks for: one, or as many as an ``Estimator`` compares."""

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
"""How attention reads in the pass that is a baseline."""


@dataclass(frozen=True)
class Passes:
    """Passes over one batch under the same dropout masks."""

    draws: Sequence[Decoded]  # each drew for itself
    estimator: Estimator = field(default_factory=Estimator)
    reference: Decoded | None = None  # without a gradient, whose costs are the baseline


def teacher_forced(model: Seq2Seq, batch: Batch, *, need_weights: bool = False) -> Passes:
    """Return the passes of ``model`` over ``batch`` that its estimator asks for.

    Where the first pass draws nothing, because it is soft, it stays the only one. The source is encoded once, unless
    the encoder draws.
    """
    estimator = estimator_of(model)
    if estimator.draws == 1 and estimator.baseline not in READINGS:
        return Passes([model(batch, need_weights=need_weights)], estimator)
    encoded = None if drawing(model.encoder) else model.encode(batch, need_weights=need_weights)
    state = RandomState(batch.index.device)
    first = model(batch, encoded=encoded, need_weights=need_weights)
    draws, reference = [first], None
    if first.log_prob is None or not first.log_prob.any():
        return Passes(draws, estimator)
    for draw in range(1, estimator.draws):
        with state.replayed(), reading(model, "sample", draw):
            draws.append(model(batch, encoded=encoded, need_weights=need_weights))
    if estimator.baseline in READINGS:
        with torch.no_grad(), state.replayed(), reading(model, READINGS[estimator.baseline]):
            reference = model(batch, encoded=encoded)
    return Passes(draws, estimator, reference)


def estimator_of(model: Seq2Seq) -> Estimator:
    """Return the estimator that all hard selections of ``model`` declare.

    Raises:
        UserError: They declare several, or an encoder's draws have no token that would be theirs.
    """
    declared = {selection.estimator for selection in drawing(model)}
    if len(declared) > 1:
        raise UserError(
            "hard selections of one model share their costs, so credit, baseline and draws must be the same in all of "
            f"them; there are {', '.join(sorted(map(str, declared)))}"
        )
    estimator = declared.pop() if declared else Estimator()
    if estimator.credit == "token" and drawing(model.encoder):
        raise UserError("credit=token has no token for what an encoder draws; use selection.credit=to_go")
    return estimator


class RandomState:
    """The state of torch's generators, to which a pass can go back."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = [device] if device.type == "cuda" else []
        self.states = torch.get_rng_state(), *map(torch.cuda.get_rng_state, self.cuda)

    @contextmanager
    def replayed(self) -> Iterator[None]:
        """Draw in what follows as from this state on; afterwards go on as if nothing had been drawn."""
        with torch.random.fork_rng(self.cuda):
            torch.set_rng_state(self.states[0])
            for device, state in zip(self.cuda, self.states[1:], strict=True):
                torch.cuda.set_rng_state(state, device)
            yield
