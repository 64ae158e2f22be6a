"""A stand-in for Minecraft with MineRL's mod: it speaks the TCP protocol and follows a script.

    client                                   server
    <MalmoEnv0.37.0/>                        -
    <Quit/>                                  u32
    mission XML, then uid:role:0:1:true:seed u32: 1, or 0 where it is busy
    <Peek/>                                  picture, facts in JSON, i8 done
    <StepClient0>commands</StepClient0 >     picture, f64 reward i8 done i8 sent, facts in JSON
    <StepServer></StepServer>, <Disconnect/> -

Each message has its length before it, u32, big-endian; pictures are rows of RGB, bottom row first.
Source: minerl 0.4.4, minerl/env/comms.py and _multiagent.py. Nothing here knows Minecraft itself.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import threading
from dataclasses import dataclass, field

SIZE = 64


@dataclass
class Script:
    """What happens in every episode.

    Attributes:
        length: steps until the player dies.
        inventory: step -> items held from then on.
        facts: step -> other entries of the facts from then on, such as `life`.
        busy: how often a mission is turned down at first.
        hang_up: (step, answers still sent) at which the connection breaks off; None for never.
    """

    length: int = 50
    inventory: dict[int, dict[str, int]] = field(default_factory=dict)
    facts: dict[int, dict[str, object]] = field(default_factory=dict)
    busy: int = 0
    hang_up: tuple[int, int] | None = None


class Server(threading.Thread):
    """Listens on a port of its own; each connection is a game.

    Attributes:
        port: where it listens. missions, seeds, commands: what came, over all connections; a
            command is the lines of one step.
    """

    def __init__(self, script: Script | None = None) -> None:
        super().__init__(daemon=True)
        self.script = script or Script()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.missions: list[str] = []
        self.seeds: list[int] = []
        self.commands: list[dict[str, str]] = []
        self.start()

    def run(self) -> None:
        while True:
            try:
                link, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._play, args=(link,), daemon=True).start()

    def close(self) -> None:
        """Takes no more connections; those that are open stay."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # which wakes the thread that waits there
        self._listening.close()

    def _play(self, link: socket.socket) -> None:
        with link:
            try:
                _Game(self, link).serve()
            except (EOFError, OSError):
                pass  # the client is gone, or the script said so


class _Game:
    """One connection."""

    def __init__(self, server: Server, link: socket.socket) -> None:
        self.server, self.script, self.link = server, server.script, link
        self.time, self.seed, self.turned_down = 0, 0, 0

    def serve(self) -> None:
        while True:
            message = self._receive()
            tag = re.match(rb"<([A-Za-z]+)", message)
            assert tag, message
            getattr(self, f"on_{tag.group(1).decode()}")(message.decode())

    def on_MalmoEnv(self, message: str) -> None:
        assert message == "<MalmoEnv0.37.0/>"

    def on_StepServer(self, message: str) -> None:
        pass

    on_Disconnect = on_StepServer

    def on_Quit(self, message: str) -> None:
        self._send(struct.pack("!I", 1))

    def on_MissionInit(self, message: str) -> None:
        token = self._receive().decode().split(":")
        if self.turned_down < self.script.busy:
            self.turned_down += 1
            return self._send(struct.pack("!I", 0))
        self.server.missions.append(message)
        self.time, self.seed = 0, int(token[5])
        self.server.seeds.append(self.seed)
        return self._send(struct.pack("!I", 1))

    def on_Peek(self, message: str) -> None:
        self._send(self._picture())
        self._send(self._facts())
        self._send(struct.pack("!b", 0))

    def on_StepClient(self, message: str) -> None:
        lines = message.partition(">")[2].rpartition("</")[0].splitlines()
        self.server.commands.append(dict(line.split(" ", 1) for line in lines))
        self.time += 1
        done = self.time >= self.script.length
        answers = [self._picture(), struct.pack("!dbb", 0.5, done, 1), self._facts()]
        if self.script.hang_up and self.time == self.script.hang_up[0]:
            answers = answers[: self.script.hang_up[1]]
        for answer in answers:
            self._send(answer)
        if len(answers) < 3:
            raise EOFError

    def _picture(self) -> bytes:
        """The upper half is the seed's shade, the lower the step's."""
        half = SIZE * SIZE // 2
        lower, upper = bytes([self.time % 256, 0, 0]), bytes([0, 0, self.seed % 256])
        return lower * half + upper * half

    def _facts(self) -> bytes:
        items: dict[str, int] = {}
        place = {"xpos": 0.5, "ypos": 64.0, "zpos": 0.5, "pitch": 0.0, "yaw": 0.0}
        body = {"life": 20.0, "food": 20, "air": 300, "saturation": 5.0, "is_alive": True}
        hand = {"type": "air", "metadata": 0, "damage": 0, "maxDamage": 0}
        light = {"can_see_sky": True, "sun_brightness": 1.0, "sky_light_level": 1.0}
        light |= {"light_level": 1.0, "biome_id": 4, "sea_level": 63}
        light |= {"biome_temperature": 0.7, "biome_rainfall": 0.8, "is_raining": False}
        facts: dict[str, object] = {**place, **body, **light, "xp": 0, "score": 0}
        facts["equipped_items"] = {"mainhand": hand}
        for time in range(self.time + 1):
            items |= self.script.inventory.get(time, {})
            facts |= self.script.facts.get(time, {})
        kinds = [{"type": item, "quantity": count, "metadata": 0} for item, count in items.items()]
        return json.dumps({"inventory": kinds, **facts}).encode()

    def _receive(self) -> bytes:
        return self._exactly(struct.unpack("!I", self._exactly(4))[0])

    def _exactly(self, count: int) -> bytes:
        parts = b""
        while len(parts) < count:
            part = self.link.recv(count - len(parts))
            if not part:
                raise EOFError
            parts += part
        return parts

    def _send(self, message: bytes) -> None:
        self.link.sendall(struct.pack("!I", len(message)) + message)
