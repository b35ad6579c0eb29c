"""A fixed seed at the price of a test that takes a millisecond."""

from __future__ import annotations

import torch


def seed(number: int) -> None:
    """Do as ``torch.manual_seed``, which formats the caller's stack for each kind of device that is not in use yet."""
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        torch.manual_seed(number)
    else:
        torch.default_generator.manual_seed(number)
