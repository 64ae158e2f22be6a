"""Programs that end with this process, however it ends; see `guard.py`, which holds them."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

APT = "minetest minetest-server xvfb libgl1-mesa-dri"  # of Debian 12
PATIENCE = 5.0  # seconds that their end is waited for
SAID = 400  # last characters of a log that an error shows


class Programs:
    """Programs and the folder they work in.

    Attributes:
        folder: private to this user, removed with the programs.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="dreamer-minetest-"))
        guard = Path(__file__).with_name("guard.py")
        # In a session of its own: Ctrl-C and signals for the run's group reach the run alone.
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", str(guard), str(os.getpid()), str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._ended = ""

    def start(
        self, name: str, argv: Sequence[str], env: Mapping[str, str], gentle: bool = False
    ) -> Path:
        """Asks for a program.

        Args:
            name: for messages. argv: command. env: its whole environment.
            gentle: whether it may tidy up at its end.

        Returns:
            The file that gets all that it says.
        """
        log = self.folder / f"{name}.log"
        wish = {"name": name, "argv": list(argv), "env": dict(env)}
        line = json.dumps({**wish, "log": str(log), "gentle": gentle}) + "\n"
        assert self._guard.stdin is not None
        try:
            self._guard.stdin.write(line.encode())
            self._guard.stdin.flush()
        except OSError:  # the guard is gone: `ended` tells
            pass
        return log

    def ended(self, wait: float = 0.0) -> str:
        """Which program has ended by itself, and how; empty while all run.

        Args:
            wait: seconds, for a reason that becomes known a moment after its effect.
        """
        if not self._ended:
            assert self._guard.stdout is not None
            if select.select([self._guard.stdout], [], [], wait)[0]:
                told = self._guard.stdout.readline().decode().split()
                self._ended = (
                    f"{told[0]} ended with code {told[1]}" if told else "its guard was killed"
                )
        return self._ended

    def said(self, name: str) -> str:
        """The last words of a program on one line; empty if there are none."""
        try:
            text = (self.folder / f"{name}.log").read_text(errors="replace")
        except OSError:
            return ""
        return " | ".join(text[-SAID:].split("\n")).strip(" |")

    def close(self) -> None:
        """Ends all programs and removes the folder; may be called twice.

        The guard has heard of it and needs nobody to go on: a client that takes long to end, on a
        busy machine, is not waited for.
        """
        assert self._guard.stdin is not None and self._guard.stdout is not None
        try:
            self._guard.stdin.close()
        except OSError:  # it holds a line that nobody took
            pass
        try:
            self._guard.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            pass
        self._guard.stdout.close()
