"""Generation with a trained model: inputs, the generator, attention maps, and output files."""
