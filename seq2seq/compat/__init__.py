"""Access to private names of other packages: one module for each package, one function for each need.

No other part of this project uses a private name of another package. ``tests/compat`` calls each function with the
installed versions, and thus shows what an upgrade has changed.
"""
