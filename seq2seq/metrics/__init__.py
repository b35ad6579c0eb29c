"""Metrics of outputs and of attention. They need numpy and standard scorers, but no model."""

from seq2seq.metrics.metric import MetricResult
from seq2seq.metrics.text import score

__all__ = ["MetricResult", "score"]
