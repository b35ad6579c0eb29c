"""What the commands do, in the order they do it: a module a command."""

from seq2seq.workflows.comparing import compare
from seq2seq.workflows.evaluating import evaluate
from seq2seq.workflows.fitting import check, run, train
from seq2seq.workflows.generating import generate

__all__ = ["check", "compare", "evaluate", "generate", "run", "train"]
