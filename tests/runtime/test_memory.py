"""Tests of the memory that a process keeps after a tensor is freed, and of the memory that a function allocates."""

import os
import subprocess
import sys

import pytest
import torch

from seq2seq.runtime.memory import allocated

SIZE = 64 << 20  # bytes
HELD = f"""
import resource, torch
from seq2seq.runtime.memory import give_back, keep_freed

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

def held(after=lambda: None):
    before = resident()
    tensor = torch.ones({SIZE // 4})
    del tensor
    after()
    return resident() - before

first = held()
keep_freed()
print(first, held(), held(give_back))
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or "CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="glibc"
)
def test_freed_memory_is_kept_until_it_is_given_back():
    done = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, check=True)
    before, after, given_back = map(int, done.stdout.split())
    assert before < SIZE // 2 < after
    assert given_back < -SIZE // 2


def test_allocated_memory_is_counted_at_its_peak() -> None:
    """The peak is two megabytes, since two of the three tensors exist at a time."""
    x = torch.zeros(250_000)  # a megabyte

    def work() -> None:
        y = x + 1
        z = y + 1
        del y
        _ = z + 1

    assert allocated(work) == pytest.approx(2e6, rel=0.01)
