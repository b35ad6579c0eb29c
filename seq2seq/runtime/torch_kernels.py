"""Kernels of PyTorch: avoid wrong ones, and measure how fast bf16 is on this machine."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable

import torch
from torch import Tensor, nn

ROUNDS = 5
SECONDS = 0.02
"""Limits of a measurement: number of rounds and time, whichever is reached first; at least one round runs."""


def avoid_wrong_ones() -> None:
    """Compute attention on GPUs without cuDNN from now on.

    Its backward pass with a mask in bf16 or fp16 returns NaN for queries that attend to almost nothing, at lengths
    64 (2 n + 1) (pytorch/pytorch#196678, torch 2.11 to 2.13). Rows without any allowed position are normal here.
    """
    torch.backends.cuda.enable_cudnn_sdp(False)


def widest(device: torch.device) -> torch.dtype:
    """Return the most precise float type of a device: float64, but float32 on the GPU of a Mac.

    Args:
        device: The device.
    """
    return torch.float32 if device.type == "mps" else torch.float64


@functools.cache
def bf16_has_lstm() -> bool:
    """Return True if this CPU runs an LSTM under autocast to bf16 (oneDNN needs AVX-512 for it)."""
    # Run a small LSTM: a missing kernel raises an error.
    try:
        with torch.random.fork_rng(devices=()), torch.enable_grad():
            _update(nn.LSTM(8, 8, batch_first=True), torch.zeros(1, 1, 8), half=True)
    except RuntimeError:
        return False
    return True


@functools.cache
def bf16_time(*, lstm: bool) -> float:
    """Return the time of an update under autocast to bf16 on this CPU, divided by that in fp32.

    The measurement takes about 50 ms.

    Args:
        lstm: Whether to time an LSTM besides a matrix product; ``bf16_has_lstm`` must be true.
    """
    with torch.random.fork_rng(devices=()), torch.enable_grad():
        layers: list[tuple[nn.Module, Tensor]] = [(nn.Linear(256, 512), torch.ones(128, 256))]
        if lstm:
            layers.append((nn.LSTM(256, 256, batch_first=True), torch.ones(16, 4, 256)))
        return _best(layers, half=True) / _best(layers, half=False)


def _update(layer: nn.Module, x: Tensor, *, half: bool) -> None:
    """Run ``layer`` forward and backward on ``x``."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        output = layer(x.requires_grad_())
        (output[0] if isinstance(output, tuple) else output).float().sum().backward()


def _best(layers: Iterable[tuple[nn.Module, Tensor]], *, half: bool) -> float:
    """Return the seconds of the fastest round; the first round also includes the setup of kernels."""
    times: list[float] = []
    began = time.perf_counter()
    while not times or (len(times) < ROUNDS and time.perf_counter() - began < SECONDS):
        start = time.perf_counter()
        for layer, x in layers:
            _update(layer, x, half=half)
        times.append(time.perf_counter() - start)
    return min(times)
