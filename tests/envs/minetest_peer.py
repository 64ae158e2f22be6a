"""Stands for Xvfb, the server and the client of Minetest, by the name it is called by.

It speaks over the same FIFOs and writes the same file of pixels, so that all of
`dreamer_envs.minetest` but keys and mouse runs without the game. The file `PEER` beside it says
how it behaves:

    well       a place is ready at the second mark; every third mark of an episode earns 1
    dies       the server ends at its fourth command
    hangs      the server answers no more from its fourth command on
    blind      the client never draws
    nowhere    no place is ever ready
    garbles    the server answers what is no state
"""

from __future__ import annotations

import json
import struct
import sys
import time
from pathlib import Path

ME = Path(sys.argv[0])
BEHAVES = (ME.parent / "PEER").read_text().strip()
LONG = 120.0  # seconds, after which a forgotten stand-in ends by itself


def option(name: str) -> str:
    return sys.argv[sys.argv.index(name) + 1]


def xvfb() -> None:
    width, height = (int(part) for part in option("0").split("x")[:2])  # of `-screen 0 WxHx24`
    folder = Path(option("-fbdir"))
    fields = [100, 7, 2, 24, width, height, 0, 0, 32, 0, 32, 32, width * 4] + [0] * 12
    (folder / "Xvfb_screen0").write_bytes(struct.pack(">25I", *fields) + bytes(width * height * 4))
    print(77, flush=True)
    time.sleep(LONG)


def draw(screen: Path, mark: int) -> None:
    """A gray view, and the mark at both ends, blue first."""
    with open(screen, "r+b") as file:
        header = struct.unpack(">25I", file.read(100))
        width, height = header[4], header[5]
        pixel = bytes([128, mark % 16 * 16 + 8, mark // 16 % 16 * 16 + 8, 255])
        strip = pixel * (width * 8)
        file.write(strip + bytes([50, 50, 50, 255]) * (width * (height - 16)) + strip)


def server() -> None:
    world = Path(option("--world"))
    print("ACTION: listening on 127.0.0.1", flush=True)
    out = open(world / "from_game", "w")
    commands = open(world / "to_game")
    state = {
        "ready": True, "earned": 0, "pos": [0, 9.5, 0], "yaw": 0, "pitch": 0,
        "counts": {"dig": 0}, "inventory": None,
    }  # fmt: skip
    told = marked = 0
    while True:
        out.write(json.dumps(state) + "\n")
        out.flush()
        line = commands.readline()
        if not line:
            return
        command = json.loads(line)
        told += 1
        if told == 4 and BEHAVES in ("dies", "hangs", "garbles"):
            if BEHAVES == "dies":
                sys.exit(3)
            if BEHAVES == "garbles":
                out.write('{"ready": true}\n')
                out.flush()
            time.sleep(LONG)
        if "place" in command:
            state |= {"ready": False, "pos": [command["place"] % 1000, 9.5, 0], "earned": 0}
            marked = 0
        if "mark" in command:
            marked += 1
            if BEHAVES != "blind":
                draw(world.parent / "Xvfb_screen0", command["mark"])
            state["ready"] = state["ready"] or (marked >= 2 and BEHAVES != "nowhere")
            state["earned"] = int(state["ready"] and marked % 3 == 0)


if __name__ == "__main__":
    {"Xvfb": xvfb, "minetestserver": server, "minetest": lambda: time.sleep(LONG)}[ME.name]()
