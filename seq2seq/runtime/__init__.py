"""Runtime of the process: memory, kernels and interrupts."""
