"""Outputs of a trained model: its inputs, the generator, attention maps, and the files of outputs."""
