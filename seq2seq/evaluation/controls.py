"""Controls of an evaluation: they change the records or the attention, to measure how much a score depends on them."""

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
    """Change of the records or of the attention before records are scored (``evaluation.control``).

    Args:
        task: Task, which defines the controls of records (``Task.controls``).
        control: Name of a control of records or of attention (``OF_ATTENTION``); None for no change.

    Raises:
        UserError: The control is unknown.
    """

    def __init__(self, task: Task, /, control: str | None = None) -> None:
        known = [*task.controls, *OF_ATTENTION]
        if control is not None and control not in known:
            name = type(task).__name__
            raise UserError(f"evaluation.control={control} is none of: {', '.join(known)} (for task {name})")
        self.change_records = task.controls.get(control or "")
        self.change_attention = OF_ATTENTION.get(control or "")

    def __call__(self, records: Sequence[Record]) -> Sequence[Record]:
        """Return the records to score.

        Args:
            records: Records of the split.
        """
        return records if self.change_records is None else self.change_records(records)

    def around(self, model: nn.Module) -> AbstractContextManager[None]:
        """Return a context in which the attention of a model is changed.

        Args:
            model: Model, changed in place for the time of the context.
        """
        return nullcontext() if self.change_attention is None else self.change_attention(model)

    def search(self, search: Search) -> Search:
        """Return the search that finds the outputs under the control.

        Averaged attention needs the attention of a whole output. It is that of the output found without the control.

        Args:
            search: Search without the control.
        """
        # Decode once without the control, and once with the mean attention of the first output.
        return SecondPass(plain=search, change=averaged_over) if self.change_attention is averaged else search
