"""What a run is made on: versions, commit, hardware, a line of JSON when it begins or goes on."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from dreamer_plugin.run.allocator import allocator

FILE = "machine.jsonl"
PACKAGES = ("dreamer-plugin", "torch", "torchrl", "tensordict", "gymnasium", "numpy")


def machine_facts(device: torch.device, packages: Sequence[str] = ()) -> dict[str, str | int]:
    """Versions, also of further packages, commit, hardware and time, by name."""
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **{name: _version(name) for name in (*PACKAGES, *packages)},
        "commit": commit(Path(__file__)),
        "python": platform.python_version(),
        "system": platform.platform(),
        "device": device_name(device),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0,
        "threads": torch.get_num_threads(),
        "waiting": os.environ.get("OMP_WAIT_POLICY", ""),
        "allocator": allocator(),
    }


def note_machine(
    folder: Path, device: torch.device, step: int, packages: Sequence[str] = ()
) -> None:
    """Append where a run goes on, and from which agent step."""
    line = json.dumps({"step": step, **machine_facts(device, packages)})
    with (folder / FILE).open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def read_machines(folder: Path) -> list[dict[str, Any]]:
    """All whole lines of a run's file; empty where it is of an older version."""
    path, lines = folder / FILE, []
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        try:
            lines.append(json.loads(line))
        except ValueError:  # cut by a kill
            continue
    return lines


def device_name(device: torch.device) -> str:
    """Name of the GPU or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def commit(file: Path) -> str:
    """Commit of the checkout that tracks a file, with a `+` where it was changed since; or empty.

    A package that is installed inside another checkout is not tracked by it, and has none.
    """
    if _git(file, "ls-files", "--error-unmatch", file.name) is None:
        return ""
    head = _git(file, "rev-parse", "--short=12", "HEAD") or ""
    changed = _git(file, "status", "--porcelain", "--untracked-files=no")
    return head + "+" * bool(head and changed)


def _git(file: Path, *words: str) -> str | None:
    """What git says in the folder of a file; None where it refuses, or is not installed."""
    command = ["git", "-C", str(file.parent), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
