"""Kernels of PyTorch: avoid wrong ones, and measure how fast bf16 is on this machine."""

from __future__ import annotations

import functools
import math
import time

import torch
from torch import Tensor, nn

ROUNDS = 6
MIN_ROUNDS = 2
SECONDS = 0.02
"""Limits of a measurement after the round of setup: most and least rounds, and the time after which none begins."""


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
        # Time both in turns, so that other processes slow down both; the first round includes the setup of kernels.
        fastest = {True: math.inf, False: math.inf}
        began = time.perf_counter()
        for number in range(1 + ROUNDS):
            for half in fastest:
                start = time.perf_counter()
                for layer, x in layers:
                    _update(layer, x, half=half)
                if number:
                    fastest[half] = min(fastest[half], time.perf_counter() - start)
            if number >= MIN_ROUNDS and time.perf_counter() - began > SECONDS:
                break
        return fastest[True] / fastest[False]


def _update(layer: nn.Module, x: Tensor, *, half: bool) -> None:
    """Run ``layer`` forward and backward on ``x``."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        output = layer(x.requires_grad_())
        (output[0] if isinstance(output, tuple) else output).float().sum().backward()
