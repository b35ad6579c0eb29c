"""The commands: how a config is composed and checked, and one module each for train, evaluate, generate, compare."""
