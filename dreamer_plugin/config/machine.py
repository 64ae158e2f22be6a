"""What this machine has: cores, free memory, a GPU. Containers' limits count."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")


@dataclass(frozen=True)
class Machine:
    """What a run may use.

    Args:
        cores: CPU cores open to this process.
        free: bytes of memory it can still take.
        gpu: name of the GPU it will use, empty without one.
        gpu_free: bytes free on it.
        disk: bytes that a replay on disk may take with its checkpoints, 0 where nobody looked.
    """

    cores: int
    free: int
    gpu: str = ""
    gpu_free: int = 0
    disk: int = 0


def probe(gpu: str = "", gpu_free: int = 0, disk: int = 0) -> Machine:
    """Look at this machine; what its GPU is must be told, for only PyTorch knows, and which disk.

    Args:
        gpu, gpu_free, disk: as in `Machine`.
    """
    return Machine(_cores(), _free_memory(), gpu, gpu_free, disk)


def free_disk(folder: Path) -> int:
    """Bytes free on the disk of a folder, which need not exist yet."""
    return shutil.disk_usage(existing(folder)).free


def existing(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def _cores() -> int:
    """Cores of the affinity mask, fewer if the container's CPU quota is smaller."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota, _, period = _read(CGROUP / "cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit() and int(period):
        cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def _free_memory() -> int:
    """Bytes that can still be taken without swapping, within the container's limit."""
    free = _host_free()
    for limit, used, stat in (
        ("memory.max", "memory.current", "memory.stat"),  # cgroup v2
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ):
        allowed, taken = _read(CGROUP / limit), _read(CGROUP / used)
        if allowed.isdigit() and taken.isdigit():
            # Cached files count as used but are given up at once.
            reclaimable = _field(_read(CGROUP / stat), "inactive_file")
            free = min(free, max(0, int(allowed) - int(taken) + reclaimable))
    return free


def _host_free() -> int:
    kilobytes = _field(_read(MEMINFO), "MemAvailable:")
    if kilobytes:
        return 1024 * kilobytes
    if not hasattr(os, "sysconf"):  # Windows: no cheap way to ask
        return 4 * 2**30
    # No system but Linux says what is available: half of the memory is a careful guess.
    return int(os.sysconf("SC_PAGE_SIZE")) * int(os.sysconf("SC_PHYS_PAGES")) // 2


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _field(text: str, name: str) -> int:
    """The number after `name` at the start of a line, 0 when there is none."""
    for line in text.splitlines():
        words = line.split()
        if words and words[0] == name and words[1].isdigit():
            return int(words[1])
    return 0
