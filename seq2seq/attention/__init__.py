"""Attention mechanisms: a contract (`base.py`), and those composed of score, window, normalizer and heads."""
