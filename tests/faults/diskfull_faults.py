"""A disk that is full: a run on a small file system of its own, which is made larger afterwards.

The file system is a tmpfs in a namespace of its own (`unshare`), so that nothing else sees it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.faults import runs, small
from tests.faults.env_faults import seconds
from tests.faults.runs import Run

STEPS, EVERY = 120, 20
NAMESPACE = ["unshare", "--map-root-user", "--mount"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("--n", type=int, default=20, help="sizes of the disk")


def possible() -> bool:
    """Whether this machine lets us have a file system of our own."""
    command = [*NAMESPACE, "sh", "-c", "mount -t tmpfs none /mnt"]
    try:
        return subprocess.run(command, capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def run(given: argparse.Namespace) -> list[dict]:
    """One row for a replay in memory, one for a replay on the same disk."""
    if not possible():
        print("no file system of our own here: unshare or mount is not allowed")
        return [small.row("disk full", 0, 0)]
    with tempfile.TemporaryDirectory() as folder:
        code = f"from tests.faults import diskfull_faults as f; f.inside({given.n}, {folder!r})"
        ended = subprocess.run([*NAMESPACE, sys.executable, "-W", "ignore", "-c", code])
        rows = Path(folder) / "rows.json"
        if ended.returncode or not rows.exists():
            return [small.row(f"disk full: ended with {ended.returncode}", given.n, 0)]
        return json.loads(rows.read_text())


def inside(count: int, place: str) -> None:
    """In the namespace: all sizes, results into a file."""
    rows, folder = [], Path(place)
    for name, settings in {
        "replay in memory": (),
        "replay on it too": ("replay.storage=disk",),
    }.items():
        whole = folder / f"whole-{name.replace(' ', '-')}"
        runs.finish(Run(runs.words(whole, STEPS, EVERY, *settings)))
        most = sum(path.stat().st_size for path in whole.rglob("*") if path.is_file())
        shares = [0.05 + 0.9 * i / max(count - 1, 1) for i in range(count)]
        found = [_full(int(most * share), folder, whole, settings) for share in shares]
        ends = sorted({str(each["code"]) for each in found})
        print(f"{name}: the whole run takes {most:,} bytes; exit codes {', '.join(ends)}")
        filled = any(each["code"] for each in found)
        if not filled:
            print("no disk of these was full: none counts")
        rows.append(
            small.row(
                f"disk full: {name}",
                len(found),
                sum(each["good"] for each in found) * filled,
                hung=sum(each["code"] is None for each in found),
                recovered=seconds([each["seconds"] for each in found]),
                equal=f"{sum(each['equal'] for each in found)} of {len(found)}",
            )
        )
    (folder / "rows.json").write_text(json.dumps(rows))


def _full(size: int, folder: Path, whole: Path, settings: tuple[str, ...]) -> dict:
    """A run on a disk of so many bytes: how it ends, and whether it goes on with more room."""
    disk = folder / "disk"
    disk.mkdir(exist_ok=True)
    room = f"size={max(size, 16384) // 1024}k"
    mount = ["mount", "-t", "tmpfs", "-o", room, "none", str(disk)]
    subprocess.run(mount, check=True)
    out = folder / "out.txt"
    try:
        words = runs.words(disk / "run", STEPS, EVERY, *settings)
        code = Run(words, out=out).wait(120)
        text = out.read_text(errors="replace")
        told = code in (0, 4) or (code == 2 and "does not fit on the disk" in text)
        clear = "Traceback" not in text
        subprocess.run(["mount", "-o", "remount,size=1g", str(disk)], check=True)
        began = time.monotonic()
        again = Run(words).wait(120)
        taken = time.monotonic() - began
        equal = again == 0 and small.same_end(whole, disk / "run")
        if not (told and clear and equal):
            print(f"{size:,} bytes: exit code {code}, then {again}, equal {equal}\n{text[-1500:]}")
        return {"good": told and clear and equal, "equal": equal, "code": code, "seconds": taken}
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
