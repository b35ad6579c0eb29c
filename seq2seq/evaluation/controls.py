"""What a score owes to the source, or to attention: the same records or the same model with something taken away."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from torch import nn

from seq2seq.attention.interventions import INTERVENTIONS, averaged, averaged_over
from seq2seq.data.records import Record
from seq2seq.errors import UserError
from seq2seq.search import Search
from seq2seq.search.second_pass import SecondPass
from seq2seq.tasks.base import Task

OF_ATTENTION = {f"{name}_attention": intervention for name, intervention in INTERVENTIONS.items()}


class Control:
    """What is changed before records are scored (``evaluation.control``): the records, or where attention looks.

    Args:
        task: Which controls of records there are (``Task.controls``).
        control: The name of one of them, or of a change of attention; None changes nothing.
    """

    def __init__(self, task: Task, /, control: str | None = None) -> None:
        known = [*task.controls, *OF_ATTENTION]
        if control is not None and control not in known:
            name = type(task).__name__
            raise UserError(f"evaluation.control={control} is none of: {', '.join(known)} (of task {name})")
        self.change_records = task.controls.get(control or "")
        self.change_attention = OF_ATTENTION.get(control or "")

    def __call__(self, records: Sequence[Record]) -> Sequence[Record]:
        """Return the records to score."""
        return records if self.change_records is None else self.change_records(records)

    def around(self, model: nn.Module) -> AbstractContextManager[None]:
        """Let ``model`` attend as the control has it, within the block."""
        return nullcontext() if self.change_attention is None else self.change_attention(model)

    def search(self, search: Search) -> Search:
        """Return ``search`` under the control. Averaged rows are those of the output that is found without it."""
        return SecondPass(plain=search, change=averaged_over) if self.change_attention is averaged else search
