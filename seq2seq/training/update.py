"""One update of a model, from the loss of its micro-batches to the constraints after its step.

The loss is summed over tokens, then divided by the number of tokens in all micro-batches and processes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from seq2seq.attention.base import Attention
from seq2seq.batch import Batch
from seq2seq.loss import Criterion, teacher_forced
from seq2seq.model import Seq2Seq
from seq2seq.training import distributed
from seq2seq.training.gradients import regularise, rescale
from seq2seq.training.metric_accumulator import MetricAccumulator
from seq2seq.training.nonfinite import NonFiniteGuard
from seq2seq.training.options import TrainingOptions
from seq2seq.training.self_critical import SelfCritical


class Update:
    """Loss and gradients of one update, independent of the training loop.

    A plain loop calls ``update.loss(batch, step).backward()`` for each micro-batch, then ``update.apply(optimizer,
    step)`` and ``optimizer.zero_grad()``. Lightning steps the optimiser itself, so it calls ``prepare`` before the
    step and ``constrain`` after it.

    Args:
        model: The model to train.
        criterion: The loss.
        options: Options of training.
        self_critical: Loss from rewards; None trains by likelihood alone.

    Raises:
        UserError: A term of the loss cannot be computed for this model.
    """

    def __init__(
        self, model: Seq2Seq, criterion: Criterion, options: TrainingOptions, self_critical: SelfCritical | None = None
    ) -> None:
        criterion.check_model(model)
        self.model, self.criterion, self.self_critical = model, criterion, self_critical
        self.reward_share = options.reward_share
        self.mechanisms = [module for module in model.modules() if isinstance(module, Attention)]
        self.norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        self.guard = NonFiniteGuard(options.nonfinite)
        self.sums = MetricAccumulator()  # sums since values were last logged
        self.learning_rate = 0.0  # learning rate of the last update
        self.stop_wanted = False  # this process has received a signal
        self.stop_agreed = False  # some process has received a signal, and all processes know it
        self._begin()

    def _begin(self) -> None:
        """Clear the sums over the micro-batches of the last update."""
        self._figures: dict[str, Tensor] = {}
        self._tokens = 0
        self._costs: Tensor | None = None
        self._records: list[Tensor] = []

    def loss(self, batch: Batch, step: int) -> Tensor:
        """Return the loss of one micro-batch, summed over its tokens.

        Args:
            batch: The micro-batch.
            step: Number of updates before this one.

        Returns:
            The loss, a scalar with gradient.
        """
        self._records.append(batch.index)
        total = torch.zeros((), device=batch.index.device)
        figures: dict[str, Tensor] = {}
        # Compute the loss of the likelihood, unless rewards alone train the model.
        if self.self_critical is None or self.reward_share < 1:
            passes = teacher_forced(self.model, batch, need_weights=self.criterion.needs_weights)
            losses = self.criterion(passes, batch)
            total, tokens = losses.total, losses.tokens
            figures = {self.model.decoder.output.loss_name: losses.nll, **losses.terms, **losses.logged}
            if losses.costs is not None:
                self._costs = losses.costs if self._costs is None else self._costs + losses.costs
        # Add the loss of the rewards. The number below seeds its samples and differs for each micro-batch.
        if self.self_critical is not None:
            share, number = self.reward_share, len(self._records) + (step << 8)
            gain = self.self_critical(self.model, batch, number)
            if share < 1:  # use the same number of tokens for both, so that the means are weighted by the share
                gain = gain.over(tokens)
            total, tokens = share * gain.loss + (1 - share) * total, gain.tokens
            figures |= gain.figures
        # Add the values to the sums of this update.
        for name, value in {"loss": total, **figures}.items():
            self._figures[name] = self._figures.get(name, 0) + value.detach()
        self._tokens += tokens
        return total

    def apply(
        self, optimizer: Optimizer, step: int, *, clip: float | None = None, algorithm: str | None = None
    ) -> None:
        """Update the parameters from the gradients of all micro-batches since the last update.

        Args:
            optimizer: The optimiser of the model.
            step: Number of updates before this one.
            clip: Largest norm or value of the gradient; None does not clip.
            algorithm: ``norm`` (also None) or ``value``: what ``clip`` limits.
        """
        self.prepare(optimizer, step, clip=clip, algorithm=algorithm)
        optimizer.step()
        self.constrain()

    def prepare(
        self,
        optimizer: Optimizer,
        step: int,
        *,
        averaged_over: int = 1,
        world_size: int = 1,
        clip: float | None = None,
        algorithm: str | None = None,
    ) -> None:
        """Turn the summed gradients into the gradient of the mean over tokens; regularise and clip it.

        Gradients that are not finite raise an error or are skipped, see ``training.nonfinite``.

        Args:
            optimizer: The optimiser that steps next.
            step: Number of updates before this one.
            averaged_over: Number that the gradients were already divided by: micro-batches times processes.
            world_size: Number of processes.
            clip: Largest norm or value of the gradient; None does not clip.
            algorithm: ``norm`` (also None) or ``value``: what ``clip`` limits.

        Raises:
            UserError: The gradient is not finite and ``training.nonfinite`` is stop, or a term has no coefficient.
        """
        # 1. Take the sums of this update, and count the tokens of all processes.
        figures, own_tokens, costs, records = self._figures, self._tokens, self._costs, self._records
        self._begin()
        bad_loss = ~torch.isfinite(figures["loss"])
        # Reading the costs waits for the device, so a single process does not read them.
        shared = [] if costs is None or world_size == 1 else costs.tolist()
        tokens, bad_losses, stops, *shared = distributed.all_reduce_sum(
            [own_tokens, bool(bad_loss) if world_size > 1 else 0, self.stop_wanted, *shared], bad_loss.device
        )
        self.stop_agreed = stops > 0

        # 2. Divide, regularise and clip.
        scale = averaged_over / max(tokens, 1)
        terms = regularise(self.model.parameters(), self.mechanisms, self.criterion.weights, scale)
        self.criterion.check_terms(terms)
        norm = rescale(self.model.parameters(), scale, clip, algorithm)
        self.learning_rate = optimizer.param_groups[0]["lr"]

        # 3. Keep gradients that are not finite away from the weights.
        bad = bad_loss | ~torch.isfinite(norm)
        if world_size == 1 and self.guard.on_device(optimizer, norm.device):
            self.guard.mark(optimizer, bad, step + 1, records)
        elif bad_losses > 0 or bool(bad):
            self.guard.handle(step + 1, records)
            optimizer.zero_grad()  # the optimiser does not change parameters without gradients
            return

        # 4. Add the update to the logged sums and to the baseline.
        good = ~bad
        if costs is not None:
            self.criterion.update_baseline((costs.new_tensor(shared) if shared else costs).where(good, torch.nan))
        figures |= {"gradient_norm": norm, **terms}
        self.sums.add(updates=good, tokens=good * own_tokens, **{name: v.where(good, 0) for name, v in figures.items()})

    def constrain(self) -> None:
        """Apply the constraints of the model after the optimiser step.

        Average the batch-norm statistics over the processes, and let the mechanisms project their parameters.
        """
        learning = [buffer for norm in self.norms if norm.training for buffer in norm.buffers()]
        distributed.all_reduce_mean([buffer for buffer in learning if buffer.is_floating_point()])
        for mechanism in self.mechanisms:
            mechanism.constrain()
