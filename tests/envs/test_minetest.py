"""Minetest without Minetest: stand-ins for its programs speak over the same FIFOs and screen.

`test_minetest_real.py` plays the game itself where it is installed.
"""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import dreamer_envs
from dreamer_envs import registry, wrap
from dreamer_envs.errors import EnvError, EnvOptionError, MissingPackageError
from dreamer_envs.minetest import game, link, screen
from dreamer_envs.minetest.programs import Programs
from dreamer_envs.suites import minetest

HERE = Path(__file__).parent
LINE = (
    '{"ready": true, "earned": 2, "pos": [1, 2.5, -3], "yaw": 0.5, "pitch": -0.25, '
    '"counts": {"dig": 4}, "inventory": {"default:dirt": 3}}'
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the game's side is Linux' own")


class Keys:
    """Stands for `Hands`: remembers what it was told."""

    def __init__(self, display):
        self.display, self.told, self.turned = display, [], []

    def hold(self, keys):
        self.told.append(tuple(keys))

    def turn(self, right, down):
        self.turned.append((right, down))

    def close(self):
        pass


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Puts stand-ins of a behaviour in the place of the game's programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    source = (HERE / "minetest_peer.py").read_text()
    for name in game.PROGRAMS:
        (folder / name).write_text(f"#!{sys.executable} -IS\n{source}")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(game, "Hands", Keys)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))

    def behave(how="well"):
        (folder / "PEER").write_text(how)
        return scratch

    return behave


def running(folder):
    """Processes that name a folder in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(folder).encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:  # it has just ended
            pass
    return found


def gone(folder, seconds=30):
    """Whether all of them end, and their folder with them."""
    end = time.monotonic() + seconds
    while running(folder) or any(folder.iterdir()):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def test_an_episode(programs):
    scratch = programs()
    env = minetest.Minetest("dig", length=7, patience=60)
    image, info = env.reset(seed=3)
    assert env.observation_space.contains(image) and (image == 50).all()  # the mark is not in it
    place = info["pos"]
    steps = [env.step(0) for _ in range(7)]
    # By hand: the place is ready at the second mark, and each third mark earns 1.
    assert [reward for _, reward, *_ in steps] == [1, 0, 0, 1, 0, 0, 1]
    assert [truncated for *_, truncated, _ in steps] == [False] * 6 + [True]
    assert not any(terminated for _, _, terminated, _, _ in steps)
    assert all((image == 50).all() for image, *_ in steps)
    assert env.render().shape == (128, 128, 3)
    assert env.reset(seed=3)[1]["pos"] == place != env.reset()[1]["pos"]
    assert len(running(scratch)) >= 3
    env.close()
    env.close()
    assert gone(scratch)


def test_spaces_are_known_without_a_start(programs, monkeypatch):
    monkeypatch.setattr(registry, "_require_package", lambda *_: None)  # the stand-ins need no Xlib
    scratch = programs()
    maker = dreamer_envs.maker("minetest/dig", size=48)
    observed, acted = maker.spaces()
    assert not any(scratch.iterdir())
    env = maker()
    assert any(scratch.iterdir())
    assert (env.observation_space, env.action_space) == (observed, acted)
    env.close()


def test_gymnasiums_checker_hears_that_it_is_not_repeatable(programs):
    programs()
    env = wrap(minetest.Minetest("dig", length=9, patience=60))
    assert env.spec.nondeterministic
    other = env.spec.make()
    assert other.unwrapped._settings == env.unwrapped._settings
    other.close()
    env.close()


def test_actions_are_keys_and_turns_within_the_limit(programs):
    programs()
    env = minetest.Minetest("explore", patience=60)
    env.reset(seed=0)
    keys = env._game._hands
    keys.told.clear(), keys.turned.clear()
    names = list(minetest.ACTIONS)
    for name in ["jump", "dig", "look_left", *["look_down"] * 5, "look_up"]:
        env.step(names.index(name))
    env.close()
    assert keys.told[:3] == [("w", "space"), ("dig",), ()]
    # Four times 15 degrees down reach the limit of 60; the fifth does nothing.
    assert keys.turned == [(0, 0), (0, 0), (-15, 0), *[(0, 15)] * 4, (0, 0), (0, -15)]


@pytest.mark.parametrize(
    ("how", "patience", "words"),
    [
        ("dies", 60, "minetestserver ended with code 3; make it anew"),
        ("hangs", 4, "gave no answer in 4 s to a step"),
        ("garbles", 60, "no state"),
    ],
)
def test_a_failure_is_told_and_leaves_nothing_behind(programs, how, patience, words):
    scratch = programs(how)
    env = minetest.Minetest("dig", patience=patience)
    with pytest.raises(EnvError, match=words) as error:
        env.reset(seed=0)
        env.step(0)
    assert str(error.value).startswith("minetest/dig failed: ")
    assert gone(scratch)
    with pytest.raises(EnvError, match="reset it first"):
        env.step(0)
    programs("well")
    env.reset(seed=0)  # starts anew
    env.close()


@pytest.mark.parametrize(
    ("how", "words"), [("blind", "has not drawn for 2 s"), ("nowhere", "no place was ready in 4 s")]
)
def test_a_reset_does_not_wait_for_ever(programs, how, words):
    scratch = programs(how)
    env = minetest.Minetest("dig", patience=60)
    env._game._patience = 2  # the start may take long here
    with pytest.raises(EnvError, match=words):
        env.reset(seed=0)
    assert gone(scratch)


def test_a_program_that_does_not_start_is_told_with_its_last_words(programs):
    scratch = programs()
    server = scratch.parent / "bin" / "minetestserver"
    server.write_text("#!/bin/sh\necho no such game\nexit 1\n")
    with pytest.raises(EnvError, match="did not start.*code 1.*no such game"):
        minetest.Minetest("dig", patience=60)
    assert gone(scratch)


def test_missing_programs_are_told_with_the_line_that_installs_them(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name, path: None if name == "Xvfb" else "/x")
    with pytest.raises(
        MissingPackageError, match="needs the programs Xvfb; .*apt-get install"
    ) as e:
        game.find_programs("minetest/dig")
    assert "minetest minetest-server xvfb libgl1-mesa-dri" in str(e.value)


@pytest.mark.parametrize("option", ["size", "length", "step_ms", "dig_speed", "patience"])
def test_options_are_checked(option):
    with pytest.raises(EnvOptionError, match=f"{option} is 0"):
        minetest.Minetest("dig", **{option: 0})


def test_a_killed_parent_takes_everything_along(programs):
    scratch = programs()
    code = (
        f"import tempfile, time; tempfile.tempdir = {str(scratch)!r}\n"
        "from dreamer_envs.minetest.programs import Programs\n"
        "p = Programs(); p.start('sleep', ['/bin/sleep', '100'], {})\n"
        "print(p.folder, flush=True)\n"
        "time.sleep(100)\n"
    )
    path = os.pathsep.join([str(HERE.parents[1] / "envs"), os.environ.get("PYTHONPATH", "")])
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
    )
    folder = Path(parent.stdout.readline().decode().strip())
    assert folder.is_dir()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert gone(scratch)


def test_a_killed_guard_takes_everything_along(programs):
    programs()
    held = Programs()
    log = held.start("sleep", ["/bin/sh", "-c", "echo $$; exec /bin/sleep 100"], {})
    end = time.monotonic() + 30
    while not log.exists() or not log.read_text().strip():
        assert time.monotonic() < end
        time.sleep(0.01)
    child = int(log.read_text())
    held._guard.kill()
    held._guard.wait()
    while Path(f"/proc/{child}").exists() and "Z" not in _status(child):
        assert time.monotonic() < end
        time.sleep(0.01)
    assert held.ended() == "its guard was killed"
    held.close()


def _status(child):
    try:
        return Path(f"/proc/{child}/stat").read_text().split(") ")[1][0]
    except OSError:
        return "Z"


def test_a_state_is_read():
    state = link.parse(LINE)
    assert state == link.State(
        True, 2.0, (1.0, 2.5, -3.0), 0.5, -0.25, {"dig": 4}, {"default:dirt": 3}
    )
    assert link.parse(LINE.replace('{"default:dirt": 3}', "null")).inventory == {}


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{}",
        "[1]",
        LINE[:-4],
        LINE.replace("[1, 2.5, -3]", "[1, 2]"),
        LINE.replace('"earned": 2', '"earned": NaN'),
        LINE.replace('"earned": 2', '"earned": "much"'),
        LINE.replace('{"dig": 4}', '[["dig"]]'),
    ],
)
def test_what_is_no_state_is_an_error(line):
    with pytest.raises(EnvError, match="Minetest's mod said"):
        link.parse(line)


def test_a_link_waits_no_longer_than_it_is_told(tmp_path):
    reasons = iter(["", "", "minetest ended with code 1"])
    wire = link.Link(tmp_path, lambda: next(reasons, ""))
    with pytest.raises(EnvError, match="minetest ended with code 1"):
        wire.receive(60, "a step")
    with pytest.raises(EnvError, match="no answer in 0 s to a step"):
        wire.receive(0, "a step")
    with pytest.raises(EnvError, match="takes no commands"):
        while True:  # until the FIFO is full
            wire.send(text="x" * 1000)
    wire.close()
    wire.close()


def test_lines_come_in_pieces_and_together(tmp_path):
    wire = link.Link(tmp_path, lambda: "")
    peer = os.open(tmp_path / link.FROM_GAME, os.O_WRONLY)
    os.write(peer, (LINE + "\n" + LINE[:50]).encode())
    assert wire.receive(60, "a step").earned == 2
    os.write(peer, (LINE[50:].replace('"dig": 4', '"dig": 5') + "\n").encode())
    assert wire.receive(60, "a step").counts == {"dig": 5}
    os.close(peer)
    with pytest.raises(EnvError, match="closed its side"):
        wire.receive(60, "a step")
    wire.close()


def header(**changes):
    fields = {
        "size": 104, "version": 7, "format": 2, "depth": 24, "width": 4, "height": 20,
        "xoffset": 0, "byte_order": 0, "unit": 32, "bit_order": 0, "pad": 32, "bits": 32,
        "stride": 20,
    } | changes  # fmt: skip
    return struct.pack(">25I", *fields.values(), 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0)


def test_a_screen_is_read_from_its_file(tmp_path):
    # 104 bytes of header, 2 colours of 12 bytes, rows of 20 bytes for 4 pixels of 4.
    pixels = np.zeros((20, 5, 4), np.uint8)
    pixels[0, 1] = (3, 2, 1, 0)  # blue, green, red
    (tmp_path / screen.FILE).write_bytes(header() + bytes(4 + 24) + pixels.tobytes())
    shown = screen.Screen(tmp_path)
    assert shown.pixels().shape == (20, 4, 3)
    assert shown.pixels()[0, 1].tolist() == [1, 2, 3] and shown.pixels().sum() == 6
    assert shown.wait(0, 0.0) is None
    shown.close()


@pytest.mark.parametrize("change", [{"version": 6}, {"depth": 16}, {"byte_order": 1}, {"bits": 24}])
def test_a_screen_of_another_form_is_refused(change):
    with pytest.raises(EnvError, match="another form"):
        screen.layout(header(**change))


def test_a_mark_is_seen_at_both_ends_and_never_in_the_view():
    pixels = np.full((144, 128, 3), 90, np.uint8)
    for mark in (0, 7, 16, 255):
        pixels[:8, :8] = screen.mark_colour(mark)
        assert not screen.shows(pixels, mark)  # only half of the frame is there
        pixels[-8:, -8:] = screen.mark_colour(mark)
        assert screen.shows(pixels, mark)
        assert not any(screen.shows(pixels, other) for other in range(256) if other != mark)
        assert (screen.view(pixels) == 90).all() and screen.view(pixels).shape == (128, 128, 3)
        pixels[-8:, -8:] = 90


def test_marks_are_the_colours_that_the_mod_draws():
    lua = (Path(game.__file__).parent / "mod" / "init.lua").read_text()
    assert "math.floor(mark / 16) % 16 * 16 + 8, mark % 16 * 16 + 8" in lua
    assert screen.mark_colour(0x5A) == (0x58, 0xA8, 0x80)  # by hand: nibbles 5 and 10


def test_the_number_of_the_display_is_found_among_complaints():
    said = "SocketCreateListener() failed\nserver already running\n12\n"
    assert game.display_number(said) == "12"
    assert game.display_number("server already running\n1") == ""  # 12 may follow


def test_nothing_but_this_machine_may_connect():
    lines = game.configuration(game.Settings("dig"), 30123).splitlines()
    for line in (
        "bind_address = 127.0.0.1", "port = 30123", "server_announce = false",
        "enable_remote_media_server = false", "max_users = 1", "dreamer_task = dig",
    ):  # fmt: skip
        assert line in lines


def test_a_pixel_of_the_mouse_is_a_degree():
    # By hand from the engine's formulas: 52 * sqrt(1.6 * 144 / 128) = 69.76 degrees, half of it has
    # the tangent 0.697, and 1 / (0.697 * 1.3764) = 1.0423.
    assert game.sensitivity(128, 144) == pytest.approx(1.0423, abs=2e-3)
