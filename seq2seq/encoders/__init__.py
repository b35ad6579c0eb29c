"""Encoders, which turn a batch of sources into a memory that attention reads."""
