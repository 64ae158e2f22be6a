"""How torch's threads wait between two pieces of work, settled before torch is imported.

A small kernel is done before a sleeping thread is awake, so by default threads spin for some
milliseconds before they sleep. That costs whoever needs their processor: where other programs
compute as well, a spinning thread keeps out the one that it waits for. So threads spin on a free
machine, and sleep on a busy one; `docs/performance.md` has the figures. No number that is computed
depends on it.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import MutableMapping
from pathlib import Path

SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # what a user may have said
_LOOKS, _APART = 5, 0.005  # a program that starts or ends is no load


def let_threads_sleep_if_busy(environ: MutableMapping[str, str], loadavg: Path) -> None:
    """Tell torch's threads to sleep when half of the processors or more are taken by others.

    What the user said stands. Where the system does not tell its load, torch's default does.

    Args:
        environ: of this process. loadavg: `/proc/loadavg`.
    """
    if any(name in environ for name in SETTINGS) or not loadavg.exists():
        return
    if 2 * running_beside(loadavg) >= (os.cpu_count() or 1):
        environ["OMP_WAIT_POLICY"] = "PASSIVE"


def running_beside(loadavg: Path) -> float:
    """How many threads of other programs want a processor, the median of a few looks.

    Args:
        loadavg: fourth word `running/all`, this process among those running.
    """
    looks = []
    for _ in range(_LOOKS):
        time.sleep(_APART)
        looks.append(int(loadavg.read_text().split()[3].partition("/")[0]) - 1)
    return statistics.median(looks)
