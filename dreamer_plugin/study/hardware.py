"""What this machine reaches: its rate in matrix products, memory used."""

from __future__ import annotations

import platform

import torch

from dreamer_plugin.study.phases import clock

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def matmul_rate(device: torch.device, precision: str, size: int = 0, rounds: int = 5) -> float:
    """Floating-point operations per second of square matrix products, the best of some rounds.

    Args:
        precision: `float32` or `bfloat16`.
        size: rows and columns; by default 2048 on a CPU and 8192 on a GPU.
    """
    size = size or (8192 if device.type == "cuda" else 2048)
    a, b = (torch.randn(size, size, device=device, dtype=DTYPES[precision]) for _ in range(2))
    read, best = clock(device), float("inf")
    out = a @ b  # the first one also sets the library up
    for _ in range(rounds):
        started = read()
        torch.mm(a, b, out=out)
        best = min(best, read() - started)
    return 2 * size**3 / best


def peak_rss() -> int | None:
    """Most bytes of memory this process has had so far; None where the system does not say."""
    if resource is None:
        return None
    unit = 1 if platform.system() == "Darwin" else 1024
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit
