"""Gradient of an optimiser step, from the gradient of a loss that is summed over tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from seq2seq.attention.base import Attention
from seq2seq.compat.torch import clamp_, multiply_
from seq2seq.errors import UserError


def rescale(
    parameters: Iterable[nn.Parameter], scale: float, clip: float | None = None, algorithm: str | None = None
) -> Tensor:
    """Multiply all gradients by ``scale``, then clip them.

    Clipping by norm is g min(1, clip / ||g||) (Pascanu et al. 2013). Clipping by value limits each element to
    [-clip, clip]. The function passes over the gradients once and does not wait for the device.

    Args:
        parameters: Parameters whose gradients change in place.
        scale: Multiplier of the gradients.
        clip: Largest norm or value; None or 0 does not clip.
        algorithm: ``norm`` (also None) or ``value``: what ``clip`` limits.

    Returns:
        L2 norm of the gradients after scaling and before clipping.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    # Scale and clip by norm with one multiplication.
    norm = torch.nn.utils.get_total_norm(gradients) * scale
    factor = norm.new_tensor(scale) if not clip or algorithm == "value" else scale * (clip / (norm + 1e-6)).clamp(max=1)
    multiply_(gradients, factor)
    if clip and algorithm == "value":
        clamp_(gradients, -clip, clip)
    return norm


def regularise(
    parameters: Iterable[nn.Parameter],
    mechanisms: Iterable[Attention],
    weights: Mapping[str, float | Tensor],
    scale: float,
) -> dict[str, Tensor]:
    """Add the gradient of the mechanisms' regularisation terms, which depend on parameters alone.

    These terms count once per update, not once per token. The gradient is computed without ``backward``, which would
    start a reduction over the processes.

    Args:
        parameters: Parameters of the model; their gradients change in place.
        mechanisms: Attention mechanisms of the model.
        weights: Coefficient of each term, by name.
        scale: Multiplier that ``rescale`` will apply; the added gradient is divided by it.

    Returns:
        The terms by name, without coefficients, without gradient.

    Raises:
        UserError: A term has no coefficient.
    """
    # Sum the terms of all mechanisms.
    terms: dict[str, Tensor] = {}
    for mechanism in mechanisms:
        for name, value in mechanism.regulariser().items():
            terms[name] = terms[name] + value if name in terms else value
    if not terms:
        return {}
    if missing := sorted(set(terms) - set(weights)):
        raise UserError(
            f"the attention mechanism reports a term {missing[0]}; give its coefficient as loss.weights.{missing[0]}"
        )
    # Add the gradient of the weighted sum.
    chosen = [p for p in parameters if p.requires_grad]
    total = torch.stack([weights[name] * value for name, value in terms.items()]).sum()
    for parameter, gradient in zip(chosen, torch.autograd.grad(total, chosen, allow_unused=True), strict=True):
        if gradient is not None:
            parameter.grad = (
                gradient / scale if parameter.grad is None else parameter.grad.add_(gradient, alpha=1 / scale)
            )
    return {name: value.detach() for name, value in terms.items()}
