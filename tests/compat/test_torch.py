"""Canaries: a test that fails here names what an upgrade of PyTorch has changed."""

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
    assert compat.can_skip_on_device(optimizer), "PyTorch changed the mark of optimisers that can skip a step"
    weight.grad = torch.ones(3)
    compat.skip_if(optimizer, torch.tensor(is_bad))
    optimizer.step()
    moments = optimizer.state[weight]["exp_avg"]
    unchanged = weight.eq(1).all() and moments.eq(0).all()
    assert bool(unchanged) is is_bad, "PyTorch changed found_inf, by which a step is skipped"


def test_an_optimiser_without_a_fused_kernel_can_not_skip() -> None:
    assert not compat.can_skip_on_device(torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0))


def test_allocations_are_seen_in_order() -> None:
    def work() -> None:
        for count in (1, 3, 2):
            torch.empty(count << 18)  # MiB

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    large = [change >> 20 for change in compat.memory_changes(profiler) if abs(change) >= 1 << 20]
    assert large == [1, -1, 3, -3, 2, -2], "PyTorch changed the memory events of its profiler"
    assert max(accumulate(large)) == 3


class Broken(Dataset[int]):
    """Fails in its worker."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        raise ValueError("data.path=x: not there")


def test_the_error_of_a_worker_is_told_from_others() -> None:
    message, expected = "", "data.path=x: not there"
    try:
        list(DataLoader(Broken(), num_workers=1))
    except ValueError as error:
        message = str(error)
        error.__traceback__ = None  # it holds the loader in a cycle, whose worker the garbage collector awaits for 5 s
    assert compat.worker_error(message) == expected, "PyTorch changed how a worker's error arrives"
    assert compat.worker_error(expected) is None and compat.worker_error("") is None


def test_the_reducer_still_warns_in_the_words_that_are_matched() -> None:
    words = "Grad strides do not match"
    assert words in compat.ADVICE
    with (Path(torch.__file__).parent / "lib" / "libtorch_cpu.so").open("rb") as file:
        text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        assert text.find(words.encode()) > 0, "PyTorch changed what DistributedDataParallel says of strides"
