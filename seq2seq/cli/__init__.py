"""The commands: how a config is composed and checked, and one module each for train, evaluate, generate, compare."""

import os

# torch reads it when it is imported: its profiler, which measures memory, would report each start
os.environ.setdefault("KINETO_LOG_LEVEL", "6")
