"""How good outputs are, how well attention aligns, and how it behaves: numpy and standard scorers, no model."""

from seq2seq.metrics.text import score
from seq2seq.metrics.translation import MetricResult

__all__ = ["MetricResult", "score"]
