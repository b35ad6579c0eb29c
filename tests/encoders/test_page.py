"""Tests of ``docs/how-to/add_an_encoder.md``: its class, YAML and test fit together, and the model learns."""

from __future__ import annotations

import inspect
import re
import sys
from types import ModuleType

import pytest
import torch
from omegaconf import OmegaConf

import seq2seq.encoders
from seq2seq.loss import Criterion
from seq2seq.model import build
from tests.catalogue import CONF, SOURCE_VOCABULARY, TARGET_VOCABULARY, batch, config

PAGE = (CONF.parent / "docs" / "how-to" / "add_an_encoder.md").read_text(encoding="utf-8")
CLASS, TESTS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
(YAML,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
NAME = "seq2seq.encoders.convolution"


@pytest.fixture
def encoder_module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Create the module that the reader of the page writes."""
    module = ModuleType(NAME)
    monkeypatch.setitem(sys.modules, NAME, module)
    monkeypatch.setattr(seq2seq.encoders, "convolution", module, raising=False)
    exec(compile(CLASS, "docs/how-to/add_an_encoder.md", "exec"), vars(module))
    return module


def test_the_tests_of_the_page_pass(encoder_module: ModuleType) -> None:
    tests = ModuleType("test_convolution")
    exec(compile(TESTS, "docs/how-to/add_an_encoder.md", "exec"), vars(tests))
    for kernel in (1, 3, 5):
        tests.test_sums_over_neighbours(kernel)
    tests.test_empty_source()
    tests.test_kernels_have_a_middle()


@pytest.mark.parametrize("decoder", ["rnn", "transformer"])
def test_the_yaml_of_the_page_builds_a_model_that_learns(encoder_module: ModuleType, decoder: str) -> None:
    composed = config(f"model={decoder}").copy()
    composed.encoder = OmegaConf.create(YAML)
    options = composed.encoder.keys() - {"_target_", "_partial_"}
    assert options == inspect.signature(encoder_module.ConvolutionEncoder).parameters.keys() - {"vocabulary"}
    model, data = build(composed, SOURCE_VOCABULARY, TARGET_VOCABULARY), batch()
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=0.01), []
    for _ in range(5):
        losses.append(Criterion()(model(data), data).total)
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    assert all(parameter.grad is not None for parameter in model.encoder.parameters())
