"""Which library multiplies float32 matrices in an update on a CPU.

PyTorch gives them to MKL, which runs AVX2 code on AMD's processors. oneDNN runs AVX512 there: more
than twice as fast on large products, and as exact, as long as the processor has no matrix unit
(AMX) that would take bfloat16 instead. Numbers in `docs/performance.md`.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from pathlib import Path

import torch


@contextmanager
def fast_products(device: torch.device, precision: torch.dtype) -> Iterator[None]:
    """Float32 products inside go to oneDNN where that is faster and as exact; else no change.

    Args:
        device: where they are made. precision: of the networks; only float32 has such products.
    """
    if device.type != "cpu" or precision != torch.float32 or not onednn_is_exact_and_faster():
        yield
        return
    with _matmul_precision("medium"):  # on a CPU: oneDNN may take what it has
        yield


@lru_cache
def onednn_is_exact_and_faster() -> bool:
    """Whether this processor is AMD's, with AVX512 and without AMX."""
    cpuinfo = Path("/proc/cpuinfo")
    if platform.machine() not in ("x86_64", "AMD64") or not cpuinfo.exists():
        return False
    text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return "AuthenticAMD" in text and wide and "amx_tile" not in text


@contextmanager
def few_rows(small: bool) -> Iterator[None]:
    """Inside `fast_products`, leave `small` products of few rows to MKL, which starts sooner."""
    with _matmul_precision("highest") if small else nullcontext():
        yield


@contextmanager
def _matmul_precision(word: str) -> Iterator[None]:
    """Torch's setting for float32 products is `word` inside, and afterwards what it was."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(word)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
