"""Helper that sets the seed of PyTorch in less time than ``torch.manual_seed``."""

from __future__ import annotations

import torch


def seed(number: int) -> None:
    """Set the seed of PyTorch's generators.

    ``torch.manual_seed`` is slow: it formats the caller's stack for each kind of device that is not in use yet.
    """
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        torch.manual_seed(number)
    else:
        torch.default_generator.manual_seed(number)
