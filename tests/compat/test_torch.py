"""Canary tests of PyTorch: a failing test reports what an upgrade has changed."""

from __future__ import annotations

import mmap
from itertools import accumulate
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader, Dataset

from seq2seq.compat import torch as compat


def tensors() -> list[Tensor]:
    return [torch.tensor([1.0, -4.0, 2.5]), torch.tensor([[8.0]])]


def test_tensors_are_multiplied_clamped_and_moved_in_place() -> None:
    numbers = tensors()
    compat.multiply_(numbers, torch.tensor(2.0))
    assert [x.tolist() for x in numbers] == [[2.0, -8.0, 5.0], [[16.0]]], "PyTorch changed _foreach_mul_"
    compat.clamp_(numbers, -3.0, 4.0)
    assert [x.tolist() for x in numbers] == [[2.0, -3.0, 4.0], [[4.0]]], "PyTorch changed _foreach_clamp_min_ or _max_"
    compat.interpolate_(numbers, [torch.zeros(3), torch.zeros(1, 1)], 0.25)
    assert [x.tolist() for x in numbers] == [[1.5, -2.25, 3.0], [[3.0]]], "PyTorch changed _foreach_lerp_"


@pytest.mark.parametrize("is_bad", [True, False])
def test_a_fused_optimiser_skips_a_step(is_bad: bool) -> None:
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([weight], fused=True)
    assert compat.can_skip_on_device(optimizer), "PyTorch changed how an optimiser states that it can skip a step"
    weight.grad = torch.ones(3)
    compat.skip_if(optimizer, torch.tensor(is_bad))
    optimizer.step()
    moments = optimizer.state[weight]["exp_avg"]
    unchanged = weight.eq(1).all() and moments.eq(0).all()
    assert bool(unchanged) is is_bad, "PyTorch changed found_inf, which skips a step"


def test_an_optimiser_without_a_fused_kernel_cannot_skip_steps() -> None:
    assert not compat.can_skip_on_device(torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0))


def test_allocations_are_recorded_in_order() -> None:
    def work() -> None:
        for count in (1, 3, 2):
            torch.empty(count << 18)  # MiB

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    large = [change >> 20 for change in compat.memory_changes(profiler) if abs(change) >= 1 << 20]
    assert large == [1, -1, 3, -3, 2, -2], "PyTorch changed the memory events of its profiler"
    assert max(accumulate(large)) == 3


class Broken(Dataset[int]):
    """A data set that fails in its worker."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        raise ValueError("data.path=x: not there")


def test_errors_of_a_worker_are_recognised() -> None:
    message, expected = "", "data.path=x: not there"
    try:
        list(DataLoader(Broken(), num_workers=1))
    except ValueError as error:
        message = str(error)
        error.__traceback__ = None  # it keeps the loader in a cycle: the collector waits 5 s for its worker
    assert compat.worker_error(message) == expected, "PyTorch changed the message of a worker's error"
    assert compat.worker_error(expected) is None and compat.worker_error("") is None


def test_the_reducer_still_gives_the_warning_that_is_matched() -> None:
    words = "Grad strides do not match"
    assert words in compat.ADVICE
    with (Path(torch.__file__).parent / "lib" / "libtorch_cpu.so").open("rb") as file:
        text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        assert text.find(words.encode()) > 0, "PyTorch changed the warning of DistributedDataParallel about strides"
