"""``nn.ModuleList`` that knows the type of its modules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar, cast

from torch import nn

from seq2seq.errors import UserError

M = TypeVar("M", bound=nn.Module)


class Stack(nn.Module, Generic[M]):
    """Layers of one type, registered in order under their number; an empty stack is refused."""

    def __init__(self, modules: Iterable[M]) -> None:
        super().__init__()
        for place, module in enumerate(modules):
            self.add_module(str(place), module)
        if not self._modules:
            raise UserError("layers must be at least 1")

    def __len__(self) -> int:
        return len(self._modules)

    def __getitem__(self, place: int) -> M:
        return cast(M, self._modules[str(range(len(self))[place])])

    def __iter__(self) -> Iterator[M]:
        return cast(Iterator[M], iter(self._modules.values()))
