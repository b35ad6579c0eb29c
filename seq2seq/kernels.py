"""Which of PyTorch's kernels this application does without, and which are slow where it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch


def avoid_wrong_ones() -> None:
    """From now on this process computes attention on GPUs without cuDNN.

    With a mask in bf16 or fp16 its backward pass gives NaN for queries that see next to nothing, at lengths of
    64 (2 n + 1) (pytorch/pytorch#196678, torch 2.11 to 2.13); rows without anything to see are ordinary here.
    """
    torch.backends.cuda.enable_cudnn_sdp(False)


def bf16_is_slow() -> bool:
    """Whether this is an x86 CPU without a unit for matrices of bf16 (AMX): products then take about twice as long
    as in fp32. False where PyTorch can't tell.
    """
    tell: Callable[[], Mapping[str, object]] = getattr(torch.cpu, "get_capabilities", dict)
    return not tell().get("amx_bf16", True)
