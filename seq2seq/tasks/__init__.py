"""Tasks: kinds of sources and targets. Each task has a file; ``base`` holds the interface."""
