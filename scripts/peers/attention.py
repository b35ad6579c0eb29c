"""Worker of ``scripts/benchmark.py attention``: measures one form of attention, forward and backward.

The benchmark runs it as ``python -m peers.attention SIDE``.

Shapes: B batch, T queries, S positions, Q width of queries, V width of values, A hidden width of an additive score.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from peers.timing import Work, repeats, saved, seconds
from peers.worker_protocol import Gate
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.attention.base import Attention
from seq2seq.attention.composed import ComposedAttention
from seq2seq.attention.types import Memory, Query, SourceSpec
from seq2seq.cli.hydra_app import compose
from seq2seq.config.instantiate import build_node
from seq2seq.runtime.memory import allocated, keep_freed

Task = dict[str, Any]
Job = tuple[dict[str, Work], list[Tensor]]
"""{name of a figure: work to measure}, and the tensors that the work reads."""

SDPA = "sdpa"
"""``F.scaled_dot_product_attention`` alone, without a mask: the reference of the other sides."""
PROJECTIONS = ("query", "key_value", "output")


def curve(task: Task, name: str) -> Job:
    """Return forward pass and training step of self-attention, without and with ("whole") projections.

    To exclude the projections, they are replaced by identities, and the inputs have the shapes of their outputs.

    Args:
        task: ``length`` S, ``width``, ``heads`` and ``causal``.
        name: A side, as "NAME KEY=VALUE ...".
    """
    length, width, heads = task["length"], task["width"], task["heads"]
    if name == SDPA:
        return _sdpa(length, width, heads, task["causal"])

    # With projections.
    whole = mechanism("self_attention", name, width, heads, SourceSpec(width, is_self=True, causal=task["causal"]))
    x = torch.randn(1, length, width, requires_grad=True)
    jobs, inputs = _job(_asking(whole, x, x), [x, *whole.parameters()], "whole ")

    # Without projections.
    if all(isinstance(getattr(whole, layer, None), nn.Linear) for layer in PROJECTIONS):
        bare = mechanism("self_attention", name, width, heads, whole.source)
        queries, key_values = (
            torch.randn(1, length, getattr(whole, layer).out_features, requires_grad=True) for layer in PROJECTIONS[:2]
        )
        for layer in PROJECTIONS:
            setattr(bare, layer, nn.Identity())
        proper, more = _job(_asking(bare, queries, key_values), [*bare.parameters(), queries, key_values])
        jobs, inputs = {**proper, **jobs}, inputs + more
    return jobs, inputs


def _sdpa(length: int, width: int, heads: int, causal: bool) -> Job:
    """Return the same for ``SDPA``, which has no projections."""
    inputs = [torch.randn(1, heads, length, width // heads, requires_grad=True) for _ in range(3)]
    queries, keys, values = inputs
    return _job(partial(F.scaled_dot_product_attention, queries, keys, values, is_causal=causal), inputs)


def _asking(attention: Attention, queries: Tensor, values: Tensor, need_weights: bool = False) -> Callable[[], Tensor]:
    """Return a function that attends with all queries (B, T, Q) to values (B, S, V) at once and returns contexts."""
    memory = Memory.of(values, torch.ones(values.shape[:2], dtype=torch.bool))
    query = Query(queries, torch.arange(queries.shape[1]).expand(len(queries), -1))

    def forward() -> Tensor:
        past = attention.prepare(memory)
        if attention.source.is_self:
            past = attention.extend(None, past, need_weights=need_weights)
        return attention(query, past, attention.initial_state(past), need_weights=need_weights).context

    return forward


def _job(forward: Callable[[], Tensor], inputs: list[Tensor], prefix: str = "") -> Job:
    """Return the forward pass, and a training step: forward pass and the gradients of all inputs."""
    gradient = torch.randn_like(forward())

    def step() -> Any:
        return torch.autograd.grad(forward(), inputs, gradient, allow_unused=True)

    return {f"{prefix}forward": forward, f"{prefix}step": step}, inputs


def mechanism(group: str, line: str, width: int, heads: int, source: SourceSpec) -> Attention:
    """Build a mechanism in training mode, without dropout.

    Args:
        group: ``attention`` or ``self_attention``.
        line: Name of a file in ``conf/GROUP`` with options, as "NAME KEY=VALUE ...".
        width: Width of the model.
        heads: Number of heads.
        source: Description of the memory.
    """
    # Dropout would disturb comparisons of forms.
    name, *options = line.split()
    sizes = [f"model.dim={width}", f"++model.heads={heads}", "model.dropout=0", "++model.attention_dropout=0"]
    family = ["model=transformer"] if group == "self_attention" else []
    overrides = [f"{group}={name}", *sizes, *(f"++{group}.{option}" for option in options)]
    (config,) = compose("train", [*family, *overrides])
    attention: Attention = build_node(config[group], width, source)
    return attention


def additive(task: Task, name: str) -> Job:
    """Return forward pass and training step of additive attention with teacher forcing, in one of its forms.

    The work is W s, U h, scores, softmax and contexts.

    Args:
        task: ``batch`` B, ``targets`` T, ``positions`` S, ``hidden`` A and ``width`` Q = V.
        name: ``projections``, ``naive``, ``loop`` or ``ours``, perhaps with ", compiled".
    """
    batch, targets, positions, hidden, width = (task[k] for k in ("batch", "targets", "positions", "hidden", "width"))
    # Share the parameters of our mechanism with all forms.
    form, _, compiled = name.partition(", ")
    attention = mechanism("attention", f"additive score.dim={hidden}", width, 1, SourceSpec(width))
    assert isinstance(attention, ComposedAttention)
    queries = torch.randn(batch, targets, width, requires_grad=True)
    values = torch.randn(batch, positions, width, requires_grad=True)
    w, u, v = (parameter.squeeze(0) for parameter in attention.score.parameters())

    # Choose the form.
    forms: dict[str, Callable[[], Tensor]] = {
        "projections": partial(_projections, queries, values, w, u),
        "naive": partial(_naive, queries, values, w, u, v),
        "loop": partial(_loop, queries, values, w, u, v),
        "ours": _asking(attention, queries, values),
    }
    forward = torch.compile(forms[form]) if compiled else forms[form]
    return _job(forward, [queries, values, *attention.parameters()])


def _projections(queries: Tensor, values: Tensor, w: Tensor, u: Tensor) -> Tensor:
    """Return the projections (B, T + S, A) of (B, T, Q) and (B, S, V), the shared part of all forms."""
    return torch.cat((queries @ w, values @ u), 1)


def _naive(queries: Tensor, values: Tensor, w: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Return contexts (B, T, V), with all T S scores computed at once."""
    scores = torch.tanh((queries @ w).unsqueeze(2) + (values @ u).unsqueeze(1)) @ v
    return torch.softmax(scores, -1) @ values


def _loop(queries: Tensor, values: Tensor, w: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Return contexts (B, T, V), computed for one query after the other."""
    keys = values @ u
    scores = torch.stack([(row.unsqueeze(1) + keys).tanh_() @ v for row in (queries @ w).unbind(1)], 1)
    return torch.softmax(scores, -1) @ values


def weights(task: Task, name: str) -> Job:
    """Return forward pass and training step of multi-head attention, with or without returned weights.

    Args:
        task: ``batch`` B, ``length`` S = T, ``width`` and ``heads``.
        name: ``need_weights=True`` or ``need_weights=False``.
    """
    width, shape = task["width"], (task["batch"], task["length"], task["width"])
    attention = mechanism("self_attention", "multi_head", width, task["heads"], SourceSpec(width, is_self=True))
    x = torch.randn(shape, requires_grad=True)
    return _job(_asking(attention, x, x, name.endswith("True")), [x, *attention.parameters()])


def work(gate: Gate, name: str) -> None:
    """Run the worker: report its memory after a warm-up, then its times once per round.

    Args:
        gate: Connection to the benchmark.
        name: A side.
    """
    # Warm up.
    keep_freed()  # as training does
    torch.manual_seed(0)
    jobs, inputs = {"curve": curve, "additive": additive, "weights": weights}[gate.task["what"]](gate.task, name)
    timed = {figure: job if figure.endswith("step") else torch.no_grad()(job) for figure, job in jobs.items()}
    counts = {figure: repeats(job, gate.task["least"]) for figure, job in timed.items()}

    # Report memory.
    (_, forward), (step, _) = list(jobs.items())[:2]
    context = forward().detach()
    gate.say(
        peak={figure: allocated(job) for figure, job in jobs.items() if figure.endswith("step")},
        saved=saved(forward, inputs),
        context=context.flatten()[:8].tolist(),
        threads=torch.get_num_threads(),
        versions={"Python": platform.python_version(), "torch": torch.__version__},
    )

    # Measure the rounds.
    while True:
        gate.wait()
        times = {figure: seconds(job, counts[figure]) for figure, job in timed.items()}
        gate.say(tokens=context.numel() // gate.task["width"], seconds=times[step], times=times)


if __name__ == "__main__":
    work(Gate(), sys.argv[1])
