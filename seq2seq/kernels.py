"""Which of PyTorch's kernels this application does without."""

from __future__ import annotations

import torch


def avoid_wrong_ones() -> None:
    """From now on this process computes attention on GPUs without cuDNN.

    With a mask in bf16 or fp16 its backward pass gives NaN for queries that see next to nothing, at lengths of
    64 (2 n + 1) (pytorch/pytorch#196678, torch 2.11 to 2.13); rows without anything to see are ordinary here.
    """
    torch.backends.cuda.enable_cudnn_sdp(False)
