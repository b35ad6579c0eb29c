"""Auxiliary terms of the loss, each a sum over the batch, unweighted.

Shapes: B batch, T target tokens, S source tokens.
"""

from __future__ import annotations

from torch import Tensor, nn

from seq2seq.batch import Batch
from seq2seq.decoders.base import Decoded
from seq2seq.errors import UserError
from seq2seq.model import Seq2Seq

OWN_TERMS = ("doubly_stochastic", "word_prediction")
"""Loss terms that no mechanism has to report."""


def terms_of(model: nn.Module) -> set[str]:
    """Return the names of all loss terms that training ``model`` can have; the model may be on the meta device."""
    return {*OWN_TERMS, *(term for module in model.modules() for term in getattr(module, "terms", ()))}


def penalties(decoded: Decoded, batch: Batch) -> dict[str, Tensor]:
    """Return the terms that mechanisms report, summed over the target tokens."""
    return {name: (value * batch.target_mask).sum() for name, value in decoded.penalties.items()}


def doubly_stochastic(decoded: Decoded, batch: Batch) -> Tensor:
    """Return sum_b sum_i (1 - sum_t alpha_ti)^2 over real source and target positions (Xu 2015, equation 14).

    alpha is the alignment of the last cross layer. It is a sum over sentences as the cost is, so that the coefficient
    is the paper's.
    """
    assert decoded.alignment is not None and decoded.memory is not None
    mask = batch.target_mask
    covered = (decoded.alignment * mask.unsqueeze(2)).sum(1)  # (B, S)
    real = decoded.memory.mask & mask.any(1, keepdim=True)
    return ((1 - covered).square() * real).sum()


def check_alignment(model: Seq2Seq) -> None:
    """Refuse ``doubly_stochastic`` for a model whose alignment has no gradient.

    Raises:
        UserError: The cross-attention draws its weights.
    """
    if not all(part.passes_gradient for part in model.decoder.cross_attention(-1).parts()):
        raise UserError(
            "loss.weights.doubly_stochastic needs weights with a gradient, but attention=hard draws its weights; "
            "use loss.weights.doubly_stochastic=0, or attention=gumbel"
        )


def word_prediction(decoded: Decoded, batch: Batch) -> Tensor:
    """Return -sum_t log softmax(W m + b)[y_t], with m the mean of the memory and W, b the output layer's.

    The source as a whole shall know the words of its target, in whatever order (Weng 2017, D17-1013, section 3, where
    it is the decoder's first state that knows them). The term reaches an encoder past attention. Words that only
    copying can say are left out.
    """
    assert decoded.memory is not None and decoded.output is not None
    memory, output = decoded.memory, decoded.output
    (vocabulary, width), size = output.weight.shape, memory.values.shape[-1]
    if size != width:
        raise UserError(
            f"loss.weights.word_prediction reads the source through the output layer, which takes {width} numbers, but "
            f"a place of the source has {size}: make them equal (model.dim, model.embedding_dim, decoder.tie_output)"
        )
    real = memory.mask.unsqueeze(2)
    mean = (memory.values * real).sum(1) / real.sum(1).clamp(min=1)
    known = batch.target_mask & (batch.target_out < vocabulary)
    log_p = output.log_probs(mean).gather(1, batch.target_out.masked_fill(~known, 0))
    return -(log_p * known).sum()
