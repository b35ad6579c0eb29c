"""Package torchmetrics, of which Lightning needs two classes and whose import takes a second."""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from types import ModuleType
from typing import Any

CLASSES = {"Metric": "torchmetrics.metric", "MetricCollection": "torchmetrics.collections"}
"""Classes that Lightning imports from the package, with the modules that define them."""


def load_on_demand() -> None:
    """Import the classes that Lightning needs, and the other metrics when somebody reads their names.

    The package stays complete: it runs its ``__init__`` when another name is read. If the classes cannot be imported
    alone, as after a change of the package, it is imported as a whole later. Nothing happens if the package is imported
    already, or is not installed.
    """
    spec = None if "torchmetrics" in sys.modules else find_spec("torchmetrics")
    if spec is None or spec.loader is None:
        return
    loader, package = spec.loader, ModuleType("torchmetrics")

    def read(name: str) -> Any:
        """Run the package's own ``__init__``, and return one of its names."""
        if name.startswith("__"):
            raise AttributeError(name)
        package.__dict__.pop("__getattr__", None)
        loader.exec_module(package)
        return getattr(package, name)

    # Give the package what its own modules read of it.
    names = {
        "__spec__": spec,
        "__loader__": loader,
        "__file__": spec.origin,
        "__path__": spec.submodule_search_locations,
        "__version__": version("torchmetrics"),
        "__getattr__": read,
        "_logger": logging.getLogger("torchmetrics"),
    }
    package.__dict__.update(names)
    sys.modules["torchmetrics"] = package
    try:
        import_module("torchmetrics.utilities")  # first, because it and ``torchmetrics.metric`` import each other
        package.__dict__.update({name: getattr(import_module(module), name) for name, module in CLASSES.items()})
    except (ImportError, AttributeError):
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchmetrics"]:
            del sys.modules[name]
