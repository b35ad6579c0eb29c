"""Identity of the jobs of a sweep: a composed config without what changes no result.

A sweep that an earlier version began goes on in its directories, and a pack of an earlier version counts as its job.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from seq2seq.config.defaults import without_defaults
from seq2seq.stored.plain import parse_yaml

ONE_PROCESS = ("auto", "cpu")
"""Values of ``trainer.accelerator`` that mean the same without a GPU; ``cpu`` was the default of earlier versions."""


@lru_cache(1024)
def identity(composed: str) -> str:
    """Return a text that is equal for two configs of one job.

    Args:
        composed: Config as Hydra composed it, in YAML; an empty text has an empty identity.
    """
    if not composed.strip():
        return ""
    config: Any = without_defaults(parse_yaml(composed.encode(), "the config of the job"))
    if isinstance(config, Mapping):
        for group, name, values in (("trainer", "accelerator", ONE_PROCESS), ("training", "verbose", (True, False))):
            node = config.get(group)
            if isinstance(node, dict) and node.get(name) in values:
                del node[name]
    return json.dumps(config, sort_keys=True, default=str)
