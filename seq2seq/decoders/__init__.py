"""Decoders: one interface for training and stepwise search."""
