"""The precision that training computes in: what ``trainer.precision=auto`` is, and what a machine can't run."""

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
"""Lightning's other names of the same."""
BYTES = 4  # of a parameter
NOTABLE = 1.1
"""How many times as long as the other a precision takes where a message says so."""


def precision_of(trainer: Mapping[str, Any]) -> str:
    """Return the precision that the ``trainer`` node stands for on this machine.

    ``auto`` is bf16 on a GPU that computes in it, and fp32 everywhere else.

    Raises:
        UserError: training has no such precision, or none on this device.
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


def uses_gpu(trainer: Mapping[str, Any]) -> bool:
    """Tell whether the ``trainer`` node trains on a GPU of this machine."""
    return trainer.get("accelerator", "auto") in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def check_device(trainer: Mapping[str, Any]) -> None:
    """Refuse an accelerator that this machine lacks.

    Raises:
        UserError: one line that names trainer.accelerator.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    there = {"gpu": cuda or mps, "cuda": cuda, "mps": mps}
    if not there.get(asked := str(trainer.get("accelerator", "auto")), True):
        raise UserError(f"trainer.accelerator={asked}: this machine has no such device; use trainer=cpu")


def check_precision(trainer: Mapping[str, Any], model: nn.Module) -> None:
    """Refuse a precision whose kernels this machine lacks for ``model``, which may be on the meta device.

    Raises:
        UserError: one line that names trainer.precision.
    """
    if precision_of(trainer) == BF16 and not uses_gpu(trainer) and _has_lstm(model) and not bf16_has_lstm():
        raise UserError(
            f"trainer.precision={trainer['precision']}: this CPU has no LSTM in bf16 (oneDNN needs AVX-512 for it); "
            f"use auto or {FP32}"
        )


def check_size(trainer: Mapping[str, Any], model: nn.Module) -> None:
    """Refuse a model that this machine can't hold while it is trained, and processes for which it has no processor.

    Raises:
        UserError: one line that names the options to change.
    """
    gpu, devices = uses_gpu(trainer), trainer.get("devices", 1)
    if not gpu and isinstance(devices, int) and devices > max(2, cpus := os.cpu_count() or 1):  # two to try it out
        raise UserError(f"trainer.devices={devices}: this machine has {cpus} CPUs, one for each process")
    if int(trainer.get("num_nodes") or 1) > 1 and not is_launched():
        raise UserError("trainer.num_nodes above 1 needs a launcher that starts the processes: torchrun or Slurm")
    parameters = sum(parameter.numel() for parameter in model.parameters())
    needed = 4 * BYTES * parameters / 1e9
    total = torch.cuda.get_device_properties(0).total_memory if gpu else _memory()
    if needed > total / 1e9:
        raise UserError(
            f"model.dim and layers make {parameters:,} parameters, which take {needed:,.0f} GB with gradients and the "
            f"optimiser's moments; this machine has {total / 1e9:,.0f} GB"
        )


def _memory() -> float:
    """Return the bytes of main memory, infinite where the system does not tell."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return math.inf


def tell_speed(precision: str, model: nn.Module) -> None:
    """Say which of fp32 and bf16 is faster on this CPU, where the slower one was chosen."""
    lstm = _has_lstm(model)
    if lstm and not bf16_has_lstm():
        return
    ratio = bf16_time(lstm=lstm)
    if precision == BF16 and ratio > NOTABLE:
        log.warning("trainer.precision=%s takes %.1f times as long as %s on this CPU", BF16, ratio, FP32)
    elif precision == FP32 and ratio < 1 / NOTABLE:
        log.info("trainer.precision=%s is %.1f times as fast as %s on this CPU", BF16, 1 / ratio, FP32)


def _has_lstm(model: nn.Module) -> bool:
    return any(isinstance(module, nn.LSTM) for module in model.modules())
