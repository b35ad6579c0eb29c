"""The switch between fast kernels and the plain formulas that they compute.

A fast kernel stands beside its plain version: ``fused_cross_entropy`` and ``plain_cross_entropy``
(``layers/cross_entropy.py``), dropout by 16-bit draws and ``F.dropout`` (``layers/dropout.py``), ``fused_additive``
and ``plain_additive`` (``attention/components/additive.py``), ``blockwise_top`` and ``plain_top``
(``search/topk.py``). The fast one runs unless the calling code chooses the plain one, to find the cause of a
difference or to try a kernel on new hardware::

    with plain_kernels():
        decoded = model(batch)

Results are equal up to rounding; dropout draws other numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_PLAIN = ContextVar("plain kernels", default=False)


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Compute by the plain formulas within the context. What was computed within it is differentiated so too."""
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


def is_plain() -> bool:
    """Tell whether the plain formulas are chosen."""
    return _PLAIN.get()
