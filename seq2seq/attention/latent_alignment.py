"""Alignment as a latent variable: the expectation is over the likelihood and not over the context.

Letters as in ``composed.py``; J alternative contexts, E width of the decoder's input.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from seq2seq.attention.components import counter_rng
from seq2seq.attention.components.selections import gumbel
from seq2seq.attention.composed import ComposedAttention, HeadQueries
from seq2seq.attention.requirements import above_0, at_least_1, refuse_copying, refuse_self
from seq2seq.attention.types import Alternatives, AttentionOutput, AttentionState, Memory, Query, SourceSpec
from seq2seq.errors import UserError
from seq2seq.layers.chain import log_weights
from seq2seq.layers.recurrent import recurrent


class HardMarginalAttention(ComposedAttention):
    """Exact hard attention: each prediction reads one position, and the likelihood sums over the positions.

    p(y_t) = sum_j a_tj p(y_t | v_j), computed exactly (Wu, Shapiro & Cotterell 2018; their score is ``general``). a is
    what the weights of soft attention would be. The sum factorises over t because, given the decoder's state,
    alignments are independent: Wu's decoder has no input feeding (``decoder.input_feeding=false``).

    With input feeding, the decoder reads ``context``, the expectation sum_j a_tj v_j, so that its state depends only on
    the words (Deng 2018). In a layer that is not the last, the layers above read the same: there it is soft attention.

    Args:
        query_dim: Q, width of the queries.
        source: Properties of the memory.
        **options: Options of ``ComposedAttention``, with one head, the soft selection and weights that sum to one.

    Raises:
        UserError: The source is self-attention, or an option is not supported.
    """

    def __init__(self, query_dim: int, source: SourceSpec, **options: Any) -> None:
        super().__init__(query_dim, source, **options)
        # Check the source and the options.
        refuse_self(
            source,
            "latent alignment needs an output layer that sums over alignments; self-attention has none. "
            "Use it over the source",
        )
        if self.heads != 1:
            raise UserError(
                f"heads={self.heads} must be 1, because latent alignment chooses one position for each target word"
            )
        if self.gradient != "exact":
            raise UserError("latent alignment sums over all positions and cannot sample one; use the soft selection")
        if self.mass != "one":
            raise UserError(
                "latent alignment needs weights that are probabilities, but this window lets them sum to less than "
                "one; use window.renormalise=true"
            )

    @override
    def prepare(self, memory: Memory) -> Memory:
        """Also prepare ``alone`` (B, S, C), the context that each position gives by itself."""
        memory = super().prepare(memory)
        if not self.source.last:
            return memory
        values = memory.prepared["values"].squeeze(1)
        return replace(memory, prepared={**memory.prepared, "alone": self.output(values) if self.project else values})

    @override
    def forward(
        self,
        query: Query,
        memory: Memory,
        state: AttentionState,
        *,
        mask: Tensor | None = None,
        need_weights: bool = False,
    ) -> AttentionOutput:
        """Attend, and also return the alternatives, of which the context is the mean."""
        queries = self.head_queries(query, memory, mask)
        values = memory.prepared["values"]
        scores = self.compare(queries, memory.prepared.get("keys", values), memory)
        selected = self.select(scores, queries, memory, state)
        # Compute the expected context.
        used = self.apply_weights(selected.weights, query)
        context = self.finish(self.read(used, self._expand_groups(values), queries), queries)
        output = AttentionOutput(context, selected.weights if need_weights else None, state)
        # Add the alternatives in the last layer.
        if not self.source.last:
            return output
        # In training, use the weights before dropout, because weights after dropout do not sum to one.
        prior = selected.weights if self.training else used
        return self.latent(output, log_weights(prior.squeeze(1)), queries, query, memory)

    def latent(
        self, output: AttentionOutput, log_prior: Tensor, queries: HeadQueries, query: Query, memory: Memory
    ) -> AttentionOutput:
        """Return ``output`` with its alternatives.

        Args:
            output: Output without alternatives.
            log_prior: log a (B, T, S).
            queries: Queries as the head compares them.
            query: Queries (B, T, Q), with the encoded target in training.
            memory: Prepared memory.
        """
        return replace(
            output, alternatives=Alternatives(single_contexts(queries, memory, log_prior.shape[1]), log_prior)
        )


class VariationalAttention(HardMarginalAttention):
    """Variational attention: a lower bound of the likelihood and an inference network (Deng 2018, section 3).

    log p(y_t) >= E_q log p(y_t | v_z) - KL(q || a), where q(z_t) = q(z_t | x, y) and q_tj = softmax_j(g_t^T U v_j). g
    is a biLSTM over the whole target y. v is the decoder's own source, which Deng reads with a second encoder. q is
    zero where a is zero. The penalty ``kl`` is KL(q || a). Without a target, as in evaluation, the output is the exact
    mixture of the prior, as in ``HardMarginalAttention``.

    ``context`` and ``weights`` are those of the prior in both modes, as in the authors' code: a state that reads q
    would know the words to come, and the bound would not hold.

    Args:
        query_dim: Q, width of the queries.
        source: Properties of the memory, with ``input_dim``.
        mode: ``elbo`` computes the bound's expectation by enumeration; ``sample`` estimates it in training from
            samples z ~ q, whose score-function gradient the loss adds.
        samples: Number of samples, for ``sample``; None = 1.
        inference_dim: Width of g, even; None = the width of the queries.
        inference_scale: Factor of g_t^T U v_j, as a score has one; None = 1/sqrt(D) for normalised vectors v of width
            D, 1 for LSTM states.
        **options: Options of ``HardMarginalAttention``.

    Raises:
        UserError: The decoder provides no input, or an option is out of range.
    """

    terms = ("kl",)

    def __init__(
        self,
        query_dim: int,
        source: SourceSpec,
        *,
        mode: str = "elbo",
        samples: int | None = None,
        inference_dim: int | None = None,
        inference_scale: float | None = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(query_dim, source, **options)
        # Check the source and the options.
        refuse_copying(source)
        if mode not in ("elbo", "sample"):
            raise UserError(f"mode={mode} is unknown; choose elbo (enumerate q) or sample (draw from q)")
        if samples is not None and mode == "elbo":
            raise UserError(f"samples={samples} is for mode=sample only; mode=elbo enumerates all positions")
        at_least_1(samples=samples, inference_dim=inference_dim)
        above_0(inference_scale=inference_scale)
        if not source.input_dim:
            raise UserError("variational attention reads the embedded target, but this decoder provides none")
        width = inference_dim or query_dim
        if width < 2 or width % 2:
            raise UserError(f"inference_dim={width} must be even, because two directions share it")
        # Build the inference network, which only the last layer has.
        self.samples = None if mode == "elbo" else samples or 1
        self.gradient = "exact" if mode == "elbo" else "surrogate"
        if not source.last:
            return
        self.rightward = recurrent("lstm", source.input_dim, width // 2)
        self.leftward = recurrent("lstm", source.input_dim, width // 2)
        self.infer = nn.Linear(width, self.score.key_dim, bias=False)
        own_scale = self.score.key_dim**-0.5 if source.states == "normalised" else 1.0
        self.inference_scale = own_scale if inference_scale is None else inference_scale
        nn.init.xavier_uniform_(self.infer.weight)

    @override
    def initial_state(self, memory: Memory) -> AttentionState:
        """Return one seed for each sequence where alignments are sampled, else {}."""
        if self.samples is None or not self.training or not self.source.last:
            return {}
        return {"seed": counter_rng.seeds(len(memory.mask), memory.mask.device)}

    @override
    def read_target(self, embedded: Tensor, mask: Tensor) -> Tensor:
        """Return U^T g_t (B, T, D) times the scale, where t is aligned with the word that step t predicts.

        ``embedded`` has the decoder's inputs, which is y_{t-1} at step t. It is therefore read from the next position
        on, with a zero vector for its last word, </s>.
        """
        # Move each word to the step that predicts it.
        last = mask.sum(1, keepdim=True) - 1  # (B, 1)
        place = torch.arange(mask.shape[1], device=mask.device)
        words = embedded.roll(-1, 1) * (place < last).unsqueeze(-1)
        # Read each sentence backward, reversed within its own length.
        turned = ((last - place) % mask.shape[1]).unsqueeze(-1)  # (B, T, 1)
        backward = self.leftward(words.gather(1, turned.expand_as(words)))[0]
        backward = backward.gather(1, turned.expand_as(backward))
        posterior: Tensor = self.infer(torch.cat((self.rightward(words)[0], backward), -1))
        return self.inference_scale * posterior * mask.unsqueeze(-1)

    @override
    def latent(
        self, output: AttentionOutput, log_prior: Tensor, queries: HeadQueries, query: Query, memory: Memory
    ) -> AttentionOutput:
        """Add the bound's alternatives and its ``kl`` (B, T) where there is a target, else the prior's alternatives."""
        if query.target is None:
            return super().latent(output, log_prior, queries, query, memory)
        # Compute log q over the positions that the prior allows.
        within = log_prior > -torch.inf
        scores = (query.target @ memory.prepared["values"].squeeze(1).mT).to(log_prior.dtype)  # (B, T, S)
        log_q = torch.log_softmax(scores.masked_fill(~within, -torch.inf), -1)
        # Compute the KL divergence, with finite numbers only: 0 x inf would make NaN.
        finite = log_q.masked_fill(~within, 0.0)
        kl = (finite.exp() * within * (finite - log_prior.masked_fill(~within, 0.0))).sum(-1)
        # Enumerate the positions, or sample some.
        length = log_q.shape[1]
        if self.samples is None or "seed" not in output.state:
            alternatives = Alternatives(single_contexts(queries, memory, length), log_q, "bound")
        else:
            u = counter_rng.uniform(
                output.state["seed"], query.position, self.samples, memory.positions
            )  # (B, J, T, S)
            z = (log_q.detach().unsqueeze(1) + gumbel(u)).argmax(-1).transpose(1, 2)  # (B, T, J)
            alone = memory.prepared["alone"]
            contexts = alone.gather(1, z.flatten(1).unsqueeze(-1).expand(-1, -1, alone.shape[-1]))
            seen = queries.visible.squeeze(1).any(-1)[..., None, None]
            alternatives = Alternatives(contexts.unflatten(1, z.shape[1:]) * seen, log_q.gather(-1, z), "sampled")
        return replace(output, alternatives=alternatives, penalties={**output.penalties, "kl": kl})


def single_contexts(queries: HeadQueries, memory: Memory, length: int) -> Tensor:
    """Return each position's context (B, T, S, C), 0 for queries that see nothing; a view where possible.

    Args:
        queries: Queries as the head compares them.
        memory: Prepared memory with ``alone``.
        length: T, the number of queries.
    """
    seen = queries.visible.squeeze(1).any(-1)  # (B, T or 1)
    return (memory.prepared["alone"].unsqueeze(1) * seen[..., None, None]).expand(-1, length, -1, -1)
