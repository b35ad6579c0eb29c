"""Callbacks of Lightning for training."""
