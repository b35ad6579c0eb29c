"""Records of the file that Weights & Biases writes offline, read with its own protocol."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK, HEADER, MARK = 32768, 7, 7  # sizes of a block, of the header of a part, and of the mark at the file's start
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(file: Path) -> Iterator[Any]:
    """Yield the records of a ``.wandb`` file, which has the log format of LevelDB."""
    from wandb.proto import wandb_internal_pb2 as protocol

    content, place, parts = file.read_bytes(), MARK, b""
    while place + HEADER <= len(content):
        # The rest of a block that is too short for a header is padding.
        if BLOCK - place % BLOCK < HEADER:
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + HEADER])
        part = content[place + HEADER : place + HEADER + length]
        place += HEADER + length
        if kind == 0:
            continue
        parts = part if kind in (FULL, FIRST) else parts + part
        if kind in (FULL, LAST):
            record = protocol.Record()
            record.ParseFromString(parts)
            yield record


def items(updates: Any) -> dict[str, Any]:
    """Return {name: value} of a list of updates of a config, a history or a summary."""
    return {one.key or "/".join(one.nested_key): json.loads(one.value_json) for one in updates}
