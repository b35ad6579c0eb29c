"""Decoders with one interface for training and stepwise search."""
