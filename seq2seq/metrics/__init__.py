"""How good outputs are, how well attention aligns, and how it behaves: numpy and standard scorers, no model."""

from seq2seq.metrics.metric import MetricResult
from seq2seq.metrics.text import score

__all__ = ["MetricResult", "score"]
