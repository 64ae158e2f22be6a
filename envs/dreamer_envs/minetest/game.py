"""A running Minetest: server, client and screen, stepped together.

The server waits for each step; the client is a program in real time, whose movement depends on how
fast this machine draws. So the same seed and the same actions do not give the same episode.
"""

from __future__ import annotations

import math
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from dreamer_envs.errors import EnvError, MissingPackageError
from dreamer_envs.images import Image
from dreamer_envs.minetest.hands import Hands
from dreamer_envs.minetest.link import Link, State
from dreamer_envs.minetest.programs import APT, Programs
from dreamer_envs.minetest.screen import MARKS, STRIP, Screen, view

PROGRAMS = ("Xvfb", "minetest", "minetestserver")
START, SEEK = 4, 2  # times as long as a step may a start take, and a new place
VIEW_ANGLE = 52  # degrees; Minetest widens it on a screen that is not wide, here to 70


@dataclass(frozen=True)
class Settings:
    """What a game is started with.

    Args:
        task: what the mod pays for. world: seed of the map.
        width: pixels of a side of the view. step_ms: length of a step of the server.
        dig_speed: times faster than Minetest's own hand.
        patience: seconds that a step may take.
    """

    task: str
    world: int = 1
    width: int = 128
    step_ms: int = 50
    dig_speed: float = 100.0
    patience: float = 25.0


class Game:
    """One game.

    Args:
        settings: of it. who: env id, for messages.

    Raises:
        MissingPackageError: a program is missing.
        EnvError: a program does not start, or not in time.
    """

    def __init__(self, settings: Settings, who: str) -> None:
        found = find_programs(who)
        self.who = who
        self._patience = settings.patience
        self._mark = 0
        self._parts: list[Programs | Link | Screen | Hands] = []
        self._programs = Programs()
        self._parts.append(self._programs)
        try:
            self._begin(settings, found)
        except BaseException as error:
            said = {name: self._programs.said(name) for name in PROGRAMS}
            self.close()
            if isinstance(error, EnvError):
                last = "; ".join(f"{name}: {text}" for name, text in said.items() if text)
                raise EnvError(f"{who} did not start: {error} {last}".strip()) from error
            raise

    def step(self, keys: Iterable[str] = (), right: int = 0, down: int = 0) -> tuple[Image, State]:
        """Lets one step of the server pass.

        Args:
            keys: held in it. right, down: degrees to turn by.

        Returns:
            The view, uint8 `[width, width, 3]`, drawn after the step, and what the mod tells.

        Raises:
            EnvError: a program is gone or does not answer; make another game.
        """
        self._check()
        try:
            self._hands.hold(keys)
            self._hands.turn(right, down)  # a pixel is a degree: `sensitivity`
        except Exception as error:  # whatever Xlib says about a display that is gone
            reason = self._programs.ended(wait=1.0) or f"its screen takes no keys: {error!r}"
            raise self._failed(reason) from error
        return self._pass("a step")

    def move_to(self, place: int) -> tuple[Image, State]:
        """Puts the agent, with empty hands, into another place of the same world.

        Args:
            place: number that the place is drawn from.

        Returns:
            As `step`, when the place is there and drawn.

        Raises:
            EnvError: as `step`, or no place is found in time.
        """
        self._check()
        self._hands.hold(())
        self._link.send(place=place)
        end = time.monotonic() + SEEK * self._patience
        self._receive("a move", self._patience)
        while True:
            pixels, state = self._pass("a move")
            if state.ready:
                return pixels, state
            if time.monotonic() > end:
                raise self._failed(f"no place was ready in {SEEK * self._patience:g} s")

    def close(self) -> None:
        """Ends everything; may be called twice."""
        for part in reversed(self._parts):
            part.close()
        self._parts.clear()

    def _begin(self, settings: Settings, found: dict[str, str]) -> None:
        folder = self._programs.folder
        env = _environment(folder)
        size = f"{settings.width}x{settings.width + 2 * STRIP}x24"
        screen = [found["Xvfb"], "-displayfd", "1", "-screen", "0", size, "-fbdir", str(folder)]
        log = self._programs.start("Xvfb", [*screen, "-nolisten", "tcp"], env, gentle=True)
        display = f":{self._wait('Xvfb', lambda: display_number(log.read_text()))}"
        env["DISPLAY"] = display
        port = free_port()
        world, conf = _write_world(folder, settings, port)
        self._link = Link(world, self._programs.ended)
        self._parts.append(self._link)
        server = [found["minetestserver"], "--world", str(world), "--gameid", "minetest_game"]
        server += ["--logfile", str(folder / "debug.txt")]  # Debian's own is for administrators
        told = self._programs.start(
            "minetestserver", [*server, "--port", str(port), "--config", str(conf)], env
        )
        self._wait("minetestserver", lambda: "listening on" in told.read_text(errors="replace"))
        client = [found["minetest"], "--go", "--address", "127.0.0.1", "--port", str(port)]
        client += ["--name", "agent", "--password", "", "--config", str(conf)]
        self._programs.start("minetest", client, env)
        self._receive("its start", START * self._patience)
        self._screen = Screen(folder)
        self._parts.append(self._screen)
        self._hands = Hands(display)
        self._parts.append(self._hands)

    def _wait(self, name: str, ready: Callable[[], object]) -> object:
        """What a program has once it is ready."""
        seconds = START * self._patience
        end = time.monotonic() + seconds
        while True:
            try:
                if found := ready():
                    return found
            except FileNotFoundError:  # it has not said anything yet
                pass
            if reason := self._programs.ended():
                raise EnvError(f"{reason}.")
            if time.monotonic() > end:
                raise EnvError(f"{name} was not ready within {seconds:g} s.")
            time.sleep(0.02)

    def _pass(self, what: str) -> tuple[Image, State]:
        """One step of the server, and the frame that the client draws of it."""
        self._mark = (self._mark + 1) % MARKS
        self._link.send(mark=self._mark)
        state = self._receive(what, self._patience)
        pixels = self._screen.wait(self._mark, self._patience)
        if pixels is None:
            self._check()
            raise self._failed(f"its client has not drawn for {self._patience:g} s")
        return view(pixels), state

    def _receive(self, what: str, seconds: float) -> State:
        try:
            return self._link.receive(seconds, what)
        except EnvError as error:
            raise self._failed(str(error).rstrip(".")) from error

    def _check(self) -> None:
        if not self._parts:
            raise EnvError(f"{self.who} is closed.")
        if reason := self._programs.ended():
            raise self._failed(reason)

    def _failed(self, reason: str) -> EnvError:
        return EnvError(f"{self.who} failed: {reason}; make it anew.")


def find_programs(who: str) -> dict[str, str]:
    """Paths of the programs by name.

    Raises:
        MissingPackageError: one is missing; the message has the line that installs them.
    """
    if sys.platform != "linux":
        raise MissingPackageError(f"{who} needs Linux, this is {sys.platform}.")
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/games"
    found = {name: shutil.which(name, path=path) for name in PROGRAMS}
    missing = [name for name, place in found.items() if place is None]
    if missing:
        raise MissingPackageError(
            f"{who} needs the programs {', '.join(missing)}; on Debian 12: "
            f"apt-get install -y --no-install-recommends {APT}"
        )
    return {name: place for name, place in found.items() if place}


def display_number(said: str) -> str:
    """The number that Xvfb has chosen, in a line of its own among what else it says, or nothing."""
    whole = said.split("\n")[:-1]  # the last may be still on its way
    return next((line for line in whole if line.isdigit()), "")


def free_port() -> int:
    """A UDP port that nobody uses on this machine's own address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment(folder: Path) -> dict[str, str]:
    """Environment of the programs: nothing of the user's own settings of Minetest."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    threads = os.environ.get("LP_NUM_THREADS", "1")  # of software drawing; a small screen needs one
    return {
        **kept,
        "HOME": str(folder),
        "LIBGL_ALWAYS_SOFTWARE": "1",
        "LP_NUM_THREADS": threads,
    }


def _write_world(folder: Path, settings: Settings, port: int) -> tuple[Path, Path]:
    """Folder of a new world with our mod, and the file of settings."""
    world = folder / "world"
    mod = world / "worldmods" / "dreamer_bridge"
    mod.mkdir(parents=True)
    for source in (Path(__file__).parent / "mod").iterdir():
        (mod / source.name).write_bytes(source.read_bytes())
    (world / "world.mt").write_text(WORLD)
    conf = folder / "minetest.conf"
    conf.write_text(configuration(settings, port))
    return world, conf


# Nothing of the world is kept on disk.
WORLD = """\
gameid = minetest_game
backend = dummy
player_backend = dummy
auth_backend = files
mod_storage_backend = dummy
load_mod_dreamer_bridge = true
"""


def configuration(settings: Settings, port: int) -> str:
    """Minetest's settings, of server and client."""
    lines = {
        "dreamer_task": settings.task,
        "dreamer_dig_speed": settings.dig_speed,
        # Who may connect: one client, from this machine.
        "bind_address": "127.0.0.1",
        "port": port,
        "ipv6_server": "false",
        "enable_ipv6": "false",
        "server_announce": "false",
        "enable_remote_media_server": "false",
        "max_users": 1,
        "name": "agent",
        # The world: no night, no caves, no harm.
        "fixed_map_seed": settings.world,
        "mg_name": "v7",
        "mg_flags": "nocaves,nodungeons",
        "mgv7_spflags": "mountains,noridges,nofloatlands,nocaverns",
        "chunksize": 3,  # blocks of 16 nodes that are generated at once: sooner there than 5
        "time_speed": 0,
        "world_start_time": 12000,
        "enable_damage": "false",
        "creative_mode": "false",
        "disable_anticheat": "true",
        "dedicated_server_step": settings.step_ms / 1000,
        # How much of it there is.
        "max_block_send_distance": 3,
        "max_block_generate_distance": 3,
        "active_block_range": 2,
        "server_unload_unused_data_timeout": 10,
        "client_unload_unused_data_timeout": 30,
        "client_mapblock_limit": 1000,
        "viewing_range": 40,
        "fov": VIEW_ANGLE,
        # What it looks like.
        "screen_w": settings.width,
        "screen_h": settings.width + 2 * STRIP,
        "fullscreen": "false",
        "autosave_screensize": "false",
        "video_driver": "opengl",
        "vsync": "false",
        "fps_max": 60,
        "fps_max_unfocused": 60,
        "pause_on_lost_focus": "false",
        "enable_shaders": "false",
        "smooth_lighting": "false",
        "enable_clouds": "false",
        "enable_particles": "false",
        "mip_map": "false",
        "view_bobbing_amount": 0,
        "hud_scaling": 1.0,
        "show_nametag_backgrounds": "false",
        "recent_chat_messages": 2,
        "enable_sound": "false",
        "mute_sound": "true",
        # What moves it.
        "mouse_sensitivity": sensitivity(settings.width, settings.width + 2 * STRIP),
        "keymap_forward": "KEY_KEY_W",
        "keymap_backward": "KEY_KEY_S",
        "keymap_left": "KEY_KEY_A",
        "keymap_right": "KEY_KEY_D",
        "keymap_jump": "KEY_SPACE",
    }
    return "".join(f"{name} = {value}\n" for name, value in lines.items())


def sensitivity(width: int, height: int) -> float:
    """Sensitivity of the mouse with which a pixel turns the view by one degree.

    Args:
        width, height: of the screen.

    Source: Minetest 5.6.1, `src/client/camera.cpp` (the angle is widened by the root of 1.6 over
    the aspect, at most 1.4) and `src/client/game.cpp` (`getSensitivityScaleFactor`). Measured too:
    90 pixels turned by 90 degrees.
    """
    widened = min(max(math.sqrt(1.6 * height / width), 1.0), 1.4)
    return round(1 / (math.tan(math.radians(VIEW_ANGLE * widened) / 2) * 1.3763819), 4)
