"""From the gradient of a sum over tokens to the gradient that an optimiser step takes."""

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
    """Multiply all gradients by ``scale``, clip them, and return their L2 norm in between.

    ``algorithm`` norm (or None): g min(1, clip / ||g||) (Pascanu et al. 2013); value: each element to [-clip, clip].
    One pass over the gradients, and none of it waits for the device.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
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
    """Add the gradient of the mechanisms' terms in the parameters alone, and return these terms.

    They count once an update, not once a token: ``scale`` is what ``rescale`` will multiply with. The gradient is
    taken apart from ``backward``, which in several processes would set off a reduction.
    """
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
    chosen = [p for p in parameters if p.requires_grad]
    total = torch.stack([weights[name] * value for name, value in terms.items()]).sum()
    for parameter, gradient in zip(chosen, torch.autograd.grad(total, chosen, allow_unused=True), strict=True):
        if gradient is not None:
            parameter.grad = (
                gradient / scale if parameter.grad is None else parameter.grad.add_(gradient, alpha=1 / scale)
            )
    return {name: value.detach() for name, value in terms.items()}
