"""Typed version of ``nn.ModuleList``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar, cast

from torch import nn

from seq2seq.errors import UserError

M = TypeVar("M", bound=nn.Module)


class Stack(nn.Module, Generic[M]):
    """List of at least one layer, all of one type, registered under their numbers.

    Args:
        modules: Layers in order.

    Raises:
        UserError: There are no layers.
    """

    def __init__(self, modules: Iterable[M]) -> None:
        super().__init__()
        self._size = 0
        for index, module in enumerate(modules):
            self.add_module(str(index), module)
            self._size = index + 1
        if not self._size:
            raise UserError("layers must be at least 1")

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> M:
        return cast(M, self.get_submodule(str(range(self._size)[index])))

    def __iter__(self) -> Iterator[M]:
        return (self[index] for index in range(self._size))
