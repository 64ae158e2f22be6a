"""How this process keeps memory between updates.

glibc gives large blocks back to the kernel when they are freed and pays for fresh pages at the next
update. For networks on images that is a fifth to a third of the time on a CPU. Only a process that
trains should be told otherwise, so the training entry does it, and never an import.
"""

from __future__ import annotations

import ctypes
import platform
from pathlib import Path

# Names and numbers of <malloc.h>: blocks come from the heap alone, and the heap never shrinks.
_MMAP_MAX, _TRIM_THRESHOLD, _TOP_PAD = -4, -1, -2
_GROWTH = 256 * 2**20  # bytes the heap grows by at a time
_OTHERS = ("tcmalloc", "jemalloc", "mimalloc")  # which `LD_PRELOAD` puts in its place
_MAPS = Path("/proc/self/maps")


def allocator() -> str:
    """Which allocator serves this process: glibc's, or another by name; empty where unknown."""
    files = _MAPS.read_text() if _MAPS.is_file() else ""
    return next((name for name in _OTHERS if name in files), platform.libc_ver()[0])


def keep_memory() -> bool:
    """Let freed memory stay with this process, at the price of a larger one.

    Returns:
        Whether it was done; only glibc's own allocator takes the request.
    """
    if allocator() != "glibc":
        return False
    libc = ctypes.CDLL(None)
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, _GROWTH))
    return all(libc.mallopt(name, value) == 1 for name, value in settings)
