"""Tests of training by rewards: the gradient against enumeration, baselines by hand, and a second phase of training."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from math import inf, nan
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from seq2seq import checkpoint
from seq2seq.batch import BOS, EOS, PAD, Batch
from seq2seq.cli import hydra_app, train
from seq2seq.errors import UserError
from seq2seq.metrics.rewards import reward
from seq2seq.search import Greedy
from seq2seq.training.options import TrainingOptions
from seq2seq.training.self_critical import SelfCritical
from tests.catalogue import batch, model
from tests.conftest import TINY


def critic(
    worth: Callable[[str], float], *, samples: int = 5, baseline: str = "greedy", longest: int = 1, contrast: float = 0
) -> SelfCritical:
    """Return a ``SelfCritical`` whose reward is ``worth`` of an output, spelt as its token ids."""
    made = SelfCritical.__new__(SelfCritical)
    made.reward = lambda places, texts, finished: [worth(text) for text in texts]
    made.seed, made.samples, made.baseline, made.max_length = 1, samples, baseline, longest
    made.contrast = contrast
    made.corpus = SimpleNamespace(codec=SimpleNamespace(text=lambda tokens, own: " ".join(map(str, tokens))))
    return made


def test_gradient_equals_that_of_the_expected_reward() -> None:
    """Outputs have at most one token and are enumerated: 100 x 80 samples are within a tenth of the exact gradient."""
    ours, data = model("model=rnn"), batch()
    data = data.select(torch.tensor([0]))

    def worth(text: str) -> float:
        return {"": 0.5, "5": 2.0, "7": 1.0}.get(text, 0.0)

    first = ours.log_probs(Batch(data.source, data.index, torch.tensor([[BOS, EOS]]), 1))[0, 0]
    allowed = torch.ones(len(first)).bool()
    allowed[[PAD, BOS]] = False
    q = first.detach().exp() * allowed / (first.detach().exp() * allowed).sum()
    values = torch.tensor([worth("" if i == EOS else str(i)) for i in range(len(first))]).double()
    greedy = values[(first + allowed.log()).argmax()]
    exact = torch.autograd.grad(-(q * (values - greedy) * first).sum(), list(ours.parameters()), allow_unused=True)
    total: list[Any] = [0.0 for _ in exact]
    for seed in range(100):
        loss = critic(worth, samples=80)(ours, data, seed).loss
        for place, grad in enumerate(torch.autograd.grad(loss, list(ours.parameters()), allow_unused=True)):
            total[place] = total[place] if grad is None else total[place] + grad / 100
    assert [isinstance(t, torch.Tensor) for t in total] == [g is not None for g in exact]  # also of the encoder
    mine = torch.cat([g.flatten() for g in total if isinstance(g, torch.Tensor)])
    wanted = torch.cat([g.flatten() for g, t in zip(exact, total, strict=True) if isinstance(t, torch.Tensor)])
    assert (mine - wanted).norm() < 0.1 * wanted.norm()


def test_rewards_and_baselines_of_samples() -> None:
    ours, data = model("model=rnn"), batch()
    same = critic(lambda text: 3.0)(ours, data, 1)
    assert same.loss.item() == 0
    assert {name: value.item() / same.tokens for name, value in same.figures.items()} == pytest.approx(
        {"reward": 3.0, "reward_baseline": 3.0, "advantage_variance": 0.0}
    )
    others = critic(len, samples=2, baseline="others", longest=6)(ours, data, 1)
    figures = {name: value.item() / others.tokens for name, value in others.figures.items()}
    assert figures["reward"] == pytest.approx(figures["reward_baseline"])  # rewards of others
    assert figures["advantage_variance"] > 0


def test_contrast_subtracts_the_reward_for_another_record() -> None:
    """An output of length l has the reward 10^place l for a record."""
    ours, data = model("model=rnn"), batch()
    asked: list[tuple[list[int], list[str]]] = []

    def worth(places: list[int], texts: list[str], finished: list[bool]) -> list[float]:
        asked.append((places, texts))
        return [10.0**place * len(text) for place, text in zip(places, texts, strict=True)]

    def reward(contrast: float, given: Batch) -> float:
        asked.clear()
        made = critic(len, samples=2, baseline="others", longest=6, contrast=contrast)
        made.reward = worth
        gain = made(ours, given, 1)
        return gain.figures["reward"].item() / gain.tokens

    reward(0.0, data)
    ((own, texts),) = asked
    contrasted = reward(0.5, data)
    (places, again), (others, same) = asked
    assert places == own and again == same == texts and len(set(map(len, texts))) > 1
    following = {place: follower for place, follower in zip(own[::2], own[2::2] + own[:1], strict=True)}
    assert others == [following[place] for place in own]
    by_hand = [
        (10.0**place - 0.5 * 10.0 ** following[place]) * len(text) for place, text in zip(own, texts, strict=True)
    ]
    assert contrasted == pytest.approx(sum(by_hand) / len(by_hand))
    one = data.select(torch.tensor([len(data) - 1]))  # there is no other record to compare with
    assert reward(1.0, one) == pytest.approx(reward(0.0, one))
    filler = replace(data, index=torch.full_like(data.index, -1))
    assert critic(len, longest=5, contrast=1.0)(ours, filler, 3).loss.item() == 0


def test_repeated_records_are_sampled_once_and_fillers_have_no_loss() -> None:
    ours, data = model("model=rnn"), batch()
    twice = data.select(torch.tensor([0, 1, 0, 2, 1]))
    one, other = (critic(len, longest=5)(ours, given, 3) for given in (data, twice))
    torch.testing.assert_close(one.loss, other.loss)
    filler = Batch(data.source[:1], torch.tensor([-1]), data.target[:1], 1)
    assert critic(len, longest=5)(ours, filler, 3).loss.item() == 0


def test_unsupported_combinations_with_rewards_are_refused() -> None:
    options = TrainingOptions(reward="bleu", decoding=Greedy())
    corpus = SimpleNamespace(streaming=True)
    with pytest.raises(UserError, match=r"data\.streaming=false"):
        SelfCritical(options, corpus, model("model=rnn"), 1)
    corpus.streaming = False
    with pytest.raises(UserError, match=r"Hard attention .*reward_share below 1"):
        SelfCritical(options, corpus, model("model=rnn", attention="hard"), 1)
    with pytest.raises(UserError, match="debug=overfit"):
        TrainingOptions(reward="bleu", overfit=0.01)


def test_rewards_of_outputs() -> None:
    references = [["a dog runs", "the dog is running"], ["a cat"]]
    assert reward("cider", references)([1, 0], ["a cat", "a bird"], [True, True])[0] > 1
    assert reward("rougeL", references)([1, 0], ["a cat", "nothing"], [True, True]) == pytest.approx([1.0, 0.0])
    # CIDEr counts the end as a word, so a finished caption has a higher reward than unfinished ones
    references = [["a man riding a wave"], ["a man on a surfboard"], ["a dog on a beach"], ["a man riding a horse"]]
    ended = reward("cider", references)
    texts = ["a man riding a wave", "a man riding a wave", "a man riding a wave on a"]
    whole, cut, longer = ended([0] * 3, texts, [True, False, False])
    assert whole > cut and whole > longer
    for name in ("ter", "meteor", "sense"):
        with pytest.raises(UserError, match=rf"^reward={name} is none of: bleu, bleu_lc, chrf"):
            reward(name, references)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"reward": "sense"}, "^reward=sense is none of"), ({"reward_share": 0.0}, "above 0 and at most 1"),
     ({"reward_samples": 1, "reward_baseline": "others"}, "2 with reward_baseline=others"),
     *(({"reward_contrast": bad}, "reward_contrast=.* must be a finite number") for bad in (-1.0, inf, nan)),
     ({"reward_contrast": 1.0}, "reward_contrast=1.0 has no effect without a reward; set reward")],
)  # fmt: skip
def test_impossible_options_of_rewards_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TrainingOptions(**options)


@pytest.mark.parametrize("share", [0.5, pytest.param(1.0, marks=pytest.mark.slow)])
def test_second_phase_of_training_starts_from_the_first(run: Path, tmp_path: Path, share: float) -> None:
    """Weights and tokenizers equal those of the first run, and metrics.csv has rewards."""
    first = checkpoint.load(run)
    lines = [
        *("logger=csv", "data.reader.train=60", "data.reader.valid=6", "data.reader.test=6", "training.num_plots=0"),
        *(
            "model.dim=8",
            "model.embedding_dim=8",
            "data.max_tokens=256",
            "trainer.max_steps=2",
            "decoding.max_length=8",
        ),
        *(f"data.cache={tmp_path}", f"training.init_from={run}", "training.reward=bleu", "training.metrics=[bleu]"),
        *(
            "training.monitor=bleu",
            "optimizer.lr=1e-9",
            "trainer.log_every_n_steps=1",
            "training.decoding.max_length=8",
        ),
        f"training.reward_share={share}",
    ]
    (config,) = hydra_app.compose("train", [hydra_app.as_override(line) for line in lines])
    train.train(config, tmp_path / "second")
    second = checkpoint.load(tmp_path / "second")
    assert second.codec.target.model == first.codec.target.model
    for name, weight in second.weights.items():
        torch.testing.assert_close(weight, first.weights[name], atol=1e-5, rtol=0)
    curves = list(csv.DictReader((tmp_path / "second" / "metrics.csv").read_text().splitlines()))
    assert any(row.get("train/reward") and float(row["train/advantage_variance"]) >= 0 for row in curves)
    assert json.loads((tmp_path / "second" / "results.json").read_text())["run"]["training"]["steps"] == 2


def test_weights_of_another_size_are_refused_in_one_line(run: Path, tmp_path: Path) -> None:
    lines = [*TINY, "model.dim=12", "training.strict=true", f"training.init_from={run}", f"data.cache={tmp_path}"]
    (config,) = hydra_app.compose("train", [hydra_app.as_override(line) for line in lines])
    with pytest.raises(
        UserError, match=r"3 of 22 weights are taken; .* training.strict=false takes those that fit$"
    ) as refused:
        train.train(config, tmp_path / "second")
    assert "\n" not in str(refused.value)
