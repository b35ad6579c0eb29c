"""Layers that encoders, decoders and mechanisms share."""
