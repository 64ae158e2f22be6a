"""Where an agent runs."""

from __future__ import annotations

import os

import torch

from dreamer_plugin.errors import UsageError

TYPES = ("cpu", "cuda", "mps")
_ON_A_CPU = "PYTORCH_ENABLE_MPS_FALLBACK"  # torch then makes what a device lacks on the processor


def choose_device(name: str) -> torch.device:
    """`auto` is the GPU when there is one.

    Raises:
        UsageError: for a device that torch does not know or this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in TYPES:  # torch knows some that hold no numbers
        raise UsageError(f"Unknown device {name!r}. Use auto, cpu, cuda, cuda:N or mps.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise UsageError(f"Device {name!r} is not here ({count} CUDA devices). Use auto or cpu.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError(f"Device {name!r} is not here. Use auto or cpu.")
    if device.type == "mps" and os.environ.get(_ON_A_CPU) != "1":
        # Normal noise comes from `special.ndtri`, which torch has for processors and CUDA devices.
        raise UsageError(f"Device mps lacks some operations: set {_ON_A_CPU}=1 before the start.")
    return device
