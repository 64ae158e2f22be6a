"""Two FIFOs to the mod in the server: a line of JSON per step each way, and no wait without end.

python                       mod, in each step of the server
send(command)          ->    reads it, obeys, lets the step happen
receive() = State      <-    writes what is so now and what was earned, waits for a command
"""

from __future__ import annotations

import json
import math
import os
import select
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamer_envs.errors import EnvError

TO_GAME, FROM_GAME = "to_game", "from_game"
LONGEST = 65536  # bytes of a line; a whole inventory takes some 2,000
LOOK = 0.2  # seconds between two looks at whether the programs are alive


@dataclass(frozen=True)
class State:
    """What the mod tells in each step.

    Args:
        ready: whether the agent stands in its place; false while one is sought.
        earned: reward since the last state.
        pos: of the feet, in nodes: east, up, north. yaw, pitch: radians, pitch down.
        counts: logs, nodes and squares of this episode. inventory: items by name.
    """

    ready: bool
    earned: float
    pos: tuple[float, float, float]
    yaw: float
    pitch: float
    counts: dict[str, int]
    inventory: dict[str, int]


def parse(line: str) -> State:
    """The state of a line.

    Raises:
        EnvError: the line is not what our mod writes.
    """
    try:
        told = json.loads(line)
        east, up, north = (float(part) for part in told["pos"])
        state = State(
            ready=told["ready"] is True,
            earned=float(told["earned"]),
            pos=(east, up, north),
            yaw=float(told["yaw"]),
            pitch=float(told["pitch"]),
            counts=_counted(told["counts"]),
            inventory=_counted(told["inventory"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise EnvError(f"Minetest's mod said {line[:200]!r}, which is no state: {error!r}.") from (
            error
        )
    if not all(map(math.isfinite, (state.earned, *state.pos, state.yaw, state.pitch))):
        raise EnvError(f"Minetest's mod said {line[:200]!r}: every number must be finite.")
    return state


def _counted(told: Any) -> dict[str, int]:
    """Counts by name; Lua writes an empty table as `null` or a list."""
    return {str(name): int(count) for name, count in told.items()} if told else {}


class Link:
    """Our ends of the FIFOs.

    Args:
        folder: of the world; the FIFOs are made in it.
        ended: says why nobody can answer any more, or nothing.
    """

    def __init__(self, folder: Path, ended: Callable[[], str]) -> None:
        self._ended = ended
        for name in (TO_GAME, FROM_GAME):
            os.mkfifo(folder / name, 0o600)
        # Both are open at once: a writer alone would have to wait for its reader.
        self._out = os.open(folder / TO_GAME, os.O_RDWR | os.O_NONBLOCK)
        self._in = os.open(folder / FROM_GAME, os.O_RDONLY | os.O_NONBLOCK)
        self._rest = b""

    def send(self, **command: Any) -> None:
        """Gives the mod a command.

        Raises:
            EnvError: it has not taken the last ones.
        """
        try:
            os.write(self._out, json.dumps(command).encode() + b"\n")
        except BlockingIOError as error:
            raise EnvError("Minetest's server takes no commands any more.") from error

    def receive(self, seconds: float, what: str) -> State:
        """The next state.

        Args:
            seconds: how long it may take. what: is waited for, for the message.

        Raises:
            EnvError: it takes longer, the server is gone, or the line makes no sense.
        """
        end = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self._in, select.POLLIN)
        while b"\n" not in self._rest:
            if poll.poll(LOOK * 1000):
                read = os.read(self._in, LONGEST)
                if not read or len(self._rest) > LONGEST:
                    raise EnvError(self._why_closed())
                self._rest += read
            elif reason := self._ended():
                raise EnvError(reason)
            elif time.monotonic() > end:
                raise EnvError(f"Minetest's server gave no answer in {seconds:g} s to {what}.")
        line, _, self._rest = self._rest.partition(b"\n")
        return parse(line.decode(errors="replace"))

    def _why_closed(self) -> str:
        """The reason, which may become known a moment after its effect."""
        end = time.monotonic() + 5 * LOOK
        while not (reason := self._ended()) and time.monotonic() < end:
            time.sleep(LOOK / 4)
        return reason or "Minetest's server closed its side."

    def close(self) -> None:
        """Closes both ends; the mod then ends its server. May be called twice."""
        for handle in (self._out, self._in):
            if handle >= 0:
                os.close(handle)
        self._out = self._in = -1
