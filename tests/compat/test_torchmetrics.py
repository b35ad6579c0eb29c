"""Tests of the package torchmetrics, imported on demand, in processes of their own."""

from __future__ import annotations

import subprocess
import sys

START = """
import sys
from seq2seq.compat.torchmetrics import load_on_demand
"""


def ran(code: str) -> str:
    """Return what a new process prints that runs ``code``."""
    result = subprocess.run([sys.executable, "-c", START + code], capture_output=True, text=True, check=False)
    assert not result.returncode, result.stderr
    return result.stdout.strip()


def test_lightning_imports_without_the_functions_of_torchmetrics() -> None:
    code = "load_on_demand(); import lightning.pytorch; print('torchmetrics.functional' in sys.modules)"
    assert ran(code) == "False", "Lightning or torchmetrics imports more than it did: see CLASSES"


def test_the_package_is_complete_when_other_names_are_read() -> None:
    code = """
load_on_demand()
import torchmetrics, torch
mean = torchmetrics.MeanMetric()
mean.update(torch.tensor([1.0, 3.0]))
from torchmetrics.classification import BinaryAccuracy
from torchmetrics import Metric
print(float(mean.compute()), issubclass(BinaryAccuracy, Metric), isinstance(mean, Metric), hasattr(torchmetrics, "no"))
"""
    assert ran(code) == "2.0 True True False"


def test_a_changed_package_is_imported_as_a_whole() -> None:
    code = """
from seq2seq.compat import torchmetrics as compat
compat.CLASSES["Moved"] = "torchmetrics.no_such_module"
load_on_demand()
print("torchmetrics" in sys.modules)
import lightning.pytorch
print("torchmetrics.functional" in sys.modules)
"""
    assert ran(code) == "False\nTrue"
