"""MineRL's own Python classes against a stand-in for the game (`minecraft_server.py`).

They run where MineRL is importable: here, or in the Python that `DREAMER_MINERL` names;
`python -m tests.envs.standins minecraft` makes one. What they prove ends at the socket: no part of
Minecraft runs.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys

import numpy as np
import pytest

import dreamer_envs
from dreamer_envs.errors import EnvError, MissingPackageError
from dreamer_envs.suites import minecraft_logic
from dreamer_envs.supervised import SupervisedVector
from dreamer_envs.supervision import Supervision
from tests.envs.minecraft_server import Script, Server

HERE = sys.executable if importlib.util.find_spec("minerl") else ""
PYTHON = os.environ.get("DREAMER_MINERL") or HERE
NAMES = list(minecraft_logic.ACTIONS)

pytestmark = pytest.mark.skipif(
    not PYTHON, reason="no Python with minerl: set DREAMER_MINERL to one (tests/envs/standins.py)"
)


@pytest.fixture(scope="module")
def diamond():
    """One env and its server for many tests, since MineRL takes seconds to import."""
    server = Server()
    env = dreamer_envs.make("minecraft/diamond", python=PYTHON, port=server.port)
    yield env, server
    env.close()
    server.close()


@pytest.fixture
def play(diamond):
    """Gives the server a script and forgets what it noted."""

    def start(script=None):
        env, server = diamond
        server.script = script or Script()
        for notes in (server.missions, server.seeds, server.commands):
            notes.clear()
        return env, server

    return start


def test_an_episode_of_the_diamond(play):
    script = Script(
        length=5,
        inventory={0: {"dirt": 2}, 1: {"log": 1, "log2": 2}, 3: {"log2": 0, "planks": 4}},
        facts={
            2: {"equipped_items": {"mainhand": {"type": "dirt", "metadata": 0, "damage": 0}}},
            4: {"life": 10.0, "food": 5, "air": 30},
        },
    )
    env, server = play(script)
    obs, info = env.reset(seed=3)
    assert info["inventory"] == {"dirt": 2}
    assert env.action_space.n == 25 and obs["image"].shape == (64, 64, 3)
    seed = server.seeds[0]
    # The server's rows begin at the bottom: the step's shade is below, the seed's above.
    assert obs["image"][0, 0].tolist() == [0, 0, seed % 256]
    paid = []
    for step, name in enumerate(("jump", "craft_planks", "turn_up", "attack", "noop"), 1):
        obs, reward, terminated, truncated, info = env.step(NAMES.index(name))
        assert obs["image"][-1, -1].tolist() == [step, 0, 0]
        paid.append(reward)
        assert truncated is False and terminated is (step == 5)
    assert paid == pytest.approx([1.0, 0.0, 1.0, -0.005, 0.0])
    assert info["inventory"] == {"dirt": 2, "log": 1, "planks": 4}
    assert obs["inventory"].sum() == 7 and obs["inventory_max"].sum() == 2 + 3 + 4
    assert obs["equipped"].sum() == 1
    scalars = [obs[key] for key in ("health", "hunger", "breath")]
    assert scalars == pytest.approx([0.5, 0.25, 0.1])


def test_commands_arrive_as_the_game_reads_them(play):
    env, server = play()
    env.reset(seed=0)
    for name in ("jump", "craft_stick", "turn_left", "craft_furnace", "equip_iron_pickaxe",
                 "smelt_iron_ingot", "place_dirt"):  # fmt: skip
        env.step(NAMES.index(name))
    sent = server.commands
    assert (sent[0]["jump"], sent[0]["forward"], sent[0]["attack"]) == ("1", "1", "0")
    assert (sent[1]["jump"], sent[1]["craft"], sent[2]["craft"]) == ("1", "stick", "none")
    assert [float(angle) for angle in sent[2]["camera"].split()] == [0, -15]
    assert (sent[3]["craftNearby"], sent[6]["place"]) == ("furnace", "dirt")
    assert sent[4]["equip"].startswith("iron_pickaxe")
    assert sent[5]["smeltNearby"] == "iron_ingot"
    assert "sprint" not in sent[0]


def test_the_mission_is_the_official_one(play):
    env, server = play()
    env.reset(seed=0)
    mission = re.sub(r"\s", "", server.missions[0])
    for part in (
        "<BreakSpeedMultiplier>100.0</BreakSpeedMultiplier>",
        "<StartTime>0</StartTime><AllowPassageOfTime>true</AllowPassageOfTime>",
        "<AllowSpawning>true</AllowSpawning>",
        "<Width>64</Width><Height>64</Height>",
        "<ServerQuitWhenAnyAgentFinishes",
        "<ObservationFromFullInventory",
        'forceReset="true"',
    ):
        assert part in mission, mission


def test_worlds_follow_the_seed_over_a_busy_start(play):
    env, server = play(Script(busy=1))
    for seed in (7, None, 7):
        env.reset(seed=seed)
        env.step(0)
    first, second, again = server.seeds
    assert first == again != second


@pytest.mark.parametrize("task, paid", [("wood", [0.0, 3.0]), ("climb", [1.5, -5.5])])
def test_the_other_tasks(task, paid):
    server = Server(
        Script(inventory={2: {"log2": 3}}, facts={1: {"ypos": 65.5}, 2: {"ypos": 60.0}})
    )
    env = dreamer_envs.make(f"minecraft/{task}", python=PYTHON, port=server.port)
    env.reset(seed=0)
    assert env.action_space.n == 12
    assert [env.step(0)[1] for _ in range(2)] == paid
    server.close()  # the connection stays; a reset wants another and finds nobody
    with pytest.raises(EnvError, match="ConnectionRefusedError"):
        env.reset(seed=0)
    env.close()


@pytest.mark.parametrize("answers", [0, 1, 2])
def test_a_socket_that_breaks_off_is_an_error_and_never_an_observation(play, answers):
    """After 0 or 1 answers MineRL makes up an observation, after 2 it fails itself."""
    env, server = play(Script(hang_up=(3, answers)))
    env.reset(seed=0)
    for _ in range(2):
        env.step(0)
    with pytest.raises(EnvError, match="minecraft/diamond lost its game"):
        env.step(0)
    with pytest.raises(EnvError, match="call reset"):
        env.step(0)
    obs, _ = env.reset()  # a new connection, as a new game would be
    assert obs["image"][-1, -1].tolist() == [0, 0, 0] and len(server.missions) == 2
    assert env.step(0)[1] == 0.0


def test_supervised_envs_cut_the_episode_there():
    """The row is absent at the fault: no frame of it reaches a replay."""
    server = Server(Script(hang_up=(3, 0)))
    maker = dreamer_envs.maker("minecraft/wood", python=PYTHON, port=server.port)
    rules = Supervision(pause=0.01)
    with SupervisedVector([maker], seed=0, supervision=rules) as vector:
        shown = [vector.step([None], [True])]
        shown += [vector.step([0], [False]) for _ in range(3)]
        assert [bool(frames.present[0]) for frames in shown] == [True, True, True, False]
        assert shown[-1].is_last[0] and not shown[-1].terminated[0]
        np.testing.assert_array_equal(shown[-1].obs["image"], shown[-2].obs["image"])
        assert "lost its game" in vector.faults[0].reason
        after = vector.step([None], [True])
        assert after.present[0] and after.is_first[0]
    server.close()


def test_the_python_part_alone_starts_no_game():
    with pytest.raises(MissingPackageError, match="installed without the game|Java") as error:
        dreamer_envs.make("minecraft/diamond", python=PYTHON)
    assert "JDK 8" in str(error.value)
