"""Fitting a model: the update, the schedule, validation, checkpoints, and going on after a stop."""
