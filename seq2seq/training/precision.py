"""Precision of training: the meaning of ``trainer.precision=auto``, and checks of what this machine can run."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from seq2seq.errors import UserError
from seq2seq.runtime.torch_kernels import bf16_has_lstm, bf16_time
from seq2seq.training.launch import is_launched

log = logging.getLogger(__name__)

FP32, BF16, FP16 = "32-true", "bf16-mixed", "16-mixed"
SAME = {"32": FP32, "bf16": BF16, "16": FP16, "None": FP32}
"""Lightning's other names of the same precisions."""
BYTES = 4  # bytes of a parameter
NOTABLE = 1.1
"""Ratio of the times of two precisions from which a message reports it."""


def precision_of(trainer: Mapping[str, Any]) -> str:
    """Return the precision that the ``trainer`` node means on this machine.

    ``auto`` is bf16 on a GPU with native bf16, and fp32 everywhere else.

    Args:
        trainer: The ``trainer`` node of the config.

    Raises:
        UserError: The precision is unknown, or this device does not support it.
    """
    asked = str(trainer.get("precision", "auto"))
    precision, gpu = SAME.get(asked, asked), uses_gpu(trainer)
    if precision == "auto":
        return BF16 if gpu and torch.cuda.is_bf16_supported(including_emulation=False) else FP32
    if precision not in (FP32, BF16, FP16):
        raise UserError(f"trainer.precision={asked}: must be one of auto, {FP32}, {BF16}, {FP16}")
    if precision == FP16 and not gpu:
        raise UserError(f"trainer.precision={asked}: a CPU does not train in fp16; use auto, {FP32} or {BF16}")
    return precision


def accelerator_of(trainer: Mapping[str, Any]) -> str:
    """Return the accelerator that the ``trainer`` node means on this machine.

    ``auto`` is a CUDA GPU where there is one, and the CPU everywhere else. Lightning's ``auto`` would also choose the
    GPU of a Mac, which lacks operations that some mechanisms need; ``trainer=mps`` chooses it.

    Args:
        trainer: The ``trainer`` node of the config.
    """
    asked = str(trainer.get("accelerator", "auto"))
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return asked


def uses_gpu(trainer: Mapping[str, Any]) -> bool:
    """Return True if training uses a CUDA GPU of this machine.

    Args:
        trainer: The ``trainer`` node of the config.
    """
    return accelerator_of(trainer) in ("gpu", "cuda") and torch.cuda.is_available()


def check_device(trainer: Mapping[str, Any]) -> None:
    """Check that this machine has the accelerator.

    Args:
        trainer: The ``trainer`` node of the config.

    Raises:
        UserError: The accelerator is missing; one line that names trainer.accelerator.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    there = {"gpu": cuda or mps, "cuda": cuda, "mps": mps}
    if not there.get(asked := str(trainer.get("accelerator", "auto")), True):
        raise UserError(f"trainer.accelerator={asked}: this machine has no such device; use trainer=auto")


def check_precision(trainer: Mapping[str, Any], model: nn.Module) -> None:
    """Check that this machine has the kernels of ``model`` in the chosen precision.

    Args:
        trainer: The ``trainer`` node of the config.
        model: The model; it may be on the meta device.

    Raises:
        UserError: A kernel is missing; one line that names trainer.precision.
    """
    # oneDNN may lack the bf16 kernel of an LSTM.
    if precision_of(trainer) == BF16 and not uses_gpu(trainer) and _has_lstm(model) and not bf16_has_lstm():
        raise UserError(
            f"trainer.precision={trainer['precision']}: this CPU has no LSTM in bf16 (oneDNN needs AVX-512 for it); "
            f"use auto or {FP32}"
        )


def check_size(trainer: Mapping[str, Any], model: nn.Module) -> None:
    """Check that this machine has enough memory for the model and enough CPUs for the processes.

    Args:
        trainer: The ``trainer`` node of the config.
        model: The model; it may be on the meta device.

    Raises:
        UserError: Something is missing; one line that names the options to change.
    """
    # Check the processes. Two processes are always allowed, to try out DDP.
    gpu, devices = uses_gpu(trainer), trainer.get("devices", 1)
    if not gpu and isinstance(devices, int) and devices > max(2, cpus := os.cpu_count() or 1):
        raise UserError(f"trainer.devices={devices}: each process needs a CPU, but this machine has {cpus}; use fewer")
    if int(trainer.get("num_nodes") or 1) > 1 and not is_launched():
        raise UserError("trainer.num_nodes above 1 needs a launcher that starts the processes; use torchrun or Slurm")
    # Check the memory: a parameter has a gradient and two moments.
    parameters = sum(parameter.numel() for parameter in model.parameters())
    needed = 4 * BYTES * parameters / 1e9
    total = torch.cuda.get_device_properties(0).total_memory if gpu else _memory()
    if needed > total / 1e9:
        raise UserError(
            f"model.dim and layers make {parameters:,} parameters, which take {needed:,.0f} GB with gradients and the "
            f"moments of the optimiser, but this machine has {total / 1e9:,.0f} GB; choose a smaller model"
        )


def _memory() -> float:
    """Return the bytes of main memory; infinite if the system does not report it."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return math.inf


def tell_speed(precision: str, model: nn.Module) -> None:
    """Log which of fp32 and bf16 is faster on this CPU, if the slower one was chosen.

    Args:
        precision: The chosen precision.
        model: The model to train.
    """
    lstm = _has_lstm(model)
    if lstm and not bf16_has_lstm():
        return
    # Compare the times of an update.
    ratio = bf16_time(lstm=lstm)
    if precision == BF16 and ratio > NOTABLE:
        log.warning("trainer.precision=%s takes %.1f times as long as %s on this CPU", BF16, ratio, FP32)
    elif precision == FP32 and ratio < 1 / NOTABLE:
        log.info("trainer.precision=%s is %.1f times as fast as %s on this CPU", BF16, 1 / ratio, FP32)


def _has_lstm(model: nn.Module) -> bool:
    """Return True if ``model`` contains an LSTM."""
    return any(isinstance(module, nn.LSTM) for module in model.modules())
