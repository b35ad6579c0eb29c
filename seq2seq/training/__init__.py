"""Training of a model: updates, schedules, validation, checkpoints, and resuming after a stop."""
