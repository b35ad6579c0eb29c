"""Loop over tokens that greedy search and sampling share.

Shapes: B sentences, R outputs (copies of a sentence follow each other), N rows of the decoder state, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import torch
from torch import Tensor

from seq2seq.batch import BOS, EOS, PAD
from seq2seq.encoders.base import EncoderOutput
from seq2seq.layers.cross_entropy import MIN_LOG_PROB
from seq2seq.model import Seq2Seq
from seq2seq.search.base import Hypothesis, Search, hypothesis
from seq2seq.search.beam_rows import BeamRows
from seq2seq.search.constraints import Constraints

Choice = Callable[[Tensor, Tensor, int], Tensor]
"""Function from log_probs (N, V), numbers of the outputs (N,) and the number of the step to the next tokens (N,)."""


def chain(options: Search, model: Seq2Seq, encoded: EncoderOutput, choose: Choice, copies: int = 1) -> list[Hypothesis]:
    """Generate R = B x ``copies`` outputs, token by token; their score is their log-probability.

    Args:
        options: Search with its options.
        model: Model in evaluation mode.
        encoded: Output of the encoder for B sentences.
        choose: Function that chooses the next token of each output.
        copies: Number of outputs of each sentence.

    Returns:
        R hypotheses; those of one sentence follow each other.
    """
    # Start each output with <s>.
    memory = encoded.memory.values
    limits = [limit for limit in options.limits(model, encoded) for _ in range(copies)]
    state = model.decoder.start(encoded)
    if copies > 1:
        state = state.select(torch.arange(len(memory), device=memory.device).repeat_interleave(copies))
    # Keep track of the tokens, log-probabilities and rows of all outputs.
    forbid = Constraints(options, limits, memory.device)
    rows = BeamRows(len(limits), 1, memory.device)
    tokens = torch.full((len(limits), 1), BOS, device=memory.device)
    total = torch.zeros_like(tokens, dtype=torch.promote_types(memory.dtype, torch.float32))
    live = torch.ones_like(tokens, dtype=torch.bool)
    for step in count():
        # Choose the next token of each row.
        prefixes = tokens[rows.slots]
        decoded, state = model.decoder(prefixes[:, -1:], state)
        log_probs = forbid(model.decoder.log_probs(decoded)[:, -1], prefixes, rows.slots)
        # Where no token has a probability, end the output (``Search``).
        log_probs[:, EOS].masked_fill_(log_probs.amax(1) == -torch.inf, MIN_LOG_PROB)
        token = choose(log_probs, rows.slots, step).unsqueeze(1)
        # Append it to live outputs, and <pad> to finished ones.
        gain = torch.zeros_like(total).index_copy_(0, rows.slots, log_probs.gather(1, token))
        new = torch.full_like(live, PAD, dtype=tokens.dtype).index_copy_(0, rows.slots, token)
        total = total + gain.masked_fill(~live, 0.0)
        tokens = torch.cat((tokens, new.masked_fill(~live, PAD)), 1)
        live = live & (new != EOS)
        # Drop finished rows of the decoder.
        move = rows.advance(live)
        if move is None:
            break
        state = move.state(state)
    # Build the hypotheses.
    scores = total.squeeze(1).tolist()
    return [hypothesis(*one) for one in zip(tokens.tolist(), scores, scores, limits, strict=True)]
