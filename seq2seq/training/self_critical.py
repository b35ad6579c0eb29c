"""Training by rewards of sampled outputs, after training by likelihood (Rennie 2017, arXiv:1612.00563).

Shapes: B records, K samples of each record, T tokens.
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
    """Loss of one batch: sums over the tokens of its samples, where each sample has the weight 1 / K."""

    loss: Tensor  # sum over the tokens
    tokens: int  # number of tokens, averaged over the samples of a record
    figures: dict[str, Tensor]  # statistics of the samples: means, multiplied by ``tokens``

    def over(self, tokens: int) -> PolicyLoss:
        """Return a loss with the same means for another number of tokens.

        Args:
            tokens: The new number of tokens.
        """
        scale = tokens / self.tokens
        return PolicyLoss(self.loss * scale, tokens, {name: value * scale for name, value in self.figures.items()})


class SelfCritical:
    """Loss whose gradient is that of the negative expected reward, -E[r] (equation 8).

    It is sum_k (b - r(w_k)) sum_t log p(w_kt) / K over K sampled outputs w_k.

    The baseline b is the reward of the greedy output (section 3), or the mean reward of the other samples
    (Kool 2019, "Buy 4 REINFORCE samples"). Dropout is off both when samples are drawn and when their probabilities are
    computed, which keeps the estimate unbiased. The loss reports ``reward``, ``reward_baseline`` and
    ``advantage_variance``: the variance of the advantage, which multiplies the gradient.

    ``training.reward_contrast`` = c makes an output specific to its source. With a metric m the reward is
    r(w) = m(w, x) - c m(w, x'), where x' is the next record of the batch, if there is another one. An output that fits
    any source then has a lower reward. (Luo 2018, arXiv:1803.04376, also rewards what tells an image from others, but
    with a retrieval network.)

    Args:
        options: Options of training, with a reward.
        corpus: The data, whose references give the rewards.
        model: The model to train.
        seed: Seed of the run.

    Raises:
        UserError: The data are streamed, or attention would get no gradient.
    """

    def __init__(self, options: TrainingOptions, corpus: Corpus, model: Seq2Seq, seed: int) -> None:
        assert options.reward is not None
        # Check that there are references, and that rewards can train attention.
        if corpus.streaming:
            raise UserError("training.reward needs the references of all training records; use data.streaming=false")
        drawing = [type(m).__name__ for m in model.modules() if isinstance(m, (Hard, Gumbel))]
        if drawing and options.reward_share == 1:
            raise UserError(
                f"{drawing[0]} attention selects positions without a gradient when outputs are sampled, so rewards "
                "cannot train it; set training.reward_share below 1, or use another attention/selection"
            )
        # Collect the references of each training record.
        records = corpus.records("train")
        references = [record.get("references") or [record["target"]] for record in records]
        self.reward: Reward = reward(options.reward, references)
        self.samples, self.baseline = options.reward_samples, options.reward_baseline
        self.contrast = options.reward_contrast
        self.seed = seed
        self.corpus, self.max_length = corpus, getattr(options.decoding, "max_length", None)

    def __call__(self, model: Seq2Seq, batch: Batch, number: int) -> PolicyLoss:
        """Return the loss of one micro-batch.

        Args:
            model: The model to train.
            batch: The micro-batch.
            number: Number of the micro-batch. Together with the seed of the run, it seeds the samples.
        """
        # Keep one row of each record. A padding row (negative index) gets samples too, but has no weight.
        once = batch.select(_first(batch.index))
        real = (once.index >= 0).unsqueeze(1)
        once = replace(once, index=once.index.clamp(min=0))

        # Encode the source once, and sample outputs.
        seed = int(np.random.SeedSequence((self.seed, number)).generate_state(1)[0])
        with differentiable(model):
            encoded = model.encode(once)
        sampled = Sample(samples=self.samples, seed=seed, max_length=self.max_length)(model, once, encoded)

        # Compute rewards and advantages.
        rewards = self._rewards(once, sampled)  # (B, K)
        if self.baseline == "greedy":
            baseline = self._rewards(once, Greedy(max_length=self.max_length)(model, once, encoded))
        else:
            baseline = (rewards.sum(1, keepdim=True) - rewards) / (self.samples - 1)
        advantage = (rewards - baseline) * real

        # Compute the log-probabilities of the samples by teacher forcing.
        flat = [hypothesis for hypotheses in sampled for hypothesis in hypotheses]
        rows = torch.arange(len(once), device=once.index.device).repeat_interleave(self.samples)
        forced = saying(once.select(rows), flat)
        with differentiable(model):
            decoded, _ = model.decoder(forced.target_in, model.decoder.start(encoded.select(rows)))
            log_probs = model.decoder.log_probs(decoded).gather(2, forced.target_out.unsqueeze(2)).squeeze(2)
        log_p = torch.where(_drawn(forced, flat), log_probs, 0.0).sum(1).view_as(advantage)
        tokens = max(1, round(int((forced.target_mask * real.repeat_interleave(self.samples, 0)).sum()) / self.samples))

        # Collect statistics; without a real record they are NaN, which becomes 0.
        real_rewards, real_baseline = (x.expand_as(rewards)[real.squeeze(1)] for x in (rewards, baseline))
        figures = {"reward": real_rewards.mean(), "reward_baseline": real_baseline.mean()}
        difference = real_rewards - real_baseline
        figures["advantage_variance"] = difference.square().mean() - difference.mean().square()
        figures = {name: value.nan_to_num() for name, value in figures.items()}
        loss = -(advantage.to(log_p) * log_p).sum() / self.samples
        return PolicyLoss(loss, tokens, {name: value * tokens for name, value in figures.items()})

    def _rewards(self, batch: Batch, found: Sequence[Sequence[Hypothesis]]) -> Tensor:
        """Return the reward of each output (B, outputs per record)."""
        each = len(found[0])
        # Decode the texts; the reward also depends on whether they end in ``</s>``.
        texts = [
            self.corpus.codec.text(hypothesis.tokens, batch.words(row))
            for row, several in enumerate(found)
            for hypothesis in several
        ]
        ended = [hypothesis.finished for several in found for hypothesis in several]

        def worth(index: Tensor) -> Tensor:
            """Return the metric of all outputs against the references of the records ``index`` (B,)."""
            values = self.reward(index.repeat_interleave(each).tolist(), texts, ended)
            return torch.tensor(values, dtype=torch.float32, device=index.device).view(len(found), each)

        own = worth(batch.index)
        if not self.contrast:
            return own
        # Subtract the metric against the next record of the batch.
        others = batch.index.roll(-1)
        return own - self.contrast * (others != batch.index).unsqueeze(1) * worth(others)


def _drawn(forced: Batch, flat: Sequence[Hypothesis]) -> Tensor:
    """Return a mask (B, T), True at sampled tokens; a ``</s>`` added at the length limit is not sampled."""
    mask = forced.target_mask.clone()
    for row, hypothesis in enumerate(flat):
        if not hypothesis.finished:
            mask[row, len(hypothesis.tokens)] = False
    return mask


def _first(index: Tensor) -> Tensor:
    """Return the first row of each record, without padding rows; row 0 if there are only padding rows."""
    places = index.tolist()
    rows = list({place: row for row, place in reversed(list(enumerate(places))) if place >= 0}.values())
    return torch.tensor(sorted(rows) or [0], device=index.device)
