"""Tests of decoders that copy: training, search and rescoring use the same distribution."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from seq2seq.batch import PAD, Batch, Copies
from seq2seq.errors import UserError
from seq2seq.loss import Criterion, teacher_forced_nll
from seq2seq.search import Beam, Greedy
from seq2seq.search.teacher_forcing import force, rescore
from tests.attention.walk import close
from tests.catalogue import TARGET_VOCABULARY as V
from tests.catalogue import batch, choices, model
from tests.sampling import mostly_slow

families = pytest.mark.parametrize("family", ["rnn", "transformer"])
WITHOUT_COPYING = {"first_order", "monotone_marginal", "variational"}
OOV = (("▁Zork", "▁Quux"), ("▁Foo",), ())


def copying() -> Batch:
    """Return sources of 7, 5 and 2 tokens with 2, 1 and 0 out-of-vocabulary words; two targets contain one."""
    data = batch()
    ids = torch.tensor([[4, V, 5, V + 1, V, 6, PAD], [7, V, 7, 8, PAD, PAD, PAD], [9, PAD, PAD, PAD, PAD, PAD, PAD]])
    assert data.target is not None
    target = data.target.clone()
    target[0, 1], target[1, 2] = V + 1, V
    return replace(data, target=target, copies=Copies(ids, 2), oov=OOV)


@families
@pytest.mark.parametrize(
    "attention", mostly_slow([name for name in choices("attention") if name not in WITHOUT_COPYING], every=3)
)
def test_distribution_with_any_mechanism(family: str, attention: str) -> None:
    """p sums to one over the extended vocabulary, and copies a word with (1 - g) times its alignment."""
    ours, data = model(f"model={family}", "decoder.copy=true", attention=attention), copying()
    decoded = ours(data, need_weights=True)
    p = ours.log_probs(data).exp()
    assert p.shape == (3, 6, V + 2)
    close(p.sum(-1), torch.ones(3, 6).double())
    assert not p[1, :, V + 1].any() and not p[2, :, V:].any()
    assert decoded.copying is not None and data.copies is not None
    alignment = ours.alignment(decoded.weights)
    alignment = alignment / alignment.sum(-1, keepdim=True).clamp(min=1.0)  # the mass of Graves' window is free
    weights, copyable = decoded.copying.weights, (data.copies.ids != PAD).unsqueeze(1)
    total = (alignment * copyable).sum(-1)
    share = torch.where(total > 0, weights.sum(-1) / total.clamp(min=1e-30), 0.0).unsqueeze(2)  # 1 - g
    close(weights, share * alignment * copyable)
    for row, place in ((0, 3), (1, 1)):  # out-of-vocabulary words that occur once
        close(p[row, :, int(data.copies.ids[row, place])], weights[row, :, place])


@families
def test_single_tokens_equal_a_full_run(family: str) -> None:
    ours, data = model(f"model={family}", "decoder.copy=true"), copying()
    state = ours.decoder.start(ours.encode(data))
    steps = []
    for token in data.target_in.split(1, 1):
        decoded, state = ours.decoder(token, state)
        steps.append(ours.decoder.log_probs(decoded))
    real = data.target_mask
    close(torch.cat(steps, 1)[real], ours.log_probs(data)[real])


@families
def test_copied_words_are_read_as_unknown(family: str) -> None:
    ours, data = model(f"model={family}", "decoder.copy=true"), copying()
    assert data.target is not None
    unknown = replace(data, target=data.target.masked_fill(data.target >= V, 1))
    close(ours.log_probs(data), ours.log_probs(unknown))


@families
@pytest.mark.parametrize("attention", ["additive", "hard_marginal"])
def test_loss(family: str, attention: str) -> None:
    """In evaluation and in training the loss is -log p of the target, and the gate gets a gradient."""
    ours, data = model(f"model={family}", "decoder.copy=true", attention=attention), copying()
    said = ours.log_probs(data).gather(2, data.target_out.unsqueeze(2)).squeeze(2)
    expected = -(said * data.target_mask).sum()
    with torch.no_grad():
        found = teacher_forced_nll(ours, data)
    assert found.nll.item() == pytest.approx(expected.item(), rel=1e-6)
    right = (ours.log_probs(data).argmax(2) == data.target_out) & data.target_mask
    assert torch.equal(found.correct, right)
    trained = Criterion()(ours(data), data)
    close(trained.total, expected)
    trained.total.backward()
    assert ours.decoder.pointer is not None
    gate = ours.decoder.pointer.gate.weight.grad
    assert gate is not None and gate.abs().min() > 0


@families
@pytest.mark.parametrize("search", [Beam(beam_size=4, n_best=2), Greedy()], ids=["beam", "greedy"])
def test_search_copies_words_and_scores_as_teacher_forcing(family: str, search: Beam | Greedy) -> None:
    ours, data = model(f"model={family}", "decoder.copy=true"), copying()
    assert ours.decoder.pointer is not None
    with torch.no_grad():  # so that it copies instead of generating, and doesn't end at once
        ours.decoder.pointer.gate.bias.fill_(-6.0)
    found = search(ours, data)
    tokens = [token for hypotheses in found for one in hypotheses for token in one.tokens]
    assert isinstance(search, Greedy) or max(tokens) >= V
    for row, hypotheses in enumerate(found):
        assert all(token < V + len(OOV[row]) for one in hypotheses for token in one.tokens)
    for ours_, theirs in zip(rescore(ours, data, found), found, strict=True):
        assert ours_ == pytest.approx([one.log_prob for one in theirs], abs=1e-4)


@families
def test_copy_probability_of_each_token(family: str) -> None:
    """It is 1 for out-of-vocabulary words, and 0 for the end and for words that the source lacks."""
    ours, data = model(f"model={family}", "decoder.copy=true"), copying()
    found = [[V, 4], [V, 4], [4, 9]]
    chosen = [one[0] for one in Greedy()(ours, data)]
    passes = force(ours, data, [replace(c, tokens=t) for c, t in zip(chosen, found, strict=True)])
    for row, forced in enumerate(passes):
        assert forced.copied is not None and forced.copied.shape == (3,)
        assert forced.copied[2] == 0  # </s> is never copied
        assert ((forced.copied >= 0) & (forced.copied <= 1)).all()
        if row < 2:
            assert forced.copied[0].item() == pytest.approx(1.0)  # out of vocabulary
    assert passes[2].copied is not None and passes[2].copied[0] == 0  # 4 is not in the third source


def test_refusals() -> None:
    with pytest.raises(UserError, match=r"copy=true of the decoder .* set copy=true of the data"):
        model("decoder.copy=true")(batch())
    for attention in WITHOUT_COPYING:
        with pytest.raises(UserError, match="does not include copying"):
            model("decoder.copy=true", attention=attention)
