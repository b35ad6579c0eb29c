"""Which of PyTorch's kernels this application does without, and how fast others are where it runs."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable

import torch
from torch import Tensor, nn

ROUNDS = 5
SECONDS = 0.02
"""A probe ends after so many rounds or so much time, whichever is first; it always runs one round."""


def avoid_wrong_ones() -> None:
    """From now on this process computes attention on GPUs without cuDNN.

    With a mask in bf16 or fp16 its backward pass gives NaN for queries that see next to nothing, at lengths of
    64 (2 n + 1) (pytorch/pytorch#196678, torch 2.11 to 2.13); rows without anything to see are ordinary here.
    """
    torch.backends.cuda.enable_cudnn_sdp(False)


@functools.cache
def bf16_has_lstm() -> bool:
    """Tell whether this CPU runs an LSTM under autocast to bf16 (oneDNN has no such kernel without AVX-512)."""
    try:
        with torch.random.fork_rng(devices=()), torch.enable_grad():
            _update(nn.LSTM(8, 8, batch_first=True), torch.zeros(1, 1, 8), half=True)
    except RuntimeError:
        return False
    return True


@functools.cache
def bf16_time(*, lstm: bool) -> float:
    """Measure how many times as long as in fp32 an update takes under autocast to bf16 on this CPU, in some 50 ms.

    Args:
        lstm: time an LSTM too, beside a matrix product; ``bf16_has_lstm`` must hold.
    """
    with torch.random.fork_rng(devices=()), torch.enable_grad():
        layers: list[tuple[nn.Module, Tensor]] = [(nn.Linear(256, 512), torch.ones(128, 256))]
        if lstm:
            layers.append((nn.LSTM(256, 256, batch_first=True), torch.ones(16, 4, 256)))
        return _best(layers, half=True) / _best(layers, half=False)


def _update(layer: nn.Module, x: Tensor, *, half: bool) -> None:
    """Run ``layer`` on ``x`` forwards and backwards."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        output = layer(x.requires_grad_())
        (output[0] if isinstance(output, tuple) else output).float().sum().backward()


def _best(layers: Iterable[tuple[nn.Module, Tensor]], *, half: bool) -> float:
    """Return the seconds of the fastest round; the first one also pays for what kernels set up."""
    times: list[float] = []
    began = time.perf_counter()
    while not times or (len(times) < ROUNDS and time.perf_counter() - began < SECONDS):
        start = time.perf_counter()
        for layer, x in layers:
            _update(layer, x, half=half)
        times.append(time.perf_counter() - start)
    return min(times)
