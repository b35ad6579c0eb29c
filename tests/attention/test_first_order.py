"""Tests of first-order and monotone hard attention: likelihoods, gradients and posteriors equal sums over all
alignments of a small case.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor

from seq2seq.attention.components.normalizers import Softmax
from seq2seq.attention.components.scores import General
from seq2seq.attention.components.windows import Global, LocalM
from seq2seq.attention.first_order import FirstOrderAttention
from seq2seq.attention.latent_alignment import HardMarginalAttention
from seq2seq.attention.types import Memory, SourceSpec
from seq2seq.batch import PAD, Batch, Copies
from seq2seq.decoders.base import Decoded
from seq2seq.errors import UserError
from seq2seq.loss import Criterion, teacher_forced_nll
from seq2seq.model import Seq2Seq
from seq2seq.search import Beam, Hypothesis, force
from seq2seq.search.teacher_forcing import rescore
from tests.attention.walk import ask, close, walk
from tests.catalogue import batch, memory, model, noise, randomise

Q, T = 4, 3
SOURCE = SourceSpec(Q, input_dim=Q)
PARTS = {"score": General, "window": Global, "normalizer": Softmax}
DATA = batch(sources=(4, 3), targets=(4, 2))
MODELS = {
    "rnn": ["model=rnn", "decoder.input_feeding=false"],
    "rnn-fed": ["model=rnn", "decoder.gate=true"],
    "rnn-bahdanau": ["model=rnn", "decoder.order=bahdanau"],
    "rnn-self": ["model=rnn", "self_attention@decoder_self=general", "decoder.gate=true"],
    "transformer": ["model=transformer", "model.layers=2", "decoder.gate=true"],
    "transformer-post": ["model=transformer", "model.norm=post"],
}
OPTIONS = {
    "first-order": ["attention=first_order", "attention.max_jump=1"],
    "first-order-paper": ["attention=first_order", "attention/score=constant", "attention.longer_jumps=false"],
    "0-mono": ["attention=monotone_marginal"],
    "1-mono": ["attention=monotone_marginal", "attention.max_jump=2", "attention.longer_jumps=false"],
}
every_model = pytest.mark.parametrize("name", MODELS)
every_option = pytest.mark.parametrize("options", OPTIONS)


def build(**options: object) -> FirstOrderAttention:
    """Return attention with random parameters."""
    return randomise(FirstOrderAttention(Q, SOURCE, **{**PARTS, **options}).double()).eval()


def chained(name: str, options: str) -> Seq2Seq:
    """Return a small model with random parameters."""
    return model(*MODELS[name], *OPTIONS[options])


def log_paths(probe: Seq2Seq, decoded: Decoded, data: Batch, row: int) -> dict[tuple[int, ...], Tensor]:
    """Return log p(y, a) of each alignment a of one sentence; the position before the first is the first one."""
    assert decoded.mixture is not None and decoded.mixture.transitions is not None
    length, size = int(data.target_mask[row].sum()), int(data.source_mask[row].sum())
    steps = decoded.mixture.transitions[row]
    words = probe.decoder.output.log_probs(decoded.mixture.features[row])  # (T, J, V)
    found = {}
    for path in product(range(size), repeat=length):
        total = torch.zeros(()).double()
        for t, (i, j) in enumerate(zip((0, *path), path, strict=False)):
            total = total + steps[t, i, j].log() + words[t, j, data.target_out[row, t]]
        if total > -torch.inf:
            found[path] = total
    return found


@every_model
@every_option
def test_likelihood_and_gradient_equal_the_sum_over_all_alignments(name: str, options: str) -> None:
    probe = chained(name, options)
    decoded = probe(DATA)
    each = [torch.stack(list(log_paths(probe, decoded, DATA, row).values())).logsumexp(0) for row in range(2)]
    found = Criterion()(decoded, DATA).total
    torch.testing.assert_close(found, -sum(each), rtol=1e-10, atol=1e-10)
    parameters = list(probe.parameters())
    ours, theirs = (
        torch.autograd.grad(total, parameters, retain_graph=True, allow_unused=True) for total in (found, -sum(each))
    )
    for own, expected in zip(ours, theirs, strict=True):
        assert (own is None) == (expected is None)
        if own is not None and expected is not None:
            torch.testing.assert_close(own, expected, rtol=1e-10, atol=1e-10)


@every_option
@pytest.mark.parametrize("name", ["rnn-fed", "transformer"])
def test_posterior_equals_the_sum_over_all_alignments(name: str, options: str) -> None:
    probe = chained(name, options)
    outputs = [Hypothesis([t for t in row.tolist()[1:] if t > 3], 0.0, 0.0, True) for row in DATA.target]
    decoded = probe(DATA)
    for row, forced in enumerate(force(probe, DATA, outputs)):
        (slot,) = (name for name in forced.weights if name.startswith("posterior."))
        assert slot.removeprefix("posterior.") in forced.weights
        expected = torch.zeros_like(forced.weights[slot][0])
        paths = log_paths(probe, decoded, DATA, row)
        for path, log_p in paths.items():
            for t, j in enumerate(path):
                expected[t, j] += log_p.detach().exp()
        close(forced.weights[slot][0], expected / expected.sum(-1, keepdim=True))


def test_the_posterior_belongs_to_the_last_of_many_layers() -> None:
    probe = model("model=transformer", "model.layers=11", *OPTIONS["0-mono"])
    forced = force(probe, DATA, [Hypothesis([5], 0.0, 0.0, True)] * 2)
    assert [name for name in forced[0].weights if name.startswith("posterior.")] == ["posterior.cross.10"]


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("kind", ["rnn", "transformer"])
def test_posterior_of_independent_alignments(kind: str, copy: bool) -> None:
    """Of ``hard_marginal`` it is a_j p_j(y) / sum_k a_k p_k(y), and with copying each part of p(y) counts."""
    probe = model(f"model={kind}", f"decoder.copy={copy}".lower(), "attention=hard_marginal")
    data = copyable() if copy else DATA
    outputs = [Hypothesis([t for t in row.tolist()[1:] if t > 3], 0.0, 0.0, True) for row in data.target]
    decoded = probe(data)
    words = probe.decoder.output.log_probs(decoded.mixture.features).exp()  # (B, T, J, V)
    for row, forced in enumerate(force(probe, data, outputs)):
        found = next(w for name, w in forced.weights.items() if name.startswith("posterior."))[0]
        for t, weights in enumerate(found):
            y = data.target_out[row, t]
            joint = decoded.mixture.log_weights[row, t].exp() * words[row, t, :, y]
            if copy:
                joint = joint * decoded.copying.generated[row, t]
                joint = joint + decoded.copying.weights[row, t] * (data.copies.ids[row] == y)
            close(weights, (joint / joint.sum())[: len(weights)])


def copyable() -> Batch:
    """Return the data with words that can be copied, some of which are in the targets."""
    target = DATA.target.clone()
    target[0, 1:3] = torch.tensor([5, 6])
    return replace(
        DATA, target=target, copies=Copies(torch.tensor([[5, 6, 7, PAD], [6, 8, PAD, PAD]]), 0), oov=((), ())
    )


@pytest.mark.parametrize("kind", ["rnn", "transformer"])
def test_jumps_of_equal_scores_give_independent_alignments(kind: str) -> None:
    """Then each p(a_t | a_{t-1}) is that of ``hard_marginal``, which has the same parameters except the jumps."""
    ours, theirs = (model(f"model={kind}", attention=name) for name in ("first_order", "hard_marginal"))
    ours.load_state_dict(theirs.state_dict(), strict=False)
    jumps = [parameter for name, parameter in ours.named_parameters() if "jump_from" in name]
    assert len(jumps) == 3
    for parameter in jumps:
        parameter.data.zero_()
    close(ours.log_probs(DATA), theirs.log_probs(DATA))
    # These are also the initial values.
    assert not any(p.any() for n, p in FirstOrderAttention(Q, SOURCE, **PARTS).named_parameters() if "jump" in n)


def test_transitions_equal_their_formula() -> None:
    """softmax_j(e_tj + (W q_t + U v_i + b)_{j - i}), where jumps are differences of positions, not of places."""
    for monotone, longest, longer in product((False, True), (None, 1, 7), (False, True)):
        if longest is None and not longer:
            continue
        attention = build(monotone=monotone, max_jump=longest, longer_jumps=longer)
        source, queries = memory(4, 2, width=Q, step=3), noise(2, T, Q)
        found = walk(attention, queries, source).alternatives.transitions
        scores = torch.einsum("btq,qk,bsk->bts", queries, attention.score.weight[0], source.values)
        for b, t in product(range(2), range(T)):
            size = (4, 2)[b]
            for i in range(size):
                row = torch.full((size,), -torch.inf).double()
                for j in range(size):
                    jump = 3 * (j - i)
                    if (monotone and jump < 0) or (not longer and abs(jump) > longest):
                        continue
                    row[j] = scores[b, t, j]
                    if longest is not None:
                        vector = attention.jump_from_query(queries[b, t]) + attention.jump_from_value(
                            source.values[b, i]
                        )
                        row[j] += vector[max(min(jump, longest), -longest) + (0 if monotone else longest)]
                close(found[b, t, i, :size], row.softmax(-1))
                assert not found[b, t, i, size:].any()


def test_by_hand() -> None:
    """Two positions, no scores: all follows from two words, of which the first is eight times as probable at 2.

    p(a_1) = (1/2, 1/2). After the first word, p(a_1 | y_1) = (1/9, 8/9). Monotone, position 2 stays, and position 1
    moves on with probability 1/2: p(a_2 | y_1) = (1/18, 17/18).
    """
    attention = build(monotone=True, max_jump=None)
    attention.score.weight.data.zero_()
    source = memory(2, width=Q)
    prepared = attention.prepare(source)
    words = torch.tensor([[[1.0, 1.0], [0.1, 0.8]]], dtype=torch.float64).log()
    query = replace(ask(noise(1, 2, Q), 0), evidence=lambda contexts: words)
    found = attention(query, prepared, attention.initial_state(prepared), need_weights=True)
    expected = torch.tensor([[[1 / 2, 1 / 2], [1 / 18, 17 / 18]]], dtype=torch.float64)
    close(found.weights[:, 0], expected)
    close(found.alternatives.log_weights.exp(), expected)
    close(found.context, expected @ source.values)


@pytest.mark.parametrize("kind", ["rnn", "transformer"])
def test_monotone_alignments_never_go_back(kind: str) -> None:
    """A prediction is impossible before the first position that the words so far allow."""
    probe = model(f"model={kind}", attention="monotone_marginal")
    for steps, size in zip(probe(DATA).mixture.transitions, (4, 3), strict=True):
        assert not steps[:, :size, :size].tril(-1).any()
    attention = build(monotone=True, max_jump=None)
    source = memory(4, width=Q)
    prepared = attention.prepare(source)
    certain = torch.full((1, T, 4), -1e4).double()
    certain[0, :, 2] = 0.0  # each word is only possible at the third position
    query = replace(ask(noise(1, T, Q), 0), evidence=lambda contexts: certain)
    found = attention(query, prepared, {"position": torch.full((1, 4), 0.25).double()}, need_weights=True)
    assert not found.weights[..., :2].any()
    assert found.weights[..., 2:].all()


def test_the_first_jump_is_from_the_first_real_position() -> None:
    """It is read from ``positions`` and the mask, wherever the padding is."""
    attention = build(max_jump=2, longer_jumps=False)
    source = memory(6, width=Q)
    order = torch.tensor([4, 0, 3, 1, 5, 2])
    mask = torch.tensor([[False, False, True, True, True, True]])
    padded = Memory(source.values, mask, source.positions, source.extent)
    shuffled = Memory(source.values[:, order], mask[:, order], source.positions[:, order], source.extent)
    for one in (padded, shuffled):
        state = attention.initial_state(attention.prepare(one))
        assert one.positions[0, int(state["position"].argmax()), 0] == 2
        assert state["position"].sum() == 1
        reached = walk(attention, noise(1, 1, Q), one).weights[0, 0, 0] > 0
        assert sorted(one.positions[0, reached, 0].tolist()) == [2, 3, 4]


def test_a_position_without_successor_may_jump_anywhere() -> None:
    """A window has moved on to positions that are too far away, or back: the alignment goes to any visible one."""
    window = {"window": lambda *args: LocalM(*args, reach=1)}
    attention = build(max_jump=1, longer_jumps=False, monotone=True, **window)
    found = walk(attention, noise(1, 4, Q), memory(6, width=Q)).alternatives.transitions[0]
    assert (found[3, 0] > 0).tolist() == [False, False, True, True, True, False]
    assert (found[3, 3] > 0).tolist() == [False, False, False, True, True, False]
    assert (found[0, 5] > 0).tolist() == [True, True, False, False, False, False]
    close(found.sum(-1), torch.ones(4, 6).double())


@every_model
def test_beam_search_scores_as_teacher_forcing(name: str) -> None:
    """Hypotheses change places in the beam with all that they carry."""
    probe = chained(name, "first-order")
    data = batch()
    found = Beam(beam_size=4, n_best=3, max_length=6)(probe, data)
    for ours, theirs in zip(rescore(probe, data, found), found, strict=True):
        assert ours == pytest.approx([one.log_prob for one in theirs], abs=1e-9)
    assert len({tuple(one.tokens) for one in found[0]}) == 3


@pytest.mark.parametrize("name", ["rnn-fed", "transformer"])
def test_a_word_that_is_read_changes_the_next_weights(name: str) -> None:
    """Weights of a step depend on the word before it by its likelihood, too: all of them are functions of words."""
    probe = chained(name, "first-order")
    other = replace(DATA, target=DATA.target.clone())
    other.target[0, 2] = 9 if DATA.target[0, 2] != 9 else 8
    layer = "cross.1" if name == "transformer" else "cross.0"
    ours, theirs = (probe(data, need_weights=True).weights[layer][0, 0] for data in (DATA, other))
    close(ours[:2], theirs[:2])
    assert (ours[2] - theirs[2]).abs().max() > 1e-3


def test_training_with_dropout_uses_one_mask_for_words_and_evidence() -> None:
    """In training, the loss equals the sum over alignments of the very readouts that the evidence used."""
    for name in ("rnn-fed", "transformer"):
        probe = model(*MODELS[name], *OPTIONS["0-mono"], "model.dropout=0.3", "model.attention_dropout=0.3").train()
        decoded = probe(DATA)
        each = [torch.stack(list(log_paths(probe, decoded, DATA, row).values())).logsumexp(0) for row in range(2)]
        close(Criterion()(decoded, DATA).total, -sum(each))
        assert teacher_forced_nll(probe.eval(), DATA).nll != -sum(each)


def test_lower_layers_are_soft() -> None:
    lower = replace(SOURCE, last=False)
    ours = FirstOrderAttention(Q, lower, **PARTS)
    assert [name for name, _ in ours.named_parameters()] == ["score.weight"]
    soft = HardMarginalAttention(Q, lower, **PARTS)
    soft.load_state_dict(ours.state_dict())
    close(
        walk(ours.double(), noise(2, T, Q), memory(4, 2, width=Q)).context,
        walk(soft.double(), noise(2, T, Q), memory(4, 2, width=Q)).context,
    )


def test_refusals() -> None:
    for options, message in [
        ({"max_jump": 0}, "at least 1"),
        ({"max_jump": None, "longer_jumps": False}, "needs max_jump"),
        ({"heads": 2}, "one position"),
    ]:
        with pytest.raises(UserError, match=message):
            build(**options)
    for source, message in [
        (replace(SOURCE, axes=2), "positions in time"),
        (SourceSpec(Q, is_self=True), "self-attention"),
        (replace(SOURCE, copied=True), "copy=false"),
    ]:
        with pytest.raises(UserError, match=message):
            FirstOrderAttention(Q, source, **PARTS)
