"""Encoders: token ids to a memory to attend over."""
