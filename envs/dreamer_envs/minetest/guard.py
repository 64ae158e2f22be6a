"""A program of its own that lets other programs live only as long as whoever asked for them.

Run as `python -I -S guard.py PARENT FOLDER`. Each line that it reads asks for a program, as JSON
`{"name", "argv", "env", "log", "gentle"}`. When one of them ends it says `name code`. Then, or when
its input ends or its parent is gone, it ends them all, removes the folder and ends itself. If it is
killed, Linux ends them. `programs.py` is the other side.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

LOOK = 0.2  # seconds between two looks at who is still alive
GRACE = 2.0  # seconds that a gentle end may take
_SIGNAL_AT_PARENTS_DEATH = 1  # PR_SET_PDEATHSIG of Linux' prctl


def main(parent: int, folder: str) -> None:
    """Starts what it is told to, and ends all of it at the first reason to.

    Args:
        parent: process that must live. folder: removed at the end.
    """
    # A worker ignores these, and what is ignored stays so in new programs.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    programs: dict[str, tuple[subprocess.Popen[bytes], bool]] = {}
    try:
        for line in _lines(lambda: os.getppid() == parent and not _told(programs)):
            wish = json.loads(line)
            programs[wish["name"]] = _start(wish), bool(wish["gentle"])
    finally:
        _end(programs)
        _wait_until_let_go(parent)  # which may still read the last words in the folder
        shutil.rmtree(folder, ignore_errors=True)


def _lines(go_on: Callable[[], bool]) -> Iterator[bytes]:
    """Lines of the input until it ends, or until there is a reason to stop."""
    rest = b""
    while go_on():
        if not select.select([0], [], [], LOOK)[0]:
            continue
        read = os.read(0, 65536)
        if not read:
            return
        *whole, rest = (rest + read).split(b"\n")
        yield from whole


def _wait_until_let_go(parent: int) -> None:
    while os.getppid() == parent:
        if select.select([0], [], [], LOOK)[0] and not os.read(0, 65536):
            return


def _start(wish: dict[str, Any]) -> subprocess.Popen[bytes]:
    death = signal.SIGTERM if wish["gentle"] else signal.SIGKILL
    prctl = ctypes.CDLL(None).prctl
    with open(wish["log"], "wb") as log:
        return subprocess.Popen(
            wish["argv"],
            env=wish["env"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: prctl(_SIGNAL_AT_PARENTS_DEATH, death),
        )


def _told(programs: dict[str, tuple[subprocess.Popen[bytes], bool]]) -> bool:
    """Whether a program has ended; says which."""
    for name, (program, _) in programs.items():
        code = program.poll()
        if code is not None:
            os.write(1, f"{name} {code}\n".encode())
            return True
    return False


def _end(programs: dict[str, tuple[subprocess.Popen[bytes], bool]]) -> None:
    """Ends the newest first: what draws goes before the screen, which cleans up after itself."""
    for program, gentle in reversed(programs.values()):
        if gentle:
            program.terminate()
            try:
                program.wait(GRACE)
            except subprocess.TimeoutExpired:
                pass
        program.kill()
        program.wait()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
