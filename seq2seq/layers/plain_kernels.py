"""Switch between fast kernels and the plain formulas that they compute.

Each fast kernel stands beside its plain version:

- ``fused_cross_entropy`` and ``plain_cross_entropy`` (``layers/cross_entropy.py``);
- ``fused_fenchel_young`` and ``plain_fenchel_young`` (``layers/fenchel_young.py``);
- dropout from 16-bit random numbers and ``F.dropout`` (``layers/dropout.py``);
- ``fused_additive`` and ``plain_additive`` (``attention/components/additive.py``);
- ``blockwise_top`` and ``plain_top`` (``search/topk.py``).

The fast kernel runs by default. Choose the plain one to find the cause of a difference, or to try a kernel on new
hardware::

    with plain_kernels():
        decoded = model(batch)

Results are equal up to rounding. Dropout draws other random numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_PLAIN = ContextVar("plain kernels", default=False)


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Use the plain formulas within this context, and in the backward pass of what is computed in it."""
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


def is_plain() -> bool:
    """Return whether the plain formulas are in use."""
    return _PLAIN.get()
