"""The process: memory, kernels, interrupts."""
