"""Commands train, evaluate, generate and compare, and the code that composes and checks their configs."""

import os

# torch reads this when it is imported. Without it, the profiler that measures memory logs a line at each start.
os.environ.setdefault("KINETO_LOG_LEVEL", "6")
