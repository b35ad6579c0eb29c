"""Alignment as a latent variable: the likelihood is expected, not the context.

Letters as in ``composed.py``; J alternative contexts, E the width of what the decoder reads.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from seq2seq.attention.components import counter_rng
from seq2seq.attention.components.selections import gumbel
from seq2seq.attention.composed import ComposedAttention, HeadQueries
from seq2seq.attention.requirements import at_least_1, refuse_self
from seq2seq.attention.types import Alternatives, AttentionOutput, AttentionState, Memory, Query, SourceSpec
from seq2seq.errors import UserError
from seq2seq.layers.recurrent import recurrent
from seq2seq.layers.tensors import wide_dtype


class HardMarginalAttention(ComposedAttention):
    """p(y_t) = sum_j a_tj p(y_t | v_j): one position is read, and the sum over which is exact (Wu, Shapiro &
    Cotterell 2018; their score is ``general``).

    a is what soft attention would weigh by. The sum factorises over t because, given the decoder's state, alignments
    are independent: Wu's decoder feeds nothing back (``decoder.input_feeding=false``). Where it does, it gets
    ``context``, the expectation sum_j a_tj v_j, so that the state stays a function of the words alone (Deng 2018). So
    does what stands above a layer that is not the last: there it is soft attention.
    """

    def __init__(self, query_dim: int, source: SourceSpec, **options: Any) -> None:
        super().__init__(query_dim, source, **options)
        refuse_self(
            source,
            "latent alignment is summed over by the output layer; self-attention has none behind it: use it over the "
            "source",
        )
        if self.heads != 1:
            raise UserError(
                f"heads={self.heads} has no meaning: latent alignment chooses one position a target word; use heads=1"
            )
        if self.gradient != "exact":
            raise UserError("latent alignment sums over all positions, so none is drawn; use the soft selection")
        if self.mass != "one":
            raise UserError(
                "latent alignment needs weights that are probabilities, but this window lets them sum to less than "
                "one; use window.renormalise=true"
            )

    def prepare(self, memory: Memory) -> Memory:
        """Also ``alone`` (B, S, C): the context that each position would be by itself."""
        memory = super().prepare(memory)
        if not self.source.last:
            return memory
        values = memory.prepared["values"].squeeze(1)
        return replace(memory, prepared={**memory.prepared, "alone": self.output(values) if self.project else values})

    def forward(
        self,
        query: Query,
        memory: Memory,
        state: AttentionState,
        *,
        mask: Tensor | None = None,
        need_weights: bool = False,
    ) -> AttentionOutput:
        """Contexts (B, T, C) of T queries, and the alternatives that they are the mean of."""
        queries = self.head_queries(query, memory, mask)
        values = memory.prepared["values"]
        scores = self.compare(queries, memory.prepared.get("keys", values), memory)
        selected = self.select(scores, queries, memory, state)
        used = self.apply_weights(selected.weights, query)
        context = self.finish(self.read(used, self._expand_groups(values), queries), queries)
        answer = AttentionOutput(context, selected.weights if need_weights else None, state)
        if not self.source.last:
            return answer
        prior = selected.weights if self.training else used  # with some dropped it would be none
        return self.latent(answer, _log_weights(prior.squeeze(1)), queries, query, memory)

    def latent(
        self, answer: AttentionOutput, log_prior: Tensor, queries: HeadQueries, query: Query, memory: Memory
    ) -> AttentionOutput:
        """``answer`` with its alternatives; log_prior (B, T, S) is log a."""
        return replace(
            answer, alternatives=Alternatives(_single_contexts(queries, memory, log_prior.shape[1]), log_prior)
        )


class VariationalAttention(HardMarginalAttention):
    """log p(y_t) >= E_q log p(y_t | v_z) - KL(q || a), q(z_t) = q(z_t | x, y) (Deng 2018, section 3).

    q_tj = softmax_j(g_t^T U v_j), g a biLSTM over the whole target y of width ``inference_dim``; v is the decoder's own
    source, which Deng reads with a second encoder. q looks only where a does. With a target to read (in training),
    ``mode: elbo`` gives the bound's expectation by enumeration and ``mode: sample`` by ``samples`` draws z ~ q
    (while training), whose score-function gradient is the loss's business; the penalty ``kl`` is KL(q || a). Without
    one, as in ``HardMarginalAttention``, the prior's exact mixture.

    ``context`` and ``weights`` are the prior's in both, as in the authors' code: a state fed by q would know the words
    to come, and the bound would be none.
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
        **options: Any,
    ) -> None:
        super().__init__(query_dim, source, **options)
        if mode not in ("elbo", "sample"):
            raise UserError(f"mode={mode} is unknown; choose elbo (enumerate q) or sample (draw from q)")
        if samples is not None and mode == "elbo":
            raise UserError(f"samples={samples} are drawn in mode=sample only; elbo enumerates")
        at_least_1(samples=samples, inference_dim=inference_dim)
        if not source.input_dim:
            raise UserError("variational attention reads the embedded target, but this decoder has none to show it")
        width = inference_dim or query_dim
        if width < 2 or width % 2:
            raise UserError(f"inference_dim={width} is shared by two directions and must be even")
        self.samples = None if mode == "elbo" else samples or 1
        self.gradient = "exact" if mode == "elbo" else "surrogate"
        if not source.last:
            return
        self.rightward = recurrent("lstm", source.input_dim, width // 2)
        self.leftward = recurrent("lstm", source.input_dim, width // 2)
        self.infer = nn.Linear(width, self.score.key_dim, bias=False)
        nn.init.xavier_uniform_(self.infer.weight)

    def initial_state(self, memory: Memory) -> AttentionState:
        """A seed each sequence, where alignments are drawn."""
        if self.samples is None or not self.training or not self.source.last:
            return {}
        return {"seed": counter_rng.seeds(len(memory.mask), memory.mask.device)}

    def read_target(self, embedded: Tensor, mask: Tensor) -> Tensor:
        """U^T g_t (B, T, D), t aligned with the word to come.

        ``embedded`` (B, T, E) is what the decoder reads, y_{t-1} at t; so it is read from the next place on, its last
        word, </s>, as a zero vector.
        """
        last = mask.sum(1, keepdim=True) - 1  # (B, 1)
        place = torch.arange(mask.shape[1], device=mask.device)
        words = embedded.roll(-1, 1) * (place < last).unsqueeze(-1)
        turned = ((last - place) % mask.shape[1]).unsqueeze(-1)  # (B, T, 1); each sentence turned round in place
        backward = self.leftward(words.gather(1, turned.expand_as(words)))[0]
        backward = backward.gather(1, turned.expand_as(backward))
        return self.infer(torch.cat((self.rightward(words)[0], backward), -1)) * mask.unsqueeze(-1)

    def latent(
        self, answer: AttentionOutput, log_prior: Tensor, queries: HeadQueries, query: Query, memory: Memory
    ) -> AttentionOutput:
        """The bound's alternatives and its ``kl`` (B, T) where there is a target, else the prior's."""
        if query.target is None:
            return super().latent(answer, log_prior, queries, query, memory)
        within = log_prior > -torch.inf
        scores = (query.target @ memory.prepared["values"].squeeze(1).mT).to(log_prior.dtype)  # (B, T, S)
        log_q = torch.log_softmax(scores.masked_fill(~within, -torch.inf), -1)
        finite = log_q.masked_fill(~within, 0.0)  # 0 x inf has no gradient
        kl = (finite.exp() * within * (finite - log_prior.masked_fill(~within, 0.0))).sum(-1)
        length = log_q.shape[1]
        if self.samples is None or "seed" not in answer.state:
            alternatives = Alternatives(_single_contexts(queries, memory, length), log_q, "bound")
        else:
            u = counter_rng.uniform(
                answer.state["seed"], query.position, self.samples, memory.positions
            )  # (B, J, T, S)
            z = (log_q.detach().unsqueeze(1) + gumbel(u)).argmax(-1).transpose(1, 2)  # (B, T, J)
            alone = memory.prepared["alone"]
            contexts = alone.gather(1, z.flatten(1).unsqueeze(-1).expand(-1, -1, alone.shape[-1]))
            seen = queries.visible.squeeze(1).any(-1)[..., None, None]
            alternatives = Alternatives(contexts.unflatten(1, z.shape[1:]) * seen, log_q.gather(-1, z), "sampled")
        return replace(answer, alternatives=alternatives, penalties={**answer.penalties, "kl": kl})


def _log_weights(weights: Tensor) -> Tensor:
    """log a (B, T, S) in at least fp32, -inf where a is 0; of a row that sees nothing the first is certain.

    What is below the root of the smallest number counts as 0: 1/a must stay finite, times anything. In fp16 so does
    what is below 4 over the largest: 1/a is its gradient, which comes back in the dtype of a.
    """
    exact = wide_dtype(weights.dtype)
    min_weight = max(torch.finfo(exact).tiny ** 0.5, 4.0 / torch.finfo(weights.dtype).max)
    weights = weights.to(exact)
    some = weights > min_weight
    log = torch.where(some, weights, 1.0).log().masked_fill(~some, -torch.inf)
    empty = ~some.any(-1, keepdim=True) & (torch.arange(weights.shape[-1], device=weights.device) == 0)
    return log.masked_fill(empty, 0.0)


def _single_contexts(queries: HeadQueries, memory: Memory, length: int) -> Tensor:
    """Each position's context (B, T, S, C), a view where all queries see something or nothing alike; 0 if nothing."""
    seen = queries.visible.squeeze(1).any(-1)  # (B, T or 1)
    return (memory.prepared["alone"].unsqueeze(1) * seen[..., None, None]).expand(-1, length, -1, -1)
