"""Tests of ``docs/how-to/add_a_mechanism.md``: its examples equal the source files, and the last one works."""

from __future__ import annotations

import inspect
import re
from typing import Any

import torch
from omegaconf import OmegaConf

from seq2seq.attention.components.windows import AdaptiveSpan, LocalM
from seq2seq.attention.types import SourceSpec
from tests.attention.components import test_windows
from tests.attention.walk import close, walk
from tests.catalogue import CONF, WIDTH, memory, noise

PAGE = (CONF.parent / "docs" / "how-to" / "add_a_mechanism.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the code blocks of the page in one language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_examples_equal_the_source() -> None:
    window, tests, term, _ = blocks("python")
    assert window == inspect.getsource(LocalM)
    ours = (test_windows.test_local_m, test_windows.test_local_m_is_global_where_it_reaches_all)
    assert tests == "\n\n".join(map(inspect.getsource, ours))
    assert set(term.splitlines()) <= set(inspect.getsource(AdaptiveSpan).splitlines())
    part, mechanism, _ = blocks("yaml")
    assert part == (CONF / "attention" / "window" / "local_m.yaml").read_text(encoding="utf-8")
    assert mechanism == (CONF / "attention" / "local_m.yaml").read_text(encoding="utf-8")


def test_the_smallest_mechanism() -> None:
    """The page's ``MeanAttention`` returns W times the mean of the real values, and 0 for an empty source."""
    names: dict[str, Any] = {}
    exec(blocks("python")[3], names)
    node = OmegaConf.create(blocks("yaml")[2])
    assert node["_target_"].endswith(".MeanAttention") and list(node) == ["_target_", "_partial_", "dim"]
    attention, source = names["MeanAttention"](WIDTH, SourceSpec(WIDTH), dim=3).double(), memory(4, 2, 0)
    answer = walk(attention, noise(3, 2, WIDTH), source)
    expected = torch.stack(
        [source.values[b, :n].mean(0) if n else torch.zeros(WIDTH).double() for b, n in enumerate((4, 2, 0))]
    )
    close(answer.context, attention.value(expected).unsqueeze(1).expand(-1, 2, -1))
