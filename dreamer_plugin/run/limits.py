"""Limits of the machine, in one line with what to change: memory of a device, room on disk."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from dreamer_plugin.config import Config
from dreamer_plugin.errors import DeviceMemoryError, DiskFullError
from dreamer_plugin.run import checkpoint

FULL = (errno.ENOSPC, errno.EDQUOT)
_CPU_WORDS = ("can't allocate memory", "not enough memory")  # of PyTorch's plain RuntimeError


@contextmanager
def limits_told(cfg: Config, run: Path | None) -> Iterator[None]:
    """Turn what the system says when something is used up into errors for users.

    Args:
        cfg: of the run. run: its folder, None where nothing is written.

    Raises:
        DeviceMemoryError: a tensor has no room. DiskFullError: a file has none.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceMemoryError(_memory_text(cfg, run, _first_line(error))) from error
    except RuntimeError as error:
        if not any(words in str(error) for words in _CPU_WORDS):
            raise
        raise DeviceMemoryError(_memory_text(cfg, run, _first_line(error))) from error
    except OSError as error:
        if error.errno not in FULL or run is None:
            raise
        raise DiskFullError(full_text(run, "what a run writes")) from error


def full_text(run: Path, what: str) -> str:
    """Sentences on a full disk: what had no room, what stands, and what to do.

    Args:
        run: folder of the run. what: had no room.
    """
    steps = checkpoint.steps(run / "checkpoints")
    stands = f"the one of step {steps[0][0]:,} stands" if steps else "there is none yet"
    free = shutil.disk_usage(run).free
    return (
        f"No room for {what} on the disk of {run} ({free:,} bytes free); of the checkpoints "
        f"{stands}. Free space, lower run.keep or set checkpoint.latents=false, then "
        f"--resume {run}."
    )


def _memory_text(cfg: Config, run: Path | None, said: str) -> str:
    model, replay = cfg.model, cfg.replay
    again = f" The checkpoints stand: --resume {run}, with --allow-config-change." if run else ""
    return (
        f"Updates do not fit into memory (device={cfg.device}): {said} They take less with a lower "
        f"replay.batch_size (now {replay.batch_size}) or replay.batch_length "
        f"({replay.batch_length}), with world.recompute=8, precision=bfloat16, or a smaller --size "
        f"({cfg.size}, model.deter={model.deter}).{again}"
    )


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].split(". ")[0].rstrip(".") + "."
