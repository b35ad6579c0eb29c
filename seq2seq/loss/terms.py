"""Auxiliary terms of the loss. Each is an unweighted sum over the batch.

Shapes: B batch, T target tokens, S source tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.batch import Batch
from seq2seq.decoders.base import Decoded
from seq2seq.errors import UserError
from seq2seq.model import Seq2Seq

OWN_TERMS = ("doubly_stochastic", "word_prediction")
"""Loss terms that need no attention mechanism to report them."""


def terms_of(model: nn.Module) -> set[str]:
    """Return the names of all loss terms that ``model`` can have in training.

    Args:
        model: The model; it may be on the meta device.
    """
    return {*OWN_TERMS, *(term for module in model.modules() for term in getattr(module, "terms", ()))}


def penalties(decoded: Decoded, batch: Batch) -> dict[str, Tensor]:
    """Return the terms that mechanisms report, each summed over the target tokens.

    Args:
        decoded: Teacher-forced pass over ``batch``.
        batch: The batch with its targets.
    """
    return {name: (value * batch.target_mask).sum() for name, value in decoded.penalties.items()}


def doubly_stochastic(decoded: Decoded, batch: Batch) -> Tensor:
    """Return sum_b sum_i (1 - sum_t alpha_ti)^2 over real source and target positions (Xu 2015, equation 14).

    alpha is the alignment of the last cross layer. The term is a sum over sentences, as the cost is, so the
    coefficient has the same meaning as in the paper.

    Args:
        decoded: Teacher-forced pass over ``batch``, with attention weights.
        batch: The batch with its targets.
    """
    assert decoded.alignment is not None and decoded.memory is not None
    mask = batch.target_mask
    # Sum the attention that each source position receives.
    covered = (decoded.alignment * mask.unsqueeze(2)).sum(1)  # (B, S)
    real = decoded.memory.mask & mask.any(1, keepdim=True)
    return ((1 - covered).square() * real).sum()


def check_alignment(model: Seq2Seq) -> None:
    """Check that ``doubly_stochastic`` can train ``model``: its alignment needs a gradient.

    Args:
        model: The model.

    Raises:
        UserError: The cross-attention samples its weights.
    """
    if not all(part.passes_gradient for part in model.decoder.cross_attention(-1).parts()):
        raise UserError(
            "loss.weights.doubly_stochastic needs weights with a gradient, but attention=hard samples its weights; "
            "use loss.weights.doubly_stochastic=0 or attention=gumbel"
        )


def word_prediction(decoded: Decoded, batch: Batch) -> Tensor:
    """Return -sum_t log softmax(W m + b)[y_t], with m the mean of the memory and W, b the output layer's.

    The term trains the whole source to predict the words of the target, in any order (Weng 2017, D17-1013, section 3,
    where the first state of the decoder predicts them). Its gradient reaches the encoder without passing through
    attention. Words that can only be copied are left out.

    Args:
        decoded: Teacher-forced pass over ``batch``.
        batch: The batch with its targets.

    Raises:
        UserError: The memory and the output layer have different sizes.
    """
    assert decoded.memory is not None and decoded.output is not None
    memory, output = decoded.memory, decoded.output
    (vocabulary, width), size = output.weight.shape, memory.values.shape[-1]
    if size != width:
        raise UserError(
            f"loss.weights.word_prediction applies the output layer to the encoder output; the layer takes {width} "
            f"numbers, but the encoder gives {size}; make them equal (model.dim, model.embedding_dim, "
            "decoder.tie_output)"
        )
    # Take the mean of the memory over real source positions.
    real = memory.mask.unsqueeze(2)
    mean = (memory.values * real).sum(1) / real.sum(1).clamp(min=1)
    # Sum the log-probabilities of the target words that the vocabulary has.
    known = batch.target_mask & (batch.target_out < vocabulary)
    dtype = torch.promote_types(mean.dtype, torch.float32)
    log_p = F.log_softmax(output(mean), -1, dtype=dtype).gather(1, batch.target_out.masked_fill(~known, 0))
    return -(log_p * known).sum()
