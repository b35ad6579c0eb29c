"""Attention mechanisms: their contract (`base.py`), and mechanisms composed of score, window, normalizer and heads."""
