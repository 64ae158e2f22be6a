"""The Minecraft env around a game of our own; `test_minecraft_minerl.py` has MineRL's."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import dreamer_envs
from dreamer_envs.errors import EnvError, EnvOptionError, MissingPackageError
from dreamer_envs.spec import SuiteSpec
from dreamer_envs.suites import minecraft, minecraft_host, minecraft_logic

ITEMS = ("air", *sorted({*minecraft_logic.MILESTONES, "dirt", "log2"}))
NAMES = list(minecraft_logic.ACTIONS)


class Game:
    """MineRL's observations from a script; dies at a step, breaks off at another."""

    items, known = ITEMS, ("air", "dirt", "other", "wooden_pickaxe")

    def __init__(self, dies_at=None, breaks_at=None, **script):
        self.dies_at, self.breaks_at, self.script = dies_at, breaks_at, script
        self.commands, self.worlds, self.closed = [], [], False

    def reset(self, seed):
        self.worlds.append(seed)
        self.time = 0
        return self.seen()

    def step(self, command):
        self.commands.append(command)
        self.time += 1
        if self.time == self.breaks_at:
            raise AttributeError("'NoneType' object has no attribute 'decode'")
        return self.seen(), self.time == self.dies_at

    def close(self):
        self.closed = True

    def seen(self):
        def now(name, default):
            return self.script.get(name, {}).get(self.time, default)

        counts = dict.fromkeys(ITEMS, 0) | {"air": 36} | now("held", {})
        picture = np.zeros((64, 64, 3), np.uint8)
        picture[0] = self.time
        return {
            "pov": picture[::-1],
            "inventory": {item: np.array(count) for item, count in counts.items()},
            "equipped_items": {"mainhand": {"type": now("hand", "air")}},
            "life_stats": {"life": now("life", 20.0), "food": 10, "air": 150},
            "location_stats": {"ypos": np.array(now("height", 64.0))},
        }


@pytest.fixture
def play(monkeypatch):
    """Makes an env around such a game; the second value lists every game that was started."""
    monkeypatch.setattr(SuiteSpec, "installed", lambda self: True)

    def start(task="diamond", options=None, **script):
        games = []

        def begin(*_):
            games.append(Game(**script))
            return games[-1]

        monkeypatch.setattr(minecraft, "_start", begin)
        return dreamer_envs.make(f"minecraft/{task}", **(options or {})), games

    return start


def test_spaces_and_common_form(play):
    env, _ = play(dies_at=20)
    assert env.action_space.n == 25
    obs, info = env.reset(seed=1)
    assert set(obs) == {
        "image", "inventory", "inventory_max", "equipped", "health", "hunger", "breath",
    }  # fmt: skip
    assert obs["inventory"].shape == (len(ITEMS) - 1,)  # both kinds of log are one
    assert (obs["health"], obs["hunger"], obs["breath"]) == (1.0, 0.5, 0.5)
    np.testing.assert_array_equal(obs["equipped"], np.float32([1, 0, 0, 0]))
    assert info == {"inventory": {"air": 36}, "milestones": []}
    check_env(env, skip_render_check=True)
    assert play("wood")[0].action_space.n == play("climb")[0].action_space.n == 12


def test_milestones_and_health_are_paid(play):
    env, _ = play(
        held={0: {"dirt": 1}, 1: {"log2": 1}, 2: {"log": 1, "planks": 4}, 3: {"planks": 8}},
        life={3: 10.0},
        hand={2: "wooden_pickaxe"},
    )
    env.reset(seed=0)
    obs, reward, _, _, info = env.step(NAMES.index("attack"))
    assert (reward, info["milestones"]) == (1.0, ["log"])
    obs, reward, _, _, info = env.step(NAMES.index("craft_planks"))
    assert (reward, info["milestones"]) == (1.0, ["log", "planks"])
    np.testing.assert_array_equal(obs["equipped"], np.float32([0, 0, 0, 1]))
    obs, reward, _, _, _ = env.step(0)
    assert reward == pytest.approx(-0.005) and obs["health"] == 0.5
    where = [item for item in ITEMS if item != "log2"].index
    assert (obs["inventory"][where("log")], obs["inventory_max"][where("log")]) == (0, 1)
    assert (obs["inventory"][where("planks")], obs["inventory_max"][where("dirt")]) == (8, 1)


def test_other_tasks_pay_what_they_are_named_after(play):
    env, _ = play("wood", held={1: {"log": 2, "log2": 1}, 2: {"diamond": 1}})
    env.reset(seed=0)
    assert [env.step(0)[1] for _ in range(2)] == [3.0, 0.0]
    env, _ = play("climb", height={1: 66.0, 2: 65.5})
    env.reset(seed=0)
    assert [env.step(0)[1] for _ in range(2)] == [2.0, -0.5]


def test_commands_are_those_of_the_official_interface(play):
    env, games = play(options={"sticky_jump": 2, "pitch_limit": 15.0})
    env.reset(seed=0)
    for name in ("jump", "noop", "craft_planks", "turn_up", "turn_up"):
        env.step(NAMES.index(name))
    commands = games[0].commands
    assert [(c["jump"], c["forward"]) for c in commands] == [(1, 1), (1, 1), *[(0, 0)] * 3]
    assert [c["craft"] for c in commands] == ["none", "none", "planks", "none", "none"]
    assert [c["camera"] for c in commands] == [(0, 0)] * 3 + [(-15, 0), (0, 0)]
    env.reset()
    env.step(NAMES.index("turn_up"))
    assert games[0].commands[-1]["camera"] == (-15, 0)  # a new episode looks ahead


def test_death_terminates_and_the_limit_truncates(play):
    env, _ = play(dies_at=3, options={"length": 3})
    env.reset(seed=0)
    assert [env.step(0)[2:4] for _ in range(3)] == [(False, False)] * 2 + [(True, False)]
    env, _ = play(options={"length": 2})
    env.reset(seed=0)
    assert [env.step(0)[2:4] for _ in range(2)] == [(False, False), (False, True)]
    env.reset()
    assert env.step(0)[2:4] == (False, False)


def test_worlds_follow_the_seed(play):
    env, games = play()
    for seed in (7, None, 7, 8):
        env.reset(seed=seed)
    first, second, again, other = games[0].worlds
    assert first == again and len({first, second, other}) == 3


def test_a_lost_game_is_an_error_and_a_reset_starts_another(play):
    env, games = play(breaks_at=2)
    env.reset(seed=0)
    env.step(0)
    with pytest.raises(EnvError, match=r"minecraft/diamond lost its game \(AttributeError"):
        env.step(0)
    assert games[0].closed and len(games) == 1
    with pytest.raises(EnvError, match="no game any more: call reset"):
        env.step(0)
    obs, _ = env.reset()
    assert len(games) == 2 and not obs["image"].any()
    env.step(0)
    env.close()
    assert games[1].closed


def test_a_game_that_cannot_be_told_to_end_is_an_error_all_the_same(play, monkeypatch):
    env, games = play(breaks_at=1)
    env.reset(seed=0)
    monkeypatch.setattr(games[0], "close", lambda: 1 / 0)
    with pytest.raises(EnvError, match="AttributeError"):
        env.step(0)
    env.reset()
    assert len(games) == 2


@pytest.mark.parametrize(
    "options, words",
    [
        ({"size": 8}, "size is 8 for minecraft/diamond; it must be at least 16"),
        ({"length": 0}, "length is 0 for minecraft/diamond; it must be at least 1"),
        ({"break_speed": 0.0}, "break_speed is 0.0"),
        ({"port": 70_000}, "port is 70000"),
        ({"sticky_jump": -1}, "Sticky jump is -1"),
        ({"render_mode": "human"}, "render_mode is 'human'"),
    ],
)
def test_wrong_values_are_named(play, options, words):
    with pytest.raises(EnvOptionError, match=words):
        play(options=options)


def test_without_minerl_the_error_tells_how_to_install_it(monkeypatch):
    monkeypatch.setattr(SuiteSpec, "installed", lambda self: not self.module)
    with pytest.raises(MissingPackageError) as error:
        dreamer_envs.make("minecraft/diamond")
    for word in ("minecraft/diamond", "JDK 8", "minerl==0.4.4", "python=PATH", "environments.md"):
        assert word in str(error.value)


def test_a_minerl_that_does_not_import_is_told(monkeypatch):
    def fail(entry_point):
        raise AttributeError("module 'numpy' has no attribute 'bool'")

    monkeypatch.setattr(minecraft, "load", fail)
    with pytest.raises(MissingPackageError, match="no attribute 'bool'.*numpy==1.23.5"):
        minecraft.Minecraft("diamond")


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Folder of a machine with the game, Java 8 and xvfb-run, but no screen."""
    built = tmp_path / minecraft_host.JAR
    built.parent.mkdir(parents=True)
    built.touch()
    java = tmp_path / "java"
    java.write_text('#!/bin/sh\necho openjdk version \\"1.8.0_412\\" >&2\n')
    (tmp_path / "xvfb-run").touch()
    for program in (java, tmp_path / "xvfb-run"):
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("MINERL_HEADLESS", raising=False)
    return tmp_path


def test_a_machine_that_can_start_the_game_does_so_off_screen(machine, monkeypatch):
    minecraft_host.prepare("minecraft/wood", machine)
    assert minecraft_host.os.environ["MINERL_HEADLESS"] == "1"
    monkeypatch.delenv("MINERL_HEADLESS")
    monkeypatch.setenv("DISPLAY", ":0")
    minecraft_host.prepare("minecraft/wood", machine)
    assert "MINERL_HEADLESS" not in minecraft_host.os.environ


@pytest.mark.parametrize(
    "gone, words",
    [
        (minecraft_host.JAR, "installed without the game"),
        ("java", "there is no Java"),
        ("xvfb-run", "no screen, and no xvfb-run"),
    ],
)
def test_what_the_game_lacks_is_named(machine, gone, words):
    (machine / gone).unlink()
    with pytest.raises(MissingPackageError, match=words) as error:
        minecraft_host.prepare("minecraft/wood", machine)
    assert "minecraft/wood" in str(error.value) and "JDK 8" in str(error.value)


def test_another_java_is_named(machine):
    (machine / "java").write_text('#!/bin/sh\necho openjdk version \\"17.0.9\\" >&2\n')
    with pytest.raises(MissingPackageError, match='Java 8 is needed.*version "17.0.9"'):
        minecraft_host.prepare("minecraft/wood", machine)
