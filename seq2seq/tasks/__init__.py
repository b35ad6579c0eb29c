"""Tasks: what goes in and what comes out, one file a task; ``base`` is the contract."""
