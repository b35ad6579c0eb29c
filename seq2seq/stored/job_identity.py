"""Identity of the jobs of a sweep: a composed config without what later versions added to it.

A sweep that an earlier version began goes on in its directories, and a pack of an earlier version counts as its job.
"""

from __future__ import annotations

import re

LATER = {
    r"^  accelerator: auto\n": "  accelerator: cpu\n",  # the default before ``trainer=auto``
    r"^  verbose: \w+\n": "",  # training.verbose changes no result
    r"^  strict: false\n": "",  # training.strict
    r"^  freeze: \[\]\n": "",  # training.freeze
}
"""{pattern of a line of a composed config: the line of earlier versions}."""


def identity(composed: str) -> str:
    """Return a text that is equal for two configs of one job.

    Args:
        composed: Config as Hydra composed it, in YAML.
    """
    for line, earlier in LATER.items():
        composed = re.sub(line, earlier, composed, flags=re.MULTILINE)
    return composed
