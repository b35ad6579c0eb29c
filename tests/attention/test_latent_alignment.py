"""Tests of latent alignment: likelihoods and gradients equal those enumerated over all alignments of a small case."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from seq2seq.attention.components.normalizers import Softmax
from seq2seq.attention.components.scores import General
from seq2seq.attention.components.selections import Gumbel
from seq2seq.attention.components.windows import Global, LocalM, LocalP
from seq2seq.attention.composed import ComposedAttention
from seq2seq.attention.latent_alignment import HardMarginalAttention, VariationalAttention
from seq2seq.attention.types import Alternatives, Memory, Query, SourceSpec
from seq2seq.errors import UserError
from seq2seq.loss import Criterion, teacher_forced_nll
from tests import seeding
from tests.attention.walk import ask, close, draw, walk
from tests.catalogue import WIDTH, batch, mechanism, memory, model, noise, randomise

Q, T, WORDS = 4, 3, 5
SOURCE = SourceSpec(Q, input_dim=Q)
PARTS = {"score": General, "window": Global, "normalizer": Softmax}
READOUT = noise(Q, WORDS, seed=7)


def build(cls: type[HardMarginalAttention] = HardMarginalAttention, **options: object) -> HardMarginalAttention:
    """Return attention of this class with random parameters."""
    return randomise(cls(Q, SOURCE, **{**PARTS, **options}).double()).eval()


def attend(
    attention: HardMarginalAttention,
    source: Memory,
    target: Tensor | None = None,
    queries: Tensor | None = None,
    state: dict[str, Tensor] | None = None,
    start: int = 0,
) -> tuple[Alternatives, dict[str, Tensor], Tensor]:
    """Return alternatives, penalties and context of T queries, which are random unless given."""
    prepared = attention.prepare(source)
    queries = noise(len(source.mask), T, Q) if queries is None else queries
    answer = attention(
        ask(queries, start, target), prepared, attention.initial_state(prepared) if state is None else state
    )
    return answer.alternatives, answer.penalties, answer.context


def log_likelihoods(contexts: Tensor, words: Tensor) -> Tensor:
    """Return log p(y_t | c) (B, T, J) of a linear readout, for contexts (B, T, J, Q) and words (B, T)."""
    log_p = torch.log_softmax(contexts @ READOUT, -1)
    return log_p.gather(-1, words[:, :, None, None].expand(*log_p.shape[:-1], 1)).squeeze(-1)


def test_marginal_equals_the_sum_over_all_alignments() -> None:
    """prod_t sum_j a_tj p(y_t | j) = sum over z_1..z_T of prod_t a_t(z_t) p(y_t | z_t)."""
    source, words = memory(3, width=Q), torch.tensor([[1, 4, 2]])
    found, _, _ = attend(build(), source)
    assert found.kind == "mixture"
    log_p = log_likelihoods(found.contexts, words)[0]
    a, p = found.log_weights[0].exp().tolist(), log_p.exp().tolist()
    total = sum(math.prod(a[t][z] * p[t][z] for t, z in enumerate(zs)) for zs in product(range(3), repeat=T))
    marginal = torch.logsumexp(found.log_weights[0] + log_p, -1)
    assert marginal.sum().item() == pytest.approx(math.log(total), abs=1e-12)
    expected = (found.log_weights[0].exp() * log_p).sum(-1)
    assert (marginal > expected).all()  # Jensen's inequality
    every = log_likelihoods(
        found.contexts.repeat_interleave(WORDS, 1), torch.arange(WORDS).repeat(T).unsqueeze(0)
    ).exp()
    close((found.log_weights[0].exp().repeat_interleave(WORDS, 0) * every[0]).sum(), torch.tensor(float(T)).double())


def test_marginal_by_hand() -> None:
    """With a = (1/4, 3/4) and p = (4/5, 2/5), the marginal is 1/4 * 4/5 + 3/4 * 2/5 = 1/2."""
    attention = build()
    attention.score.weight.data[0] = torch.eye(Q)
    source = memory(2, width=Q)
    source.values.copy_(torch.tensor([[[0.0, 1, 0, 0], [math.log(3), 0, 1, 0]]], dtype=torch.float64))
    found, _, context = attend(attention, source, queries=torch.eye(Q)[None, :1].double())
    close(found.log_weights.exp(), torch.tensor([[[0.25, 0.75]]]).double())
    close(found.contexts, source.values.unsqueeze(1))
    close(context, torch.tensor([[[0.75 * math.log(3), 0.25, 0.75, 0]]], dtype=torch.float64))
    log_p = torch.tensor([0.8, 0.4]).double().log()
    assert torch.logsumexp(found.log_weights[0, 0] + log_p, 0).exp().item() == pytest.approx(0.5)


@pytest.mark.parametrize("options", [{}, {"project": True}, {"project": True, "dim": 6}], ids=str)
def test_context_equals_soft_attention_and_the_mean_of_alternatives(options: dict[str, object]) -> None:
    ours, soft = build(**options), randomise(ComposedAttention(Q, SOURCE, **{**PARTS, **options}).double()).eval()
    source = memory(4, 2, width=Q)
    found, _, context = attend(ours, source)
    expected = walk(soft, noise(2, T, Q), source)
    close(context, expected.context)
    close(found.log_weights.exp(), expected.weights[:, 0])
    close((found.log_weights.exp().unsqueeze(-1) * found.contexts).sum(2), context)
    if not options:
        assert found.contexts.stride(1) == 0  # an expanded view: S contexts for each sentence, not for each query


def test_query_without_visible_positions_has_one_zero_context() -> None:
    attention = build(window=lambda *args: LocalM(*args, reach=1), project=True)
    source = memory(6, 0, 1, width=Q)  # the window of the third sentence's third query is empty
    source.values.requires_grad_()
    found, _, _ = attend(attention, source)
    for row, t in ((1, 0), (1, 2), (2, 2)):
        assert found.log_weights[row, t].tolist() == [0.0] + [-math.inf] * 5
        assert not found.contexts[row, t].any()
    assert found.contexts[2, 1].any()
    likelihood = log_likelihoods(found.contexts, torch.ones(3, T, dtype=torch.long))
    torch.logsumexp(found.log_weights + likelihood, -1).sum().backward()
    gradients = [source.values.grad, *(p.grad for p in attention.parameters())]
    assert all(g.isfinite().all() for g in gradients)
    assert not source.values.grad[1].any()


def test_weights_too_small_for_a_logarithm_have_finite_gradients() -> None:
    """In fp32, a = e^-140 is 0, and a = e^-90 is subnormal, so that 1/a overflows."""
    attention = HardMarginalAttention(Q, SOURCE, **PARTS)
    attention.score.weight.data[0] = torch.eye(Q)
    source = memory(3, width=Q, dtype=torch.float32)
    source.values.copy_(torch.tensor([0.0, -90.0, -140.0])[None, :, None].expand(1, 3, Q) / Q)
    found, _, _ = attend(attention, source, queries=torch.ones(1, T, Q).requires_grad_())
    assert found.log_weights[0, 0].tolist() == [0.0, -math.inf, -math.inf]
    torch.logsumexp(found.log_weights + torch.tensor([-200.0, 0.0, 0.0]), -1).sum().backward()
    assert attention.score.weight.grad.isfinite().all()


def test_refusals() -> None:
    refused = [
        ({"heads": 2}, "one position"),
        ({"selection": Gumbel}, "cannot sample one"),
        ({"window": LocalP}, "renormalise=true"),
    ]
    for cls in (HardMarginalAttention, VariationalAttention):
        for options, message in refused:
            with pytest.raises(UserError, match=message):
                build(cls, **options)
        for source in (SourceSpec(Q, is_self=True, input_dim=Q), SourceSpec(Q, causal=True, input_dim=Q)):
            with pytest.raises(UserError, match="self-attention"):
                cls(Q, source, **PARTS)
    build(window=lambda *args: LocalP(*args, renormalise=True))
    for options, message in [
        ({"mode": "exact"}, "elbo .* or sample"),
        ({"samples": 2}, "mode=sample only"),
        ({"mode": "sample", "samples": 0}, "at least 1"),
        ({"inference_dim": 3}, "even"),
    ]:
        with pytest.raises(UserError, match=message):
            build(VariationalAttention, **options)
    with pytest.raises(UserError, match="embedded target"):
        VariationalAttention(Q, SourceSpec(Q), **PARTS)


def test_bound_equals_its_formula_and_is_below_the_marginal() -> None:
    """sum_j q_j log p_j - KL(q || a) <= log sum_j a_j p_j, where q and KL equal those computed in plain Python."""
    attention, source, words = build(VariationalAttention), memory(3, 2, width=Q), torch.tensor([[1, 4, 2], [0, 3, 3]])
    target = noise(2, T, Q, seed=5)
    found, penalties, _ = attend(attention, source, target)
    prior, _, _ = attend(attention, source)
    assert (found.kind, prior.kind) == ("bound", "mixture")
    assert list(penalties) == ["kl"]
    log_p = log_likelihoods(found.contexts, words)
    marginal = torch.logsumexp(prior.log_weights + log_p, -1)
    for b, length in enumerate((3, 2)):
        for t in range(T):
            q = [math.exp(target[b, t] @ source.values[b, j]) for j in range(length)]
            q = [x / sum(q) for x in q]
            a = prior.log_weights[b, t].exp().tolist()
            kl = sum(q[j] * math.log(q[j] / a[j]) for j in range(length))
            assert found.log_weights[b, t].exp().tolist() == pytest.approx(q + [0.0] * (3 - length))
            assert penalties["kl"][b, t].item() == pytest.approx(kl)
            bound = sum(q[j] * log_p[b, t, j].item() for j in range(length)) - kl
            assert bound < marginal[b, t].item()


def test_bound_equals_the_marginal_if_q_is_the_posterior() -> None:
    attention, source, words = build(VariationalAttention), memory(3, 2, width=Q), torch.tensor([[1, 4, 2], [0, 3, 3]])
    prior, _, _ = attend(attention, source)
    log_p = log_likelihoods(prior.contexts, words)
    marginal = torch.logsumexp(prior.log_weights + log_p, -1)
    target = torch.zeros(2, T, Q).double()
    for b, length in enumerate((3, 2)):  # g . v_j = log a_j + log p_j has a solution g: S < Q
        posterior = (prior.log_weights + log_p)[b, :, :length]
        target[b] = posterior @ torch.linalg.pinv(source.values[b, :length]).T
    found, penalties, _ = attend(attention, source, target)
    weights = found.log_weights.exp()
    close((weights * log_p).sum(-1) - penalties["kl"], marginal)
    close(weights, (prior.log_weights + log_p - marginal.unsqueeze(-1)).exp())


def test_variational_attention_without_target_gives_the_marginal() -> None:
    ours, exact = build(VariationalAttention), build()
    exact.load_state_dict(ours.state_dict(), strict=False)
    source = memory(4, 0, 2, width=Q)
    for training in (True, False):
        ours.train(training)
        found, penalties, context = attend(ours, source)
        expected, _, expected_context = attend(exact, source)
        assert not penalties
        close(found.log_weights, expected.log_weights)
        close(context, expected_context)


def test_context_and_weights_are_independent_of_the_target() -> None:
    attention, source = build(VariationalAttention), memory(4, 2, width=Q)
    queries, target = noise(2, T, Q), noise(2, T, Q, seed=5)
    informed, plain = walk(attention, queries, source, target=target), walk(attention, queries, source)
    assert torch.equal(informed.context, plain.context)
    assert torch.equal(informed.weights, plain.weights)


def test_q_is_zero_where_the_prior_is_zero() -> None:
    attention, source = build(VariationalAttention, window=lambda *args: LocalM(*args, reach=1)), memory(6, 0, width=Q)
    found, penalties, _ = attend(attention, source, noise(2, T, Q, seed=5).requires_grad_())
    seen = [[j for j in range(6) if abs(j - t) <= 1] for t in range(T)]
    assert [row.isfinite().nonzero().flatten().tolist() for row in found.log_weights[0]] == seen
    assert found.log_weights[1].tolist() == [[0.0] + [-math.inf] * 5] * T
    assert not penalties["kl"][1].any()
    gradients = torch.autograd.grad(
        penalties["kl"].sum() + (found.log_weights.exp() * found.contexts.sum(-1)).sum(), [attention.score.weight]
    )
    assert gradients[0].isfinite().all()


def test_target_reader_equals_pytorchs_packed_lstm() -> None:
    """The LSTM reads y_1..y_n, where the last word, </s>, is a zero vector because the decoder doesn't read it."""
    attention = build(VariationalAttention, inference_dim=6)
    lengths = torch.tensor([5, 1, 3])
    read = noise(3, 5, Q)
    mask = torch.arange(5) < lengths[:, None]
    theirs = nn.LSTM(Q, 3, batch_first=True, bidirectional=True).double()
    for suffix, layer in (("", attention.rightward), ("_reverse", attention.leftward)):
        for name, parameter in layer.named_parameters():
            theirs.get_parameter(name + suffix).data.copy_(parameter.data)
    words = torch.zeros(3, 5, Q).double()
    for b, length in enumerate(lengths.tolist()):
        words[b, : length - 1] = read[b, 1:length]
    packed = nn.utils.rnn.pack_padded_sequence(words, lengths, batch_first=True, enforce_sorted=False)
    states, _ = nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
    close(attention.read_target(read, mask), attention.infer(states) * mask.unsqueeze(-1))
    noisy = read + 1e3 * ~mask.unsqueeze(-1)
    close(attention.read_target(noisy, mask), attention.read_target(read, mask))


def test_inference_scale_multiplies_the_scores_of_q() -> None:
    """The scores of q are scale * g^T U v. The default scale is 1 for LSTM states, and 1/sqrt(D) otherwise (D = 4)."""
    embedded, mask = noise(2, T, Q), torch.ones(2, T, dtype=torch.bool)

    def read(source: SourceSpec, scale: float | None) -> Tensor:
        attention = VariationalAttention(Q, source, inference_scale=scale, **PARTS)
        return randomise(attention.double()).eval().read_target(embedded, mask)

    unscaled = read(SOURCE, 1.0)
    close(read(SOURCE, 0.25), 0.25 * unscaled)
    close(read(SOURCE, None), unscaled)
    close(read(replace(SOURCE, states="normalised"), None), unscaled / 4**0.5)


def test_positions_are_drawn_with_the_probabilities_q() -> None:
    attention = build(VariationalAttention, mode="sample", samples=20000).train()
    source, target = memory(4, width=Q, step=3), noise(1, T, Q, seed=5)
    seeding.seed(0)
    drawn, penalties, _ = attend(attention, source, target)
    assert drawn.kind == "sampled"
    enumerated, exact, _ = attend(build(VariationalAttention), source, target)
    close(penalties["kl"], exact["kl"])
    for j in range(4):
        here = (drawn.contexts[0] == source.values[0, j]).all(-1)
        share = here.double().mean(-1)
        torch.testing.assert_close(share, enumerated.log_weights[0, :, j].exp(), rtol=0, atol=0.015)
        close(drawn.log_weights[0].masked_select(here).unique().sum(), enumerated.log_weights[0, :, j].sum())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("decoder", ["rnn", "transformer"])
def test_score_function_gradient_equals_that_of_the_enumerated_bound(
    decoder: str, smoothing: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sum_z q_z d/dw (C_z + (C_z - b) log q_z) = d/dw sum_j q_j C_j (Deng 2018, section 3), for all parameters w."""
    overrides = [f"model={decoder}", "attention=variational"]
    exact, drawn = model(*overrides).train(), model(*overrides, "attention.mode=sample").train()
    layers = len(getattr(drawn.decoder, "layers", [0]))
    assert drawn.decoder.cross_attention(layers - 1).gradient == "surrogate"
    data, criterion = batch(sources=(3,), targets=(2,)), Criterion(smoothing, {"kl": 1.0})
    q = exact(data).mixture.log_weights[0].exp()
    expected = torch.autograd.grad(criterion(exact(data), data).total, list(exact.parameters()))
    found = [torch.zeros_like(gradient) for gradient in expected]
    for z in product(range(3), repeat=2):
        draw(monkeypatch, z)
        gradients = torch.autograd.grad(criterion(drawn(data), data).total, list(drawn.parameters()))
        for sum_, gradient in zip(found, gradients, strict=True):
            sum_ += (q[0, z[0]] * q[1, z[1]]).detach() * gradient
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def test_draws_are_independent_of_chunks_and_other_sentences() -> None:
    attention = build(VariationalAttention, mode="sample", samples=3).train()
    source, queries, target = memory(6, 4, width=Q, step=3), noise(2, 4, Q), noise(2, 4, Q, seed=5)
    state = attention.initial_state(attention.prepare(source))
    whole, _, _ = attend(attention, source, target, queries, state)
    assert whole.contexts.shape == (2, 4, 3, Q)
    for t in range(4):
        step, _, _ = attend(attention, source, target[:, t : t + 1], queries[:, t : t + 1], state, start=t)
        close(step.contexts, whole.contexts[:, t : t + 1])
        close(step.log_weights, whole.log_weights[:, t : t + 1])
    index = torch.tensor([1])
    alone, _, _ = attend(attention, source.select(index), target[1:], queries[1:], {"seed": state["seed"][1:]})
    close(alone.contexts, whole.contexts[1:])
    evaluated, _, _ = attend(attention.eval(), source, target, queries)
    assert evaluated.kind == "bound"  # nothing is drawn in evaluation


@pytest.mark.parametrize("decoder", ["rnn", "transformer"])
def test_bound_of_a_model_is_below_the_marginal(decoder: str) -> None:
    """The loss is the negative bound in training and the exact negative log-likelihood in evaluation."""
    probe, data = model(f"model={decoder}", attention="variational"), batch()
    marginal = teacher_forced_nll(probe, data).nll
    bound = Criterion(weights={"kl": 1.0})(probe.train()(data), data)
    assert bound.terms["kl"] > 0.1
    assert bound.total > marginal + 0.1
    bound.total.backward()
    inference = probe.decoder.cross_attention(len(getattr(probe.decoder, "layers", [0])) - 1).infer.weight
    assert inference.grad.any()


def test_only_the_last_layer_returns_alternatives() -> None:
    earlier = SourceSpec(WIDTH, input_dim=WIDTH, last=False)
    queries, source = noise(2, T, WIDTH), memory(4, 2)
    for name in ("hard_marginal", "variational"):
        attention = mechanism("attention", name, earlier)
        assert [name for name, _ in attention.named_parameters()] == ["score.weight"]
        prepared = attention.prepare(source)
        query = Query(queries, torch.arange(T).expand(2, -1))
        assert attention(query, prepared, attention.initial_state(prepared)).alternatives is None


def test_dropout_changes_the_context_but_not_the_prior() -> None:
    """In training, the context uses weights after dropout, and the prior is the distribution before dropout."""
    ours = build(dropout=0.5).train()
    source = memory(6, 5, width=Q)
    seeding.seed(1)
    found, _, context = attend(ours, source)
    close(found.log_weights.exp().sum(-1), torch.ones(2, T).double())
    expected = attend(ours.eval(), source)
    close(found.log_weights, expected[0].log_weights)
    assert not torch.allclose(context, expected[2])
