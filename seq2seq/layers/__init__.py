"""Layers that encoders, decoders and attention mechanisms share."""
