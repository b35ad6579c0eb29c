"""Training by what outputs are worth, after training by likelihood (Rennie 2017, arXiv:1612.00563).

Shapes: B records, K samples of each, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from seq2seq.attention.components.selections import Gumbel, Hard
from seq2seq.batch import Batch
from seq2seq.data.corpus import Corpus
from seq2seq.errors import UserError
from seq2seq.metrics.rewards import Reward, reward
from seq2seq.model import Seq2Seq
from seq2seq.search import Greedy, Hypothesis, Sample
from seq2seq.search.base import differentiable
from seq2seq.search.teacher_forcing import saying
from seq2seq.training.options import TrainingOptions


@dataclass(frozen=True)
class PolicyLoss:
    """Of one batch: sums over the tokens of its samples, each sample counting 1 / K."""

    loss: Tensor
    tokens: int
    figures: dict[str, Tensor]  # means over samples, times ``tokens``

    def over(self, tokens: int) -> PolicyLoss:
        """The same means, of as many tokens."""
        scale = tokens / self.tokens
        return PolicyLoss(self.loss * scale, tokens, {name: value * scale for name, value in self.figures.items()})


class SelfCritical:
    """sum_k (b - r(w_k)) sum_t log p(w_kt) / K of K sampled outputs w_k, whose gradient is that of -E[r] (equation 8).

    The baseline b is the reward of the greedy output (section 3), or the mean reward of the other samples
    (Kool 2019, "Buy 4 REINFORCE samples"). Samples are drawn with dropout off, and their probabilities are computed so
    too, which keeps the estimate unbiased. Reported are ``reward``, ``reward_baseline`` and ``advantage_variance``, the
    variance of what multiplies the gradient.

    ``contrast`` c makes of a measure m the reward r(w) = m(w, x) - c m(w, x') with x' the next record of the batch, if
    there is another one: no merit is what could be said of any. (Luo 2018, arXiv:1803.04376, rewards what tells a
    image from others too, and asks a retrieval network for it.)
    """

    def __init__(self, options: TrainingOptions, corpus: Corpus, model: Seq2Seq, seed: int) -> None:
        assert options.reward is not None
        if corpus.streaming:
            raise UserError("training.reward looks references up by their records: use data.streaming=false")
        drawing = [type(m).__name__ for m in model.modules() if isinstance(m, (Hard, Gumbel))]
        if drawing and options.reward_share == 1:
            raise UserError(
                f"{drawing[0]} attention chooses without a gradient where outputs are sampled, and would learn nothing "
                "from them: set training.reward_share below 1, or another attention/selection"
            )
        records = corpus.records("train")
        references = [record.get("references") or [record["target"]] for record in records]
        self.reward: Reward = reward(options.reward, references)
        self.samples, self.baseline = options.reward_samples, options.reward_baseline
        self.contrast = options.reward_contrast
        self.seed = seed
        self.corpus, self.max_length = corpus, getattr(options.decoding, "max_length", None)

    def __call__(self, model: Seq2Seq, batch: Batch, number: int) -> PolicyLoss:
        """``number`` is another one for each micro-batch; with the run's seed it seeds the samples."""
        once = batch.select(_first(batch.index))
        real = (once.index >= 0).unsqueeze(1)  # a row that only fills up is drawn for, and counts for nothing
        once = replace(once, index=once.index.clamp(min=0))
        seed = int(np.random.SeedSequence((self.seed, number)).generate_state(1)[0])
        with differentiable(model):
            encoded = model.encode(once)  # for all that follows
        drawn = Sample(samples=self.samples, seed=seed, max_length=self.max_length)(model, once, encoded)
        rewards = self._rewards(once, drawn)  # (B, K)
        if self.baseline == "greedy":
            baseline = self._rewards(once, Greedy(max_length=self.max_length)(model, once, encoded))
        else:
            baseline = (rewards.sum(1, keepdim=True) - rewards) / (self.samples - 1)
        advantage = (rewards - baseline) * real
        flat = [hypothesis for several in drawn for hypothesis in several]
        rows = torch.arange(len(once), device=once.index.device).repeat_interleave(self.samples)
        said = saying(once.select(rows), flat)
        with differentiable(model):
            decoded, _ = model.decoder(said.target_in, model.decoder.start(encoded.select(rows)))
            log_probs = model.decoder.log_probs(decoded).gather(2, said.target_out.unsqueeze(2)).squeeze(2)
        log_p = torch.where(_drawn(said, flat), log_probs, 0.0).sum(1).view_as(advantage)
        tokens = max(1, round(int((said.target_mask * real.repeat_interleave(self.samples, 0)).sum()) / self.samples))
        worth, level = (x.expand_as(rewards)[real.squeeze(1)] for x in (rewards, baseline))
        figures = {"reward": worth.mean(), "reward_baseline": level.mean()}
        gained = worth - level
        figures["advantage_variance"] = gained.square().mean() - gained.mean().square()
        figures = {name: value.nan_to_num() for name, value in figures.items()}  # nothing but fillers
        loss = -(advantage.to(log_p) * log_p).sum() / self.samples
        return PolicyLoss(loss, tokens, {name: value * tokens for name, value in figures.items()})

    def _rewards(self, batch: Batch, found: Sequence[Sequence[Hypothesis]]) -> Tensor:
        """(B, outputs of each)."""
        each = len(found[0])
        texts = [
            self.corpus.codec.text(hypothesis.tokens, batch.words(row))
            for row, several in enumerate(found)
            for hypothesis in several
        ]
        ended = [hypothesis.finished for several in found for hypothesis in several]

        def worth(index: Tensor) -> Tensor:
            """By the references of the records ``index`` (B,)."""
            told = self.reward(index.repeat_interleave(each).tolist(), texts, ended)
            return torch.tensor(told, dtype=torch.float32, device=index.device).view(len(found), each)

        own = worth(batch.index)
        if not self.contrast:
            return own
        others = batch.index.roll(-1)
        return own - self.contrast * (others != batch.index).unsqueeze(1) * worth(others)


def _drawn(said: Batch, flat: Sequence[Hypothesis]) -> Tensor:
    """(B, T) bool: the tokens that were drawn; a ``</s>`` that the length limit put was not."""
    mask = said.target_mask.clone()
    for row, hypothesis in enumerate(flat):
        if not hypothesis.finished:
            mask[row, len(hypothesis.tokens)] = False
    return mask


def _first(index: Tensor) -> Tensor:
    """The first row of each record; rows that fill up a batch are none, unless there are no others."""
    places = index.tolist()
    rows = list({place: row for row, place in reversed(list(enumerate(places))) if place >= 0}.values())
    return torch.tensor(sorted(rows) or [0], device=index.device)
